//! Who did what, and from where. Written by the service; nobody can change it.

use jiff::Timestamp;
use rusqlite::{named_params, params};
use serde::Serialize;

use crate::runs::instant;
use crate::{History, HistoryError};

/// What a person did that others may want to know of later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuditAction {
    /// Signed in, or tried to.
    SignIn,
    /// Signed out.
    SignOut,
    /// Used a one-time link.
    LinkUsed,
    /// Asked for a task.
    Run,
    /// Cancelled a task.
    Cancel,
    /// Postponed an alert.
    Postpone,
    /// Cleared an alert.
    Clear,
    /// Asked for a message to a channel, to see that it works.
    ChannelTest,
    /// Made a token.
    TokenMade,
    /// Removed a token.
    TokenRemoved,
    /// Made a person.
    PersonMade,
    /// Removed a person.
    PersonRemoved,
    /// Gave a person another role.
    RoleChanged,
    /// Set a password.
    PasswordChanged,
    /// Asked for a restore.
    Restore,
    /// Read a file of a version.
    Download,
}

impl AuditAction {
    /// Its name, as it is kept.
    pub fn as_str(self) -> &'static str {
        match self {
            AuditAction::SignIn => "sign-in",
            AuditAction::SignOut => "sign-out",
            AuditAction::LinkUsed => "link-used",
            AuditAction::Run => "run",
            AuditAction::Cancel => "cancel",
            AuditAction::Postpone => "postpone",
            AuditAction::Clear => "clear",
            AuditAction::ChannelTest => "channel-test",
            AuditAction::TokenMade => "token-made",
            AuditAction::TokenRemoved => "token-removed",
            AuditAction::PersonMade => "person-made",
            AuditAction::PersonRemoved => "person-removed",
            AuditAction::RoleChanged => "role-changed",
            AuditAction::PasswordChanged => "password-changed",
            AuditAction::Restore => "restore",
            AuditAction::Download => "download",
        }
    }
}

/// One thing that is to be kept.
#[derive(Debug, Clone)]
pub struct Audit {
    /// When.
    pub at: Timestamp,
    /// Who: the name of a person, or what was given for one.
    pub person: String,
    /// From which address.
    pub address: String,
    /// What.
    pub action: AuditAction,
    /// To what: a task, an alert, a path; may be empty.
    pub subject: String,
    /// `ok`, or why not.
    pub result: String,
}

/// One thing that was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditRow {
    /// Its place; later ones are greater.
    pub row: i64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub person: String,
    /// From which address.
    pub address: String,
    /// What: the name of an [`AuditAction`].
    pub action: String,
    /// To what; may be empty.
    pub subject: String,
    /// `ok`, or why not.
    pub result: String,
}

/// Which of them.
#[derive(Debug, Clone, Default)]
pub struct AuditQuery {
    /// Only what this person did.
    pub person: Option<String>,
    /// Only those before this place.
    pub before: Option<i64>,
    /// At most this many; 0 means 100.
    pub limit: usize,
}

/// The longest text that is kept of what a stranger sent, in characters.
const TEXT_CHARS_MAX: usize = 300;

impl History {
    /// Keeps what somebody did.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn keep_audit(&self, audit: &Audit) -> Result<(), HistoryError> {
        self.connection()
            .prepare_cached(
                "INSERT INTO audit (at, person, address, action, subject, result) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                audit.at.as_millisecond(),
                short(&audit.person),
                audit.address,
                audit.action.as_str(),
                short(&audit.subject),
                short(&audit.result),
            ])?;
        Ok(())
    }

    /// What was done, newest first.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn audit(&self, query: &AuditQuery) -> Result<Vec<AuditRow>, HistoryError> {
        let limit = if query.limit == 0 { 100 } else { query.limit };
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT id, at, person, address, action, subject, result FROM audit
             WHERE id < :before AND (:person IS NULL OR person = :person) ORDER BY id DESC LIMIT :limit",
        )?;
        let rows = statement.query_map(
            named_params! {
                ":before": query.before.unwrap_or(i64::MAX), ":person": query.person,
                ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
            },
            |row| {
                Ok(AuditRow {
                    row: row.get(0)?,
                    at: instant(row.get(1)?),
                    person: row.get(2)?,
                    address: row.get(3)?,
                    action: row.get(4)?,
                    subject: row.get(5)?,
                    result: row.get(6)?,
                })
            },
        )?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Lets go of what was done before then, and of sessions and one-time links that are over at `now`.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn let_audit_go(&self, before: Timestamp, now: Timestamp) -> Result<(), HistoryError> {
        let connection = self.connection();
        connection.execute("DELETE FROM audit WHERE at < ?1", [before.as_millisecond()])?;
        connection.execute("DELETE FROM sessions WHERE expires <= ?1", [now.as_millisecond()])?;
        connection.execute("DELETE FROM invitations WHERE expires <= ?1", [now.as_millisecond()])?;
        Ok(())
    }
}

fn short(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Invitation, Role};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    #[test]
    fn the_log_is_listed_newest_first_and_what_is_old_is_let_go() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::open(&folder.path().join("P01.db")).unwrap();
        for number in 0..5 {
            let audit = Audit {
                at: at(number),
                person: if number % 2 == 0 { "anna".into() } else { "x".repeat(1000) },
                address: "192.0.2.7".into(),
                action: AuditAction::SignIn,
                subject: String::new(),
                result: "ok".into(),
            };
            history.keep_audit(&audit).unwrap();
        }
        let of_anna = AuditQuery { person: Some("anna".into()), ..AuditQuery::default() };
        let times: Vec<Timestamp> = history.audit(&of_anna).unwrap().iter().map(|row| row.at).collect();
        assert_eq!(times, [at(4), at(2), at(0)]);
        let all = history.audit(&AuditQuery { limit: 2, ..AuditQuery::default() }).unwrap();
        assert_eq!((all.len(), all[1].person.len()), (2, TEXT_CHARS_MAX));
        let older = history.audit(&AuditQuery { before: Some(all[1].row), ..AuditQuery::default() }).unwrap();
        assert_eq!(older.len(), 3);
        for (secret, expires) in [([1; 32], at(9)), ([2; 32], at(11))] {
            let name = Some(format!("{expires}"));
            history.invite(&secret, &Invitation { role: Role::Reader, name, expires }).unwrap();
        }
        history.let_audit_go(at(3), at(10)).unwrap();
        assert_eq!(history.audit(&AuditQuery::default()).unwrap().len(), 2);
        assert!(history.invitation(&[1; 32], at(0)).unwrap().is_none());
        assert!(history.invitation(&[2; 32], at(0)).unwrap().is_some());
    }
}
