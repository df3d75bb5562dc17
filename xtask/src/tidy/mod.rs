//! What a reviewer should not have to say: sizes, arrows between crates, and promises in documents that nothing keeps.
//! Ordinary tests, run with all others.

mod documents;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::top;

/// The longest a source file may be before its tests, in lines; and a file that is nothing but tests.
const FILE_LINES_MAX: usize = 500;
const TEST_FILE_LINES_MAX: usize = 800;

/// Which of our crates each of our crates may use. Arrows go one way; `ARCHITECTURE.md` has the picture.
const ARROWS: &[(&str, &[&str])] = &[
    ("schedule", &[]),
    ("model", &["schedule"]),
    ("history", &["model"]),
    ("alerts", &["model", "schedule", "history"]),
    ("server", &["model", "schedule", "history", "alerts", "site"]),
    ("tree", &[]),
    ("ledger", &[]),
    ("coordinator", &["model"]),
    ("providers", &["model", "tree"]),
    ("writers", &["model", "tree"]),
    ("archive", &["model", "tree"]),
    ("repository", &["model", "tree"]),
    ("mount", &["model", "tree", "repository"]),
    ("site", &["model", "tree", "coordinator", "providers", "writers", "archive", "repository"]),
    (
        "app",
        &[
            "model",
            "coordinator",
            "archive",
            "repository",
            "mount",
            "site",
            "ledger",
            "history",
            "server",
            "alerts",
        ],
    ),
    (
        "testkit",
        &[
            "model",
            "tree",
            "coordinator",
            "providers",
            "writers",
            "archive",
            "repository",
            "site",
            "app",
            "ledger",
            "history",
            "alerts",
            "server",
        ],
    ),
];

/// Every file below `folder` with this ending, but for what is built.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() && !path.is_symlink() && !name.starts_with("target") && name != ".git" {
                folders.push(path);
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<PathBuf> {
    ["crates", "xtask"].iter().flat_map(|folder| files(&top().join(folder), ".rs")).collect()
}

fn shown(path: &Path) -> String {
    path.strip_prefix(top()).unwrap_or(path).display().to_string()
}

#[test]
fn no_source_file_is_longer_than_a_reader_can_hold() {
    let mut long = Vec::new();
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
        let tests =
            path.components().any(|part| part.as_os_str() == "tests") || shown(&path).ends_with("_tests.rs");
        if lines > if tests { TEST_FILE_LINES_MAX } else { FILE_LINES_MAX } {
            long.push(format!("{} has {lines} lines", shown(&path)));
        }
    }
    assert!(
        long.is_empty(),
        "split by what it is about (at most {FILE_LINES_MAX} lines before the tests):\n{}",
        long.join("\n")
    );
}

#[test]
fn arrows_between_crates_go_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut wrong = Vec::new();
    for manifest in files(&top().join("crates"), "Cargo.toml") {
        let folder = manifest.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
        let table: toml::Table = std::fs::read_to_string(&manifest).unwrap().parse().unwrap();
        let uses = table.get("dependencies").and_then(toml::Value::as_table).cloned().unwrap_or_default();
        let Some(may) = allowed.get(folder.as_str()) else {
            wrong.push(format!(
                "crates/{folder} is not in the table: a new crate needs a decision record and a row here"
            ));
            continue;
        };
        for name in uses.keys().filter(|name| name.starts_with("stillpoint")) {
            let short = name.strip_prefix("stillpoint-").unwrap_or("app");
            if !may.contains(&short) {
                wrong.push(format!("crates/{folder} must not use crates/{short}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_source_file_is_part_of_its_crate() {
    let mut forgotten = Vec::new();
    for path in sources() {
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        let folder = path.parent().unwrap();
        if ["lib", "main", "mod", "build"].contains(&stem.as_str())
            || ["tests", "benches", "examples", "bin"].iter().any(|name| folder.ends_with(name))
        {
            continue;
        }
        let named = format!("mod {stem};");
        // A file of shared test code may be named by its path from each test that uses it.
        let by_path = format!("{}/{stem}.rs\"]", folder.file_name().unwrap().to_string_lossy());
        let above = std::fs::read_dir(folder.parent().unwrap()).unwrap().flatten();
        if above
            .into_iter()
            .any(|entry| std::fs::read_to_string(entry.path()).is_ok_and(|text| text.contains(&by_path)))
        {
            continue;
        }
        let parents = [
            folder.join("mod.rs"),
            folder.join("lib.rs"),
            folder.join("main.rs"),
            folder.with_extension("rs"),
        ];
        let beside = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
        let of_folder = parents
            .into_iter()
            .chain(beside.filter(|_| folder.components().any(|part| part.as_os_str() == "tests")));
        if !of_folder
            .into_iter()
            .any(|file| std::fs::read_to_string(file).is_ok_and(|text| text.contains(&named)))
        {
            forgotten.push(shown(&path));
        }
    }
    assert!(forgotten.is_empty(), "no module names them, so nothing builds them:\n{}", forgotten.join("\n"));
}

#[test]
fn nothing_is_left_to_do_later() {
    let marks = [
        ["TO", "DO"].concat(),
        ["FIX", "ME"].concat(),
        ["XX", "X"].concat(),
        ["todo", "!("].concat(),
        ["unimplemented", "!("].concat(),
    ];
    let mut left = Vec::new();
    for path in sources() {
        for (number, line) in std::fs::read_to_string(&path).unwrap().lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark.as_str())) {
                left.push(format!("{}:{}: {}", shown(&path), number + 1, line.trim()));
            }
        }
    }
    assert!(left.is_empty(), "do it or file it:\n{}", left.join("\n"));
}
