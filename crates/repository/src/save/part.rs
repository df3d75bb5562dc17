//! One part of a version: a tree of entries in canonical order, or a single file.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use stillpoint_model::ErrorKind;
use stillpoint_tree::{
    ContentHash, Entry, FileProblem, IndexAppender, Kind, Opener, RelPath, StreamHash, Timestamp,
};

use super::builder::{Builder, PartReport};
use super::engine::{Engine, Job};
use super::parent::{ParentCursor, is_unchanged};
use super::record::{KnownHashes, Recording};
use super::source::{HoleReader, Plain, Source};
use super::upload::{Ended, spawn};
use super::work::{Done, Item, Placed, SmallFile, problem_of};
use crate::chunker::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN};
use crate::error::RepositoryError;
use crate::node::Node;
use crate::watch::Amount;

/// How many items go to a worker at once.
const BATCH_ITEMS: usize = 64;
/// Or how many bytes: big content is spread over the workers.
const BATCH_BYTES: u64 = 1 << 20;
/// How many batches may wait for an earlier one.
const TURNS_WAITING: usize = 32;

/// What is read at once of a big file, beyond the longest chunk.
const READ_AHEAD_BYTES: usize = 4 << 20;

/// Where the content of an entry comes from.
pub enum Content<'c> {
    /// It has none, or it is another name of an entry that was given before.
    None,
    /// A file in a folder.
    Stored {
        /// The folder.
        place: &'c Arc<Opener>,
        /// Where in it.
        at: RelPath,
    },
    /// A stream, to its end. Its length becomes the size of the entry.
    Stream(&'c mut dyn Read),
}

/// The result of the thread that builds the folders of a part.
pub(crate) type Built = Result<(Option<Node>, PartReport), Ended>;

/// Takes the entries of a part.
pub struct Part {
    engine: Arc<Engine>,
    jobs: Sender<Job>,
    turns: Option<Sender<Receiver<Vec<Done>>>>,
    builder: Option<JoinHandle<Built>>,
    batch: Vec<Item>,
    batch_bytes: u64,
    parent: ParentCursor,
    name: Vec<u8>,
    registered: super::Registered,
    buffer: Vec<u8>,
    recording: bool,
    known: Option<KnownHashes>,
}

impl Part {
    pub(super) fn begin(
        engine: &Arc<Engine>,
        jobs: Sender<Job>,
        at: &RelPath,
        parent: Option<Node>,
        registered: super::Registered,
        recording: Option<Recording>,
    ) -> Result<Self, RepositoryError> {
        let list = recording.as_ref().map(|recording| IndexAppender::create(&recording.list));
        let list = list.transpose().map_err(super::feed::failed)?;
        let known = recording.as_ref().and_then(|recording| KnownHashes::open(recording.before.as_ref()?));
        let (turns, waiting) = bounded::<Receiver<Vec<Done>>>(TURNS_WAITING);
        let device = device_of(at);
        let shared = Arc::clone(engine);
        let builder = spawn("folders", move || build(&shared, device, list, &waiting))?;
        Ok(Self {
            engine: Arc::clone(engine),
            jobs,
            turns: Some(turns),
            builder: Some(builder),
            batch: Vec::new(),
            batch_bytes: 0,
            parent: ParentCursor::new(engine, parent),
            name: at.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec(),
            registered,
            buffer: Vec::new(),
            recording: recording.is_some(),
            known,
        })
    }

    /// Takes the next entry, in canonical order; the first is the top. `has_more_names` says that other names of this file
    /// follow.
    ///
    /// # Errors
    ///
    /// The store failed, a stream failed, or the work was cancelled. That a file cannot be read is in the report.
    pub fn entry(
        &mut self,
        entry: &Entry,
        content: Content<'_>,
        has_more_names: bool,
    ) -> Result<(), RepositoryError> {
        let path = entry.path.clone();
        let name: &[u8] = match path.as_bytes().rsplit(|byte| *byte == b'/').next() {
            Some(name) if !name.is_empty() => name,
            _ => &self.name,
        };
        let node = Node::of_entry(entry, name);
        let before = self.parent.find(&path);
        let hash_before = self.known.as_mut().and_then(|known| known.find(entry));
        let record = self.recording.then(|| Box::new(entry.clone()));
        let mut placed = Placed { node, has_more_names, record };
        if let Some(first) = &entry.hard_link {
            return self.give(Item::Ready(Done::LaterName { path, placed, first: first.clone() }), 0);
        }
        let (place, at) = match content {
            Content::None => return self.give(Item::Ready(Done::Node { path, placed }), 0),
            Content::Stream(stream) => return self.stream(path, placed, stream),
            Content::Stored { place, at } => (place, at),
        };
        if let Some(before) = before.filter(|before| is_unchanged(&self.engine, entry, before))
            && let Some(hash) = self.hash_of_unchanged(&before, hash_before)
        {
            self.engine.watcher.advance(Amount { items: 1, bytes: placed.node.size });
            placed.node.content = before.content;
            placed.set_hash(hash);
            return self.give(Item::Ready(Done::Node { path, placed }), 0);
        }
        let sha256 = if let Kind::File(facts) = &entry.kind { facts.sha256 } else { None };
        let size = placed.node.size;
        let file = SmallFile { place: Arc::clone(place), stored: at, path, placed, sha256 };
        if size > CHUNK_BYTES_MIN as u64 {
            return self.big_file(file);
        }
        self.engine.watcher.advance(Amount { items: 1, bytes: size });
        self.give(Item::File(Box::new(file)), size)
    }

