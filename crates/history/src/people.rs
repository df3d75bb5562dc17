//! Who may use the service: people, their sessions, tokens and one-time links.
//!
//! What proves that somebody is somebody is never kept itself: of a random secret its SHA-256 ([`SecretHash`]), of a password the
//! Argon2id text that the service makes. Both are made above; here they are only compared by the database.

use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use serde::{Deserialize, Serialize};

use crate::runs::instant;
use crate::{History, HistoryError};

/// The SHA-256 of a random secret.
pub type SecretHash = [u8; 32];

/// What somebody may do. Each may do what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Looks.
    Reader,
    /// Starts and cancels tasks, handles alerts.
    Operator,
    /// Restores, and decides who may do what.
    Administrator,
}

impl Role {
    /// All of them, the least first.
    pub const ALL: [Role; 3] = [Role::Reader, Role::Operator, Role::Administrator];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Reader => "reader",
            Role::Operator => "operator",
            Role::Administrator => "administrator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Role::ALL.into_iter().find(|role| role.as_str() == text);
        known
            .ok_or_else(|| format!("there is no role {text:?}; there are reader, operator and administrator"))
    }
}

/// Somebody who may sign in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Person {
    /// Their name.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Since when they are here.
    pub created: Timestamp,
    /// When they were last seen, to about five minutes.
    pub last_seen: Option<Timestamp>,
}

/// A session of a browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Whose it is.
    pub person: String,
    /// What they may do now.
    pub role: Role,
    /// When they signed in.
    pub created: Timestamp,
    /// When they were last seen in it, to about five minutes.
    pub last_seen: Timestamp,
}

/// What a one-time link gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// The role of who uses it.
    pub role: Role,
    /// Their name; missing when they choose it.
    pub name: Option<String>,
    /// When it ends.
    pub expires: Timestamp,
}

/// How old "last seen" may become before it is written again: not every look at a page is a write.
pub(crate) const SEEN_EVERY: SignedDuration = SignedDuration::from_mins(5);

