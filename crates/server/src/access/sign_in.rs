//! Coming in: by name and password, by the cookie of a session, by a token.

use std::net::IpAddr;
use std::sync::PoisonError;

use jiff::{SignedDuration, Timestamp};
use stillpoint_history::{AuditAction, Role};

use crate::access::secret::{TOKEN_MARK, csrf_of, hash, new_secret, same};
use crate::access::{Access, AccessError, By, Caller};

/// A session in which nobody is seen for this long ends.
pub const SESSION_IDLE: SignedDuration = SignedDuration::from_hours(12);

/// The longest a session lasts, however busy.
pub const SESSION_LONGEST: SignedDuration = SignedDuration::from_hours(7 * 24);

/// A session that began.
#[derive(Debug)]
pub struct NewSession {
    /// The secret for the cookie.
    pub secret: String,
    /// Who it is.
    pub caller: Caller,
}

impl Access {
    /// Lets somebody in by name and password.
    ///
    /// # Errors
    ///
    /// [`AccessError::Wrong`], after the same time whether there is such a person or not; [`AccessError::TooMany`] after too
    /// many tries; when the history fails.
    pub async fn sign_in(
        &self,
        name: &str,
        password: &str,
        address: IpAddr,
    ) -> Result<NewSession, AccessError> {
        self.begin_try(name, address)?;
        let asked = name.to_owned();
        let known = self.with_history(move |history| history.password_of(&asked)).await?;
        let (role, text) = known.unzip();
        let fits = self.passwords.fits(password.to_owned(), text).await?;
        let Some(role) = role.filter(|_| fits) else {
            self.audit_as(name, address, AuditAction::SignIn, "", "wrong name or password").await;
            return Err(AccessError::Wrong);
        };
        self.limits.lock().unwrap_or_else(PoisonError::into_inner).was_right(name, address);
        let session = self.begin_session(name, role, address).await?;
        self.audit(&session.caller, AuditAction::SignIn, "", "ok").await;
        Ok(session)
    }

    pub(crate) fn begin_try(&self, name: &str, address: IpAddr) -> Result<(), AccessError> {
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        limits.begin(name, address, self.now()).map_err(|wait_s| AccessError::TooMany { wait_s })
    }

    pub(crate) async fn begin_session(
        &self,
        name: &str,
        role: Role,
        address: IpAddr,
    ) -> Result<NewSession, AccessError> {
        let secret = new_secret()?;
        let (session, now) = (hash(&secret), self.now());
        let person = name.to_owned();
        self.with_history(move |history| history.begin_session(&session, &person, now, ends(now, now)))
            .await?;
        let by = By::Session { csrf: csrf_of(&secret), session };
        Ok(NewSession { secret, caller: Caller { name: name.to_owned(), role, address, by } })
    }

    /// Who comes with the cookie of a session; nobody when it is over.
    ///
    /// # Errors
    ///
    /// When the history fails.
    pub async fn by_session(&self, secret: &str, address: IpAddr) -> Result<Option<Caller>, AccessError> {
        let (session, now) = (hash(secret), self.now());
        let found = self
            .with_history(move |history| {
                let found = history.session(&session, now)?;
                let Some(found) = found.filter(|found| now < longest(found.created)) else { return Ok(None) };
                history.seen(&session, &found, now, ends(found.created, now))?;
                Ok(Some(found))
            })
            .await?;
        let by = By::Session { csrf: csrf_of(secret), session };
        Ok(found.map(|found| Caller { name: found.person, role: found.role, address, by }))
    }

    /// Who comes with a token; nobody when it is over, or none.
    ///
    /// # Errors
    ///
    /// When the history fails.
    pub async fn by_token(&self, secret: &str, address: IpAddr) -> Result<Option<Caller>, AccessError> {
        if !secret.starts_with(TOKEN_MARK) {
            return Ok(None);
        }
        let (token, now) = (hash(secret), self.now());
        let found = self.with_history(move |history| history.token(&token, now)).await?;
        Ok(found.map(|found| {
            let by = By::Token { id: found.id, name: found.name };
            Caller { name: found.person, role: found.role, address, by }
        }))
    }

    /// Ends the session of a caller.
    ///
    /// # Errors
    ///
    /// When the history fails.
    pub async fn sign_out(&self, caller: &Caller) -> Result<(), AccessError> {
        if let By::Session { session, .. } = &caller.by {
            let session = *session;
            self.with_history(move |history| history.end_session(&session)).await?;
            self.audit(caller, AuditAction::SignOut, "", "ok").await;
        }
        Ok(())
    }
}

impl Caller {
    /// Whether what a form brought back is what it was given.
    pub(crate) fn csrf_fits(&self, given: &str) -> bool {
        match &self.by {
            By::Session { csrf, .. } => same(given, csrf),
            By::Token { .. } => true,
        }
    }
}

fn ends(created: Timestamp, now: Timestamp) -> Timestamp {
    longest(created).min(now.saturating_add(SESSION_IDLE).unwrap_or(now))
}

fn longest(created: Timestamp) -> Timestamp {
    created.saturating_add(SESSION_LONGEST).unwrap_or(created)
}
