//! Questions about status messages.

use jiff::Timestamp;
use rusqlite::{Row, named_params};
use serde::Serialize;
use stillpoint_model::status::{MessageId, Severity, StatusMessage, definition};

use crate::runs::{count, instant};
use crate::{History, HistoryError};

/// One message as it was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Its place in the history; later ones are greater.
    pub row: i64,
    /// The run that told it; missing for what the service told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The message.
    #[serde(flatten)]
    pub message: StatusMessage,
    /// The usual cause, where something is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<&'static str>,
    /// What a person does about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<&'static str>,
}

/// Which messages.
#[derive(Debug, Clone, Default)]
pub struct MessageQuery {
    /// Only of the run with this name.
    pub run: Option<String>,
    /// Only those before this place.
    pub before: Option<i64>,
    /// Only warnings and errors.
    pub to_look_at: bool,
    /// Only about this component.
    pub component: Option<String>,
    /// Only with this number.
    pub number: Option<u16>,
    /// At most this many; 0 means 100.
    pub limit: usize,
}

/// How the messages about one component stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ComponentStatus {
    /// The component; empty for the task as a whole.
    pub component: String,
    /// Informations since then.
    pub infos: u64,
    /// Warnings since then.
    pub warnings: u64,
    /// Errors since then.
    pub errors: u64,
    /// `ok`, `warning` or `critical`.
    pub status: &'static str,
}

/// From how many messages of a kind on a component is in warning, and critical: the thresholds of the model product
/// (`domain.md`, section 10.6: warnings 10 and 50, errors 1 and 5).
const WARNINGS: (u64, u64) = (10, 50);
const ERRORS: (u64, u64) = (1, 5);

impl History {
    /// The messages, newest first.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn messages(&self, query: &MessageQuery) -> Result<Vec<Message>, HistoryError> {
        let mut conditions = vec!["m.id < :before"];
        if query.run.is_some() {
            conditions.push("m.run = (SELECT id FROM runs WHERE name = :run)");
        }
        if query.to_look_at {
            conditions.push("m.severity > 0");
        }
        if query.component.is_some() {
            conditions.push("m.component = :component");
        }
        if query.number.is_some() {
            conditions.push("m.number = :number");
        }
        // A name that a query does not use must still be in its text.
        let text = format!(
            "SELECT m.id, r.name, m.at, m.number, m.component, m.inserts FROM messages m LEFT JOIN runs r ON r.id = m.run
             WHERE {} AND (:run IS NULL OR 1) AND (:component IS NULL OR 1) AND (:number IS NULL OR 1)
             ORDER BY m.id DESC LIMIT :limit",
            conditions.join(" AND ")
        );
        let limit = if query.limit == 0 { 100 } else { query.limit };
        let connection = self.connection();
        let mut statement = connection.prepare_cached(&text)?;
        let rows = statement.query_map(
            named_params! {
                ":before": query.before.unwrap_or(i64::MAX), ":run": query.run, ":component": query.component,
                ":number": query.number, ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
            },
            message_of,
        )?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Keeps a message of the service itself.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn tell(&self, message: &StatusMessage) -> Result<(), HistoryError> {
        Ok(insert(&self.connection(), None, message)?)
    }

    /// How each component stands by the messages since then.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn component_status(&self, since: Timestamp) -> Result<Vec<ComponentStatus>, HistoryError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT coalesce(component, ''), sum(severity = 0), sum(severity = 1), sum(severity = 2) FROM messages
             WHERE at >= ?1 GROUP BY 1 ORDER BY 1",
        )?;
        let rows = statement.query_map([since.as_millisecond()], |row| {
            let (warnings, errors) = (count(row.get(2)?), count(row.get(3)?));
            let status = match (warnings, errors) {
                (warnings, errors) if warnings >= WARNINGS.1 || errors >= ERRORS.1 => "critical",
                (warnings, errors) if warnings >= WARNINGS.0 || errors >= ERRORS.0 => "warning",
                _ => "ok",
            };
            Ok(ComponentStatus {
                component: row.get(0)?,
                infos: count(row.get(1)?),
                warnings,
                errors,
                status,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

pub(crate) fn insert(
    connection: &rusqlite::Connection,
    run: Option<i64>,
    message: &StatusMessage,
) -> rusqlite::Result<()> {
    let severity = match message.severity {
        Severity::Info => 0,
        Severity::Warning => 1,
        Severity::Error => 2,
    };
    connection
        .prepare_cached(
            "INSERT INTO messages (run, at, number, severity, component, inserts) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(rusqlite::params![
            run,
            message.time.as_millisecond(),
            message.id.number(),
            severity,
            message.component.as_ref().map(stillpoint_model::ComponentName::as_str),
            serde_json::json!(message.inserts).to_string(),
        ])?;
    Ok(())
}

fn message_of(row: &Row<'_>) -> rusqlite::Result<Message> {
    let number: u16 = row.get(3)?;
    let component: Option<String> = row.get(4)?;
    let inserts: String = row.get(5)?;
    let inserts = serde_json::from_str(&inserts).unwrap_or_default();
    let id = MessageId::recorded(number);
    let told =
        StatusMessage::new(id, component.and_then(|name| name.parse().ok()), inserts, instant(row.get(2)?));
    let known = definition(id);
    Ok(Message {
        row: row.get(0)?,
        run: row.get(1)?,
        message: told,
        cause: known.and_then(|it| it.cause.as_deref()),
        remedy: known.and_then(|it| it.remedy.as_deref()),
    })
}
