//! The one error of the use cases: what kind of trouble, what failed, and how to mend it.

use stillpoint_archive::ArchiveError;
use stillpoint_coordinator::StageError;
use stillpoint_model::ErrorKind;

/// A use case failed. `Display` is one sentence; the causes hang behind it as sources and are printed once, at the edge.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct SiteError {
    /// What kind of trouble; decides the exit code.
    pub kind: ErrorKind,
    /// What failed, in one sentence.
    pub text: String,
    /// How to mend it, in one sentence.
    pub hint: Option<String>,
    /// Why.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl SiteError {
    /// An error of `kind` with its sentence.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), hint: None, source: None }
    }

    /// The same with a way to mend it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with its cause.
    pub fn because(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }
}

impl From<ArchiveError> for SiteError {
    fn from(error: ArchiveError) -> Self {
        Self { kind: error.kind, text: error.text, hint: error.hint, source: error.source }
    }
}

impl From<StageError> for SiteError {
    fn from(error: StageError) -> Self {
        Self { kind: error.kind, text: error.text, hint: error.hint, source: error.source }
    }
}

impl From<SiteError> for StageError {
    fn from(error: SiteError) -> Self {
        Self { kind: error.kind, text: error.text, hint: error.hint, source: error.source }
    }
}

/// A cause chain as one line: `a: b: c`.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        next = cause.source();
    }
    line
}
