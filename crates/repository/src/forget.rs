//! Letting go of versions, and holding them. Both touch snapshot files only: what a version alone used is removed by a prune.

use std::time::Duration;

use stillpoint_model::ErrorKind;

use crate::error::RepositoryError;
use crate::id::Id;
use crate::lock::RepositoryLock;
use crate::repository::Repository;
use crate::snapshot::{HOLD_TAG, Snapshot};
use crate::store::{FileKind, FileName, StoreErrorKind};
use crate::watch::{Amount, Watcher};

/// Removes these versions, and returns those that it removed: one that was gone already is not among them.
///
/// Which may go is for [`KeepRules`](crate::retention::KeepRules) to say. Nobody's work is harmed: what a version is made of stays
/// until a prune.
///
/// # Errors
///
/// The archive is in use by somebody who works alone (`Busy`), the store does not permit it, or it fails. Those before are
/// removed.
pub fn forget(
    repository: &Repository,
    versions: &[Id],
    wait: Duration,
    watcher: &dyn Watcher,
) -> Result<Vec<Id>, RepositoryError> {
    let mut removed = Vec::new();
    if versions.is_empty() {
        return Ok(removed);
    }
    let lock = RepositoryLock::shared(repository, wait, watcher)?;
    watcher.stage("forget", Amount { items: versions.len() as u64, bytes: 0 });
    for id in versions {
        watcher.check()?;
        if remove_version(repository, *id)? {
            removed.push(*id);
        }
        watcher.advance(Amount { items: 1, bytes: 0 });
    }
    lock.release(watcher);
    Ok(removed)
}

/// Whether it was there.
fn remove_version(repository: &Repository, id: Id) -> Result<bool, RepositoryError> {
    match repository.store().remove(FileName::Of(FileKind::Snapshot, id)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind == StoreErrorKind::NotFound => Ok(false),
        Err(error) if error.kind == StoreErrorKind::Denied => Err(RepositoryError::from(error).with_hint(
            "This key may add and not remove. Versions are let go of where the key with all rights is.",
        )),
        Err(error) => Err(error.into()),
    }
}

/// Holds a version, so that nothing retires it, or releases it. Returns the name that it has from now on: a snapshot file is
/// never changed, so a new one takes its place, and remembers the first one as its original.
///
/// # Errors
///
/// There is no such version (`Usage`), the archive is in use by somebody who works alone (`Busy`), or the store fails. Then
/// both files may be there.
pub fn set_hold(
    repository: &Repository,
    version: Id,
    hold: bool,
    wait: Duration,
    watcher: &dyn Watcher,
) -> Result<Id, RepositoryError> {
    let lock = RepositoryLock::shared(repository, wait, watcher)?;
    let snapshot = match repository.load_json::<Snapshot>(FileKind::Snapshot, version) {
        Err(error) if error.is_missing() => {
            let text = format!("{} has no version {}", repository.store().name(), version.short());
            return Err(RepositoryError::new(ErrorKind::Usage, text));
        }
        other => other?,
    };
    if snapshot.is_held() == hold {
        lock.release(watcher);
        return Ok(version);
    }
    let mut tags = snapshot.tags.clone();
    tags.retain(|tag| tag != HOLD_TAG);
    if hold {
        tags.push(HOLD_TAG.to_owned());
    }
    let original = snapshot.original.or(Some(version));
    let id = repository.save_snapshot(&Snapshot { tags, original, ..snapshot })?;
    remove_version(repository, version)?;
    lock.release(watcher);
    Ok(id)
}