impl History {
    /// Everybody, by name.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn people(&self) -> Result<Vec<Person>, HistoryError> {
        let connection = self.connection();
        let mut statement =
            connection.prepare_cached("SELECT name, role, created, last_seen FROM people ORDER BY name")?;
        let rows = statement.query_map([], |row| {
            Ok(Person {
                name: row.get(0)?,
                role: role_of(row, 1)?,
                created: instant(row.get(2)?),
                last_seen: row.get::<_, Option<i64>>(3)?.map(instant),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The role and the Argon2id text of somebody.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn password_of(&self, name: &str) -> Result<Option<(Role, String)>, HistoryError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached("SELECT role, password FROM people WHERE name = ?1")?;
        Ok(statement.query_row([name], |row| Ok((role_of(row, 0)?, row.get(1)?))).optional()?)
    }

    /// Adds somebody.
    ///
    /// # Errors
    ///
    /// [`HistoryError::Refused`] when there is somebody of that name; when the database fails.
    pub fn add_person(
        &self,
        name: &str,
        role: Role,
        password: &str,
        now: Timestamp,
    ) -> Result<(), HistoryError> {
        let added = self.connection().execute(
            "INSERT INTO people (name, role, password, created) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
            params![name, role.as_str(), password, now.as_millisecond()],
        )?;
        if added == 0 {
            return Err(HistoryError::Refused(format!("there is already a person {name:?}")));
        }
        Ok(())
    }

    /// Gives somebody another role. Returns whether there is such a person.
    ///
    /// # Errors
    ///
    /// [`HistoryError::Refused`] when nobody would be left who may decide who may do what; when the database fails.
    pub fn set_role(&self, name: &str, role: Role) -> Result<bool, HistoryError> {
        self.change_people(|change| {
            change.execute("UPDATE people SET role = ?2 WHERE name = ?1", params![name, role.as_str()])
        })
    }

    /// Sets the Argon2id text of somebody, and ends their sessions but for the one that is given. Returns whether there is such a
    /// person.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn set_password(
        &self,
        name: &str,
        password: &str,
        keep: Option<&SecretHash>,
    ) -> Result<bool, HistoryError> {
        let connection = self.connection();
        let change = connection.unchecked_transaction()?;
        let changed =
            change.execute("UPDATE people SET password = ?2 WHERE name = ?1", params![name, password])?;
        change.execute(
            "DELETE FROM sessions WHERE person = ?1 AND secret IS NOT ?2",
            params![name, keep.map(<[u8; 32]>::as_slice)],
        )?;
        change.commit()?;
        Ok(changed > 0)
    }

    /// Removes somebody with their sessions and tokens. Returns whether there was such a person.
    ///
    /// # Errors
    ///
    /// [`HistoryError::Refused`] when nobody would be left who may decide who may do what; when the database fails.
    pub fn remove_person(&self, name: &str) -> Result<bool, HistoryError> {
        self.change_people(|change| {
            change.execute("DELETE FROM sessions WHERE person = ?1", [name])?;
            change.execute("DELETE FROM tokens WHERE person = ?1", [name])?;
            change.execute("DELETE FROM people WHERE name = ?1", [name])
        })
    }

    /// Whether somebody is there who may decide who may do what.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn has_administrator(&self) -> Result<bool, HistoryError> {
        Ok(administrators(&self.connection())? > 0)
    }

    fn change_people(
        &self,
        change_it: impl FnOnce(&Connection) -> rusqlite::Result<usize>,
    ) -> Result<bool, HistoryError> {
        let connection = self.connection();
        let change = Transaction::new_unchecked(&connection, TransactionBehavior::Immediate)?;
        let before = administrators(&change)?;
        let changed = change_it(&change)?;
        if before > 0 && administrators(&change)? == 0 {
            // The transaction is taken back when it is dropped.
            return Err(HistoryError::Refused("the last administrator must stay one".into()));
        }
        change.commit()?;
        Ok(changed > 0)
    }

    /// Begins a session that ends at `expires` if nobody is seen in it before.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn begin_session(
        &self,
        secret: &SecretHash,
        person: &str,
        now: Timestamp,
        expires: Timestamp,
    ) -> Result<(), HistoryError> {
        let connection = self.connection();
        let change = connection.unchecked_transaction()?;
        let now = now.as_millisecond();
        change.execute("DELETE FROM sessions WHERE expires <= ?1", [now])?;
        change.execute(
            "INSERT INTO sessions (secret, person, created, last_seen, expires) VALUES (?1, ?2, ?3, ?3, ?4)",
            params![secret.as_slice(), person, now, expires.as_millisecond()],
        )?;
        change.execute("UPDATE people SET last_seen = ?2 WHERE name = ?1", params![person, now])?;
        change.commit()?;
        Ok(())
    }

