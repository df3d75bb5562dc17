//! Copying a tree and listing it on the way.

use std::path::{Path, PathBuf};

use crate::{Entry, FileProblem, Filter, IndexAppender, Timestamp, TreeError};

/// An earlier copy of the same tree, to share unchanged files with (by hard link).
#[derive(Debug, Clone)]
pub struct Baseline {
    /// Its top.
    pub root: PathBuf,
    /// The list of its entries.
    pub index: PathBuf,
}

/// How file content gets from one place to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// Read and write; holes stay holes.
    Copy,
    /// `FICLONE` where the file system can, else copy.
    ReflinkOrCopy,
    /// `FICLONE`, or the file is a problem.
    Reflink,
}

/// How a tree is copied.
#[derive(Debug, Clone)]
pub struct MirrorOptions {
    /// What to take.
    pub filter: Filter,
    /// How content is moved.
    pub transfer: Transfer,
    /// The earlier copy to share with.
    pub baseline: Option<Baseline>,
    /// Whether content is hashed on the way. A file shared with the baseline keeps its known hash without being read.
    pub hash: bool,
    /// Whether the source may change under us: then a file that vanishes, grows or shrinks is listed as it was read, without
    /// hash and not settled, and is no problem; the caller looks again. On a tree at rest it is a problem.
    pub live: bool,
    /// Files with a change time at or after this are listed as not settled.
    pub settled_before: Option<Timestamp>,
    /// How many threads copy.
    pub threads: usize,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MirrorReport {
    /// Entries listed.
    pub entries: u64,
    /// Regular files among them.
    pub files: u64,
    /// Bytes of those, holes included.
    pub bytes: u64,
    /// Bytes read and written, or cloned.
    pub copied_bytes: u64,
    /// Bytes shared with the baseline.
    pub shared_bytes: u64,
    /// What could not be taken. At most the first 1,000; `problem_count` has the number.
    pub problems: Vec<FileProblem>,
    /// How many problems there were.
    pub problem_count: u64,
}

/// Takes progress, and can end the work. Called from several threads, at most once a file and once for each 16 MiB.
pub trait Progress: Sync {
    /// Adds to what was done; an answer of `false` ends the work with [`TreeError::Cancelled`].
    fn advance(&self, files: u64, bytes: u64) -> bool;
}

/// Copies the tree at `source` to `target`, an existing empty folder, and appends its entries to `index`. Folders, files
/// and symbolic links are created with their metadata as far as our rights go (the list is what counts); pipes, sockets
/// and devices are listed only.
pub fn mirror(
    _source: &Path,
    _target: &Path,
    _index: &mut IndexAppender,
    _options: &MirrorOptions,
    _progress: &dyn Progress,
) -> Result<MirrorReport, TreeError> {
    todo!()
}

/// Copies the content of one regular file, replacing what is at its place in `target`. For passes over what changed:
/// no metadata, no hash, no fsync, as little time as possible. Returns the number of bytes.
pub fn copy_entry(_source: &Path, _target: &Path, _entry: &Entry, _transfer: Transfer) -> Result<u64, TreeError> {
    todo!()
}
