//! What the first list says of every path, small enough to be kept in memory: 32 bytes for each entry. Only scans need it.
//!
//! Paths are kept as hashes. Two paths with one hash do no harm: an entry counts as unchanged only when inode and change
//! time are those remembered, so the worst is that one is taken again.

use std::hash::{DefaultHasher, Hasher};
use std::path::Path;

use stillpoint_tree::{IndexReader, RelPath, Timestamp, TreeError};

#[derive(Debug, Clone, Copy)]
struct Memory {
    path_hash: u64,
    inode: u64,
    ctime: Timestamp,
}

/// Inode and change time of every entry of a list.
#[derive(Debug, Default)]
pub(super) struct Remembered(Vec<Memory>);

impl Remembered {
    /// Reads a list.
    pub(super) fn of_list(list: &Path) -> Result<Self, TreeError> {
        let mut memories = Vec::new();
        for entry in IndexReader::open(list)? {
            let entry = entry?;
            if let Some(origin) = entry.origin {
                let path_hash = hash(&entry.path);
                memories.push(Memory { path_hash, inode: origin.inode, ctime: origin.ctime });
            }
        }
        memories.sort_unstable_by_key(|memory| memory.path_hash);
        Ok(Self(memories))
    }

    /// Inode and change time of the entry at `path`.
    pub(super) fn get(&self, path: &RelPath) -> Option<(u64, Timestamp)> {
        let wanted = hash(path);
        let at = self.0.binary_search_by_key(&wanted, |memory| memory.path_hash).ok()?;
        Some((self.0[at].inode, self.0[at].ctime))
    }
}

fn hash(path: &RelPath) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(path.as_bytes());
    hasher.finish()
}
