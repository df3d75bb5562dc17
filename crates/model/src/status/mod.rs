//! Status messages: numbered, stable records of what happened. The table is `messages.toml` beside this crate's source;
//! `docs/messages.md` is made from it.

mod document;
pub mod id;
mod line;
mod table;

use serde::{Deserialize, Serialize};

use crate::ComponentName;

pub use document::{exit_codes_document, messages_document};
pub use line::statmsg_line;
pub use table::{Definition, Reserved, definition, reserved, table};

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

/// The number of a status message: one of the constants of [`id`], or read from a record. The numbers of the model
/// product keep their meaning; our own begin at 5100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(u16);

impl MessageId {
    /// The number that a record has, which a newer version may have written.
    pub const fn recorded(number: u16) -> Self {
        Self(number)
    }

    /// The number itself.
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl std::fmt::Display for MessageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

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

impl StatusMessage {
    /// The message `id` of the table, with its text filled from `inserts` (`%1` first). An insert that the text asks for
    /// and that is not given is shown as `(unknown)`: a wrong message is better than a lost one.
    pub fn new(
        id: MessageId,
        component: Option<ComponentName>,
        inserts: Vec<String>,
        time: jiff::Timestamp,
    ) -> Self {
        // Constants are all in the table (tested). A number that was read from a newer record may not be.
        let (severity, text) = match definition(id) {
            Some(definition) => (definition.severity, fill(&definition.text, &inserts)),
            None => {
                (Severity::Warning, format!("status message {id} of another version: {}", inserts.join(", ")))
            }
        };
        Self { id, severity, time, component, inserts, text }
    }

    /// What a person does about it, if anything is to be done.
    pub fn remedy(&self) -> Option<&'static str> {
        definition(self.id).and_then(|definition| definition.remedy.as_deref())
    }
}

/// The text with `%1`, `%2` ... replaced. Values are taken as they are: a `%1` in a value stays.
fn fill(text: &str, inserts: &[String]) -> String {
    let mut filled = String::with_capacity(text.len() + 64);
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        filled.push_str(&rest[..at]);
        let digits = rest[at + 1..].bytes().take_while(u8::is_ascii_digit).count();
        match rest[at + 1..at + 1 + digits].parse::<usize>() {
            Ok(number) if number > 0 => {
                filled.push_str(inserts.get(number - 1).map_or("(unknown)", String::as_str));
            }
            _ => filled.push_str(&rest[at..at + 1 + digits]),
        }
        rest = &rest[at + 1 + digits..];
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_carries_its_text_with_the_values_inserted() {
        let inserts = vec!["P01".to_owned(), "100 %1".to_owned()];
        let message = StatusMessage::new(id::BACKUP_STARTED, None, inserts, jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(message.id.number(), 5055);
        assert_eq!(message.severity, Severity::Info);
        assert_eq!(message.text, "The backup of site P01 is starting (run 100 %1).");
    }

    #[test]
    fn a_missing_value_is_shown_and_does_not_lose_the_message() {
        let message = StatusMessage::new(id::BACKUP_FAILED, None, Vec::new(), jiff::Timestamp::UNIX_EPOCH);
        assert!(message.text.contains("(unknown)"), "{}", message.text);
        assert_eq!(fill("100 % and %0", &[]), "100 % and %0");
    }

    #[test]
    fn a_record_of_a_newer_version_can_be_read() {
        let newer: MessageId = serde_json::from_str("9999").unwrap();
        let message = StatusMessage::new(newer, None, vec!["x".into()], jiff::Timestamp::UNIX_EPOCH);
        assert!(message.text.contains("9999") && message.text.contains('x'));
    }
}
