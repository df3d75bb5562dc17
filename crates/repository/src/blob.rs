//! Blobs: the pieces that content and folders are stored in.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a blob holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlobKind {
    /// A piece of a file.
    Data,
    /// The nodes of a folder.
    Tree,
}

impl BlobKind {
    /// Both.
    pub const ALL: [BlobKind; 2] = [BlobKind::Data, BlobKind::Tree];
}

impl fmt::Display for BlobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            BlobKind::Data => "data",
            BlobKind::Tree => "tree",
        })
    }
}

/// No blob that restic or we write is longer. Its chunks end at 8 MiB; a folder of millions of entries may be longer, and
/// what is longer than this is taken for damage rather than for a reason to ask for memory.
pub(crate) const PLAIN_BYTES_MAX: u32 = 1 << 30;
