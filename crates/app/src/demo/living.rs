//! The demo's application: the ledger over SQLite, driven by the hidden verb `demo-site FOLDER ACT`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use stillpoint_ledger::app::{self, LedgerSettings};
use stillpoint_ledger::{JournalMode, LedgerError, StoreSettings, control};
use stillpoint_model::ErrorKind;
use stillpoint_site::SiteError;

use crate::arguments::DemoAct;

/// How long the application may take to start, rest, or go on.
const LIMIT: Duration = Duration::from_secs(10);

/// How many operations of a worker are kept; older ones are retired.
pub const WINDOW: u64 = 500;

/// The content files of the site in `folder`.
pub fn content(folder: &Path) -> PathBuf {
    folder.join("content")
}

/// The database of the site in `folder`.
pub fn ledger(folder: &Path) -> PathBuf {
    folder.join("ledger.db")
}

/// The control socket of the site in `folder`.
pub fn control(folder: &Path) -> PathBuf {
    folder.join("control.sock")
}

/// The store of the site in `folder`.
pub fn store(folder: &Path) -> StoreSettings {
    StoreSettings::Sqlite { path: ledger(folder), journal: JournalMode::Wal }
}

/// Where the application's numbers at its last rest are noted: outside the site, so that the demo can compare what comes
/// back with what was there.
fn rest_note(folder: &Path) -> PathBuf {
    folder.with_file_name("numbers-at-rest.json")
}

/// Starts the application in a process of its own, which ends when the process `leader` does.
pub fn start(program: &Path, folder: &Path, leader: u32) -> Result<(), SiteError> {
    let mut command = Command::new(program);
    command.arg("demo-site").arg(folder).args(["run", "--leader", &leader.to_string()]);
    app::start(command, &control(folder), LIMIT).map_err(failed)
}

/// The number of the last operation of each worker, as the application told when it was brought to rest for the cut.
pub fn numbers_at_rest(folder: &Path) -> Result<Vec<u64>, SiteError> {
    let note = rest_note(folder);
    let wrong = || SiteError::new(ErrorKind::Component, format!("{} was not written", note.display()));
    let text = std::fs::read(&note).map_err(|error| wrong().because(error))?;
    serde_json::from_slice(&text).map_err(|error| wrong().because(error))
}

/// The hidden verb.
pub fn living_site(folder: &Path, act: DemoAct, leader: u32) -> Result<u8, SiteError> {
    let socket = control(folder);
    match act {
        DemoAct::Run => {
            let mut settings = LedgerSettings::new(vec![store(folder)], content(folder), socket);
            settings.window = WINDOW;
            settings.leader = Some(leader);
            return match app::run(&settings) {
                Ok(_) => Ok(0),
                Err(LedgerError::Running { .. }) => Ok(app::RUNNING_EXIT_CODE),
                Err(error) => Err(failed(error)),
            };
        }
        DemoAct::Running => return Ok(u8::from(!control::is_served(&socket))),
        DemoAct::Rest => {
            control::quiesce(&socket, LIMIT).map_err(failed)?;
            let status = control::status(&socket, LIMIT).map_err(failed)?;
            let note = rest_note(folder);
            std::fs::write(&note, serde_json::json!(status.numbers).to_string()).map_err(|error| {
                SiteError::new(ErrorKind::Environment, format!("cannot write {}", note.display()))
                    .because(error)
            })?;
        }
        DemoAct::GoOn => {
            start(&crate::verbs::own_program()?, folder, leader)?;
            control::resume(&socket, LIMIT).map_err(failed)?;
        }
        DemoAct::Advances => {
            control::wait_for_advance(&socket, LIMIT).map_err(failed)?;
        }
    }
    Ok(0)
}

fn failed(error: LedgerError) -> SiteError {
    SiteError::new(ErrorKind::Component, "the demo site failed").because(error)
}
