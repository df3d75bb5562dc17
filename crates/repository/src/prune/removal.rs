//! Index files without what goes, and then what goes.

use std::collections::HashMap;

use stillpoint_model::ErrorKind;

use crate::crew;
use crate::error::RepositoryError;
use crate::id::Id;
use crate::index::{IndexFile, IndexedPack};
use crate::lock::RepositoryLock;
use crate::packer::{INDEX_BLOBS_MAX, IndexWriter};
use crate::repository::Repository;
use crate::store::{FileKind, FileName, StoreErrorKind};
use crate::watch::{Amount, Watcher};

/// So many small index files are put together even when nothing goes.
pub(super) const SMALL_FILES_MAX: usize = 20;

/// What is known of an index file without keeping it.
struct Facts {
    id: Id,
    /// It names a pack that goes, or one that another index file names.
    stale: bool,
    small: bool,
}

/// Writes index files that do not name the packs of `doomed`, which is sorted, and returns the files in whose place they are:
/// among them those of `damaged`, which are not read. One file is in memory at a time.
pub(crate) fn rewrite_index(
    repository: &Repository,
    doomed: &[Id],
    damaged: &[Id],
    watcher: &dyn Watcher,
) -> Result<Vec<Id>, RepositoryError> {
    let mut files = repository.list(FileKind::Index)?;
    files.retain(|(id, _)| !damaged.contains(id));
    watcher.stage("index", Amount { items: files.len() as u64, bytes: 0 });
    // Which file names a pack first, and how many blobs it says it has.
    let mut named: HashMap<Id, (usize, usize)> = HashMap::new();
    let mut facts = Vec::new();
    for (number, (id, _)) in files.iter().enumerate() {
        watcher.check()?;
        let file: IndexFile = repository.load_json(FileKind::Index, *id)?;
        let mut stale = false;
        for pack in &file.packs {
            let first = *named.entry(pack.id).or_insert((number, pack.blobs.len()));
            stale |= doomed.binary_search(&pack.id).is_ok() || is_repeated(pack, number, first);
        }
        let blobs: usize = file.packs.iter().map(|pack| pack.blobs.len()).sum();
        facts.push(Facts { id: *id, stale, small: blobs < INDEX_BLOBS_MAX / 2 });
        watcher.advance(Amount { items: 1, bytes: 0 });
    }
    let any_stale = facts.iter().any(|file| file.stale);
    let many_small = facts.iter().filter(|file| file.small).count() > SMALL_FILES_MAX;
    let mut writer = IndexWriter::new(repository);
    let mut replaced = damaged.to_vec();
    for (number, file) in facts.iter().enumerate() {
        if !(file.stale || file.small && (any_stale || many_small)) {
            continue;
        }
        let content: IndexFile = repository.load_json(FileKind::Index, file.id)?;
        for pack in content.packs {
            let goes = doomed.binary_search(&pack.id).is_ok();
            let repeated = named.get(&pack.id).is_some_and(|first| is_repeated(&pack, number, *first));
            if !goes && !repeated {
                writer.add(pack)?;
            }
        }
        replaced.push(file.id);
    }
    writer.flush()?;
    Ok(replaced)
}

/// Whether another file, or this one before, says the same of the pack. If it says something else, both are kept.
fn is_repeated(pack: &IndexedPack, number: usize, (first, blobs): (usize, usize)) -> bool {
    number != first && pack.blobs.len() == blobs
}

/// Removes files. What is gone already is no error.
pub(crate) fn remove(
    repository: &Repository,
    kind: FileKind,
    files: &[Id],
    lock: &RepositoryLock,
    watcher: &dyn Watcher,
) -> Result<(), RepositoryError> {
    crew::for_each(crew::size(repository), files.len(), |number| {
        watcher.check()?;
        lock.still_ours()?;
        match repository.store().remove(FileName::Of(kind, files[number])) {
            Ok(()) => {}
            Err(error) if error.kind == StoreErrorKind::NotFound => {}
            Err(error) if error.kind == StoreErrorKind::Denied => {
                return Err(RepositoryError { kind: ErrorKind::Environment, ..error.into() }.with_hint(
                    "This key may add and not remove. Prune where the key with all rights is; the archive is good.",
                ));
            }
            Err(error) => return Err(error.into()),
        }
        watcher.advance(Amount { items: 1, bytes: 0 });
        Ok(())
    })
}
