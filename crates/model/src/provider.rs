//! The contract of a provider: it makes a file tree readable as it was at one instant.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Context, Deadline, Grade, TreeSource};

/// The kinds of provider, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProviderKind {
    /// A read-only btrfs snapshot of the subvolume.
    Btrfs,
    /// A clone of every file (`FICLONE`) before the freeze, and of what changed since in the freeze.
    Reflink,
    /// A copy of every file before the freeze, and of what changed since in the freeze: any file system.
    Copy,
}

impl fmt::Display for ProviderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            ProviderKind::Btrfs => "btrfs",
            ProviderKind::Reflink => "reflink",
            ProviderKind::Copy => "copy",
        })
    }
}

/// What is asked of a provider.
#[derive(Debug, Clone)]
pub struct TreeRequest {
    /// The top of the tree, absolute.
    pub source: PathBuf,
    /// Patterns of what to take, relative to the top; empty means everything.
    pub include: Vec<String>,
    /// Patterns of what to leave out; they win over `include`.
    pub exclude: Vec<String>,
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Suitability {
    /// It can; the text says by which sign.
    Suitable(String),
    /// It cannot; the text says why.
    Unsuitable(String),
}

/// What a provider could not do.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// An act on a path failed.
    #[error("cannot {act} {path}", path = path.display())]
    Io {
        /// What was tried, such as `snapshot`.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The deadline passed.
    #[error("the {act} of {path} was not done in time", path = path.display())]
    Late {
        /// What was under way.
        act: &'static str,
        /// On what.
        path: PathBuf,
    },
    /// The undo could not be registered, so nothing was done.
    #[error("nothing was done")]
    Undo(#[from] crate::UndoError),
    /// Somebody cancelled the run.
    #[error("cancelled")]
    Cancelled,
    /// Anything else; the text says what, where, and how to mend it.
    #[error("{0}")]
    Other(String),
}

/// Makes cuts of file trees on one kind of file system.
pub trait Provider: Send + Sync {
    /// Which kind it is.
    fn kind(&self) -> ProviderKind;

    /// Whether it can serve the tree. Looks at the real file system; leaves nothing behind.
    fn probe(&self, request: &TreeRequest, context: &Context) -> Suitability;

    /// Begins a cut. Does no work yet.
    fn open(&self, request: &TreeRequest, context: &Context) -> Result<Box<dyn TreeCut>, ProviderError>;
}

/// One tree on its way through one epoch.
pub trait TreeCut: Send {
    /// Heavy work before the freeze: first pass, tracking. May take long.
    fn prepare(&mut self, context: &Context, deadline: Deadline) -> Result<(), ProviderError>;

    /// Everybody is ready and the freeze is next: catch up with what changed since `prepare`, flush.
    fn poise(&mut self, context: &Context, deadline: Deadline) -> Result<(), ProviderError>;

    /// The cut itself; the site stands still. Only what cannot be done before or after.
    fn cut(&mut self, context: &Context, deadline: Deadline) -> Result<(), ProviderError>;

    /// The site works again: finishes what the cut left to do (metadata, lists), and says where the image is, and how
    /// good it is taken for itself: [`Grade::Frozen`] when nothing changed under the cut, [`Grade::Fuzzy`] when
    /// something did. Whether the application was at rest is not the provider's to say.
    fn image(&mut self, context: &Context, deadline: Deadline) -> Result<(TreeSource, Grade), ProviderError>;

    /// Takes everything back that is not part of the set. Called once at the end, however the run ends; must be
    /// idempotent.
    fn release(&mut self, context: &Context) -> Result<(), ProviderError>;
}
