//! Small things that must be remembered: since when something holds, and what was told already.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use crate::runs::instant;
use crate::{History, HistoryError};

impl History {
    /// Since when `name` has had this `value`: now, when it had another or none before.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn since(&self, name: &str, value: &str, now: Timestamp) -> Result<Timestamp, HistoryError> {
        let connection = self.connection();
        let known: Option<i64> = connection
            .prepare_cached("SELECT at FROM marks WHERE name = ?1 AND value = ?2")?
            .query_row([name, value], |row| row.get(0))
            .optional()?;
        if let Some(at) = known {
            return Ok(instant(at));
        }
        connection.execute(
            "INSERT INTO marks (name, value, at) VALUES (?1, ?2, ?3)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value, at = excluded.at",
            params![name, value, now.as_millisecond()],
        )?;
        Ok(now)
    }

    /// Whether `name` has another `value` than before; it has it from now on.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn is_new(&self, name: &str, value: &str, now: Timestamp) -> Result<bool, HistoryError> {
        let known: Option<String> = self
            .connection()
            .prepare_cached("SELECT value FROM marks WHERE name = ?1")?
            .query_row([name], |row| row.get(0))
            .optional()?;
        self.since(name, value, now)?;
        Ok(known.as_deref() != Some(value))
    }
}
