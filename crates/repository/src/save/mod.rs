//! Saving a version.
//!
//! ```text
//! Part (feeds, cuts big files) ──> workers (read, hash, compress, seal) ──> full packs ──> uploader ──> store
//!   └──────────> turns, in order ──> builder (folders, one thread a part) ──────┘
//! ```
//!
//! Work is done in parallel and collected in order. All queues are short, so memory does not grow with the site. A version
//! consists of parts, which may be filled at the same time. Its snapshot is written last, and only when every part that was
//! begun has ended well.

mod builder;
mod engine;
mod feed;
pub(crate) mod packer;
mod parent;
mod part;
mod record;
mod source;
pub(crate) mod upload;
mod work;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, bounded};
use stillpoint_model::ErrorKind;
use stillpoint_tree::{Entry, Kind, RelPath};

use crate::blob::BlobKind;
use crate::error::RepositoryError;
use crate::id::Id;
use crate::index::Index;
use crate::node::Node;
use crate::repository::Repository;
use crate::snapshot::{Snapshot, Summary};
use crate::time::Moment;
use crate::trees::TreeReader;
use crate::watch::Watcher;
use engine::{Engine, Job};
use upload::{lock, spawn};

pub use builder::PartReport;
pub use part::{Content, Part};
pub use record::Recording;

/// Said when work ended and nobody said why.
const STORE_FAILED: &str = "the archive could not store what was saved";

/// How many threads read, compress and seal, at least.
const WORKERS_MIN: usize = 2;

/// Saves one version.
pub struct Saver {
    engine: Arc<Engine>,
    jobs: Sender<Job>,
    workers: Vec<JoinHandle<()>>,
    parts: Arc<Mutex<BTreeMap<RelPath, State>>>,
    parent: Option<(Id, Snapshot)>,
    begun: Moment,
}

/// What became of a part.
#[derive(Debug)]
enum State {
    /// It has not ended, or not well.
    Begun,
    /// It ended well.
    Ended { top: Box<Node>, left_out: u64, files: u64, bytes: u64 },
}

/// A part's place in its version.
pub(crate) struct Registered {
    parts: Arc<Mutex<BTreeMap<RelPath, State>>>,
    at: RelPath,
}

impl Registered {
    /// A part without its top stays one that has not ended well.
    fn end(&self, top: Option<Node>, report: &PartReport) {
        if let Some(top) = top {
            let PartReport { left_out, files, bytes, .. } = *report;
            lock(&self.parts)
                .insert(self.at.clone(), State::Ended { top: Box::new(top), left_out, files, bytes });
        }
    }
}

/// What a version is called.
#[derive(Debug, Clone)]
pub struct SnapshotFacts {
    /// The moment of which it is.
    pub time: Moment,
    /// The machine; for us, the site.
    pub hostname: String,
    /// What is in it, as restic's lists show it: one absolute path. The parts lie below.
    pub path: String,
    /// Tags.
    pub tags: Vec<String>,
    /// Whether it may be kept though something is left out.
    pub incomplete: bool,
    /// The metadata of its folders that are no part.
    pub folder: Entry,
}

/// A saved version.
#[derive(Debug, Clone)]
pub struct Saved {
    /// Its name.
    pub id: Id,
    /// Bytes of new blobs before compression.
    pub added_bytes: u64,
    /// Bytes that the archive grew by, but for lists and index.
    pub stored_bytes: u64,
}

impl Saver {
    /// Begins a version. What did not change since `parent` is not read again.
    ///
    /// # Errors
    ///
    /// The store fails or an index file is damaged.
    pub fn begin(
        repository: &Repository,
        parent: Option<(Id, Snapshot)>,
        watcher: Arc<dyn Watcher>,
    ) -> Result<Self, RepositoryError> {
        // How another program marks a file that it read too soon is not known.
        let parent = parent.filter(|(_, parent)| parent.program_version.starts_with("stillpoint "));
        let index = Index::load(repository)?;
        let engine = Arc::new(Engine::new(repository, index, watcher)?);
        let count = std::thread::available_parallelism().map_or(WORKERS_MIN, |n| n.get().max(WORKERS_MIN));
        let (jobs, waiting) = bounded::<Job>(count);
        let mut workers = Vec::new();
        for _ in 0..count {
            let (engine, waiting) = (Arc::clone(&engine), waiting.clone());
            workers.push(spawn("save", move || engine.work(&waiting))?);
        }
        Ok(Self { engine, jobs, workers, parts: Arc::default(), parent, begun: Moment::now() })
    }

