//! Listing what a part takes, with the hash of each file, for content that lies nowhere but in the archive.

use std::iter::Peekable;
use std::path::PathBuf;

use stillpoint_tree::{Entry, IndexReader, Kind, RelPath};

/// That a part makes a list.
#[derive(Debug, Clone)]
pub struct Recording {
    /// The list that it makes.
    pub list: PathBuf,
    /// The list of the version before, and where in it the part begins. Without it, files of several blobs are read again,
    /// because nobody knows their hash.
    pub before: Option<(PathBuf, RelPath)>,
}

/// The hashes of the list before, asked for in its order.
pub(super) struct KnownHashes {
    entries: Peekable<IndexReader>,
    prefix: RelPath,
}

impl KnownHashes {
    /// Nothing when there is no such list: then all is read.
    pub fn open((list, prefix): &(PathBuf, RelPath)) -> Option<Self> {
        let entries = IndexReader::open(list).ok()?.peekable();
        Some(Self { entries, prefix: prefix.clone() })
    }

    /// The hash of a file that is as it was, by its origin.
    pub fn find(&mut self, entry: &Entry) -> Option<[u8; 32]> {
        let path = within(&self.prefix, &entry.path);
        while self.entries.next_if(|before| before.as_ref().is_ok_and(|before| before.path < path)).is_some()
        {
        }
        let before = self.entries.peek()?.as_ref().ok()?;
        let (Kind::File(facts), Some(then), Some(now)) = (&before.kind, before.origin, entry.origin) else {
            return None;
        };
        let same = before.path == path && then.settled && then.inode == now.inode && then.ctime == now.ctime;
        facts.sha256.filter(|_| same)
    }
}

fn within(prefix: &RelPath, path: &RelPath) -> RelPath {
    match (prefix.is_top(), path.is_top()) {
        (true, _) => path.clone(),
        (false, true) => prefix.clone(),
        (false, false) => prefix.child(path.as_bytes()),
    }
}
