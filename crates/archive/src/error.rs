//! What the archive could not do, and how each error of the system is told to a person.

use std::io;
use std::path::Path;

use stillpoint_model::ErrorKind;
use stillpoint_tree::TreeError;

/// What the archive could not do.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct ArchiveError {
    /// What kind of trouble.
    pub kind: ErrorKind,
    /// What failed, in one sentence.
    pub text: String,
    /// How to mend it.
    pub hint: Option<String>,
    /// Why.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl ArchiveError {
    /// An error of this kind.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), hint: None, source: None }
    }

    /// The same with a way out.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// An act on a path that the system refused.
    pub(crate) fn io(act: &str, path: &Path, source: io::Error) -> Self {
        let hint = io_hint(&source);
        Self {
            kind: ErrorKind::Environment,
            text: format!("cannot {act} {}", path.display()),
            hint: hint.map(str::to_owned),
            source: Some(Box::new(source)),
        }
    }

    /// Something in a set is not what was stored.
    pub(crate) fn damaged(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Damaged, text)
            .with_hint("recover from another copy of the set, or make a new backup; `stillpoint verify` lists all damage")
    }
}

impl From<TreeError> for ArchiveError {
    fn from(error: TreeError) -> Self {
        let kind = match &error {
            TreeError::Index { .. } | TreeError::Damaged { .. } => ErrorKind::Damaged,
            TreeError::Pattern { .. } => ErrorKind::Config,
            TreeError::Exists { .. } => ErrorKind::WouldOverwrite,
            TreeError::Cancelled => ErrorKind::Cancelled,
            TreeError::Io { .. } => ErrorKind::Environment,
        };
        let hint = match &error {
            TreeError::Io { source, .. } => io_hint(source).map(str::to_owned),
            _ => None,
        };
        Self { kind, text: error.to_string(), hint, source: Some(Box::new(error)) }
    }
}

/// How to mend what the system said.
fn io_hint(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("make room at the destination, or choose another; the last good set is untouched")
        }
        io::ErrorKind::ReadOnlyFilesystem => Some("mount the file system for writing"),
        io::ErrorKind::PermissionDenied => {
            Some("the run must be able to create, write and delete there: check owner, mode and attributes")
        }
        _ if error.raw_os_error() == Some(libc::EIO) => {
            Some("the disk reports a fault: look at the kernel's log")
        }
        _ => None,
    }
}
