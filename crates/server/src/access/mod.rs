//! Who is it, and what may they do? Passwords, sessions of browsers, tokens of programs, one-time links, and the audit log.
//!
//! Nothing here knows HTTP. All that touches the database or computes a password runs on the pool for blocking work.

mod limits;
mod password;
mod people;
mod secret;
mod sign_in;

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
pub use stillpoint_history::{Audit, AuditAction, AuditQuery, AuditRow, Person, Role, Token};
use stillpoint_history::{History, HistoryError, SecretHash};

use crate::access::limits::Limits;
pub use crate::access::password::PASSWORD_CHARS_MIN;
use crate::access::password::Passwords;
pub use crate::access::people::{TOKEN_DAYS_MAX, new_link};
pub use crate::access::sign_in::{NewSession, SESSION_IDLE, SESSION_LONGEST};

/// Tells what time it is.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The name of the person.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// From where.
    pub address: IpAddr,
    /// How they proved it.
    pub by: By,
}

/// How a caller proved who they are.
#[derive(Debug, Clone)]
pub enum By {
    /// A session of a browser.
    Session {
        /// What every form must bring back in its field `csrf`.
        csrf: String,
        /// The session.
        session: SecretHash,
    },
    /// A token of a program.
    Token {
        /// Its number.
        id: i64,
        /// What it is for.
        name: String,
    },
}

impl Caller {
    /// What a form of theirs must bring back in its field `csrf`; empty for a program, whose calls need none.
    pub fn csrf(&self) -> &str {
        match &self.by {
            By::Session { csrf, .. } => csrf,
            By::Token { .. } => "",
        }
    }

    /// How they are named in the audit log.
    pub(crate) fn audit_name(&self) -> String {
        match &self.by {
            By::Session { .. } => self.name.clone(),
            By::Token { name, .. } => format!("{} (token {name})", self.name),
        }
    }
}

/// Why somebody does not get what they ask for.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The name or the password is wrong; which one is not told.
    #[error("the name or the password is wrong")]
    Wrong,
    /// There were too many tries.
    #[error("there were too many tries: try again in {wait_s} s")]
    TooMany {
        /// How long to wait, in seconds, at least 1.
        wait_s: u64,
    },
    /// The link is used, or over, or was never one.
    #[error("this link is used or over: ask for a new one (stillpoint console reset-link)")]
    LinkOver,
    /// What is asked for cannot be.
    #[error("{0}")]
    Refused(String),
    /// What it is about is not there.
    #[error("there is no such {0}")]
    NotThere(&'static str),
    /// The history failed.
    #[error(transparent)]
    History(HistoryError),
}

impl From<HistoryError> for AccessError {
    fn from(error: HistoryError) -> Self {
        match error {
            HistoryError::Refused(why) => Self::Refused(why),
            error => Self::History(error),
        }
    }
}

/// Decides who may come in. One for each server.
pub struct Access {
    history: Arc<History>,
    clock: Clock,
    passwords: Passwords,
    limits: Mutex<Limits>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

impl Access {
    /// Over the people in a history.
    pub fn new(history: Arc<History>, clock: Clock) -> Self {
        Self { history, clock, passwords: Passwords::new(), limits: Mutex::default() }
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Keeps what somebody did. That it cannot be kept is logged: what was done is done.
    pub async fn audit(&self, caller: &Caller, action: AuditAction, subject: &str, result: &str) {
        self.audit_as(&caller.audit_name(), caller.address, action, subject, result).await;
    }

    async fn audit_as(
        &self,
        person: &str,
        address: IpAddr,
        action: AuditAction,
        subject: &str,
        result: &str,
    ) {
        let audit = Audit {
            at: self.now(),
            person: person.to_owned(),
            address: address.to_string(),
            action,
            subject: subject.to_owned(),
            result: result.to_owned(),
        };
        let kept = self.with_history(move |history| history.keep_audit(&audit)).await;
        if let Err(error) = kept {
            tracing::error!("the audit log has a gap: {error}");
        }
    }

    /// Asks the history on the pool for blocking work.
    async fn with_history<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&History) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<T, AccessError> {
        let history = self.history.clone();
        Ok(crate::blocking::blocking(move || ask(&history)).await??)
    }
}
