//! Removing what no version needs, while others go on saving.
//!
//! 1. Under a shared lock: all that the versions need is marked, and packs with too much else in them are repacked. Nothing is
//!    removed, so whoever saves meanwhile may rely on any blob that he finds.
//! 2. Under the exclusive lock, which waits until nobody works: versions and index are read again, and what was added since
//!    is marked, too. Packs in which nothing is at home go.
//!
//! The order of all writes: new packs, index files that name them; then, in the second part, index files without what goes, the
//! old index files are removed, then the packs. Whoever dies in between leaves blobs that lie twice, index files that say the
//! same twice, or packs that no index file names. All of that is good, and the next prune tidies it.

mod plan;
pub(crate) mod removal;
mod repack;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;
use stillpoint_model::ErrorKind;

use crate::blob::BlobKind;
use crate::error::RepositoryError;
use crate::id::Id;
use crate::index::Index;
use crate::lock::RepositoryLock;
use crate::marks::{self, Used};
use crate::repository::Repository;
use crate::store::{FileKind, StoreErrorKind};
use crate::watch::{Amount, Watcher};
use plan::{Fate, Known, Survey};
use repack::Moved;

/// How to prune.
#[derive(Debug, Clone, Copy)]
pub struct PruneOptions {
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
    /// How much of what is kept may be unused, in percent: less room against less work.
    pub unused_percent: u8,
    /// How long to wait for others, at first and before anything is removed.
    pub wait: Duration,
}

impl Default for PruneOptions {
    fn default() -> Self {
        Self { dry_run: false, unused_percent: 5, wait: Duration::from_secs(60) }
    }
}

/// What a prune did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PruneReport {
    /// Whether nothing was done.
    pub dry_run: bool,
    /// Versions in the archive.
    pub versions: u64,
    /// Blobs that they need.
    pub blobs_used: u64,
    /// Blobs that nothing needs. Those that lie twice are not counted.
    pub blobs_unused: u64,
    /// Packs that were removed, the repacked ones among them.
    pub packs_removed: u64,
    /// Their bytes.
    pub removed_bytes: u64,
    /// Packs whose used blobs were put into new packs.
    pub packs_repacked: u64,
    /// Bytes that were moved for that.
    pub moved_bytes: u64,
    /// Packs of work that died, which no index file names.
    pub packs_unindexed: u64,
    /// Their bytes.
    pub unindexed_bytes: u64,
    /// Bytes that stay though nothing needs them.
    pub unused_left_bytes: u64,
    /// Packs that were to be repacked and are damaged. They stay.
    pub damaged: Vec<String>,
    /// Why nothing was removed yet: somebody was at work the whole time. What was repacked is not repacked again.
    pub postponed: Option<String>,
}

/// Removes what no version needs.
///
/// # Errors
///
/// The archive is in use (`Busy`), something that a version needs is missing (`Damaged`; then nothing is removed), the work was
/// cancelled, the store does not permit it, or it fails. Nothing that is needed is ever lost.
pub fn prune(
    repository: &Repository,
    options: &PruneOptions,
    watcher: &dyn Watcher,
) -> Result<PruneReport, RepositoryError> {
    let mut report = PruneReport { dry_run: options.dry_run, ..PruneReport::default() };
    let lock = RepositoryLock::shared(repository, options.wait, watcher)?;
    let Some(prepared) = prepare(repository, options, &lock, watcher, &mut report)? else {
        lock.release(watcher);
        return Ok(report);
    };
    lock.release(watcher);
    let lock = match RepositoryLock::exclusive(repository, options.wait, watcher) {
        Err(error) if error.kind == ErrorKind::Busy => {
            report.postponed = Some(error.text);
            return Ok(report);
        }
        other => other?,
    };
    finish(repository, &prepared, &lock, watcher, &mut report)?;
    lock.release(watcher);
    Ok(report)
}

