//! The tables of alerts within one transaction.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::HistoryError;
use crate::alert::{Alert, AlertState, AlertWords, Delivery, NoticeKind, number_of, severity_of};
use crate::runs::{count, instant};

pub(crate) const ALERT: &str = "id, kind, subject, instance, severity, state, title, text, remedy, began, changed, told, occurrences, postponed_until, closed_by, holds, comment";
pub(crate) const DELIVERY: &str = "id, alert, channel, notice, made, tries, next_try, told, error";

/// The tables of alerts within one transaction. Made by [`crate::History::change_alerts`].
pub struct AlertBook<'a> {
    pub(crate) connection: &'a Connection,
}

impl AlertBook<'_> {
    /// One alert.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn alert(&self, id: i64) -> Result<Option<Alert>, HistoryError> {
        let text = format!("SELECT {ALERT} FROM alerts WHERE id = ?1");
        Ok(self.connection.prepare_cached(&text)?.query_row([id], alert_of).optional()?)
    }

    pub(crate) fn open_one(&self, id: i64) -> Result<Alert, HistoryError> {
        match self.alert(id)? {
            None => Err(HistoryError::Refused(format!("there is no alert {id}"))),
            Some(alert) if alert.state == AlertState::Cleared => {
                Err(HistoryError::Refused(format!("alert {id} is cleared already")))
            }
            Some(alert) => Ok(alert),
        }
    }

    /// All alerts whose condition held when it was last looked at: the open ones, and those that a person closed.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn holding(&self) -> Result<Vec<Alert>, HistoryError> {
        let text = format!("SELECT {ALERT} FROM alerts WHERE holds = 1 ORDER BY id");
        let mut statement = self.connection.prepare_cached(&text)?;
        let rows = statement.query_map([], alert_of)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// A condition begins to be an alert. Returns its place.
    ///
    /// # Errors
    ///
    /// When the database fails, which it does when one is open for the same kind and subject.
    pub fn open(
        &self,
        kind: &str,
        subject: &str,
        words: &AlertWords<'_>,
        began: Timestamp,
        now: Timestamp,
    ) -> Result<i64, HistoryError> {
        self.connection
            .prepare_cached(
                "INSERT INTO alerts (kind, subject, instance, severity, state, title, text, remedy, began, changed, told, occurrences, holds)
                 VALUES (?1, ?2, ?3, ?4, 'active', ?5, ?6, ?7, ?8, ?9, ?9, 1, 1)",
            )?
            .execute(params![
                kind, subject, words.instance, number_of(words.severity), words.title, words.text, words.remedy,
                began.as_millisecond(), now.as_millisecond(),
            ])?;
        Ok(self.connection.last_insert_rowid())
    }

    /// The condition of an alert holds still: its words are those of now, and another cause counts as another occurrence.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn see_again(
        &self,
        alert: &Alert,
        words: &AlertWords<'_>,
        now: Timestamp,
    ) -> Result<(), HistoryError> {
        let is_other = words.instance != alert.instance;
        let same_words =
            words.title == alert.title && words.text == alert.text && words.remedy == alert.remedy;
        if !is_other && same_words && words.severity == alert.severity {
            return Ok(());
        }
        let changed = if words.severity == alert.severity { alert.changed } else { now };
        self.connection
            .prepare_cached(
                "UPDATE alerts SET instance = ?2, severity = ?3, title = ?4, text = ?5, remedy = ?6, occurrences = occurrences + ?7, changed = ?8
                 WHERE id = ?1",
            )?
            .execute(params![
                alert.id, words.instance, number_of(words.severity), words.title, words.text, words.remedy, is_other,
                changed.as_millisecond(),
            ])?;
        Ok(())
    }

    /// An alert speaks (again) from now on.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn speak(&self, id: i64, now: Timestamp) -> Result<(), HistoryError> {
        self.connection.execute(
            "UPDATE alerts SET changed = CASE state WHEN 'active' THEN changed ELSE ?2 END, state = 'active', postponed_until = NULL, told = ?2
             WHERE id = ?1",
            params![id, now.as_millisecond()],
        )?;
        Ok(())
    }

    /// An alert is over, and whoever was told of it (or was about to be) is to be told that: by itself, or closed by somebody,
    /// and then its condition may still hold.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn clear(
        &self,
        id: i64,
        closed_by: Option<&str>,
        holds: bool,
        now: Timestamp,
    ) -> Result<(), HistoryError> {
        self.connection.execute(
            "UPDATE alerts SET state = 'cleared', postponed_until = NULL, changed = ?2, told = ?2, closed_by = ?3, holds = ?4 WHERE id = ?1",
            params![id, now.as_millisecond(), closed_by, holds],
        )?;
        let mut statement =
            self.connection.prepare_cached("SELECT DISTINCT channel FROM deliveries WHERE alert = ?1")?;
        let channels: Vec<String> = statement.query_map([id], |row| row.get(0))?.collect::<Result<_, _>>()?;
        for channel in channels {
            self.tell(id, &channel, NoticeKind::Cleared, now)?;
        }
        Ok(())
    }

    /// The condition of an alert that a person closed is gone: when it comes back it is another alert.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn release(&self, id: i64) -> Result<(), HistoryError> {
        self.connection.execute("UPDATE alerts SET holds = 0 WHERE id = ?1", [id])?;
        Ok(())
    }

    /// A channel is to be told of an alert. What it had yet to be told of that alert gives way; a channel that fails does not
    /// get it sooner for that.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn tell(
        &self,
        id: i64,
        channel: &str,
        notice: NoticeKind,
        now: Timestamp,
    ) -> Result<(), HistoryError> {
        self.connection
            .prepare_cached(
                "INSERT INTO deliveries (alert, channel, notice, made, tries, next_try) VALUES (?1, ?2, ?3, ?4, 0, ?4)
                 ON CONFLICT (channel, alert) WHERE told IS NULL
                 DO UPDATE SET notice = excluded.notice, made = excluded.made",
            )?
            .execute(params![id, channel, notice.as_str(), now.as_millisecond()])?;
        Ok(())
    }

    /// Nobody has yet to be told anything of an alert.
    pub(crate) fn drop_waiting(&self, id: i64) -> Result<(), HistoryError> {
        self.connection.execute("DELETE FROM deliveries WHERE alert = ?1 AND told IS NULL", [id])?;
        Ok(())
    }

    /// Forgets channels that are no longer there, and what they had yet to be told.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn keep_channels(&self, names: &[&str]) -> Result<(), HistoryError> {
        let names = serde_json::json!(names).to_string();
        for text in [
            "DELETE FROM deliveries WHERE told IS NULL AND channel NOT IN (SELECT value FROM json_each(?1))",
            "DELETE FROM channels WHERE name NOT IN (SELECT value FROM json_each(?1))",
        ] {
            self.connection.prepare_cached(text)?.execute([&names])?;
        }
        Ok(())
    }

    pub(crate) fn channel_did(
        &self,
        name: &str,
        error: Option<&str>,
        at: Timestamp,
    ) -> Result<(), HistoryError> {
        let text = if error.is_none() {
            "INSERT INTO channels (name, last_good, failures) VALUES (?1, ?2, 0)
             ON CONFLICT (name) DO UPDATE SET last_good = excluded.last_good, failures = 0, error = ?3"
        } else {
            "INSERT INTO channels (name, last_failed, failures, error) VALUES (?1, ?2, 1, ?3)
             ON CONFLICT (name) DO UPDATE SET last_failed = excluded.last_failed, failures = failures + 1, error = excluded.error"
        };
        // The first text has the third value only for a channel that is there already: there it is none.
        self.connection.prepare_cached(text)?.execute(params![name, at.as_millisecond(), error])?;
        Ok(())
    }
}

