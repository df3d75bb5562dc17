//! Tests: the rules as a table, the life of an alert on a clock of ours, and the channels against real servers on loopback.

mod delivery;
mod document;
mod life;
mod mail;
mod program;
mod rules;
mod server;
mod web;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use stillpoint_history::{Alert, History, NoticeKind, Run, Task};
use stillpoint_model::Outcome;

use crate::notice::{Message, Place, test_alert};
use crate::{AlertSeverity, Channel, ChannelError, ChannelSettings};

/// Some time of ours, this many hours after its begin.
fn at(hours: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_hours(hours)
}

fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

fn history() -> (tempfile::TempDir, Arc<History>) {
    let folder = tempfile::tempdir().unwrap();
    let history = History::open(&folder.path().join("P01.db")).unwrap();
    (folder, Arc::new(history))
}

/// A run that began then and took an hour.
fn run(task: Task, started: Timestamp, outcome: Outcome) -> Run {
    Run {
        name: format!("run-{}", started.as_second()),
        task,
        asked_by: "schedule".into(),
        attempt: 1,
        epoch: Some(7),
        started,
        ended: Some(started + hours(1)),
        outcome: Some(outcome),
        grade: None,
        window_us: Some(1000),
        files: 1,
        bytes: 1,
        problems: 0,
        exit_code: Some(0),
        failure: None,
        hook_failure: None,
        set: None,
        free_bytes: Some(60),
        size_bytes: Some(100),
    }
}

fn place() -> Place {
    Place {
        site: "P01".into(),
        console: Some("https://backup.example.org:8470".into()),
        remind_every: hours(24),
    }
}

/// A critical alert that began an hour ago.
fn some_alert() -> Alert {
    Alert {
        id: 7,
        kind: "run-failed".into(),
        subject: "backup".into(),
        severity: AlertSeverity::Critical,
        title: "the backup failed".into(),
        text: "The backup failed: größer ist besser.".into(),
        remedy: "Mend it.".into(),
        ..test_alert(at(-1))
    }
}

/// Tells an alert through a channel.
async fn tell(settings: ChannelSettings, alert: &Alert, deadline_ms: u64) -> Result<(), ChannelError> {
    let channel = Channel { name: "ops".into(), least: AlertSeverity::Info, settings };
    let message = Message { place: &place(), kind: NoticeKind::Begun, alert, now: at(0) };
    channel.tell(&message, std::time::Duration::from_millis(deadline_ms)).await
}

/// More than any of these tests needs on a machine that does little else, in milliseconds.
const PATIENT_MS: u64 = 60_000;
