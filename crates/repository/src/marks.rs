//! Which blobs the versions use: one bit a blob, by its number in the index.
//!
//! The folders of all versions are read level by level, each level in the order in which it lies in the packs, neighbours
//! with one read and several at a time. A folder that several versions share is read once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;

use crate::blob::BlobKind;
use crate::by_pack::{ByPack, sealed_in, span_of};
use crate::crew;
use crate::error::RepositoryError;
use crate::id::Id;
use crate::index::{Index, Location};
use crate::node::NodeKind;
use crate::repository::Repository;
use crate::store::StoreErrorKind;
use crate::watch::{Amount, Watcher};

/// One bit for each of many, set from several threads.
#[derive(Debug)]
pub(crate) struct Bits(Vec<AtomicU64>);

impl Bits {
    pub fn new(count: usize) -> Self {
        Self((0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    /// Sets it. Whether it was not.
    pub fn set(&self, number: usize) -> bool {
        let bit = 1 << (number % 64);
        self.0[number / 64].fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    pub fn has(&self, number: usize) -> bool {
        self.0[number / 64].load(Ordering::Relaxed) & (1 << (number % 64)) != 0
    }

    /// How many are set.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.load(Ordering::Relaxed).count_ones())).sum()
    }
}

/// The blobs that are used, by their numbers in one index.
#[derive(Debug)]
pub(crate) struct Used {
    pub data: Bits,
    pub trees: Bits,
}

impl Used {
    pub fn none_of(index: &Index) -> Self {
        Self { data: Bits::new(index.count(BlobKind::Data)), trees: Bits::new(index.count(BlobKind::Tree)) }
    }

    pub fn of(&self, kind: BlobKind) -> &Bits {
        match kind {
            BlobKind::Data => &self.data,
            BlobKind::Tree => &self.trees,
        }
    }
}

/// What a version needs and does not have.
#[derive(Debug)]
pub(crate) struct Flaw {
    pub kind: BlobKind,
    pub id: Id,
    pub error: RepositoryError,
}

/// A folder with no more than which blobs it needs.
#[derive(Deserialize)]
pub(crate) struct Needs {
    pub nodes: Option<Vec<Need>>,
}

#[derive(Deserialize)]
pub(crate) struct Need {
    #[serde(rename = "type")]
    pub kind: NodeKind,
    pub content: Option<Vec<Id>>,
    pub subtree: Option<Id>,
}

/// Whether the store as a whole is the trouble, rather than a file in it: then nothing can be said of what follows.
pub(crate) fn is_of_the_store(error: &RepositoryError) -> bool {
    matches!(
        error.store,
        Some(
            StoreErrorKind::NoStore
                | StoreErrorKind::Unavailable
                | StoreErrorKind::Denied
                | StoreErrorKind::Full
        )
    )
}

/// Marks all that these folders need, down to the last file. What they need and do not have is told to `flawed`, which may
/// end the work with an error.
pub(crate) fn mark(
    repository: &Repository,
    index: &Index,
    used: &Used,
    tops: impl IntoIterator<Item = Id>,
    watcher: &dyn Watcher,
    flawed: &(dyn Fn(Flaw) -> Result<(), RepositoryError> + Sync),
) -> Result<(), RepositoryError> {
    let marker = Marker { repository, index, used, watcher, flawed, next: Mutex::default() };
    for top in tops {
        marker.need_tree(&top)?;
    }
    let threads = crew::size(repository);
    loop {
        let level = std::mem::take(&mut *marker.next.lock().unwrap_or_else(PoisonError::into_inner));
        if level.is_empty() {
            return Ok(());
        }
        let level =
            ByPack::of_numbers(index, BlobKind::Tree, level.into_iter().map(|number| number as usize));
        let runs: Vec<_> = (0..level.count()).flat_map(|pack| level.runs(pack)).collect();
        crew::for_each(threads, runs.len(), |run| marker.read(&level.run(runs[run].clone())))?;
    }
}

struct Marker<'m> {
    repository: &'m Repository,
    index: &'m Index,
    used: &'m Used,
    watcher: &'m dyn Watcher,
    flawed: &'m (dyn Fn(Flaw) -> Result<(), RepositoryError> + Sync),
    /// The folders of the next level.
    next: Mutex<Vec<u32>>,
}

impl Marker<'_> {
    fn need_tree(&self, id: &Id) -> Result<(), RepositoryError> {
        let Some(number) = self.index.number_of(BlobKind::Tree, id) else {
            return self.unknown(BlobKind::Tree, id);
        };
        if self.used.trees.set(number) {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            self.next.lock().unwrap_or_else(PoisonError::into_inner).push(number);
        }
        Ok(())
    }

    fn unknown(&self, kind: BlobKind, id: &Id) -> Result<(), RepositoryError> {
        let error = RepositoryError::damaged(format!("no index file knows the {kind} blob {}", id.short()));
        (self.flawed)(Flaw { kind, id: *id, error })
    }

    fn read(&self, run: &[(usize, Location)]) -> Result<(), RepositoryError> {
        self.watcher.check()?;
        let span = span_of(run);
        let Some(pack) = run.first().map(|(_, location)| location.pack) else { return Ok(()) };
        let bytes = match self.repository.read_pack(pack, span.clone()) {
            Err(error) if is_of_the_store(&error) => return Err(error),
            // Each by itself, and from wherever else it lies.
            other => other.unwrap_or_default(),
        };
        for (_, location) in run {
            let sealed = sealed_in(&bytes, &span, location);
            let opened = sealed.and_then(|s| self.repository.open_blob(location, &mut s.to_vec()).ok());
            let id = &location.blob.id;
            let text = match opened {
                Some(text) => Ok(text),
                None => self.repository.read_blob(self.index, BlobKind::Tree, id),
            };
            let needs = text.and_then(|text| needs_of(id, &text));
            match needs {
                Ok(needs) => self.need(id, needs)?,
                Err(error) if is_of_the_store(&error) => return Err(error),
                Err(error) => (self.flawed)(Flaw { kind: BlobKind::Tree, id: *id, error })?,
            }
        }
        self.watcher.advance(Amount { items: run.len() as u64, bytes: span.end - span.start });
        Ok(())
    }

    fn need(&self, folder: &Id, needs: Vec<Need>) -> Result<(), RepositoryError> {
        for node in needs {
            for id in node.content.iter().flatten() {
                match self.index.number_of(BlobKind::Data, id) {
                    Some(number) => drop(self.used.data.set(number)),
                    None => self.unknown(BlobKind::Data, id)?,
                }
            }
            match node.subtree {
                Some(subtree) => self.need_tree(&subtree)?,
                None if node.kind == NodeKind::Dir => {
                    let text = format!("a folder in the tree blob {} has no tree blob", folder.short());
                    let error = RepositoryError::damaged(text);
                    (self.flawed)(Flaw { kind: BlobKind::Tree, id: *folder, error })?;
                }
                None => {}
            }
        }
        Ok(())
    }
}

/// What the folder in this text needs.
pub(crate) fn needs_of(id: &Id, text: &[u8]) -> Result<Vec<Need>, RepositoryError> {
    let needs: Needs = serde_json::from_slice(text).map_err(|error| {
        RepositoryError::damaged(format!("the tree blob {} is not a folder: {error}", id.short()))
    })?;
    Ok(needs.nodes.unwrap_or_default())
}
