//! What the ledger could not do.

use std::path::PathBuf;

/// An act of the ledger failed.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// An act on a path failed.
    #[error("cannot {act} {path}", path = path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The SQLite store failed.
    #[error("the SQLite store {path} cannot {act}", path = path.display())]
    Sqlite {
        /// What was tried.
        act: &'static str,
        /// The database.
        path: PathBuf,
        /// Why not.
        source: rusqlite::Error,
    },
    /// The PostgreSQL store failed.
    #[error("the PostgreSQL store cannot {act}")]
    Postgres {
        /// What was tried.
        act: &'static str,
        /// Why not.
        source: postgres::Error,
    },
    /// The settings make no sense.
    #[error("{0}")]
    Settings(String),
    /// Another process runs this ledger.
    #[error("another process runs this ledger: it holds {lock}", lock = lock.display())]
    Running {
        /// The lock file.
        lock: PathBuf,
    },
    /// The state that was found is not one that a power cut can leave, so the application does not go on from it.
    #[error("worker {worker} cannot go on: {reason}; check the ledger and recover it from a good set")]
    Torn {
        /// The worker.
        worker: u32,
        /// What does not fit together.
        reason: String,
    },
    /// The application did not answer, or answered with an error.
    #[error("the ledger behind {socket} did not {request}: {reason}", socket = socket.display())]
    Control {
        /// The control socket.
        socket: PathBuf,
        /// What was asked.
        request: String,
        /// What came back.
        reason: String,
    },
}

impl LedgerError {
    /// For `map_err` on an act on a path.
    pub(crate) fn io(act: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { act, path, source }
    }

    /// The error with all its causes, in one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        text
    }
}
