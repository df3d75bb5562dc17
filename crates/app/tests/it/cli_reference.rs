//! `docs/cli.md` is made from the command line's own definition.

use std::fmt::Write;

use stillpoint::Arguments;

/// Every visible verb with its whole help.
pub fn reference() -> String {
    let mut page =
        String::from("# The command line\n\nMade by `cargo xtask gen` from the program's own definition.\n");
    let mut command = Arguments::public();
    command.build();
    describe(&mut command, "stillpoint", &mut page);
    page
}

fn describe(command: &mut clap::Command, name: &str, page: &mut String) {
    let help = command.clone().bin_name(name).render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    write!(page, "\n## `{name}`\n\n```text\n{}\n```\n", help.join("\n").trim_end()).unwrap();
    for verb in command.get_subcommands_mut().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help")
    {
        let name = format!("{name} {}", verb.get_name());
        describe(verb, &name, page);
    }
}

#[test]
fn golden_the_reference_of_the_command_line_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md");
    let now = reference();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &now).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == now, "docs/cli.md is out of date: cargo xtask gen");
}

fn printed(arguments: &[&str]) -> String {
    let done = std::process::Command::new(crate::site::PROGRAM).args(arguments).output().unwrap();
    crate::site::Done::of(done).exits(0).out
}

#[test]
fn every_manual_page_that_a_page_refers_to_can_be_had() {
    let folder = tempfile::tempdir().unwrap();
    printed(&["man", "--all", folder.path().to_str().unwrap()]);
    let read = |name: &str| std::fs::read_to_string(folder.path().join(format!("{name}.1"))).unwrap();
    for name in ["stillpoint", "stillpoint-backup", "stillpoint-config", "stillpoint-config-check"] {
        let page = read(name);
        for part in ["EXIT STATUS", "ENVIRONMENT", "STILLPOINT_LOG"] {
            assert!(page.contains(part), "{name} has no {part}");
        }
        for line in page.lines().filter(|line| line.trim_end().ends_with("(1)")) {
            let referred = line.trim_end().trim_end_matches("(1)").replace('\\', "");
            read(&referred);
        }
    }
    assert_eq!(printed(&["man", "config", "check"]), read("stillpoint-config-check"));
}

#[test]
fn neither_completions_nor_help_offer_what_is_of_no_use() {
    for shell in ["bash", "zsh", "fish"] {
        let script = printed(&["completions", shell]);
        assert!(script.contains("reconcile") && !script.contains("demo-site"), "{shell}");
        assert!(!script.contains("guard"), "{shell}");
    }
    let help = printed(&["demo", "--help"]);
    assert!(help.contains("--json") && !help.contains("--config"), "{help}");
    assert!(!printed(&["man", "--help"]).contains("--state-dir"));
}