    /// The session with this secret, if it goes on at `now`.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn session(&self, secret: &SecretHash, now: Timestamp) -> Result<Option<Session>, HistoryError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT s.person, p.role, s.created, s.last_seen FROM sessions s JOIN people p ON p.name = s.person
             WHERE s.secret = ?1 AND s.expires > ?2",
        )?;
        let found = statement.query_row(params![secret.as_slice(), now.as_millisecond()], |row| {
            Ok(Session {
                person: row.get(0)?,
                role: role_of(row, 1)?,
                created: instant(row.get(2)?),
                last_seen: instant(row.get(3)?),
            })
        });
        Ok(found.optional()?)
    }

    /// Somebody was seen in a session, so it ends later. Written only now and then.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn seen(
        &self,
        secret: &SecretHash,
        session: &Session,
        now: Timestamp,
        expires: Timestamp,
    ) -> Result<(), HistoryError> {
        if now.duration_since(session.last_seen) < SEEN_EVERY {
            return Ok(());
        }
        let connection = self.connection();
        let change = connection.unchecked_transaction()?;
        change.execute(
            "UPDATE sessions SET last_seen = ?2, expires = ?3 WHERE secret = ?1",
            params![secret.as_slice(), now.as_millisecond(), expires.as_millisecond()],
        )?;
        change.execute(
            "UPDATE people SET last_seen = ?2 WHERE name = ?1",
            params![session.person, now.as_millisecond()],
        )?;
        change.commit()?;
        Ok(())
    }

    /// Ends a session.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn end_session(&self, secret: &SecretHash) -> Result<(), HistoryError> {
        self.connection().execute("DELETE FROM sessions WHERE secret = ?1", [secret.as_slice()])?;
        Ok(())
    }

    /// Keeps a one-time link, in the place of all before it that give the same.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn invite(&self, secret: &SecretHash, invitation: &Invitation) -> Result<(), HistoryError> {
        let connection = self.connection();
        let change = connection.unchecked_transaction()?;
        let role = invitation.role.as_str();
        change.execute(
            "DELETE FROM invitations WHERE role = ?1 AND name IS ?2",
            params![role, invitation.name],
        )?;
        change.execute(
            "INSERT INTO invitations (secret, role, name, expires) VALUES (?1, ?2, ?3, ?4)",
            params![secret.as_slice(), role, invitation.name, invitation.expires.as_millisecond()],
        )?;
        change.commit()?;
        Ok(())
    }

    /// The one-time link with this secret, if it is not used and not over.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn invitation(
        &self,
        secret: &SecretHash,
        now: Timestamp,
    ) -> Result<Option<Invitation>, HistoryError> {
        Ok(find_invitation(&self.connection(), secret, now)?)
    }

    /// Uses a one-time link: who is named gets its role and this password, whether they are new or not, and their sessions end.
    /// Returns the role, or nothing when the link is used or over. Of two who use it at once one gets nothing.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn accept(
        &self,
        secret: &SecretHash,
        name: &str,
        password: &str,
        now: Timestamp,
    ) -> Result<Option<Role>, HistoryError> {
        let connection = self.connection();
        let change = Transaction::new_unchecked(&connection, TransactionBehavior::Immediate)?;
        // Deleting is what decides: only one of two can have deleted it.
        let found = find_invitation(&change, secret, now)?;
        change.execute("DELETE FROM invitations WHERE secret = ?1", [secret.as_slice()])?;
        let Some(found) = found else { return Ok(None) };
        if found.name.as_deref().is_some_and(|wanted| wanted != name) {
            return Ok(None);
        }
        change.execute(
            "INSERT INTO people (name, role, password, created) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (name) DO UPDATE SET role = excluded.role, password = excluded.password",
            params![name, found.role.as_str(), password, now.as_millisecond()],
        )?;
        change.execute("DELETE FROM sessions WHERE person = ?1", [name])?;
        change.commit()?;
        Ok(Some(found.role))
    }
}

fn find_invitation(
    connection: &Connection,
    secret: &SecretHash,
    now: Timestamp,
) -> rusqlite::Result<Option<Invitation>> {
    connection
        .prepare_cached("SELECT role, name, expires FROM invitations WHERE secret = ?1 AND expires > ?2")?
        .query_row(params![secret.as_slice(), now.as_millisecond()], invitation_of)
        .optional()
}

fn invitation_of(row: &Row<'_>) -> rusqlite::Result<Invitation> {
    Ok(Invitation { role: role_of(row, 0)?, name: row.get(1)?, expires: instant(row.get(2)?) })
}

fn administrators(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT count(*) FROM people WHERE role = 'administrator'", [], |row| row.get(0))
}

