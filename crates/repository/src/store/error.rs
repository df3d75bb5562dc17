//! What can go wrong at a store.

use std::fmt;
use std::io;

/// What kind of trouble it is: what the caller decides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// There is no such file.
    NotFound,
    /// There is no such store: no folder, no bucket.
    NoStore,
    /// There is such a file.
    AlreadyExists,
    /// The store does not permit it.
    Denied,
    /// No room is left.
    Full,
    /// The store gave something else than it was asked for.
    Lied,
    /// It does not answer, or not in time, also when asked again.
    Unavailable,
    /// Anything else.
    Other,
}

/// An act that a store did not carry out.
#[derive(Debug)]
pub struct StoreError {
    /// What kind of trouble.
    pub kind: StoreErrorKind,
    /// What was tried, as "read" or "list".
    pub act: &'static str,
    /// The file or folder of the repository.
    pub what: String,
    /// The store.
    pub store: String,
    /// What the admin can do.
    pub hint: Option<String>,
    /// What was answered.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StoreError {
    /// An error of this kind, without a cause.
    pub fn new(kind: StoreErrorKind, act: &'static str, what: impl fmt::Display, store: &str) -> Self {
        Self { kind, act, what: what.to_string(), store: store.to_owned(), hint: None, source: None }
    }

    /// An error of the operating system.
    pub fn io(act: &'static str, what: impl fmt::Display, store: &str, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::NotFound => StoreErrorKind::NotFound,
            io::ErrorKind::AlreadyExists => StoreErrorKind::AlreadyExists,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => StoreErrorKind::Denied,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                StoreErrorKind::Full
            }
            io::ErrorKind::UnexpectedEof => StoreErrorKind::Lied,
            io::ErrorKind::TimedOut | io::ErrorKind::StaleNetworkFileHandle => StoreErrorKind::Unavailable,
            _ => StoreErrorKind::Other,
        };
        Self { source: Some(source.into()), ..Self::new(kind, act, what, store) }
    }

    /// The same with a cause.
    #[must_use]
    pub fn because(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// The same with a way out.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { act, what, store, .. } = self;
        match self.kind {
            StoreErrorKind::NoStore => write!(f, "{store} does not exist")?,
            StoreErrorKind::NotFound => write!(f, "{store} has no {what}")?,
            StoreErrorKind::AlreadyExists => write!(f, "{store} has {what} already")?,
            StoreErrorKind::Denied => write!(f, "{store} does not permit to {act} {what}")?,
            StoreErrorKind::Full => write!(f, "no room is left in {store} to {act} {what}")?,
            StoreErrorKind::Lied => {
                write!(f, "{store} gave something else than asked for, to {act} {what}")?;
            }
            StoreErrorKind::Unavailable => write!(f, "{store} does not answer, to {act} {what}")?,
            StoreErrorKind::Other => write!(f, "{store}: could not {act} {what}")?,
        }
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // Already part of the text.
        None
    }
}