    /// The hash of a file that is not read again, for the list: that of its only blob, or the one in the list before.
    fn hash_of_unchanged(&self, before: &Node, known: Option<[u8; 32]>) -> Option<[u8; 32]> {
        match before.blobs() {
            // Nobody asks for it.
            _ if !self.recording => Some([0; 32]),
            [] => Some(*crate::Id::of(b"").as_bytes()),
            [only] => Some(*only.as_bytes()),
            _ => known,
        }
    }

    /// Cuts a file that is longer than the shortest chunk.
    fn big_file(&mut self, file: SmallFile) -> Result<(), RepositoryError> {
        let SmallFile { place, stored, path, mut placed, sha256 } = file;
        let size = placed.node.size;
        let at = path.clone();
        let problem = |text| Item::Ready(Done::Problem(FileProblem { path: at, text }));
        let opened = match place.another().open(&stored, size) {
            Ok(opened) => opened,
            Err(error) => return self.give(problem(problem_of(error)), 0),
        };
        let hashed = self.recording || sha256.is_some();
        let mut hash = hashed.then(|| ContentHash::new(size));
        let mut take = |bytes: &[u8]| {
            if let Some(hash) = &mut hash {
                hash.take(bytes);
            }
        };
        let read = match self.chunks(&mut HoleReader::new(opened), size, &mut take) {
            Ok(read) => read,
            Err(ChunkError::Read(error)) => return self.give(problem(format!("cannot read it: {error}")), 0),
            Err(ChunkError::Ended(error)) => return Err(error),
        };
        if read != size {
            return self.give(problem(format!("it had {size} bytes, and {read} were read")), 0);
        }
        if let Some(hash) = hash.map(ContentHash::finish) {
            if sha256.is_some_and(|wanted| wanted != hash) {
                return self
                    .give(problem("its content is not what was stored (the hashes differ)".into()), 0);
            }
            placed.set_hash(hash);
        }
        self.engine.watcher.advance(Amount { items: 1, bytes: 0 });
        self.give(Item::Ready(Done::FileEnd { path, placed }), 0)
    }

    fn stream(
        &mut self,
        path: RelPath,
        mut placed: Placed,
        stream: &mut dyn Read,
    ) -> Result<(), RepositoryError> {
        let mut hash = self.recording.then(StreamHash::default);
        let mut take = |bytes: &[u8]| {
            if let Some(hash) = &mut hash {
                hash.take(bytes);
            }
        };
        match self.chunks(&mut Plain(stream), u64::MAX, &mut take) {
            Ok(read) => placed.node.size = read,
            Err(ChunkError::Read(error)) => {
                let name = String::from_utf8_lossy(&placed.node.name);
                let text = format!("the stream of {name} failed: {error}");
                return Err(RepositoryError::new(ErrorKind::Component, text));
            }
            Err(ChunkError::Ended(error)) => return Err(error),
        }
        if let Some(hash) = hash.and_then(|hash| hash.finish().sha256) {
            placed.set_hash(hash);
        }
        self.engine.watcher.advance(Amount { items: 1, bytes: 0 });
        self.give(Item::Ready(Done::FileEnd { path, placed }), 0)
    }