/// What the first part hands to the second. No numbers of an index: that is read again.
struct Prepared {
    versions: BTreeSet<Id>,
    /// The beginnings of the names of all used blobs, sorted. Two names that begin alike keep each other, which is harmless.
    data: Vec<u64>,
    trees: Vec<u64>,
    known: Known,
    /// Packs that no index file named when the first part began.
    unindexed: BTreeSet<Id>,
}

/// Nothing when there is nothing to remove.
fn prepare(
    repository: &Repository,
    options: &PruneOptions,
    lock: &RepositoryLock,
    watcher: &dyn Watcher,
    report: &mut PruneReport,
) -> Result<Option<Prepared>, RepositoryError> {
    // In this order: whoever saves meanwhile writes packs, index files and the version in the reverse order.
    let versions = repository.snapshots()?;
    let index = Index::load(repository)?;
    let listed = repository.list(FileKind::Pack)?;
    let used = Used::none_of(&index);
    watcher.stage("mark", Amount { items: versions.len() as u64, bytes: 0 });
    mark(repository, &index, &used, versions.iter().map(|(_, version)| version.tree), watcher)?;
    let survey = Survey::new(&index, &used, &listed, &Known::default())?;
    let choice = survey.choose(options.unused_percent);
    let (removed, repacked) = (survey.amount(&choice, Fate::Remove), survey.amount(&choice, Fate::Repack));
    report.versions = versions.len() as u64;
    report.blobs_used = used.data.count() + used.trees.count();
    report.blobs_unused =
        BlobKind::ALL.iter().map(|kind| distinct(&index, *kind)).sum::<u64>() - report.blobs_used;
    report.unused_left_bytes = choice.unused_left;
    report.packs_unindexed = survey.unindexed.len() as u64;
    report.unindexed_bytes = survey.unindexed.iter().map(|(_, size)| size).sum();
    if options.dry_run {
        report.packs_repacked = repacked.items;
        report.moved_bytes = survey.moved_bytes(&choice);
        report.packs_removed = removed.items + repacked.items;
        report.removed_bytes = removed.bytes + repacked.bytes;
        return Ok(None);
    }
    let mut known = Known::default();
    if repacked.items > 0 {
        let moved = match repack::repack(repository, (&index, &used), &survey, &choice, lock, watcher) {
            // What goes without it makes room.
            Err(error) if error.store == Some(StoreErrorKind::Full) => {
                watcher.note(&format!("nothing is repacked: {error}"));
                Moved::default()
            }
            other => other?,
        };
        report.packs_repacked = if moved.packs.is_empty() { 0 } else { repacked.items };
        report.moved_bytes = if moved.packs.is_empty() { 0 } else { survey.moved_bytes(&choice) };
        report.damaged = moved.damaged.values().cloned().collect();
        known.fresh = moved.packs.into_iter().collect();
        known.suspect = moved.damaged.into_keys().collect();
    }
    let unindexed: BTreeSet<Id> = survey.unindexed.iter().map(|(id, _)| *id).collect();
    let idle = survey.homeless_packs().next().is_none() && repacked.items == 0 && unindexed.is_empty();
    if idle && index.files().len() <= removal::SMALL_FILES_MAX {
        return Ok(None);
    }
    Ok(Some(Prepared {
        versions: versions.into_iter().map(|(id, _)| id).collect(),
        data: beginnings(&index, &used, BlobKind::Data),
        trees: beginnings(&index, &used, BlobKind::Tree),
        known,
        unindexed,
    }))
}

/// What versions need must be there: else nobody may judge what can go.
fn mark(
    repository: &Repository,
    index: &Index,
    used: &Used,
    tops: impl IntoIterator<Item = Id>,
    watcher: &dyn Watcher,
) -> Result<(), RepositoryError> {
    marks::mark(repository, index, used, tops, watcher, &|flaw| {
        Err(flaw.error.with_hint(
            "Nothing was removed. `stillpoint archive verify` tells what is touched, and `archive repair` heals it.",
        ))
    })
}

fn distinct(index: &Index, kind: BlobKind) -> u64 {
    let mut last = None;
    let places = index.places(kind).filter(|place| last.replace(place.blob.id) != Some(place.blob.id));
    places.count() as u64
}

