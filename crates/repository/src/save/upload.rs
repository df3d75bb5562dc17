//! Storing full packs, and telling of them in index files.
//!
//! The order of all writes: a pack, then an index file that names it, then (by the saver) the snapshot. Whoever dies in
//! between leaves packs that no index file names, or blobs that no snapshot needs: both are for prune.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use stillpoint_model::ErrorKind;

use super::packer::OpenPack;
use crate::error::RepositoryError;
use crate::id::Id;
use crate::index::{IndexFile, IndexedBlob, IndexedPack};
use crate::pack;
use crate::repository::Repository;
use crate::store::{FileKind, FileName};

/// An index file is written when this many blobs are stored that none names, so that a run that dies has lost little.
const BLOBS_PER_INDEX_FILE: usize = 50_000;
/// Or this many packs: half a gibibyte.
const PACKS_PER_INDEX_FILE: usize = 32;

/// Stores packs on threads of its own.
#[derive(Debug)]
pub(crate) struct Uploader {
    /// Nothing once all is stored.
    queue: RwLock<Option<Sender<OpenPack>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    repository: Repository,
    unnamed: Mutex<Unnamed>,
    failed: Mutex<Option<RepositoryError>>,
}

/// Packs that no index file names yet.
#[derive(Debug, Default)]
struct Unnamed {
    packs: Vec<IndexedPack>,
    blobs: usize,
}

/// Work ended by a failure that somebody else tells.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended;

impl Uploader {
    pub fn start(repository: &Repository) -> Result<Self, RepositoryError> {
        let shared = Arc::new(Shared {
            repository: repository.clone(),
            unnamed: Mutex::default(),
            failed: Mutex::default(),
        });
        let (queue, packs) = bounded(1);
        let mut threads = Vec::new();
        for _ in 0..repository.store().parallel().max(1) {
            let (shared, packs) = (Arc::clone(&shared), packs.clone());
            threads.push(spawn("upload", move || shared.work(&packs))?);
        }
        Ok(Self { queue: RwLock::new(Some(queue)), threads: Mutex::new(threads), shared })
    }

    /// Gives a full pack away. Waits while the store is slower than we are.
    pub fn store(&self, pack: OpenPack) -> Result<(), Ended> {
        if self.shared.has_failed() {
            return Err(Ended);
        }
        let queue = self.queue.read().unwrap_or_else(PoisonError::into_inner);
        queue.as_ref().ok_or(Ended)?.send(pack).map_err(|_| Ended)
    }

    /// Whether something could not be stored.
    pub fn has_failed(&self) -> bool {
        self.shared.has_failed()
    }

    /// What could not be stored.
    pub fn failure(&self) -> Option<RepositoryError> {
        lock(&self.shared.failed).clone()
    }

    /// Waits until all is stored and named.
    pub fn finish(&self) -> Result<(), RepositoryError> {
        self.queue.write().unwrap_or_else(PoisonError::into_inner).take();
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            if thread.join().is_err() {
                return Err(RepositoryError::new(
                    ErrorKind::Bug,
                    "a thread that stores packs ended by a panic",
                ));
            }
        }
        if let Some(error) = self.failure() {
            return Err(error);
        }
        let rest = std::mem::take(&mut *lock(&self.shared.unnamed));
        self.shared.name(rest)
    }
}

impl Shared {
    fn has_failed(&self) -> bool {
        lock(&self.failed).is_some()
    }

    fn work(&self, packs: &Receiver<OpenPack>) {
        for pack in packs {
            // After a failure the queue is only emptied, so that nobody waits for it.
            if !self.has_failed()
                && let Err(error) = self.store(pack)
            {
                lock(&self.failed).get_or_insert(error);
            }
        }
    }

    fn store(&self, pack: OpenPack) -> Result<(), RepositoryError> {
        let stored = store_pack(&self.repository, pack)?;
        let full = {
            let mut unnamed = lock(&self.unnamed);
            unnamed.blobs += stored.blobs.len();
            unnamed.packs.push(stored);
            let full = unnamed.blobs >= BLOBS_PER_INDEX_FILE || unnamed.packs.len() >= PACKS_PER_INDEX_FILE;
            if full { std::mem::take(&mut *unnamed) } else { Unnamed::default() }
        };
        self.name(full)
    }

    fn name(&self, unnamed: Unnamed) -> Result<(), RepositoryError> {
        if unnamed.packs.is_empty() {
            return Ok(());
        }
        self.repository.save_json(FileKind::Index, &IndexFile { packs: unnamed.packs }).map(drop)
    }
}

/// Makes a pack of what was filled and stores it. Returns what an index file says of it.
pub(crate) fn store_pack(repository: &Repository, pack: OpenPack) -> Result<IndexedPack, RepositoryError> {
    let OpenPack { mut bytes, blobs, .. } = pack;
    pack::finish(&mut bytes, &blobs, repository.key())?;
    let id = Id::of(&bytes);
    repository.store().write_new(FileName::Of(FileKind::Pack, id), &bytes)?;
    Ok(IndexedPack { id, blobs: blobs.iter().map(IndexedBlob::from).collect() })
}

/// A named thread.
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, RepositoryError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(|error| {
        RepositoryError::new(ErrorKind::Environment, format!("the system starts no more threads: {error}"))
    })
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