    /// Begins a part at this path below the path of the version. Until it ends, the version cannot be finished.
    ///
    /// # Errors
    ///
    /// There is one already, or the system starts no more threads.
    pub fn part(&self, at: &RelPath) -> Result<Part, RepositoryError> {
        self.begin_part(at, None)
    }

    /// The same, and all that the part takes is listed, in the form of `docs/format-entries.md`.
    ///
    /// # Errors
    ///
    /// As for [`part`](Self::part), and when the list cannot be written.
    pub fn part_with_list(&self, at: &RelPath, recording: Recording) -> Result<Part, RepositoryError> {
        self.begin_part(at, Some(recording))
    }

    fn begin_part(&self, at: &RelPath, recording: Option<Recording>) -> Result<Part, RepositoryError> {
        if lock(&self.parts).insert(at.clone(), State::Begun).is_some() {
            let text = format!("the part {} was begun twice", at.as_path().display());
            return Err(RepositoryError::new(ErrorKind::Bug, text));
        }
        let registered = Registered { parts: Arc::clone(&self.parts), at: at.clone() };
        Part::begin(&self.engine, self.jobs.clone(), at, self.parent_of(at), registered, recording)
    }

    /// What the version before has at the place of a part.
    fn parent_of(&self, at: &RelPath) -> Option<Node> {
        let (_, parent) = self.parent.as_ref()?;
        let path = parent.paths.first()?.trim_start_matches('/');
        let names = path.split('/').map(str::as_bytes).chain(at.as_bytes().split(|byte| *byte == b'/'));
        let mut reader = TreeReader::new(self.engine.repository.clone(), Arc::clone(&self.engine.index));
        let (mut folder, mut found) = (Some(parent.tree), None);
        for name in names.filter(|name| !name.is_empty()) {
            let node = reader.node(&folder?, name).ok()??;
            folder = node.subtree;
            found = Some(node);
        }
        found
    }

    /// Stores the version. What it names lasts by then.
    ///
    /// # Errors
    ///
    /// A part that was begun has not ended well, something is left out of a version that says to be complete, the store
    /// failed, or the work was cancelled. Then there is no version.
    pub fn finish(self, facts: &SnapshotFacts) -> Result<Saved, RepositoryError> {
        let Self { engine, jobs, workers, parts, parent, begun } = self;
        let parts = std::mem::take(&mut *lock(&parts));
        let (files, bytes) = totals(&parts);
        // A part that was not ended may still hold on to the workers.
        let tops = ended_well(parts, facts.incomplete).map_err(|error| engine.failure().unwrap_or(error))?;
        drop(jobs);
        for worker in workers {
            if worker.join().is_err() {
                return Err(RepositoryError::new(ErrorKind::Bug, "a thread that saves ended by a panic"));
            }
        }
        let composed = compose(&engine, tops, facts);
        let flushed = engine.flush();
        engine.uploader.finish()?;
        if let Some(error) = engine.failure() {
            return Err(error);
        }
        let tree = composed?;
        flushed.map_err(|_| RepositoryError::new(ErrorKind::Environment, STORE_FAILED))?;
        let counters = Figures::of(&engine);
        let snapshot = Snapshot {
            time: facts.time,
            parent: parent.map(|(id, _)| id),
            tree,
            paths: vec![facts.path.clone()],
            hostname: facts.hostname.clone(),
            username: crate::who::user(),
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            excludes: Vec::new(),
            tags: facts.tags.clone(),
            original: None,
            program_version: concat!("stillpoint ", env!("CARGO_PKG_VERSION")).to_owned(),
            summary: Some(Summary {
                backup_start: begun,
                backup_end: Moment::now(),
                total_files_processed: files,
                total_bytes_processed: bytes,
                ..counters.summary()
            }),
        };
        let id = engine.repository.save_snapshot(&snapshot)?;
        Ok(Saved { id, added_bytes: counters.added, stored_bytes: counters.packed })
    }
}

