//! One piece of work, done by one of the threads.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use stillpoint_tree::{Entry, FileFacts, FileProblem, Kind, Opener, RelPath, TreeError};

use super::engine::Engine;
use super::packer::OpenPack;
use super::upload::Ended;
use crate::id::Id;
use crate::node::Node;

/// What is given to the threads.
#[expect(clippy::large_enum_variant, reason = "most items are the large one")]
pub(crate) enum Item {
    /// Needs no work.
    Ready(Done),
    /// A file of one chunk, to be read.
    File(Box<SmallFile>),
    /// A chunk of a bigger file or a stream.
    Chunk(Vec<u8>),
}

/// A file of one chunk.
pub(crate) struct SmallFile {
    pub place: Arc<Opener>,
    /// Where it lies in the place.
    pub stored: RelPath,
    /// Where it is in the part.
    pub path: RelPath,
    pub placed: Placed,
    /// What its content must be, when that is known.
    pub sha256: Option<[u8; 32]>,
}

/// A node that is to be placed.
pub(crate) struct Placed {
    pub node: Node,
    pub has_more_names: bool,
    /// The entry that is to be listed for it, when the part makes a list.
    pub record: Option<Box<Entry>>,
}

impl Placed {
    /// The content of the file was read, and this is its hash by the rule of lists.
    pub fn set_hash(&mut self, sha256: [u8; 32]) {
        if let Some(Kind::File(facts)) = self.record.as_deref_mut().map(|entry| &mut entry.kind) {
            *facts = FileFacts { size: self.node.size, sha256: Some(sha256) };
        }
    }
}

/// What comes back, in the order in which it was given.
pub(crate) enum Done {
    /// A node, with its content.
    Node { path: RelPath, placed: Placed },
    /// The later name of a file.
    LaterName { path: RelPath, placed: Placed, first: RelPath },
    /// A blob of the file whose node comes after its last.
    Blob(Id),
    /// The node of the file whose blobs were told.
    FileEnd { path: RelPath, placed: Placed },
    /// Something that could not be read. The blobs that were told belong to nothing.
    Problem(FileProblem),
}

impl Item {
    /// A worker's part.
    pub fn work(self, engine: &Engine, pack: &mut OpenPack, buffer: &mut Vec<u8>) -> Result<Done, Ended> {
        match self {
            Item::Ready(done) => Ok(done),
            Item::Chunk(chunk) => engine.save(&chunk, pack).map(Done::Blob),
            Item::File(file) => file.save(engine, pack, buffer),
        }
    }
}

impl SmallFile {
    fn save(mut self, engine: &Engine, pack: &mut OpenPack, buffer: &mut Vec<u8>) -> Result<Done, Ended> {
        let mut place = self.place.another();
        let read = place.open(&self.stored, self.placed.node.size).map_err(problem_of).and_then(|file| {
            read_whole(file, self.placed.node.size, buffer)
                .map_err(|error| format!("cannot read it: {error}"))
        });
        if let Err(text) = read {
            return Ok(Done::Problem(FileProblem { path: self.path, text }));
        }
        let sha256: [u8; 32] = Sha256::digest(&*buffer).into();
        if self.sha256.is_some_and(|wanted| wanted != sha256) {
            let text = "its content is not what was stored (the hashes differ)".to_owned();
            return Ok(Done::Problem(FileProblem { path: self.path, text }));
        }
        if !buffer.is_empty() {
            let id = Id::from_bytes(sha256);
            engine.save_as(id, buffer, pack)?;
            self.placed.node.content = Some(vec![id]);
        }
        self.placed.set_hash(sha256);
        Ok(Done::Node { path: self.path, placed: self.placed })
    }
}

/// Why a file is left out.
pub(crate) fn problem_of(error: TreeError) -> String {
    match error {
        TreeError::Damaged { reason, .. } => reason,
        TreeError::Io { act, source, .. } => format!("cannot {act} it: {source}"),
        other => other.to_string(),
    }
}

/// Reads exactly `size` bytes, and sees that there are no more.
fn read_whole(mut file: File, size: u64, buffer: &mut Vec<u8>) -> std::io::Result<()> {
    buffer.clear();
    let size = usize::try_from(size).map_err(std::io::Error::other)?;
    // One more byte, to see the end with the same call in the usual case.
    buffer.resize(size + 1, 0);
    let mut filled = 0;
    loop {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            some => filled += some,
        }
        if filled > size {
            break;
        }
    }
    buffer.truncate(filled);
    if filled == size {
        Ok(())
    } else {
        Err(std::io::Error::other(format!("it had {size} bytes and {filled} or more were read")))
    }
}
