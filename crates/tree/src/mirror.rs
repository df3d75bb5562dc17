//! Copying a tree and listing it on the way.
//!
//! One thread walks and makes the folders, several take the files, the calling one writes the list in order. A folder gets
//! its metadata when all that is in it is done. Nothing else of the tree is kept in memory.

use std::collections::HashMap;
use std::iter::Peekable;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::time::ClockId;

use crate::content::Meter;
use crate::metadata::{Care, apply};
use crate::pipeline::{self, Ended, Feeder};
use crate::place::Place;
use crate::take::{Manner, Taken, Taker, size_of};
use crate::walk::{Attributes, Found, Step, Walker};
use crate::{Entry, FileProblem, Filter, IndexAppender, IndexReader, Kind, RelPath, Timestamp, TreeError};

/// How many problems a report keeps.
const PROBLEMS_MAX: usize = 1000;

/// A change time may lag behind the clock by one tick of the kernel (at most 10 ms, at 100 ticks a second).
const TICK_NANOSECONDS: i64 = 10_000_000;

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
    /// Entries with a change time at or after this are listed as not settled. When nothing is given, all are settled that
    /// did not change while they were read; in a live tree the begin of this copy, less a tick of the clock, is taken.
    pub settled_before: Option<Timestamp>,
    /// How many threads copy; 0 means as many as there are processors, at most 8.
    pub threads: usize,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MirrorReport {
    /// Entries listed.
    pub entries: u64,
    /// Regular files among them.
    pub files: u64,
    /// Bytes of those, holes included; of a file with several names once.
    pub bytes: u64,
    /// Bytes read and written, or cloned; holes not included.
    pub copied_bytes: u64,
    /// Bytes shared with the baseline.
    pub shared_bytes: u64,
    /// Files that are listed without a hash, and are no later names: without hashing all, else those that changed under the
    /// reading.
    pub unhashed: u64,
    /// Entries, folders apart, that have other names, in the tree or outside.
    pub several_names: u64,
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
/// and symbolic links are created with their metadata as far as our rights go (the list is what counts); pipes, sockets,
/// devices and the later names of a file are listed only. The metadata of `target` itself is left alone. After an error
/// what was copied stays, and is of no use.
pub fn mirror(
    source: &Path,
    target: &Path,
    index: &mut IndexAppender,
    options: &MirrorOptions,
    progress: &dyn Progress,
) -> Result<MirrorReport, TreeError> {
    let mut walker = Walker::new(source, options.filter.clone(), Attributes::NotOfFiles)?;
    let target = Place::open(target)?;
    walker.keep_out_of(&target)?;
    let (stored, earlier) = match &options.baseline {
        Some(baseline) => (Some(Place::open(&baseline.root)?), Some(Earlier::open(&baseline.index)?)),
        None => (None, None),
    };
    let settled_before = options.settled_before.or_else(|| options.live.then(begin_of_now));
    let manner =
        Manner { transfer: options.transfer, hash: options.hash, live: options.live, settled_before };
    let meter = Meter::new(progress);
    let taker = |walker: &Walker| {
        let again = |place: &Option<Place>| place.as_ref().map(Place::another);
        Taker::new(walker.place().another(), Some(target.another()), again(&stored), manner, &meter)
    };
    let takers = (0..pipeline::thread_count(options.threads)).map(|_| taker(&walker)).collect();
    let collector = Collector::new(index, Some(target.another()), taker(&walker));
    let feed = Feed { walker, target: Some(target.another()), earlier };
    take_all(feed, takers, collector, &meter)
}

/// Lists the tree at `root`, which lies still, without copying it: what [`mirror`] would list. With `hash` every file is
/// read.
pub fn index_tree(
    root: &Path,
    filter: &Filter,
    index: &mut IndexAppender,
    hash: bool,
    threads: usize,
    progress: &dyn Progress,
) -> Result<MirrorReport, TreeError> {
    let walker = Walker::new(root, filter.clone(), Attributes::NotOfFiles)?;
    let manner = Manner { transfer: Transfer::Copy, hash, live: false, settled_before: None };
    let meter = Meter::new(progress);
    let taker = || Taker::new(walker.place().another(), None, None, manner, &meter);
    let takers = (0..pipeline::thread_count(threads)).map(|_| taker()).collect();
    let collector = Collector::new(index, None, taker());
    take_all(Feed { walker, target: None, earlier: None }, takers, collector, &meter)
}

/// The latest change time that lies safely in the past.
pub fn begin_of_now() -> Timestamp {
    let now = rustix::time::clock_gettime(ClockId::Realtime);
    let borrow = i64::from(now.tv_nsec < TICK_NANOSECONDS);
    let nanoseconds = now.tv_nsec - TICK_NANOSECONDS + borrow * 1_000_000_000;
    // It lies between 0 and a second.
    Timestamp { seconds: now.tv_sec - borrow, nanoseconds: nanoseconds as u32 }
}

struct Job {
    found: Found,
    earlier: Option<Entry>,
}

enum Item {
    Taken(Taken),
    Leave(Entry),
    Failed(TreeError),
}

fn take_all(
    feed: Feed,
    takers: Vec<Taker<'_>>,
    mut collector: Collector<'_, '_>,
    meter: &Meter<'_>,
) -> Result<MirrorReport, TreeError> {
    let workers: Vec<_> = takers
        .into_iter()
        .map(|mut taker| {
            move |job: Job| taker.take(job.found, job.earlier).map_or_else(Item::Failed, Item::Taken)
        })
        .collect();
    let several_names = AtomicU64::new(0);
    pipeline::run(workers, meter, |feeder| feed.run(feeder, &several_names), |item| collector.collect(item))?;
    Ok(MirrorReport { several_names: several_names.into_inner(), ..collector.report })
}

/// Walks, makes folders and hands files out.
struct Feed {
    walker: Walker,
    target: Option<Place>,
    earlier: Option<Earlier>,
}

impl Feed {
    fn run(mut self, feeder: &mut Feeder<Job, Item>, several_names: &AtomicU64) -> Result<(), Ended> {
        while let Some(step) = self.walker.next() {
            match step {
                Step::Problem(problem) => {
                    feeder.done(Item::Taken(Taken { problem: Some(problem), ..Taken::default() }))?;
                }
                Step::Leave(entry) => {
                    feeder.done(Item::Leave(entry))?;
                    feeder.turn()?;
                }
                Step::Entry(found) => self.feed(found, feeder)?,
            }
        }
        several_names.store(self.walker.several_names(), Ordering::Relaxed);
        Ok(())
    }

    fn feed(&mut self, found: Found, feeder: &mut Feeder<Job, Item>) -> Result<(), Ended> {
        let entry = &found.entry;
        match entry.kind {
            Kind::Symlink(_) => return feeder.work(Job { found, earlier: None }, 0),
            Kind::File(_) if entry.hard_link.is_none() => {
                let earlier = self.earlier.as_mut().and_then(|earlier| earlier.find(&entry.path));
                // One that is likely shared is little work, whatever its size.
                let bytes = if earlier.is_some() { 0 } else { size_of(entry) };
                return feeder.work(Job { found, earlier }, bytes);
            }
            Kind::Directory if !entry.path.is_top() => {
                if let Some(target) = &mut self.target
                    && let Err(error) = make_folder(target, &entry.path)
                {
                    return feeder.done(Item::Failed(error));
                }
            }
            _ => {}
        }
        feeder.done(Item::Taken(Taken { entry: Some(found.entry), ..Taken::default() }))
    }
}

fn make_folder(target: &mut Place, path: &RelPath) -> Result<(), TreeError> {
    let made =
        target.parent_of(path).and_then(|(parent, name)| rustix::fs::mkdirat(parent, name, Mode::RWXU));
    made.map_err(|error| match error {
        Errno::EXIST => TreeError::Exists { path: target.path_of(path) },
        _ => target.failed("create the folder", path, error),
    })
}

/// The list of an earlier copy, read alongside the walk.
struct Earlier {
    entries: Peekable<IndexReader>,
    usable: bool,
}

impl Earlier {
    fn open(index: &Path) -> Result<Self, TreeError> {
        Ok(Self { entries: IndexReader::open(index)?.peekable(), usable: true })
    }

    /// The entry of that path; paths are asked for in canonical order.
    fn find(&mut self, path: &RelPath) -> Option<Entry> {
        while self.usable {
            match self.entries.peek()? {
                Ok(entry) if entry.path > *path => return None,
                Ok(entry) if entry.path == *path => return self.entries.next()?.ok(),
                Ok(_) => {
                    self.entries.next();
                }
                Err(error) => {
                    // A damaged list of the earlier copy costs time and space, but not this copy.
                    tracing::warn!(%error, "the list of the earlier copy is of no use from here on, copying");
                    self.usable = false;
                }
            }
        }
        None
    }
}

/// Writes the list and finishes folders.
struct Collector<'i, 't> {
    index: &'i mut IndexAppender,
    target: Option<Place>,
    taker: Taker<'t>,
    report: MirrorReport,
    /// First names that are not listed, and the name that stands for them since.
    lost: HashMap<RelPath, Option<RelPath>>,
}

impl<'i, 't> Collector<'i, 't> {
    fn new(index: &'i mut IndexAppender, target: Option<Place>, taker: Taker<'t>) -> Self {
        Self { index, target, taker, report: MirrorReport::default(), lost: HashMap::new() }
    }

    fn collect(&mut self, item: Item) -> Result<(), TreeError> {
        match item {
            Item::Failed(error) => Err(error),
            Item::Leave(entry) => self.finish_folder(&entry),
            Item::Taken(mut taken) => {
                if let Some(entry) = &mut taken.entry
                    && !matches!(entry.kind, Kind::File(_))
                {
                    self.taker.settle(entry, false);
                }
                match taken.entry.take_if(|entry| entry.hard_link.is_some()) {
                    Some(entry) => self.list_link(entry),
                    None => self.list(taken),
                }
            }
        }
    }

    /// A later name of a file. When the first was gone or unreadable, this one is tried in its place.
    fn list_link(&mut self, mut entry: Entry) -> Result<(), TreeError> {
        self.taker.settle(&mut entry, false);
        let first = entry.hard_link.clone().filter(|first| self.lost.contains_key(first));
        let Some(first) = first else {
            return self.list(Taken { entry: Some(entry), ..Taken::default() });
        };
        if let Some(Some(stand_in)) = self.lost.get(&first) {
            entry.hard_link = Some(stand_in.clone());
            return self.list(Taken { entry: Some(entry), ..Taken::default() });
        }
        entry.hard_link = None;
        let path = entry.path.clone();
        let taken = self.taker.take(Found { entry, has_more_names: false }, None)?;
        if taken.entry.is_some() {
            self.lost.insert(first, Some(path));
        }
        self.list(taken)
    }

    fn list(&mut self, taken: Taken) -> Result<(), TreeError> {
        if let Some(problem) = taken.problem {
            self.report.problem_count += 1;
            if self.report.problems.len() < PROBLEMS_MAX {
                self.report.problems.push(problem);
            }
        }
        if let Some(path) = taken.lost {
            self.lost.insert(path, None);
        }
        self.report.copied_bytes += taken.copied_bytes;
        self.report.shared_bytes += taken.shared_bytes;
        let Some(entry) = taken.entry else { return Ok(()) };
        self.report.entries += 1;
        if let Kind::File(facts) = &entry.kind {
            self.report.files += 1;
            if entry.hard_link.is_none() {
                self.report.bytes += facts.size;
                self.report.unhashed += u64::from(facts.sha256.is_none());
            }
        }
        self.index.append(&entry)
    }

    /// All that is in the folder is done, so nothing moves its modification time any more.
    fn finish_folder(&mut self, entry: &Entry) -> Result<(), TreeError> {
        let Some(target) = self.target.as_mut().filter(|_| !entry.path.is_top()) else { return Ok(()) };
        let folder =
            target.open_folder(&entry.path).map_err(|e| target.failed("open the folder", &entry.path, e))?;
        // The list has the truth.
        apply(folder.as_fd(), entry, Care::Copy, &mut |_, _| {});
        Ok(())
    }
}
