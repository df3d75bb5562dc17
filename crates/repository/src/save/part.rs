//! One part of a version: a tree of entries in canonical order, or a single file.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use stillpoint_model::ErrorKind;
use stillpoint_tree::{ContentHash, Entry, FileProblem, Kind, Opener, RelPath, Timestamp};

use super::builder::{Builder, PartReport};
use super::engine::{Engine, Job};
use super::parent::{ParentCursor, is_unchanged};
use super::upload::{Ended, spawn};
use super::work::{Done, Item, SmallFile, problem_of};
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
}

impl Part {
    pub(super) fn begin(
        engine: &Arc<Engine>,
        jobs: Sender<Job>,
        at: &RelPath,
        parent: Option<Node>,
        registered: super::Registered,
    ) -> Result<Self, RepositoryError> {
        let (turns, waiting) = bounded::<Receiver<Vec<Done>>>(TURNS_WAITING);
        let device = device_of(at);
        let shared = Arc::clone(engine);
        let builder = spawn("folders", move || build(&shared, device, &waiting))?;
        Ok(Self {
            engine: Arc::clone(engine),
            jobs,
            turns: Some(turns),
            builder: Some(builder),
            batch: Vec::new(),
            batch_bytes: 0,
            parent: ParentCursor::new(parent),
            name: at.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec(),
            registered,
            buffer: Vec::new(),
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
        let mut node = Node::of_entry(entry, name);
        let before = self.parent.find(&self.engine, &path);
        if let Some(first) = &entry.hard_link {
            let done = Done::LaterName { path, node, first: first.clone() };
            return self.give(Item::Ready(done), 0);
        }
        match content {
            Content::None => self.give(Item::Ready(Done::Node { path, node, has_more_names }), 0),
            Content::Stream(stream) => self.stream(path, node, stream),
            Content::Stored { place, at } => {
                if let Some(before) = before.filter(|before| is_unchanged(&self.engine, entry, before)) {
                    self.engine.watcher.advance(Amount { items: 1, bytes: node.size });
                    node.content = before.content;
                    return self.give(Item::Ready(Done::Node { path, node, has_more_names }), 0);
                }
                let sha256 = if let Kind::File(facts) = &entry.kind { facts.sha256 } else { None };
                let size = node.size;
                let file =
                    SmallFile { place: Arc::clone(place), stored: at, path, node, sha256, has_more_names };
                if size > CHUNK_BYTES_MIN as u64 {
                    return self.big_file(file);
                }
                self.engine.watcher.advance(Amount { items: 1, bytes: size });
                self.give(Item::File(Box::new(file)), size)
            }
        }
    }

    /// Cuts a file that is longer than the shortest chunk.
    fn big_file(&mut self, file: SmallFile) -> Result<(), RepositoryError> {
        let SmallFile { place, stored, path, node, sha256, has_more_names } = file;
        let at = path.clone();
        let problem = |text| Item::Ready(Done::Problem(FileProblem { path: at, text }));
        let opened = match place.another().open(&stored, node.size) {
            Ok(opened) => opened,
            Err(error) => return self.give(problem(problem_of(error)), 0),
        };
        let mut hash = sha256.map(|_| ContentHash::new(node.size));
        let read = match self.chunks(&mut HoleReader::new(opened), node.size, hash.as_mut()) {
            Ok(read) => read,
            Err(ChunkError::Read(error)) => return self.give(problem(format!("cannot read it: {error}")), 0),
            Err(ChunkError::Ended(error)) => return Err(error),
        };
        if read != node.size {
            let reason = format!("it had {} bytes, and {read} were read", node.size);
            return self.give(problem(reason), 0);
        }
        if sha256.is_some() && hash.map(ContentHash::finish) != sha256 {
            return self.give(problem("its content is not what was stored (the hashes differ)".into()), 0);
        }
        self.engine.watcher.advance(Amount { items: 1, bytes: 0 });
        self.give(Item::Ready(Done::FileEnd { path, node, has_more_names }), 0)
    }

    fn stream(
        &mut self,
        path: RelPath,
        mut node: Node,
        stream: &mut dyn Read,
    ) -> Result<(), RepositoryError> {
        match self.chunks(&mut Plain(stream), u64::MAX, None) {
            Ok(read) => node.size = read,
            Err(ChunkError::Read(error)) => {
                let text = format!("the stream of {} failed: {error}", String::from_utf8_lossy(&node.name));
                return Err(RepositoryError::new(ErrorKind::Component, text));
            }
            Err(ChunkError::Ended(error)) => return Err(error),
        }
        self.engine.watcher.advance(Amount { items: 1, bytes: 0 });
        self.give(Item::Ready(Done::FileEnd { path, node, has_more_names: false }), 0)
    }

    /// Reads to the end, or until there is more than there may be, and gives the chunks to the workers.
    fn chunks(
        &mut self,
        source: &mut dyn Source,
        size: u64,
        mut hash: Option<&mut ContentHash>,
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
                        if let Some(hash) = hash.as_mut().filter(|_| total + some as u64 <= size) {
                            hash.take(&buffer[end..end + some]);
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
                self.registered.end(top, report.left_out);
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

fn build(engine: &Engine, device: u64, turns: &Receiver<Receiver<Vec<Done>>>) -> Built {
    let mut builder = Builder::new(engine, device);
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

/// Where bytes come from.
trait Source {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize>;
}

struct Plain<'s>(&'s mut dyn Read);

impl Source for Plain<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

/// Reads a file without asking the disk for its holes.
struct HoleReader {
    file: std::fs::File,
    at: u64,
    /// Where the hole ends in which we are, or the data.
    until: u64,
    in_hole: bool,
    size: u64,
}

impl HoleReader {
    fn new(file: std::fs::File) -> Self {
        let size = file.metadata().map_or(0, |facts| facts.len());
        Self { file, at: 0, until: 0, in_hole: false, size }
    }

    /// Finds out what is at the place where we are.
    fn look(&mut self) {
        use rustix::fs::{SeekFrom as Find, seek};
        self.until = u64::MAX;
        self.in_hole = false;
        match seek(&self.file, Find::Data(self.at)) {
            Ok(data) if data > self.at => (self.until, self.in_hole) = (data, true),
            Ok(_) => {
                if let Ok(hole) = seek(&self.file, Find::Hole(self.at)) {
                    self.until = hole.max(self.at + 1);
                }
            }
            // No data follows; or this file system knows no holes.
            Err(rustix::io::Errno::NXIO) if self.at < self.size => {
                (self.until, self.in_hole) = (self.size, true)
            }
            Err(_) => {}
        }
    }
}

impl Source for HoleReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.at >= self.until {
            self.look();
        }
        let most = usize::try_from(self.until - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = &mut buffer[..most];
        let some = if self.in_hole {
            buffer.fill(0);
            most
        } else {
            self.file.seek(SeekFrom::Start(self.at))?;
            self.file.read(buffer)?
        };
        self.at += some as u64;
        Ok(some)
    }
}
