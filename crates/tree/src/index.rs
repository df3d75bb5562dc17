//! The list of a tree's entries on disk: one JSON object a line, in canonical order. `docs/format.md` has the fields.

use std::path::Path;

use crate::{Entry, TreeError};

/// Writes a list. Entries must come in canonical order; a wrong order is our own mistake and panics in debug builds.
pub struct IndexAppender {}

impl IndexAppender {
    /// Creates the file; it must not exist.
    pub fn create(_path: &Path) -> Result<Self, TreeError> {
        todo!()
    }

    /// Appends one entry.
    pub fn append(&mut self, _entry: &Entry) -> Result<(), TreeError> {
        todo!()
    }

    /// Writes out what is buffered (without fsync) and returns the number of entries and the SHA-256 of the file.
    pub fn finish(self) -> Result<(u64, [u8; 32]), TreeError> {
        todo!()
    }
}

/// Reads a list, entry by entry. Refuses a line that is not an entry, or that is out of order.
pub struct IndexReader {}

impl IndexReader {
    /// Opens the file.
    pub fn open(_path: &Path) -> Result<Self, TreeError> {
        todo!()
    }
}

impl Iterator for IndexReader {
    type Item = Result<Entry, TreeError>;

    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}