    /// Reads to the end, or until there is more than there may be, and gives the chunks to the workers.
    fn chunks(
        &mut self,
        source: &mut dyn Source,
        size: u64,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<u64, ChunkError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(CHUNK_BYTES_MAX + READ_AHEAD_BYTES, 0);
        let (mut begin, mut end, mut ended, mut total) = (0, 0, false, 0_u64);
        while !ended || begin < end {
            if !ended && end - begin < CHUNK_BYTES_MAX {
                if buffer.len() - begin < CHUNK_BYTES_MAX {
                    buffer.copy_within(begin..end, 0);
                    (begin, end) = (0, end - begin);
                }
                match source.read(&mut buffer[end..]) {
                    Ok(0) => ended = true,
                    Ok(some) => {
                        if total + some as u64 <= size {
                            take(&buffer[end..end + some]);
                        }
                        end += some;
                        total += some as u64;
                        ended = total > size;
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(ChunkError::Read(error)),
                }
                continue;
            }
            let length = self.engine.chunker.cut(&buffer[begin..end]);
            let chunk = buffer[begin..begin + length].to_vec();
            begin += length;
            self.engine.watcher.advance(Amount { items: 0, bytes: length as u64 });
            self.give(Item::Chunk(chunk), length as u64).map_err(ChunkError::Ended)?;
        }
        self.buffer = buffer;
        Ok(total)
    }

    fn give(&mut self, item: Item, bytes: u64) -> Result<(), RepositoryError> {
        self.batch.push(item);
        self.batch_bytes += bytes;
        if self.batch.len() >= BATCH_ITEMS || self.batch_bytes >= BATCH_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), RepositoryError> {
        let items = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH_ITEMS));
        let bytes = std::mem::take(&mut self.batch_bytes);
        let (answer, turn) = bounded(1);
        let given = match self.turns.as_ref().filter(|_| !self.engine.is_failed()) {
            // What needs no work goes past the workers.
            Some(turns) if bytes == 0 && items.iter().all(|item| matches!(item, Item::Ready(_))) => {
                let done = items
                    .into_iter()
                    .filter_map(|item| if let Item::Ready(done) = item { Some(done) } else { None });
                answer.send(done.collect()).is_ok() && turns.send(turn).is_ok()
            }
            Some(turns) => self.jobs.send((items, answer)).is_ok() && turns.send(turn).is_ok(),
            None => false,
        };
        if given { Ok(()) } else { Err(ended_early(&self.engine)) }
    }

    /// All entries were given: waits until their folders are built. Nothing of the part is in a version that is finished
    /// before.
    ///
    /// # Errors
    ///
    /// As for [`entry`](Self::entry).
    pub fn end(mut self) -> Result<PartReport, RepositoryError> {
        self.flush()?;
        self.turns = None;
        let built = self.builder.take().map(JoinHandle::join);
        match built {
            Some(Ok(Ok((top, report)))) => {
                self.registered.end(top, &report);
                Ok(report)
            }
            Some(Ok(Err(Ended))) => Err(ended_early(&self.engine)),
            _ => Err(RepositoryError::new(ErrorKind::Bug, "the thread that builds folders ended by a panic")),
        }
    }

    /// Takes a file tree as it lies: every entry, with its content. Files that changed at or after `settled_before` (now, when
    /// nothing is given) will be read again by the next save.
    ///
    /// # Errors
    ///
    /// As for [`entry`](Self::entry), and when the folder cannot be opened.
    pub fn tree(
        &mut self,
        root: &Path,
        filter: stillpoint_tree::Filter,
        settled_before: Option<Timestamp>,
    ) -> Result<(), RepositoryError> {
        super::feed::tree(self, root, filter, settled_before.unwrap_or_else(stillpoint_tree::begin_of_now))
    }

    /// Takes what a list names, with content that is stored in this folder under the same paths.
    ///
    /// # Errors
    ///
    /// As for [`entry`](Self::entry), and when the list is damaged.
    pub fn listed(&mut self, list: &Path, folder: &Path) -> Result<(), RepositoryError> {
        super::feed::listed(self, list, folder)
    }

    /// What could not even be looked at.
    pub(super) fn problem(&mut self, problem: FileProblem) -> Result<(), RepositoryError> {
        self.give(Item::Ready(Done::Problem(problem)), 0)
    }
}

fn ended_early(engine: &Engine) -> RepositoryError {
    let unknown = || RepositoryError::new(ErrorKind::Environment, super::STORE_FAILED);
    engine.failure().unwrap_or_else(unknown)
}

fn build(
    engine: &Engine,
    device: u64,
    list: Option<IndexAppender>,
    turns: &Receiver<Receiver<Vec<Done>>>,
) -> Built {
    let mut builder = Builder::new(engine, device, list);
    for turn in turns {
        let results = turn.recv().map_err(|_| Ended)?;
        for done in results {
            builder.take(done)?;
        }
        if engine.is_failed() {
            return Err(Ended);
        }
    }
    builder.finish()
}

/// A number for the part that stays the same from version to version.
fn device_of(at: &RelPath) -> u64 {
    let id = crate::Id::of(at.as_bytes());
    id.as_bytes().first_chunk::<4>().map_or(1, |bytes| u64::from(u32::from_le_bytes(*bytes)))
}

enum ChunkError {
    Read(std::io::Error),
    Ended(RepositoryError),
}