fn beginning(id: &Id) -> u64 {
    id.as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// The beginnings of the names of used blobs, sorted as the index is.
fn beginnings(index: &Index, used: &Used, kind: BlobKind) -> Vec<u64> {
    let used = index.places(kind).enumerate().filter(|(number, _)| used.of(kind).has(*number));
    let mut all: Vec<u64> = used.map(|(_, place)| beginning(&place.blob.id)).collect();
    all.dedup();
    all
}

/// Marks in another index what was used in the first one. Whether all of it is there.
fn mark_again(index: &Index, used: &Used, kind: BlobKind, beginnings: &[u64]) -> bool {
    let (mut found, mut last, mut group) = (0_usize, None, None);
    let mut wanted = beginnings.iter().peekable();
    for (number, place) in index.places(kind).enumerate() {
        if group == Some(place.blob.id) {
            continue;
        }
        group = Some(place.blob.id);
        let begins = beginning(&place.blob.id);
        while wanted.next_if(|next| **next < begins).is_some() {}
        if wanted.peek() == Some(&&begins) {
            used.of(kind).set(number);
            found += usize::from(last != Some(begins));
            last = Some(begins);
        }
    }
    found == beginnings.len()
}

fn finish(
    repository: &Repository,
    prepared: &Prepared,
    lock: &RepositoryLock,
    watcher: &dyn Watcher,
    report: &mut PruneReport,
) -> Result<(), RepositoryError> {
    let versions = repository.snapshots()?;
    let index = Index::load(repository)?;
    let used = Used::none_of(&index);
    let whole = [(BlobKind::Data, &prepared.data), (BlobKind::Tree, &prepared.trees)]
        .map(|(kind, beginnings)| mark_again(&index, &used, kind, beginnings));
    let forgotten = prepared.versions.iter().any(|id| !versions.iter().any(|(there, _)| there == id));
    if whole.contains(&false) && !forgotten {
        let text = "index files have gone since the prune began, and with them what versions need";
        return Err(RepositoryError::damaged(text)
            .with_hint("Nothing was removed. `stillpoint archive repair` makes the index from the packs."));
    }
    let added = versions.iter().filter(|(id, _)| !prepared.versions.contains(id));
    watcher.stage("mark", Amount::default());
    mark(repository, &index, &used, added.map(|(_, version)| version.tree), watcher)?;
    let listed = repository.list(FileKind::Pack)?;
    let survey = Survey::new(&index, &used, &listed, &prepared.known)?;
    // Twice seen, and nobody is at work: nobody will name them any more.
    let unindexed: Vec<Id> =
        survey.unindexed.iter().map(|(id, _)| *id).filter(|id| prepared.unindexed.contains(id)).collect();
    let mut doomed: Vec<(Id, Option<u64>)> = survey.homeless_packs().collect();
    doomed.sort_unstable();
    let all: Vec<Id> = doomed.iter().map(|(id, _)| *id).collect();
    let there: Vec<Id> = doomed.iter().filter(|(_, size)| size.is_some()).map(|(id, _)| *id).collect();
    drop(survey);
    drop(index);
    // First, since it may make the room that the new index files need.
    watcher.stage("remove", Amount { items: unindexed.len() as u64, bytes: 0 });
    removal::remove(repository, FileKind::Pack, &unindexed, lock, watcher)?;
    let replaced = removal::rewrite_index(repository, &all, &[], watcher)?;
    watcher.stage("remove", Amount { items: (replaced.len() + there.len()) as u64, bytes: 0 });
    removal::remove(repository, FileKind::Index, &replaced, lock, watcher)?;
    removal::remove(repository, FileKind::Pack, &there, lock, watcher)?;
    report.packs_removed = there.len() as u64;
    report.removed_bytes = doomed.iter().filter_map(|(_, size)| *size).sum();
    report.packs_unindexed = unindexed.len() as u64;
    Ok(())
}
