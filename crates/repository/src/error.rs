//! The error of this crate.

use std::fmt;

use stillpoint_model::ErrorKind;

use crate::store::{StoreError, StoreErrorKind};

/// Why something in the archive did not work: what kind of trouble, one sentence, and the way out.
#[derive(Debug, Clone)]
pub struct RepositoryError {
    /// For the exit code.
    pub kind: ErrorKind,
    /// One sentence: what and where.
    pub text: String,
    /// What the admin can do.
    pub hint: Option<String>,
    /// What the store said, for those who decide by it.
    pub store: Option<StoreErrorKind>,
}

impl RepositoryError {
    /// An error of this kind.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), hint: None, store: None }
    }

    /// Stored data is not what it was.
    pub fn damaged(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Damaged, text)
    }

    /// Whether the store has no such file.
    pub(crate) fn is_missing(&self) -> bool {
        self.store == Some(StoreErrorKind::NotFound)
    }

    /// The work was cancelled.
    #[must_use]
    pub fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "the work was cancelled; the archive is good")
    }

    /// The same with a way out.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl fmt::Display for RepositoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for RepositoryError {}

impl From<StoreError> for RepositoryError {
    fn from(error: StoreError) -> Self {
        let kind = match error.kind {
            StoreErrorKind::NotFound | StoreErrorKind::Lied => ErrorKind::Damaged,
            StoreErrorKind::AlreadyExists => ErrorKind::WouldOverwrite,
            StoreErrorKind::NoStore
            | StoreErrorKind::Denied
            | StoreErrorKind::Full
            | StoreErrorKind::Unavailable
            | StoreErrorKind::Other => ErrorKind::Environment,
        };
        Self { kind, text: error.to_string(), hint: error.hint, store: Some(error.kind) }
    }
}

impl From<getrandom::Error> for RepositoryError {
    fn from(error: getrandom::Error) -> Self {
        Self::new(ErrorKind::Environment, format!("the system gives no random numbers: {error}"))
    }
}
