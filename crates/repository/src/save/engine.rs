//! What all parts of one save share: what is stored already, the threads that work, and what went wrong first.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, Sender};

use super::packer::OpenPack;
use super::upload::{Ended, Uploader, lock};
use super::work::{Done, Item};
use crate::blob::BlobKind;
use crate::chunker::Chunker;
use crate::error::RepositoryError;
use crate::id::Id;
use crate::index::Index;
use crate::repository::Repository;
use crate::watch::Watcher;

/// Some items, and where their results go.
pub(crate) type Job = (Vec<Item>, Sender<Vec<Done>>);

/// Counts what was new.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub data_blobs: AtomicU64,
    pub tree_blobs: AtomicU64,
    pub added: AtomicU64,
    pub added_packed: AtomicU64,
}

pub(crate) struct Engine {
    pub repository: Repository,
    pub index: Arc<Index>,
    pub chunker: Chunker,
    pub watcher: Arc<dyn Watcher>,
    pub counters: Counters,
    pub uploader: Uploader,
    /// Sets that grow in small steps: a hash table of a million names takes half as much again whenever it grows.
    new_data: Mutex<BTreeSet<Id>>,
    new_trees: Mutex<BTreeSet<Id>>,
    failed: Mutex<Option<RepositoryError>>,
    /// Packs that nobody fills at the moment.
    idle: Mutex<Vec<OpenPack>>,
}

impl Engine {
    pub fn new(
        repository: &Repository,
        index: Index,
        watcher: Arc<dyn Watcher>,
    ) -> Result<Self, RepositoryError> {
        Ok(Self {
            chunker: Chunker::new(repository.polynomial()),
            uploader: Uploader::start(repository)?,
            repository: repository.clone(),
            index: Arc::new(index),
            watcher,
            counters: Counters::default(),
            new_data: Mutex::default(),
            new_trees: Mutex::default(),
            failed: Mutex::default(),
            idle: Mutex::default(),
        })
    }

    /// Remembers the first failure; all work ends soon after.
    pub fn fail(&self, error: RepositoryError) {
        lock(&self.failed).get_or_insert(error);
    }

    /// Whether there is a use in working on.
    pub fn is_failed(&self) -> bool {
        self.watcher.is_cancelled() || self.uploader.has_failed() || lock(&self.failed).is_some()
    }

    /// The first failure: that of the store rather than what came of it.
    pub fn failure(&self) -> Option<RepositoryError> {
        if self.watcher.is_cancelled() {
            return Some(RepositoryError::cancelled());
        }
        self.uploader.failure().or_else(|| lock(&self.failed).clone())
    }

    /// Stores a blob unless it is stored. Returns its name.
    pub fn save(&self, plain: &[u8], pack: &mut OpenPack) -> Result<Id, Ended> {
        let id = Id::of(plain);
        self.save_as(id, plain, pack)?;
        Ok(id)
    }

    pub fn save_as(&self, id: Id, plain: &[u8], pack: &mut OpenPack) -> Result<(), Ended> {
        if self.index.has(pack.kind, &id) {
            return Ok(());
        }
        let (new, count) = match pack.kind {
            BlobKind::Data => (&self.new_data, &self.counters.data_blobs),
            BlobKind::Tree => (&self.new_trees, &self.counters.tree_blobs),
        };
        if !lock(new).insert(id) {
            return Ok(());
        }
        let packed = pack.add(id, plain, self.repository.key()).map_err(|error| {
            self.fail(error);
            Ended
        })?;
        count.fetch_add(1, Ordering::Relaxed);
        self.counters.added.fetch_add(plain.len() as u64, Ordering::Relaxed);
        self.counters.added_packed.fetch_add(packed, Ordering::Relaxed);
        if pack.is_full() { self.uploader.store(pack.take()) } else { Ok(()) }
    }

    /// Whether a blob is stored, or will be before the snapshot.
    pub fn has_data(&self, id: &Id) -> bool {
        self.index.has(BlobKind::Data, id)
    }

    /// A pack to fill.
    pub fn borrow_pack(&self, kind: BlobKind) -> OpenPack {
        let mut idle = lock(&self.idle);
        match idle.iter().position(|pack| pack.kind == kind) {
            Some(at) => idle.swap_remove(at),
            None => OpenPack::new(kind),
        }
    }

    /// Gives a pack back that is not full.
    pub fn return_pack(&self, pack: OpenPack) {
        if !pack.is_empty() {
            lock(&self.idle).push(pack);
        }
    }

    /// Stores what packs are not full, as few as can be.
    pub fn flush(&self) -> Result<(), Ended> {
        let rest = std::mem::take(&mut *lock(&self.idle));
        for kind in BlobKind::ALL {
            let mut all = OpenPack::new(kind);
            for pack in rest.iter().filter(|pack| pack.kind == kind) {
                all.absorb(pack);
                if all.is_full() {
                    self.uploader.store(all.take())?;
                }
            }
            if !all.is_empty() {
                self.uploader.store(all)?;
            }
        }
        Ok(())
    }

    /// What a worker does until there are no more jobs.
    pub fn work(&self, jobs: &Receiver<Job>) {
        let mut pack = self.borrow_pack(BlobKind::Data);
        let mut buffer = Vec::new();
        for (items, answer) in jobs {
            let mut results = Vec::with_capacity(items.len());
            for item in items {
                if self.is_failed() {
                    break;
                }
                match item.work(self, &mut pack, &mut buffer) {
                    Ok(done) => results.push(done),
                    Err(Ended) => break,
                }
            }
            // Whoever waits for it may have ended.
            let _ = answer.send(results);
        }
        self.return_pack(pack);
    }
}
