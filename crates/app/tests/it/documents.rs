//! A verb or a flag that a document names exists.

use std::collections::BTreeSet;

use stillpoint::Arguments;

/// Flags of other programs that documents may show.
const FOREIGN: &[&str] = &["--append-only", "--password-file", "--release", "--unfreeze"];

fn known() -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut flags, mut verbs) = (BTreeSet::new(), BTreeSet::new());
    let mut commands = vec![Arguments::whole()];
    while let Some(command) = commands.pop() {
        verbs.insert(command.get_name().to_owned());
        flags.extend(
            command
                .get_arguments()
                .filter_map(|argument| argument.get_long())
                .map(|long| format!("--{long}")),
        );
        commands.extend(command.get_subcommands().cloned());
    }
    flags.extend(["--help", "--version"].map(str::to_owned));
    (flags, verbs)
}

#[test]
fn every_verb_and_flag_that_a_document_names_exists() {
    let top = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let (flags, verbs) = known();
    let mut wrong = Vec::new();
    for name in ["README.md", "docs/operations.md", "docs/site-file.md", "ARCHITECTURE.md"] {
        let text = std::fs::read_to_string(format!("{top}/{name}")).unwrap();
        for (number, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split(|c: char| c.is_whitespace() || "`|,;:)(".contains(c)).collect();
            for pair in words.windows(2).filter(|pair| pair[0] == "stillpoint") {
                let verb = pair[1];
                let looks = !verb.is_empty()
                    && verb.chars().all(|c| c.is_ascii_lowercase() || c == '-')
                    && !verb.starts_with('-');
                if looks
                    && line.contains(&format!("stillpoint {verb}"))
                    && line.contains('`')
                    && !verbs.contains(verb)
                {
                    wrong.push(format!("{name}:{}: there is no verb {verb}", number + 1));
                }
            }
            for flag in words.iter().filter(|word| {
                word.strip_prefix("--").is_some_and(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
            }) {
                let flag = flag.split('=').next().unwrap_or(flag).trim_end_matches('.');
                if !flags.contains(flag) && !FOREIGN.contains(&flag) {
                    wrong.push(format!("{name}:{}: there is no flag {flag}", number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
