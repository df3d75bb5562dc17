//! Documents say only what is so: paths exist, named tests exist, words are the glossary's.

use std::path::PathBuf;

use super::{files, shown, sources};
use crate::top;

fn documents() -> Vec<PathBuf> {
    let mut all = files(&top().join("docs"), ".md");
    all.extend(
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"]
            .map(|name| top().join(name))
            .into_iter()
            .filter(|path| path.exists()),
    );
    all
}

/// The texts between backticks of a line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

#[test]
fn every_path_that_a_document_names_exists() {
    let tops = ["crates/", "docs/", "xtask/", ".ci/", "packaging/", "proto/"];
    let mut wrong = Vec::new();
    for path in documents() {
        for (number, line) in std::fs::read_to_string(&path).unwrap().lines().enumerate() {
            let links = line.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
            let links = links
                .filter(|link| !link.is_empty() && !link.contains("://"))
                .map(|link| path.parent().unwrap().join(link));
            let names = quoted(line).filter(|text| {
                tops.iter().any(|top| text.starts_with(top)) && !text.contains(['<', '*', ' ', '{'])
            });
            for target in links.chain(names.map(|name| top().join(name))) {
                if !target.exists() {
                    wrong.push(format!("{}:{}: {} does not exist", shown(&path), number + 1, shown(&target)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_must_of_the_format_names_a_test_that_exists() {
    let format = std::fs::read_to_string(top().join("docs/format.md")).unwrap();
    let code: String = sources().iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let mut wrong = Vec::new();
    for (number, line) in format
        .lines()
        .enumerate()
        .filter(|(_, line)| line.contains("MUST") && line.trim_start().starts_with(['-', '|']))
    {
        let named = quoted(line)
            .any(|name| code.contains(&format!("fn {}(", name.rsplit("::").next().unwrap_or(name))));
        if !named {
            wrong.push(format!("docs/format.md:{}: names no test: {line}", number + 1));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_document_or_source_names_a_place_of_one_machine() {
    let places = [["/wo", "rk/"].concat(), ["/ro", "ot/.cargo"].concat()];
    let mut wrong = Vec::new();
    for path in documents().into_iter().chain(sources()) {
        for (number, line) in std::fs::read_to_string(&path).unwrap().lines().enumerate() {
            if places.iter().any(|place| line.contains(place.as_str())) {
                wrong.push(format!("{}:{}: {}", shown(&path), number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
