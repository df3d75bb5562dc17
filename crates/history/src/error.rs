//! What can go wrong with a history.

use std::path::{Path, PathBuf};

/// A history that cannot be used. The message says which, why, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file cannot be opened or made.
    #[error("cannot open the history {}: {why}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// It was written by a newer version of Stillpoint.
    #[error(
        "the history {} is of a newer version ({found}; this program knows {known}): install that version, or move the file away to begin a new history", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// The database failed.
    #[error("the history failed: {0}")]
    Database(#[from] rusqlite::Error),
    /// What is asked for is not there, or must not be.
    #[error("{0}")]
    Refused(String),
}

impl HistoryError {
    pub(crate) fn open(path: &Path, why: impl std::fmt::Display) -> Self {
        Self::Open { path: path.to_path_buf(), why: why.to_string() }
    }
}
