//! Status messages: numbered, stable records of what happened. The table is `messages.toml` beside this crate's source.

use serde::{Deserialize, Serialize};

use crate::ComponentName;

/// How serious a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Told for the record.
    Info,
    /// A problem was recorded; the run goes on.
    Warning,
    /// Somebody must act.
    Error,
}

/// The number of a status message. The numbers of the model product keep their meaning; our own begin at 5100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(pub u16);

/// One status message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusMessage {
    /// Its number.
    pub id: MessageId,
    /// How serious it is.
    pub severity: Severity,
    /// When, in UTC.
    pub time: jiff::Timestamp,
    /// The component it is about, if about one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub component: Option<ComponentName>,
    /// The insertion values, `%1` first.
    pub inserts: Vec<String>,
    /// The whole text, with the values inserted.
    pub text: String,
}
