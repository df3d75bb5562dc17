//! How long work is watched and ended.

use crate::error::RepositoryError;

/// So much work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// Files, versions, packs or whatever the stage counts.
    pub items: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Watches long work, from several threads.
pub trait Watcher: Send + Sync {
    /// A stage begins, of this much work; zero when that is not known.
    fn stage(&self, _name: &'static str, _total: Amount) {}

    /// So much more is done.
    fn advance(&self, _done: Amount) {}

    /// Something happened that the admin should know and that is no error.
    fn note(&self, _text: &str) {}

    /// Whether the work should end soon. What is stored by then stays good.
    fn is_cancelled(&self) -> bool {
        false
    }

    /// The error of work that should end.
    ///
    /// # Errors
    ///
    /// It should.
    fn check(&self) -> Result<(), RepositoryError> {
        if self.is_cancelled() { Err(RepositoryError::cancelled()) } else { Ok(()) }
    }
}

/// Nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Watcher for Unwatched {}