pub(crate) fn alert_of(row: &Row<'_>) -> rusqlite::Result<Alert> {
    Ok(Alert {
        id: row.get("id")?,
        kind: row.get("kind")?,
        subject: row.get("subject")?,
        instance: row.get("instance")?,
        severity: severity_of(row.get("severity")?),
        state: AlertState::of_name(&row.get::<_, String>("state")?),
        title: row.get("title")?,
        text: row.get("text")?,
        remedy: row.get("remedy")?,
        began: instant(row.get("began")?),
        changed: instant(row.get("changed")?),
        told: instant(row.get("told")?),
        occurrences: count(row.get("occurrences")?),
        postponed_until: row.get::<_, Option<i64>>("postponed_until")?.map(instant),
        closed_by: row.get("closed_by")?,
        holds: row.get("holds")?,
        comment: row.get("comment")?,
    })
}

pub(crate) fn delivery_of(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    Ok(Delivery {
        id: row.get("id")?,
        alert: row.get("alert")?,
        channel: row.get("channel")?,
        notice: NoticeKind::of_name(&row.get::<_, String>("notice")?),
        made: instant(row.get("made")?),
        tries: row.get("tries")?,
        next_try: instant(row.get("next_try")?),
        told: row.get::<_, Option<i64>>("told")?.map(instant),
        error: row.get("error")?,
    })
}
