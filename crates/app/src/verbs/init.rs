//! `init`.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use stillpoint_model::{ErrorKind, site_file};
use stillpoint_site::{SiteError, init as drafting};

use super::Answer;
use crate::arguments::{Common, InitArguments};

/// `stillpoint init`.
pub fn init(common: &Common, own: &InitArguments) -> Answer {
    let found = (!own.sample).then(drafting::look);
    let text = found.as_ref().map_or_else(|| site_file::sample().to_owned(), drafting::draft);
    let file = own.file.as_deref().unwrap_or(&common.config);
    let to_screen = file == Path::new("-");
    if !to_screen {
        write(file, &text, own.overwrite)?;
    }
    if common.json {
        let object = serde_json::json!({
            "event": "drafted", "file": (!to_screen).then_some(file), "text": to_screen.then_some(&text), "found": found,
        });
        println!("{object}");
    } else if to_screen {
        print!("{text}");
    } else if !common.quiet {
        println!(
            "Wrote {}. Read it, put it right, then: stillpoint --config {} backup --dry-run",
            file.display(),
            file.display()
        );
    }
    Ok(0)
}

fn write(file: &Path, text: &str, overwrite: bool) -> Result<(), SiteError> {
    let mut options = std::fs::File::options();
    // Nothing secret stands in it, and the service, which has no rights, must read it: the package gives the folder to its group.
    options.write(true).mode(0o640);
    if overwrite {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    let result = options.open(file).and_then(|mut open| open.write_all(text.as_bytes()));
    result.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            SiteError::new(ErrorKind::WouldOverwrite, format!("{} is there already", file.display()))
                .hint("name another file, or say --overwrite")
        }
        std::io::ErrorKind::NotFound => {
            SiteError::new(ErrorKind::Environment, format!("the folder of {} is not there", file.display()))
                .hint("create it, or name another file: stillpoint init FILE")
        }
        _ => {
            SiteError::new(ErrorKind::Environment, format!("cannot write {}", file.display())).because(error)
        }
    })
}