#[derive(Debug, Clone, Copy)]
struct Figures {
    data_blobs: u64,
    tree_blobs: u64,
    added: u64,
    packed: u64,
}

impl Figures {
    fn of(engine: &Engine) -> Self {
        let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &engine.counters;
        Self {
            data_blobs: get(&counters.data_blobs),
            tree_blobs: get(&counters.tree_blobs),
            added: get(&counters.added),
            packed: get(&counters.added_packed),
        }
    }

    fn summary(self) -> Summary {
        Summary {
            data_blobs: self.data_blobs,
            tree_blobs: self.tree_blobs,
            data_added: self.added,
            data_added_packed: self.packed,
            ..Summary::default()
        }
    }
}

/// Files and bytes of all parts.
fn totals(parts: &BTreeMap<RelPath, State>) -> (u64, u64) {
    parts.values().fold((0, 0), |(all_files, all_bytes), state| match state {
        State::Begun => (all_files, all_bytes),
        State::Ended { files, bytes, .. } => (all_files + files, all_bytes + bytes),
    })
}

/// The tops of all parts, when each of them ended well.
fn ended_well(
    parts: BTreeMap<RelPath, State>,
    incomplete: bool,
) -> Result<Vec<(RelPath, Node)>, RepositoryError> {
    let refused = |at: &RelPath, why: &str| {
        let text = format!("no version was made: {} {why}", at.as_path().display());
        RepositoryError::new(ErrorKind::Component, text)
    };
    let mut tops = Vec::new();
    for (at, state) in parts {
        match state {
            State::Begun => return Err(refused(&at, "did not answer for itself")),
            State::Ended { left_out, .. } if left_out > 0 && !incomplete => {
                return Err(refused(&at, &format!("has {left_out} entries that could not be read")));
            }
            State::Ended { top, .. } => tops.push((at, *top)),
        }
    }
    Ok(tops)
}

/// A folder that holds parts.
#[derive(Default)]
struct Above {
    folders: BTreeMap<Vec<u8>, Above>,
    tops: BTreeMap<Vec<u8>, Node>,
}

/// Makes the folders above the parts, and returns the top of the snapshot.
fn compose(
    engine: &Engine,
    tops: Vec<(RelPath, Node)>,
    facts: &SnapshotFacts,
) -> Result<Id, RepositoryError> {
    let mut root = Above::default();
    for (at, mut top) in tops {
        let path = facts.path.split('/').map(str::as_bytes).chain(at.as_bytes().split(|byte| *byte == b'/'));
        let mut names: Vec<Vec<u8>> = path.filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect();
        let Some(last) = names.pop() else {
            return Err(RepositoryError::new(ErrorKind::Bug, "a part has no name"));
        };
        let folder =
            names.into_iter().fold(&mut root, |folder, name| folder.folders.entry(name).or_default());
        top.name.clone_from(&last);
        folder.tops.insert(last, top);
    }
    let folder = Entry { kind: Kind::Directory, ..facts.folder.clone() };
    store_above(engine, root, &folder)
}

/// Stores a folder and those in it. It goes no deeper than the path of a part.
fn store_above(engine: &Engine, above: Above, like: &Entry) -> Result<Id, RepositoryError> {
    let mut nodes = above.tops;
    for (name, folder) in above.folders {
        if nodes.contains_key(&name) {
            let text = format!("a part lies in the part {}", String::from_utf8_lossy(&name));
            return Err(RepositoryError::new(ErrorKind::Bug, text));
        }
        let mut node = Node::of_entry(like, &name);
        node.subtree = Some(store_above(engine, folder, like)?);
        nodes.insert(name, node);
    }
    let json = builder::folder_json(nodes.values())?;
    let mut pack = engine.borrow_pack(BlobKind::Tree);
    let saved = engine.save(&json, &mut pack);
    engine.return_pack(pack);
    saved.map_err(|_| RepositoryError::new(ErrorKind::Environment, STORE_FAILED))
}
