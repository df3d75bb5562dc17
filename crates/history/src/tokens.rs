//! Tokens for programs.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;

use crate::people::{Role, SEEN_EVERY, SecretHash, role_of};
use crate::runs::instant;
use crate::{History, HistoryError};

/// A token for a program, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Token {
    /// Its number.
    pub id: i64,
    /// What it is for.
    pub name: String,
    /// What it may do at most; never more than its person.
    pub role: Role,
    /// Who made it.
    pub person: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// When it was last used, to about five minutes.
    pub last_used: Option<Timestamp>,
}

impl History {
    /// Keeps a token; its number in `token` means nothing. Returns its number.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn add_token(&self, secret: &SecretHash, token: &Token) -> Result<i64, HistoryError> {
        let connection = self.connection();
        connection.execute(
            "INSERT INTO tokens (name, secret, role, person, created, expires) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                token.name,
                secret.as_slice(),
                token.role.as_str(),
                token.person,
                token.created.as_millisecond(),
                token.expires.as_millisecond()
            ],
        )?;
        Ok(connection.last_insert_rowid())
    }

    /// All tokens, the newest first.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn tokens(&self) -> Result<Vec<Token>, HistoryError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT id, name, role, person, created, expires, last_used FROM tokens ORDER BY id DESC",
        )?;
        let rows = statement.query_map([], token_of)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The token with this secret, if it goes on at `now`. Its role is the lesser of its own and its person's.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn token(&self, secret: &SecretHash, now: Timestamp) -> Result<Option<Token>, HistoryError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT t.id, t.name, t.role, t.person, t.created, t.expires, t.last_used, p.role
             FROM tokens t JOIN people p ON p.name = t.person WHERE t.secret = ?1 AND t.expires > ?2",
        )?;
        let found = statement
            .query_row(params![secret.as_slice(), now.as_millisecond()], |row| {
                let token = token_of(row)?;
                let role = token.role.min(role_of(row, 7)?);
                Ok(Token { role, ..token })
            })
            .optional()?;
        if let Some(token) = &found
            && token.last_used.is_none_or(|used| now.duration_since(used) >= SEEN_EVERY)
        {
            connection.execute(
                "UPDATE tokens SET last_used = ?2 WHERE id = ?1",
                params![token.id, now.as_millisecond()],
            )?;
        }
        Ok(found)
    }

    /// Removes a token. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn remove_token(&self, id: i64) -> Result<bool, HistoryError> {
        Ok(self.connection().execute("DELETE FROM tokens WHERE id = ?1", [id])? > 0)
    }
}

fn token_of(row: &Row<'_>) -> rusqlite::Result<Token> {
    Ok(Token {
        id: row.get(0)?,
        name: row.get(1)?,
        role: role_of(row, 2)?,
        person: row.get(3)?,
        created: instant(row.get(4)?),
        expires: instant(row.get(5)?),
        last_used: row.get::<_, Option<i64>>(6)?.map(instant),
    })
}
