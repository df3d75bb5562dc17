//! The licences of the libraries that are built into the program: whoever gets it must get them as well.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use serde_json::Value;

use crate::ci::cargo;
use crate::deb::said;

/// How the files begin in which a library has its licence.
const FILES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"];

/// Names, versions and licences of all libraries in the program, then each text with the libraries that it is from.
pub fn of_libraries() -> anyhow::Result<String> {
    let compiler = said(Command::new("rustc").arg("-vV"))?;
    let host =
        compiler.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let mut question = cargo(&["metadata", "--format-version", "1", "--locked", "--quiet"]);
    let metadata: Value = serde_json::from_str(&said(question.args(["--filter-platform", host]))?)?;
    let built_in = built_in(&metadata)?;
    let mut page = "The libraries that are built into stillpoint, with their licences.\n\n".to_owned();
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in items(&metadata["packages"]) {
        let text = |key: &str| package[key].as_str().unwrap_or_default();
        // Ours have no source but this repository.
        if package["source"].is_null() || !built_in.contains(text("id")) {
            continue;
        }
        let name = format!("{} {}", text("name"), text("version"));
        writeln!(page, "{name}: {}", package["license"].as_str().unwrap_or("see its text below"))?;
        let folder = Path::new(text("manifest_path")).parent().context("a manifest in no folder")?;
        for text in texts_in(folder)? {
            texts.entry(text).or_default().push(name.clone());
        }
    }
    for (text, names) in texts {
        write!(page, "\n{}\n{}\n\n{}\n", "=".repeat(80), names.join(", "), text.trim_end())?;
    }
    Ok(page)
}

/// The names of the packages that the program is built from, as `cargo metadata` has them; not those that only build or test it.
fn built_in(metadata: &Value) -> anyhow::Result<BTreeSet<String>> {
    let nodes: BTreeMap<&str, &Value> =
        items(&metadata["resolve"]["nodes"]).filter_map(|node| Some((node["id"].as_str()?, node))).collect();
    let program = items(&metadata["packages"]).find(|package| package["name"] == "stillpoint");
    let program = program.and_then(|package| package["id"].as_str()).context("there is no stillpoint")?;
    let mut found = BTreeSet::new();
    let mut next = vec![program];
    while let Some(id) = next.pop() {
        if !found.insert(id.to_owned()) {
            continue;
        }
        for dependency in nodes.get(id).into_iter().flat_map(|node| items(&node["deps"])) {
            // A dependency of the program itself has no kind.
            if items(&dependency["dep_kinds"]).any(|kind| kind["kind"].is_null()) {
                next.extend(dependency["pkg"].as_str());
            }
        }
    }
    Ok(found)
}

fn texts_in(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        if entry.file_type()?.is_file() && FILES.iter().any(|begin| name.starts_with(begin)) {
            texts.push(String::from_utf8_lossy(&std::fs::read(entry.path())?).replace("\r\n", "\n"));
        }
    }
    texts.sort();
    Ok(texts)
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
