//! What the rules look at, and where it comes from.

use jiff::{SignedDuration, Timestamp};
use stillpoint_history::{ChannelState, History, HistoryError, MessageQuery, Run, RunQuery, Task};
use stillpoint_model::status::{MessageId, id};
use stillpoint_model::{ErrorKind, Outcome};

/// The mark of the history that says since when somebody looks after the site. One that never had a backup has no other age.
const WATCHED: &str = "watched";

/// What is known apart from the history: the site file, the schedule, the service, as plain values.
#[derive(Debug, Clone)]
pub struct Expected {
    /// For how long the changes around the site can be made up for.
    pub change_retention: SignedDuration,
    /// How long there may be no good backup.
    pub no_success_for: Option<SignedDuration>,
    /// The longest time between two backups of the schedule; missing without a schedule.
    pub longest_gap: Option<SignedDuration>,
    /// When the next backup is due.
    pub next_due: Option<Timestamp>,
    /// When a backup that failed is tried again, if that is planned: until then its failure is no alert.
    pub retry_at: Option<Timestamp>,
    /// In what time the stored data must have been verified once.
    pub verify_within: Option<SignedDuration>,
    /// Below how much free room, in percent, the destination is filling up; 0 never asks.
    pub destination_free_percent: u8,
    /// The room at the destination, if somebody has just measured it; else what the last backup found counts.
    pub room: Option<Room>,
    /// The archives of the site.
    pub archives: Vec<String>,
    /// What is wrong with the site file, when the one in use is an older one.
    pub site_file_mistakes: Option<String>,
}

impl Default for Expected {
    /// What a site file that says nothing asks for.
    fn default() -> Self {
        Self {
            change_retention: SignedDuration::from_hours(5 * 24),
            no_success_for: None,
            longest_gap: None,
            next_due: None,
            retry_at: None,
            verify_within: None,
            destination_free_percent: 10,
            room: None,
            archives: Vec::new(),
            site_file_mistakes: None,
        }
    }
}

/// Room at the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Free bytes.
    pub free_bytes: u64,
    /// Bytes in all.
    pub size_bytes: u64,
}

/// The runs of a task that matter.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskRuns {
    /// The last one that ended.
    pub last_ended: Option<Run>,
    /// The last one that did what it is for, complete or incomplete.
    pub last_good: Option<Run>,
}

/// How far an archive is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveFacts {
    /// Its name.
    pub name: String,
    /// The epoch of its newest version, and when the run that saved it began.
    pub newest: Option<(u64, Timestamp)>,
}

/// A status message that tells of trouble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// When.
    pub at: Timestamp,
    /// The run that told it.
    pub run: Option<String>,
    /// What it said.
    pub text: String,
}

/// All that the rules look at.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The time.
    pub now: Timestamp,
    /// Since when somebody looks after the site.
    pub watched_since: Timestamp,
    /// What is known apart from the history.
    pub expected: Expected,
    /// The backups.
    pub backup: TaskRuns,
    /// The verifies.
    pub verify: TaskRuns,
    /// The retention runs.
    pub retention: TaskRuns,
    /// The archives.
    pub archives: Vec<ArchiveFacts>,
    /// The last time that the site could not be put back to work.
    pub not_thawed: Option<Trouble>,
    /// The last time that the guard had to let the site go on.
    pub guard_thawed: Option<Trouble>,
    /// The last time that what a dead run left was healed.
    pub reconciled: Option<Trouble>,
    /// The last time that the clock of the machine was set.
    pub clock_jumped: Option<Trouble>,
    /// How the channels do.
    pub channels: Vec<ChannelState>,
}

impl Facts {
    /// Looks into the history: some twenty questions, each answered by an index, however much is in it. Runs whose process is no
    /// more are written down as failed first.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn gather(history: &History, expected: Expected, now: Timestamp) -> Result<Self, HistoryError> {
        history.settle_dead(now)?;
        let newest = |name: &String| -> Result<ArchiveFacts, HistoryError> {
            Ok(ArchiveFacts { name: name.clone(), newest: history.newest_version(name)? })
        };
        Ok(Self {
            now,
            watched_since: history.since(WATCHED, "", now)?,
            backup: runs_of(history, Task::Backup)?,
            verify: runs_of(history, Task::Verify)?,
            retention: runs_of(history, Task::Retention)?,
            archives: expected.archives.iter().map(newest).collect::<Result<_, _>>()?,
            not_thawed: last_message(history, id::SITE_NOT_THAWED)?,
            guard_thawed: last_message(history, id::GUARD_THAWED)?,
            reconciled: last_message(history, id::RUN_RECONCILED)?,
            clock_jumped: last_message(history, id::CLOCK_JUMPED)?,
            channels: history.channels()?,
            expected,
        })
    }
}

fn runs_of(history: &History, task: Task) -> Result<TaskRuns, HistoryError> {
    let good = [Outcome::Complete, Outcome::Incomplete];
    let last_good = history.last_run(task, &good)?;
    let failed =
        RunQuery { task: Some(task), outcomes: vec![Outcome::Failed], limit: 20, ..RunQuery::default() };
    // One that found another run under way did nothing, and says nothing about the task.
    let busy = Some(ErrorKind::Busy.exit_code());
    let last_failed = history.runs(&failed)?.into_iter().find(|run| run.exit_code != busy);
    let last_ended = match (&last_good, last_failed) {
        (Some(good), Some(failed)) if failed.started > good.started => Some(failed),
        (None, failed) => failed,
        (Some(good), _) => Some(good.clone()),
    };
    Ok(TaskRuns { last_ended, last_good })
}

fn last_message(history: &History, id: MessageId) -> Result<Option<Trouble>, HistoryError> {
    // All of these are warnings or errors; that, too, is what the index is about.
    let query =
        MessageQuery { number: Some(id.number()), to_look_at: true, limit: 1, ..MessageQuery::default() };
    let found = history.messages(&query)?.pop();
    Ok(found.map(|it| Trouble { at: it.message.time, run: it.run, text: it.message.text }))
}
