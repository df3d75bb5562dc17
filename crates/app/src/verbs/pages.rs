//! `completions` and `man`: pages made from the command line's own definition.

use std::path::Path;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use stillpoint_model::ErrorKind;
use stillpoint_site::SiteError;

use super::Answer;
use crate::arguments::{Arguments, ManArguments};

/// What the program reads from its environment, besides what its options name.
const ENVIRONMENT: [(&str, &str); 6] = [
    ("STILLPOINT_CONFIG", "The site file, as --config."),
    ("STILLPOINT_STATE_DIR", "Where the state of runs is kept, as --state-dir."),
    ("STILLPOINT_LOG", "What is logged to standard error, such as debug, or info,stillpoint_writers=trace."),
    ("NO_COLOR", "When set, nothing is coloured."),
    ("TERM", "When it is dumb, nothing is coloured."),
    ("XDG_STATE_HOME", "Where the state of runs is kept for a user other than root; else ~/.local/state."),
];

/// `stillpoint completions`.
pub fn completions(shell: clap_complete::Shell) -> Answer {
    let mut page = Vec::new();
    clap_complete::generate(shell, &mut Arguments::public(), "stillpoint", &mut page);
    print!("{}", String::from_utf8_lossy(&page));
    Ok(0)
}

/// `stillpoint man`.
pub fn man(own: &ManArguments) -> Answer {
    let mut whole = Arguments::public().disable_help_subcommand(true);
    whole.build();
    if let Some(folder) = &own.all {
        return write_all(&whole, folder);
    }
    let mut command = &whole;
    for name in &own.verb {
        command = command.find_subcommand(name).ok_or_else(|| {
            SiteError::new(ErrorKind::Usage, format!("there is no verb {}", own.verb.join(" ")))
                .hint("`stillpoint help` lists the verbs")
        })?;
    }
    print!("{}", String::from_utf8_lossy(&page(command)?));
    Ok(0)
}

fn write_all(command: &Command, folder: &Path) -> Answer {
    let path = folder.join(format!("{}.1", name(command)));
    std::fs::write(&path, page(command)?).map_err(|error| {
        SiteError::new(ErrorKind::Environment, format!("cannot write {}", path.display())).because(error)
    })?;
    for verb in command.get_subcommands() {
        write_all(verb, folder)?;
    }
    Ok(0)
}

/// `stillpoint-config-check` for `stillpoint config check`.
fn name(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

fn page(command: &Command) -> Result<Vec<u8>, SiteError> {
    let mut page = Vec::new();
    // A page without the list of verbs that its help shows: each has a page of its own, which it names.
    let man = Man::new(command.clone()).title(name(command));
    let written = man.render(&mut page).and_then(|()| ending().to_writer(&mut page));
    written.map_err(|error| {
        SiteError::new(ErrorKind::Bug, "the manual page could not be made").because(error)
    })?;
    Ok(page)
}

/// What every page ends with.
fn ending() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    let fixed = [(0, "Complete."), (3, "Incomplete: a set was published, but with problems.")];
    let kinds = ErrorKind::ALL.map(|kind| (kind.exit_code(), kind.meaning()));
    let mut codes: Vec<(u8, &str)> = fixed.into_iter().chain(kinds).collect();
    codes.sort_unstable();
    for (code, meaning) in codes {
        roff.control("TP", []).text([bold(code.to_string())]).text([roman(meaning)]);
    }
    roff.control("SH", ["ENVIRONMENT"]);
    for (name, meaning) in ENVIRONMENT {
        roff.control("TP", []).text([bold(name)]).text([roman(meaning)]);
    }
    roff
}
