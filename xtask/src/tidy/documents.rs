//! Documents say only what is so: paths exist, named tests exist, commands have the flags that they are shown with.

use std::path::PathBuf;

use clap::CommandFactory;

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

/// The long flags of a command and all that is below it.
fn flags_of(command: &clap::Command) -> Vec<String> {
    let own =
        command.get_arguments().filter_map(|argument| argument.get_long()).map(|long| format!("--{long}"));
    own.chain(command.get_subcommands().flat_map(flags_of)).collect()
}

/// The long flags that a text shows, without their values.
fn flags_in(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', '[', ']', '(', ')', ',', '|'])
        .filter(|word| word.starts_with("--") && word.len() > 2)
        .filter_map(|word| word.split('=').next())
}

#[test]
fn every_flag_that_a_document_shows_exists() {
    let reference = std::fs::read_to_string(top().join("docs/cli.md")).unwrap();
    let ours: Vec<&str> = reference.lines().flat_map(flags_in).collect();
    let chores = flags_of(&crate::Arguments::command());
    let mut wrong = Vec::new();
    for path in documents().into_iter().filter(|path| !path.ends_with("cli.md")) {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut in_block = false;
        for (number, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                in_block = !in_block;
            }
            let shown_here: Vec<&str> = if in_block { vec![line] } else { quoted(line).collect() };
            for command in shown_here {
                let command = command.split(" # ").next().unwrap_or(command).trim();
                let known: Vec<&str> = match command {
                    // What follows is the business of another program, or of cargo.
                    _ if command.starts_with("cargo xtask") => chores.iter().map(String::as_str).collect(),
                    _ if command.starts_with("--") || command.starts_with("stillpoint ") => {
                        // A flag by itself may be that of a chore too.
                        ours.iter().copied().chain(chores.iter().map(String::as_str)).collect()
                    }
                    _ => continue,
                };
                for flag in flags_in(command).filter(|flag| !known.contains(flag)) {
                    wrong.push(format!("{}:{}: there is no {flag}", shown(&path), number + 1));
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
