//! Passwords: made into Argon2id texts, and compared with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

use crate::access::AccessError;
use crate::blocking::blocking;

/// The smallest of the settings that OWASP names for Argon2id (Password Storage Cheat Sheet): 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;

/// How many are computed at once: this many times the memory above is what sign-in can use at most.
const AT_ONCE: usize = 2;

/// How many may wait for their turn; the next ones are sent away.
const WAITING_MAX: usize = 16;

/// The shortest password, in characters; no other rule makes one better.
pub const PASSWORD_CHARS_MIN: usize = 12;

/// The longest, in bytes, so that nobody sends megabytes to be hashed.
const BYTES_MAX: usize = 1024;

/// Computes passwords, a few at a time.
pub(crate) struct Passwords {
    turns: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

impl Passwords {
    pub fn new() -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_ONCE)), waiting: Arc::default() }
    }

    /// The Argon2id text of a new password.
    ///
    /// # Errors
    ///
    /// [`AccessError::Refused`] when it is too short or too long, [`AccessError::TooMany`] when too many wait.
    pub async fn make(&self, password: String) -> Result<String, AccessError> {
        check(&password)?;
        self.in_turn(move || {
            let mut salt = [0; 16];
            getrandom::fill(&mut salt).map_err(|error| error.to_string())?;
            let salt = SaltString::encode_b64(&salt).map_err(|error| error.to_string())?;
            let made = argon2()?.hash_password(password.as_bytes(), &salt);
            made.map(|made| made.to_string()).map_err(|error| error.to_string())
        })
        .await?
        .map_err(|why| AccessError::Refused(format!("the password cannot be computed: {why}")))
    }

    /// Whether the password is that of the text. Without a text the answer is no, after the same time.
    ///
    /// # Errors
    ///
    /// [`AccessError::TooMany`] when too many wait.
    pub async fn fits(&self, password: String, text: Option<String>) -> Result<bool, AccessError> {
        if password.len() > BYTES_MAX {
            return Ok(false);
        }
        self.in_turn(move || {
            let known = text.is_some();
            let text = text.unwrap_or_else(nobody);
            let fits = PasswordHash::new(&text)
                .is_ok_and(|text| Argon2::default().verify_password(password.as_bytes(), &text).is_ok());
            fits && known
        })
        .await
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AccessError> {
        let counted = Counted::begin(&self.waiting).ok_or(AccessError::TooMany { wait_s: 2 })?;
        let turn = self.turns.clone().acquire_owned().await;
        // Place and turn go with the work: it goes on when its client goes away, and still takes its memory.
        let done = blocking(move || {
            let done = work();
            drop((counted, turn));
            done
        });
        Ok(done.await?)
    }
}

/// One that waits or is computed.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn begin(waiting: &Arc<AtomicUsize>) -> Option<Self> {
        let counted = Self(waiting.clone());
        (waiting.fetch_add(1, Ordering::SeqCst) < WAITING_MAX + AT_ONCE).then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn argon2() -> Result<Argon2<'static>, String> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).map_err(|error| error.to_string())?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// The text of nobody: comparing with it takes as long as with a real one.
fn nobody() -> String {
    let (salt, nothing) = ("A".repeat(22), "A".repeat(43));
    format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p=1${salt}${nothing}")
}

fn check(password: &str) -> Result<(), AccessError> {
    let chars = password.chars().count();
    if chars < PASSWORD_CHARS_MIN {
        return Err(AccessError::Refused(format!(
            "the password has {chars} characters: take at least {PASSWORD_CHARS_MIN}, such as four words that you choose by chance"
        )));
    }
    if password.len() > BYTES_MAX {
        return Err(AccessError::Refused(format!("the password is longer than {BYTES_MAX} bytes")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_fits_its_own_text_only_and_the_text_has_the_wanted_cost() {
        let passwords = Passwords::new();
        let text = passwords.make("correct horse battery".into()).await.unwrap();
        assert!(text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
        assert_ne!(text, passwords.make("correct horse battery".into()).await.unwrap());
        assert!(passwords.fits("correct horse battery".into(), Some(text.clone())).await.unwrap());
        assert!(!passwords.fits("correct horse batterz".into(), Some(text)).await.unwrap());
        assert!(!passwords.fits("correct horse battery".into(), Some("no text".into())).await.unwrap());
    }

    #[tokio::test]
    async fn a_client_that_goes_away_keeps_its_place_until_its_work_is_done() {
        let passwords = Passwords::new();
        let mut ends = Vec::new();
        for _ in 0..AT_ONCE {
            let (end, wait) = std::sync::mpsc::channel::<()>();
            let (begun, has_begun) = tokio::sync::oneshot::channel();
            let work = passwords.in_turn(move || {
                let _ = begun.send(());
                let _ = wait.recv();
            });
            tokio::select! {
                _ = work => panic!("it cannot be done yet"),
                begun = has_begun => begun.unwrap(),
            }
            ends.push(end);
        }
        assert_eq!(passwords.turns.available_permits(), 0);
        for _ in 0..WAITING_MAX {
            passwords.waiting.fetch_add(1, Ordering::SeqCst);
        }
        let refused = passwords.in_turn(|| ()).await;
        assert!(matches!(refused, Err(AccessError::TooMany { .. })), "{refused:?}");
        assert_eq!(passwords.waiting.load(Ordering::SeqCst), WAITING_MAX + AT_ONCE);
        passwords.waiting.fetch_sub(WAITING_MAX, Ordering::SeqCst);
        drop(ends);
        passwords.in_turn(|| ()).await.unwrap();
    }

    #[test]
    fn the_text_of_nobody_costs_what_a_real_one_costs() {
        let text = nobody();
        let parsed = PasswordHash::new(&text).unwrap();
        let params = Params::try_from(&parsed).unwrap();
        assert_eq!((params.m_cost(), params.t_cost(), params.p_cost()), (MEMORY_KIB, PASSES, 1));
        // Really computed, not refused before: the error is that of a wrong password.
        let error = Argon2::default().verify_password(b"x", &parsed).unwrap_err();
        assert_eq!(error, argon2::password_hash::Error::Password);
    }

    #[test]
    fn a_short_and_a_very_long_password_are_refused_in_characters() {
        assert!(check("elevenchars").unwrap_err().to_string().contains("11 characters"));
        assert!(check("äöüäöüäöüäöü").is_ok());
        assert!(check(&"a".repeat(1025)).is_err());
    }
}
