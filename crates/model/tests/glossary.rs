//! The glossary: one word, one thing; and this crate, whose words everybody else uses, keeps to it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use stillpoint_model::{Grade, Level, Outcome, Phase};

fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Each row of the glossary: the word, its meaning, the words that are not used for it.
fn rows() -> Vec<(String, String, Vec<String>)> {
    let text = std::fs::read_to_string(top().join("docs/glossary.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| Word |"));
    rows.map(|line| {
        let columns: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(columns.len(), 3, "{line}");
        let not = columns[2].split('`').skip(1).step_by(2).map(str::to_owned).collect();
        (columns[0].to_owned(), columns[1].to_owned(), not)
    })
    .collect()
}

#[test]
fn no_word_stands_twice_and_none_is_banned_for_another() {
    let mut words = BTreeSet::new();
    let mut banned = BTreeSet::new();
    for (word, meaning, not) in rows() {
        assert!(!meaning.is_empty() && !not.is_empty(), "{word} is not told apart from anything");
        assert!(words.insert(word.clone()), "{word} stands twice");
        for one in not {
            assert!(banned.insert(one.clone()), "{one} is banned twice");
        }
    }
    let both: Vec<_> = words.intersection(&banned).collect();
    assert!(both.is_empty(), "both a word and banned: {both:?}");
}

#[test]
fn the_glossary_has_every_phase_step_grade_and_the_words_of_the_design() {
    let rows = rows();
    let words: BTreeSet<&str> = rows.iter().map(|(word, ..)| word.as_str()).collect();
    let phases = Phase::ALL.map(|phase| phase.to_string());
    let grades = [Grade::Fuzzy, Grade::Crash, Grade::Frozen].map(|grade| grade.to_string());
    let steps = ["identify", "prepare", "poise", "freeze", "cut", "thaw", "capture", "release"];
    let design = [
        "site",
        "site file",
        "component",
        "writer",
        "provider",
        "snapshot",
        "requester",
        "coordinator",
        "epoch",
        "freeze window",
        "guard",
        "run",
        "backup set",
        "archive",
        "status message",
        "alert",
        "restore",
        "recover",
        "plan",
        "drill",
        "problem",
        "manifest",
        "journal",
        "marker",
        "shadow",
        "baseline",
        "entry",
        "list",
    ];
    for word in phases.iter().chain(&grades).map(String::as_str).chain(steps).chain(design) {
        assert!(words.contains(word), "{word} is not in the glossary");
    }
    let meaning = |wanted: &str| {
        rows.iter().find(|(word, ..)| word == wanted).map(|(_, meaning, _)| meaning.clone()).unwrap()
    };
    for level in Level::ALL {
        assert!(meaning("level").contains(&level.to_string()), "{level}");
    }
    for outcome in [Outcome::Complete, Outcome::Incomplete, Outcome::Failed] {
        assert!(meaning("outcome").contains(&outcome.to_string()), "{outcome}");
    }
}

/// All sources, tables and documents that are checked.
fn texts() -> Vec<PathBuf> {
    fn add(folder: &Path, texts: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()) {
            if entry.is_dir() {
                add(&entry, texts);
            } else if entry.extension().is_some_and(|end| end == "rs" || end == "md" || end == "toml") {
                texts.push(entry);
            }
        }
    }
    let mut texts = Vec::new();
    add(&top().join("crates/model"), &mut texts);
    let documents = ["messages.md", "site-file.md", "exit-codes.md"];
    texts.extend(documents.map(|name| top().join("docs").join(name)));
    texts
}

/// Whether `line` holds `word`, or its plural, as a whole word. Both are in lower case.
fn holds(line: &str, word: &str) -> bool {
    let inside = |character: char| character.is_alphanumeric() || character == '-' || character == '_';
    line.match_indices(word).any(|(at, _)| {
        let behind = &line[at + word.len()..];
        let behind = behind.strip_prefix('s').unwrap_or(behind);
        !line[..at].ends_with(inside) && !behind.starts_with(inside)
    })
}

#[test]
fn this_crate_and_its_documents_use_no_banned_word() {
    let banned: Vec<String> = rows().into_iter().flat_map(|(_, _, not)| not).collect();
    let mut wrong = Vec::new();
    for path in texts() {
        for (number, line) in std::fs::read_to_string(&path).unwrap().lines().enumerate() {
            let line = line.to_lowercase();
            for word in banned.iter().filter(|word| holds(&line, word)) {
                wrong.push(format!("{}:{}: \"{word}\"", path.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "docs/glossary.md says what to write instead:\n{}", wrong.join("\n"));
    assert!(holds("two red boats.", "boat") && !holds("the boathouse", "boat"));
}
