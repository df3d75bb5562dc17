//! A condition: one finding of the rules.

use crate::{AlertKind, AlertSeverity};
use jiff::Timestamp;
use stillpoint_history::AlertWords;

/// Something that is the matter with a site now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// What kind of thing.
    pub kind: AlertKind,
    /// What it is about, such as an archive; empty where there is only one.
    pub subject: String,
    /// What made it, such as the name of a run; empty where nothing in particular did. Another one is another occurrence.
    pub instance: String,
    /// How much it matters.
    pub severity: AlertSeverity,
    /// What is the matter, in a few words for a line of its own.
    pub title: String,
    /// What is the matter.
    pub text: String,
    /// What a person does about it.
    pub remedy: String,
    /// Since when.
    pub since: Timestamp,
}

impl Condition {
    /// What is written of it.
    pub(crate) fn words(&self) -> AlertWords<'_> {
        AlertWords {
            instance: &self.instance,
            severity: self.severity,
            title: &self.title,
            text: &self.text,
            remedy: &self.remedy,
        }
    }
}
