//! What can go wrong with a tree as a whole, and with one file of it.

use std::path::PathBuf;

/// The work on a tree as a whole failed.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
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
    /// A list of entries is not what we wrote.
    #[error("{path} line {line} is not an entry: {reason}", path = path.display())]
    Index {
        /// The list.
        path: PathBuf,
        /// Its line, from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// A pattern that cannot be understood.
    #[error("the pattern {pattern:?} cannot be understood: {reason}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong.
        reason: String,
    },
    /// Stored content is not what it was when it was stored.
    #[error("{path} is damaged: {reason}", path = path.display())]
    Damaged {
        /// The stored file.
        path: PathBuf,
        /// What differs.
        reason: String,
    },
    /// It would overwrite something.
    #[error("{path} exists and would be overwritten", path = path.display())]
    Exists {
        /// What exists.
        path: PathBuf,
    },
    /// Somebody cancelled.
    #[error("cancelled")]
    Cancelled,
}

/// One file of a tree could not be taken (or put back) as it is; the others were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileProblem {
    /// Which one, relative to the top.
    pub path: super::RelPath,
    /// What is the matter, in one sentence.
    pub text: String,
}
