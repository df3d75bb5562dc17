//! Where the files of a repository lie. A repository needs five acts of a store, and all of its content passes through them.
//!
//! Files are never changed: they are written whole under a new name, read, and removed. The layout is restic's default one
//! (`doc/design.rst`, "Repository Layout").

mod credentials;
mod error;
#[cfg(any(test, feature = "faults"))]
#[doc(hidden)]
pub mod faulty;
mod http;
mod local;
mod memory;
mod open;
mod patience;
mod rest;
mod s3;
mod sftp;

use std::fmt;
use std::ops::Range;

use crate::id::Id;

pub use credentials::Credentials;
pub use error::{StoreError, StoreErrorKind};
pub use local::LocalStore;
pub use memory::MemoryStore;
pub use open::{open, open_with};
pub use patience::Patience;
pub use rest::RestStore;
pub use s3::{S3Place, S3Store};
pub use sftp::{SftpPlace, SftpStore};

/// The kinds of files of which there may be many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// A master key, locked with a password.
    Key,
    /// Who works in the repository.
    Lock,
    /// One version.
    Snapshot,
    /// Which blobs lie in which packs.
    Index,
    /// Blobs.
    Pack,
}

impl FileKind {
    /// All kinds.
    pub const ALL: [FileKind; 5] =
        [FileKind::Key, FileKind::Lock, FileKind::Snapshot, FileKind::Index, FileKind::Pack];

    /// The folder of this kind.
    #[must_use]
    pub const fn folder(self) -> &'static str {
        match self {
            FileKind::Key => "keys",
            FileKind::Lock => "locks",
            FileKind::Snapshot => "snapshots",
            FileKind::Index => "index",
            FileKind::Pack => "data",
        }
    }
}

/// One file of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileName {
    /// The one that says that this is a repository, and of which version.
    Config,
    /// One of many.
    Of(FileKind, Id),
}

impl fmt::Display for FileName {
    /// The path below the root of the repository.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileName::Config => f.write_str("config"),
            FileName::Of(FileKind::Pack, id) => write!(f, "data/{id:.2}/{id}"),
            FileName::Of(kind, id) => write!(f, "{}/{id}", kind.folder()),
        }
    }
}

/// A place for the files of one repository.
///
/// The contract, which `tests/contract.rs` proves for every store:
///
/// - [`write_new`](Store::write_new) is whole or nothing, also when the process, the machine or the line dies: no reader ever
///   sees a part of a file. When it returns, the file lasts. It never replaces; where a service has no means against that (rclone's
///   REST server, S3 without conditional writes) the store looks first, and only two who make `config` at the same moment could meet.
/// - [`read`](Store::read) gives exactly what was asked for or an error; too little is [`StoreErrorKind::Lied`].
/// - [`list`](Store::list) names every file that was there before it began and is not removed meanwhile, and nothing
///   that is not a file of the repository; an error when it cannot name all.
/// - [`remove`](Store::remove) of what is not there is [`StoreErrorKind::NotFound`].
/// - Every act ends: a store that no longer answers is an error in bounded time.
///
/// Failures that may pass by themselves are tried again inside; what comes out as [`StoreErrorKind::Unavailable`] has been.
pub trait Store: Send + Sync + fmt::Debug {
    /// The store as people know it, without secrets.
    fn name(&self) -> &str;

    /// Makes the place, if it has to be made. Nothing is lost when there is one.
    ///
    /// # Errors
    ///
    /// It could not be made.
    fn create(&self) -> Result<(), StoreError>;

    /// The content of a file, or this range of its bytes.
    ///
    /// # Errors
    ///
    /// `NotFound`; the range goes past the end (`Lied`: the caller knows from the index how long the file is); the store fails.
    fn read(&self, file: FileName, range: Option<Range<u64>>) -> Result<Vec<u8>, StoreError>;

    /// Stores a new file.
    ///
    /// # Errors
    ///
    /// `AlreadyExists`, `Full`, `Denied`, or the store fails.
    fn write_new(&self, file: FileName, content: &[u8]) -> Result<(), StoreError>;

    /// Tells the name and the size in bytes of every file of this kind, in no order.
    ///
    /// # Errors
    ///
    /// Not all could be named.
    fn list(&self, kind: FileKind, found: &mut dyn FnMut(Id, u64)) -> Result<(), StoreError>;

    /// The size of a file in bytes.
    ///
    /// # Errors
    ///
    /// `NotFound`, or the store fails.
    fn stat(&self, file: FileName) -> Result<u64, StoreError>;

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// `NotFound`, `Denied` (as an append-only store does), or the store fails.
    fn remove(&self, file: FileName) -> Result<(), StoreError>;

    /// How many acts at once do it good.
    fn parallel(&self) -> usize {
        2
    }
}
