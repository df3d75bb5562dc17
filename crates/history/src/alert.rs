//! What is kept of an alert, of its deliveries and of the channels.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillpoint_model::site_file::AlertSeverity;

/// As it is kept: a greater number matters more.
pub(crate) fn number_of(severity: AlertSeverity) -> i64 {
    match severity {
        AlertSeverity::Info => 0,
        AlertSeverity::Warning => 1,
        AlertSeverity::Critical => 2,
    }
}

pub(crate) fn severity_of(number: i64) -> AlertSeverity {
    match number {
        0 => AlertSeverity::Info,
        1 => AlertSeverity::Warning,
        _ => AlertSeverity::Critical,
    }
}

/// Where an alert is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    /// Its condition holds.
    Active,
    /// Its condition holds, and a person said that it may rest until a date.
    Postponed,
    /// Its condition is gone, or a person closed it.
    Cleared,
}

impl AlertState {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            AlertState::Active => "active",
            AlertState::Postponed => "postponed",
            AlertState::Cleared => "cleared",
        }
    }

    pub(crate) fn of_name(name: &str) -> Self {
        match name {
            "postponed" => AlertState::Postponed,
            "cleared" => AlertState::Cleared,
            _ => AlertState::Active,
        }
    }
}

impl fmt::Display for AlertState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An alert as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alert {
    /// Its place in the history; later ones are greater.
    pub id: i64,
    /// The name of its kind.
    pub kind: String,
    /// What it is about, such as an archive; may be empty.
    pub subject: String,
    /// What made it, such as the name of a run; may be empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub instance: String,
    /// How much it matters.
    pub severity: AlertSeverity,
    /// Where it is in its life.
    pub state: AlertState,
    /// What is the matter, in a few words.
    pub title: String,
    /// What is the matter.
    pub text: String,
    /// What a person does about it.
    pub remedy: String,
    /// Since when.
    pub began: Timestamp,
    /// When its state or severity last changed.
    pub changed: Timestamp,
    /// When its last notice was made.
    #[serde(skip)]
    pub told: Timestamp,
    /// How often its condition came about.
    pub occurrences: u64,
    /// Until when it is quiet, where a person postponed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postponed_until: Option<Timestamp>,
    /// Who closed it; missing when it cleared by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_by: Option<String>,
    /// Whether its condition still holds, also when a person closed it.
    pub holds: bool,
    /// What a person said of it.
    pub comment: String,
}

/// Which alerts.
#[derive(Debug, Clone, Default)]
pub struct AlertQuery {
    /// Only those in one of these states; empty means all.
    pub states: Vec<AlertState>,
    /// At most this many; 0 means 100.
    pub limit: usize,
}

/// What is written of a condition.
#[derive(Debug, Clone, Copy)]
pub struct AlertWords<'a> {
    /// What made it.
    pub instance: &'a str,
    /// How much it matters.
    pub severity: AlertSeverity,
    /// What is the matter, in a few words.
    pub title: &'a str,
    /// What is the matter.
    pub text: &'a str,
    /// What a person does about it.
    pub remedy: &'a str,
}

/// What a channel is told of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NoticeKind {
    /// It became active.
    Begun,
    /// It matters more than before.
    Worsened,
    /// It still holds.
    Reminder,
    /// It is over.
    Cleared,
    /// There is no alert: somebody tests the channel.
    Test,
}

impl NoticeKind {
    /// All of them.
    pub const ALL: [NoticeKind; 5] = [
        NoticeKind::Begun,
        NoticeKind::Worsened,
        NoticeKind::Reminder,
        NoticeKind::Cleared,
        NoticeKind::Test,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            NoticeKind::Begun => "begun",
            NoticeKind::Worsened => "worsened",
            NoticeKind::Reminder => "reminder",
            NoticeKind::Cleared => "cleared",
            NoticeKind::Test => "test",
        }
    }

    pub(crate) fn of_name(name: &str) -> Self {
        NoticeKind::ALL.into_iter().find(|kind| kind.as_str() == name).unwrap_or(NoticeKind::Reminder)
    }
}

/// What a channel has been told, or has yet to be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// Its place in the history.
    pub id: i64,
    /// The alert.
    pub alert: i64,
    /// The name of the channel.
    pub channel: String,
    /// What it is told.
    pub notice: NoticeKind,
    /// When that was to be told.
    pub made: Timestamp,
    /// How often that failed.
    pub tries: u32,
    /// When it is tried again.
    pub next_try: Timestamp,
    /// When the channel took it; missing while it has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub told: Option<Timestamp>,
    /// How the last try failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How a channel does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChannelState {
    /// Its name.
    pub name: String,
    /// When it last took something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_good: Option<Timestamp>,
    /// When it last failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failed: Option<Timestamp>,
    /// How often it failed in a row.
    pub failures: u64,
    /// How it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
