//! Every verb that works at the site or its archives writes its run into the history of the site, whoever started it.

use std::sync::Arc;

use stillpoint_history::{Asked, Ending, History, Recorder, Task};
use stillpoint_model::{Grade, Monitor, Outcome, RunId};
use stillpoint_site::{BackupReport, LoadedSite, SiteError};

use crate::arguments::Common;
use crate::edge;
use crate::verbs::state_root;

/// The exit code of work that ended with problems.
const INCOMPLETE: u8 = 3;

/// The record of one run.
pub struct Record {
    recorder: Option<Arc<Recorder>>,
    monitor: Arc<dyn Monitor>,
}

impl Record {
    /// Begins one. A history that cannot be written does not keep the run from its work: that is told on standard error.
    pub fn begin(
        common: &Common,
        site: &LoadedSite,
        run: &RunId,
        task: Task,
        monitor: Arc<dyn Monitor>,
    ) -> Result<Self, SiteError> {
        let path = History::path_in(&state_root(common)?, &site.file.site.code);
        let recorder = match Recorder::begin(&path, run.as_str(), &asked(task), monitor.clone()) {
            Ok(recorder) => Some(Arc::new(recorder)),
            Err(error) => {
                edge::warn(&format!("this run is not recorded: {error}"));
                None
            }
        };
        let monitor = recorder.clone().map_or(monitor, |recorder| recorder as Arc<dyn Monitor>);
        Ok(Self { recorder, monitor })
    }

    /// Who is told what happens.
    pub fn monitor(&self) -> Arc<dyn Monitor> {
        self.monitor.clone()
    }

    /// Ends it with what a verb answers.
    pub fn end(&self, answer: &Result<u8, SiteError>) {
        self.end_backup(BackupFacts::default(), answer);
    }

    /// Ends that of a backup.
    pub fn end_backup(&self, facts: BackupFacts, answer: &Result<u8, SiteError>) {
        let Some(recorder) = &self.recorder else { return };
        let (exit_code, failure) = match answer {
            Ok(code) => (*code, None),
            Err(error) => (error.kind.exit_code(), Some(edge::in_one_line(error))),
        };
        let by_code = match exit_code {
            0 => Outcome::Complete,
            INCOMPLETE => Outcome::Incomplete,
            _ => Outcome::Failed,
        };
        recorder.end(Ending {
            outcome: facts.outcome.unwrap_or(by_code),
            exit_code,
            failure,
            hook_failure: facts.hook_failure,
            grade: facts.grade,
            problems: facts.problems,
            set: facts.set,
            room: facts.room,
        });
    }
}

/// What is recorded of a backup besides its events.
#[derive(Default)]
pub struct BackupFacts {
    outcome: Option<Outcome>,
    grade: Option<Grade>,
    problems: u64,
    set: Option<String>,
    hook_failure: Option<String>,
    room: Option<(u64, u64)>,
}

impl BackupFacts {
    /// Those of a run that could begin.
    pub fn of(site: &LoadedSite, report: &BackupReport) -> Self {
        Self {
            outcome: Some(report.outcome),
            grade: report.grade,
            problems: report.problems.len() as u64,
            set: report.set.as_ref().map(|set| set.to_string_lossy().into_owned()),
            hook_failure: report.hook_failure.clone(),
            room: stillpoint_site::destination_folder(site).and_then(|folder| room(&folder)),
        }
    }
}

/// A name for a run that begins now.
pub fn new_run() -> RunId {
    RunId::new(jiff::Timestamp::now(), std::process::id())
}

/// Who asked: the service says so in the environment of its children.
fn asked(task: Task) -> Asked {
    let by = std::env::var("STILLPOINT_ASKED_BY").ok().filter(|by| !by.is_empty());
    let attempt = std::env::var("STILLPOINT_ATTEMPT").ok().and_then(|text| text.parse().ok());
    Asked { task, by: by.unwrap_or_else(|| "command line".into()), attempt: attempt.unwrap_or(1) }
}

/// Free bytes for us, and all bytes, of the file system at `folder`.
fn room(folder: &std::path::Path) -> Option<(u64, u64)> {
    let room = rustix::fs::statvfs(folder).ok()?;
    Some((room.f_bavail.saturating_mul(room.f_frsize), room.f_blocks.saturating_mul(room.f_frsize)))
}
