//! `docs/cli.md` is made from the command line's own definition.

use std::fmt::Write;

use clap::CommandFactory;
use stillpoint::Arguments;

/// Every visible verb with its whole help.
pub fn reference() -> String {
    let mut page =
        String::from("# The command line\n\nMade by `cargo xtask gen` from the program's own definition.\n");
    let mut command = Arguments::command();
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