/// A role that this program does not know is an error, never a right.
pub(crate) fn role_of(row: &Row<'_>, column: usize) -> rusqlite::Result<Role> {
    let name: String = row.get(column)?;
    name.parse().map_err(|why: String| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, why.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Token;

    fn empty() -> (tempfile::TempDir, History) {
        let folder = tempfile::tempdir().unwrap();
        let history = History::open(&folder.path().join("P01.db")).unwrap();
        (folder, history)
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    #[test]
    fn the_last_administrator_cannot_go_and_cannot_become_less() {
        let (_folder, history) = empty();
        history.add_person("anna", Role::Administrator, "hash", at(0)).unwrap();
        history.add_person("ben", Role::Reader, "hash", at(0)).unwrap();
        for refused in [history.remove_person("anna"), history.set_role("anna", Role::Operator)] {
            assert!(matches!(refused, Err(HistoryError::Refused(_))), "{refused:?}");
        }
        assert!(history.set_role("ben", Role::Administrator).unwrap());
        assert!(history.remove_person("anna").unwrap());
        assert!(!history.remove_person("anna").unwrap());
        assert_eq!(history.people().unwrap().len(), 1);
    }

    #[test]
    fn a_session_ends_in_time_and_with_a_new_password_but_for_the_one_that_set_it() {
        let (_folder, history) = empty();
        history.add_person("anna", Role::Operator, "hash", at(0)).unwrap();
        for secret in [[1; 32], [2; 32]] {
            history.begin_session(&secret, "anna", at(0), at(100)).unwrap();
        }
        assert!(history.session(&[1; 32], at(99)).unwrap().is_some());
        assert!(history.session(&[1; 32], at(100)).unwrap().is_none());
        assert!(history.set_password("anna", "other", Some(&[1; 32])).unwrap());
        assert!(history.session(&[1; 32], at(50)).unwrap().is_some());
        assert!(history.session(&[2; 32], at(50)).unwrap().is_none());
    }

    #[test]
    fn being_seen_makes_a_session_last_longer_but_is_not_written_each_time() {
        let (_folder, history) = empty();
        history.add_person("anna", Role::Operator, "hash", at(0)).unwrap();
        history.begin_session(&[1; 32], "anna", at(0), at(1000)).unwrap();
        let session = history.session(&[1; 32], at(10)).unwrap().unwrap();
        history.seen(&[1; 32], &session, at(10), at(1010)).unwrap();
        assert!(history.session(&[1; 32], at(1005)).unwrap().is_none());
        history.seen(&[1; 32], &session, at(600), at(1600)).unwrap();
        assert!(history.session(&[1; 32], at(1599)).unwrap().is_some());
        assert_eq!(history.people().unwrap()[0].last_seen, Some(at(600)));
    }

    #[test]
    fn a_token_may_never_do_more_than_its_person_and_goes_with_them() {
        let (_folder, history) = empty();
        history.add_person("anna", Role::Administrator, "hash", at(0)).unwrap();
        history.add_person("ben", Role::Administrator, "hash", at(0)).unwrap();
        let token = Token {
            id: 0,
            name: "nightly".into(),
            role: Role::Operator,
            person: "ben".into(),
            created: at(0),
            expires: at(100),
            last_used: None,
        };
        let id = history.add_token(&[7; 32], &token).unwrap();
        assert_eq!(history.token(&[7; 32], at(1)).unwrap().unwrap().role, Role::Operator);
        assert_eq!(history.tokens().unwrap()[0].last_used, Some(at(1)));
        history.set_role("ben", Role::Reader).unwrap();
        assert_eq!(history.token(&[7; 32], at(2)).unwrap().unwrap().role, Role::Reader);
        assert!(history.token(&[7; 32], at(100)).unwrap().is_none());
        history.remove_person("ben").unwrap();
        assert!(history.token(&[7; 32], at(3)).unwrap().is_none());
        assert!(!history.remove_token(id).unwrap());
    }

    #[test]
    fn a_link_works_once_and_in_its_time_and_for_its_name() {
        let (_folder, history) = empty();
        let first = Invitation { role: Role::Administrator, name: None, expires: at(100) };
        history.invite(&[1; 32], &first).unwrap();
        assert_eq!(history.accept(&[1; 32], "anna", "hash", at(100)).unwrap(), None);
        // A new one takes the place of the old one.
        history.invite(&[2; 32], &first).unwrap();
        assert_eq!(history.invitation(&[1; 32], at(0)).unwrap(), None);
        assert_eq!(history.accept(&[2; 32], "anna", "hash", at(1)).unwrap(), Some(Role::Administrator));
        assert_eq!(history.accept(&[2; 32], "eve", "hash", at(1)).unwrap(), None);
        let named = Invitation { role: Role::Administrator, name: Some("anna".into()), expires: at(100) };
        history.invite(&[3; 32], &named).unwrap();
        assert_eq!(history.accept(&[3; 32], "eve", "hash", at(1)).unwrap(), None);
        assert_eq!(history.accept(&[3; 32], "anna", "new", at(1)).unwrap(), Some(Role::Administrator));
        assert_eq!(history.password_of("anna").unwrap().unwrap().1, "new");
        assert_eq!(history.people().unwrap().len(), 1);
    }

    #[test]
    fn a_name_is_given_once_and_an_unknown_role_is_no_right() {
        let (_folder, history) = empty();
        history.add_person("anna", Role::Reader, "hash", at(0)).unwrap();
        assert!(history.add_person("anna", Role::Administrator, "hash", at(0)).is_err());
        assert_eq!(history.people().unwrap()[0].role, Role::Reader);
        // A role of a newer program is an error and not a right.
        history.connection().execute("UPDATE people SET role = 'owner'", []).unwrap();
        assert!(history.password_of("anna").is_err());
    }
}
