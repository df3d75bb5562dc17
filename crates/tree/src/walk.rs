//! A walk through a tree in canonical order.

use std::path::Path;

use crate::{Entry, FileProblem, Filter, RelPath, TreeError};

/// Reads one entry (without hash, hard link and settledness) from the file system; nothing when it is not there.
pub fn read_entry(_root: &Path, _path: &RelPath) -> Result<Option<Entry>, TreeError> {
    todo!()
}

/// Walks a tree: the top itself first, then in canonical order. Never follows symbolic links; enters no other file system
/// (a mount point is listed as an empty folder and told as a problem). An entry that vanishes under the walk is passed
/// over; one that cannot be read is a problem, not an error.
pub struct Walk {}

impl Walk {
    /// Begins at `root`, which must be a folder.
    pub fn new(_root: &Path, _filter: Filter) -> Result<Self, TreeError> {
        todo!()
    }
}

impl Iterator for Walk {
    type Item = Result<Entry, FileProblem>;

    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}
