//! What is kept of a run.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillpoint_model::{Grade, Outcome, Problem};

/// What a run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// The backup task.
    Backup,
    /// Reading stored data: the set, and its versions in the archives.
    Verify,
    /// Letting old versions go, and the room that they took.
    Retention,
    /// Putting data back.
    Restore,
}

impl Task {
    /// All of them.
    pub const ALL: [Task; 4] = [Task::Backup, Task::Verify, Task::Retention, Task::Restore];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Task::Backup => "backup",
            Task::Verify => "verify",
            Task::Retention => "retention",
            Task::Restore => "restore",
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Task {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Task::ALL.into_iter().find(|task| task.as_str() == text);
        known.ok_or_else(|| {
            format!("there is no task {text:?}; there are backup, verify, retention and restore")
        })
    }
}

/// One run, without its details.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// Its name.
    pub name: String,
    /// What it did.
    pub task: Task,
    /// Who asked for it: `schedule`, `command line`, or the name of a person.
    pub asked_by: String,
    /// Which try it was, from 1.
    pub attempt: u32,
    /// Its epoch, for a backup.
    pub epoch: Option<u64>,
    /// When it began.
    pub started: Timestamp,
    /// When it ended; missing while it is under way.
    pub ended: Option<Timestamp>,
    /// The verdict; missing while it is under way.
    pub outcome: Option<Outcome>,
    /// The lowest grade in the set.
    pub grade: Option<Grade>,
    /// How long the site stood still, in microseconds.
    pub window_us: Option<u64>,
    /// Files in the set.
    pub files: u64,
    /// Bytes in the set.
    pub bytes: u64,
    /// How many problems there were.
    pub problems: u64,
    /// The exit code of the process that did it.
    pub exit_code: Option<u8>,
    /// Why it failed.
    pub failure: Option<String>,
    /// How the hook failed.
    pub hook_failure: Option<String>,
    /// The published set.
    pub set: Option<String>,
    /// Bytes that were free at the destination when it ended.
    pub free_bytes: Option<u64>,
    /// Bytes that the destination has in all.
    pub size_bytes: Option<u64>,
}

/// A phase of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunPhase {
    /// Its name.
    pub phase: String,
    /// How long it took, in microseconds; missing while it is under way, or when the run died in it.
    pub elapsed_us: Option<u64>,
}

/// A step of a component in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunStep {
    /// The component.
    pub component: String,
    /// What it did.
    pub step: String,
    /// The level, where the step has one.
    pub level: Option<String>,
    /// How long it took, in microseconds.
    pub elapsed_us: u64,
    /// What went wrong.
    pub error: Option<String>,
}

/// A component in the set of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunComponent {
    /// Its name.
    pub name: String,
    /// Its grade.
    pub grade: Grade,
    /// Files in the set.
    pub files: u64,
    /// Bytes in the set.
    pub bytes: u64,
    /// What cut it, where that was chosen.
    pub provider: Option<String>,
}

/// A version that a run saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunVersion {
    /// The archive.
    pub archive: String,
    /// The name of the version, 64 hexadecimal digits.
    pub version: String,
    /// Its epoch.
    pub epoch: u64,
    /// Bytes that were new to the archive, before compression.
    pub added_bytes: Option<u64>,
    /// Bytes that they take in it.
    pub stored_bytes: Option<u64>,
}

/// One run with its details.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunDetails {
    /// The run.
    #[serde(flatten)]
    pub run: Run,
    /// Its phases, in order.
    pub phases: Vec<RunPhase>,
    /// Its steps, in the order in which they ended.
    pub steps: Vec<RunStep>,
    /// What its set holds.
    pub components: Vec<RunComponent>,
    /// The versions that it saved.
    pub versions: Vec<RunVersion>,
    /// The problems, at most [`PROBLEMS_KEPT_MAX`].
    pub problem_list: Vec<Problem>,
}

/// How many problems of a run are kept one by one; the manifest of the set has them all.
pub const PROBLEMS_KEPT_MAX: u64 = 1000;
