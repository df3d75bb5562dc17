//! Whether the archive is good: that all is there which the versions need, and that it is what was written.
//!
//! Nothing is changed. It goes on after what it finds, and tells at the end who is touched by it.

pub(crate) mod damage;
mod data;
mod share;
pub(crate) mod trace;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::blob::BlobKind;
use crate::by_pack::ByPack;
use crate::crew;
use crate::error::RepositoryError;
use crate::id::Id;
use crate::index::Index;
use crate::lock::RepositoryLock;
use crate::marks::{self, Used, is_of_the_store};
use crate::pack;
use crate::repository::Repository;
use crate::save::upload::lock as guard;
use crate::snapshot::Snapshot;
use crate::store::FileKind;
use crate::time::Moment;
use crate::watch::{Amount, Watcher};
use damage::Damage;
use data::PackReader;
use share::Chosen;

pub use share::{DataShare, ReadState};
pub use trace::Touched;

/// How to check.
#[derive(Debug, Clone, Copy)]
pub struct CheckOptions {
    /// How much of the data is read.
    pub data: DataShare,
    /// How many files are named of each version that a damaged pack touches.
    pub names_max: usize,
    /// How long to wait for somebody who works alone.
    pub wait: Duration,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self { data: DataShare::Nothing, names_max: 20, wait: Duration::from_secs(60) }
    }
}

/// What a check found.
#[derive(Debug, Clone, Default)]
pub struct CheckReport {
    /// Versions.
    pub versions: u64,
    /// Blobs that they need.
    pub blobs: u64,
    /// Packs in the store, and their bytes.
    pub packs: Amount,
    /// Packs that were read, and bytes.
    pub read: Amount,
    /// Version and index files that cannot be read, one sentence each.
    pub damaged_files: Vec<String>,
    /// Packs that are damaged or missing.
    pub damaged_packs: Vec<DamagedPack>,
    /// What is no damage and good to know.
    pub notes: Vec<String>,
    /// Why not all was read that should have been.
    pub unfinished: Option<RepositoryError>,
}

impl CheckReport {
    /// Whether no damage was found.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.damaged_files.is_empty() && self.damaged_packs.is_empty()
    }
}

/// A pack that is damaged or missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedPack {
    /// Its name; nothing for blobs that no index file knows.
    pub pack: Option<Id>,
    /// What is wrong with it.
    pub why: String,
    /// How many of its blobs cannot be read.
    pub blobs: u64,
    /// How many of those lie nowhere else.
    pub lost: u64,
    /// Who needs what is lost.
    pub touched: Vec<Touched>,
}

/// Checks an archive. `state` says which data is next; it is brought up to date also when the check ends early.
///
/// # Errors
///
/// The archive is in use by somebody who works alone (`Busy`), the work was cancelled before data was read, or the store fails.
/// Damage is no error but found.
pub fn check(
    repository: &Repository,
    options: &CheckOptions,
    state: &mut ReadState,
    watcher: &dyn Watcher,
) -> Result<CheckReport, RepositoryError> {
    let lock = RepositoryLock::reading(repository, options.wait, watcher)?;
    let mut report = CheckReport::default();
    let versions = load_versions(repository, &mut report)?;
    let index =
        Arc::new(Index::load_what_is_good(repository, |_, error| report.damaged_files.push(error.text))?);
    let listed = repository.list(FileKind::Pack)?;
    let damage = Damage::none_of(&index);
    let packs = Packs::new(repository, &index, &listed);
    for pack in packs.compare(&damage, &mut report) {
        // It is read, however little else is.
        state.found(pack, false);
    }
    let used = check_versions(repository, &index, &damage, &versions, watcher)?;
    note_use(&index, &used, &mut report);
    report.unfinished = packs.read(options.data, &damage, state, watcher, &mut report).err();
    let names_max = options.names_max;
    let named = name_damage(repository, &index, &damage, &versions, names_max, watcher);
    report.damaged_packs = named.0;
    report.unfinished = report.unfinished.or(named.1);
    if let Some(lock) = lock {
        lock.release(watcher);
    }
    Ok(report)
}

/// The damaged packs with those whom they touch, and why that could not be found out.
pub(crate) fn name_damage(
    repository: &Repository,
    index: &Arc<Index>,
    damage: &Damage<'_>,
    versions: &[(Id, Snapshot)],
    names_max: usize,
    watcher: &dyn Watcher,
) -> (Vec<DamagedPack>, Option<RepositoryError>) {
    let (mut named, mut failed) = (Vec::new(), None);
    if damage.is_none() {
        return (named, failed);
    }
    watcher.stage("trace", Amount { items: versions.len() as u64, bytes: 0 });
    let mut touches = match trace::trace(repository, index, damage, versions, names_max, watcher) {
        Ok(touches) => touches,
        // What is damaged is told also when nobody can say whom it touches.
        Err(error) => {
            failed = Some(error);
            BTreeMap::new()
        }
    };
    for (pack, why, blobs, lost) in damage.packs() {
        let touched = touches.remove(&Some(pack)).unwrap_or_default();
        named.push(DamagedPack { pack: Some(pack), why, blobs, lost, touched });
    }
    let blobs = damage.unknown_count();
    if blobs > 0 {
        let why = format!("{blobs} blobs that are needed are in no index file");
        let touched = touches.remove(&None).unwrap_or_default();
        named.push(DamagedPack { pack: None, why, blobs, lost: blobs, touched });
    }
    (named, failed)
}

fn load_versions(
    repository: &Repository,
    report: &mut CheckReport,
) -> Result<Vec<(Id, Snapshot)>, RepositoryError> {
    let mut versions = Vec::new();
    for (id, _) in repository.list(FileKind::Snapshot)? {
        match repository.load_json(FileKind::Snapshot, id) {
            Ok(version) => versions.push((id, version)),
            Err(error) if error.is_missing() => {}
            Err(error) if is_of_the_store(&error) => return Err(error),
            Err(error) => report.damaged_files.push(error.text),
        }
    }
    versions.sort_by_key(|(id, version): &(Id, Snapshot)| (version.time, *id));
    report.versions = versions.len() as u64;
    Ok(versions)
}

/// Goes through all folders of all versions.
pub(crate) fn check_versions(
    repository: &Repository,
    index: &Index,
    damage: &Damage<'_>,
    versions: &[(Id, Snapshot)],
    watcher: &dyn Watcher,
) -> Result<Used, RepositoryError> {
    watcher.stage("structure", Amount { items: versions.len() as u64, bytes: 0 });
    let used = Used::none_of(index);
    let tops = versions.iter().map(|(_, version)| version.tree);
    marks::mark(repository, index, &used, tops, watcher, &|flaw| {
        damage.flaw(&flaw);
        Ok(())
    })?;
    Ok(used)
}

fn note_use(index: &Index, used: &Used, report: &mut CheckReport) {
    report.blobs = used.data.count() + used.trees.count();
    let (mut unused, mut again) = (0_u64, 0_u64);
    for kind in BlobKind::ALL {
        let mut last = None;
        for (number, place) in index.places(kind).enumerate() {
            if last == Some(place.blob.id) {
                again += 1;
            } else {
                last = Some(place.blob.id);
                unused += u64::from(!used.of(kind).has(number));
            }
        }
    }
    let mut note = |count: u64, what: &str| {
        if count > 0 {
            report.notes.push(format!("{count} {what}"));
        }
    };
    note(unused, "blobs are needed by no version; a prune removes them once they are worth the work");
    note(again, "blobs lie in more than one place; a prune removes what is too much");
}

/// The packs of the index and of the store.
pub(crate) struct Packs<'i> {
    repository: &'i Repository,
    index: &'i Index,
    listed: &'i [(Id, u64)],
    blobs: ByPack<'i>,
    /// The packs of the index by name, each with its place in `blobs`.
    by_name: Vec<(Id, usize)>,
}

impl<'i> Packs<'i> {
    pub fn new(repository: &'i Repository, index: &'i Index, listed: &'i [(Id, u64)]) -> Self {
        // A pack that several index files name is read once.
        let mut named: Vec<_> = index.packs_numbered().collect();
        named.sort_unstable();
        let mut again = vec![false; named.len()];
        for pair in named.windows(2) {
            again[pair[1].1.get()] = pair[0].0 == pair[1].0;
        }
        let blobs = ByPack::new(index, |_, _, location| !again[location.number.get()]);
        let mut by_name: Vec<(Id, usize)> =
            (0..blobs.count()).map(|at| (index.packs()[blobs.number(at).get()], at)).collect();
        by_name.sort_unstable();
        Self { repository, index, listed, blobs, by_name }
    }

    fn place(&self, pack: &Id) -> Option<usize> {
        let at = self.by_name.binary_search_by_key(pack, |(id, _)| *id).ok()?;
        Some(self.by_name[at].1)
    }

    /// What the index says against what the store lists. Returns the packs that have another size.
    pub fn compare(&self, damage: &Damage<'_>, report: &mut CheckReport) -> Vec<Id> {
        let listed = self.listed;
        let mut odd = Vec::new();
        report.packs =
            Amount { items: listed.len() as u64, bytes: listed.iter().map(|(_, size)| size).sum() };
        for (id, at) in &self.by_name {
            let size = listed.binary_search_by_key(id, |(listed, _)| *listed).ok().map(|at| listed[at].1);
            let expected = self.expected_bytes(*at);
            match size {
                None => {
                    damage.pack(*id, "it is not there");
                    for (number, location) in self.blobs.blobs(*at) {
                        damage.blob(number, &location, "");
                    }
                }
                Some(size) if size != expected => {
                    damage.pack(*id, &format!("it has {size} bytes, and by its index {expected}"));
                    odd.push(*id);
                }
                Some(_) => {}
            }
        }
        let mut indexed = self.index.packs().to_vec();
        indexed.sort_unstable();
        let unindexed = listed.iter().filter(|(id, _)| indexed.binary_search(id).is_err()).count();
        if unindexed > 0 {
            let text =
                "packs are in no index file: they are being written, or work that died left them to a prune";
            report.notes.push(format!("{unindexed} {text}"));
        }
        odd
    }

    fn expected_bytes(&self, at: usize) -> u64 {
        let blobs: Vec<_> = self.blobs.blobs(at).map(|(_, location)| location.blob).collect();
        blobs.iter().map(|blob| u64::from(blob.length)).sum::<u64>() + pack::list_bytes(&blobs)
    }

    pub fn read(
        &self,
        share: DataShare,
        damage: &Damage<'_>,
        state: &mut ReadState,
        watcher: &dyn Watcher,
        report: &mut CheckReport,
    ) -> Result<(), RepositoryError> {
        state.forget_gone(self.listed);
        // What is in no index file may still be being written, and nothing needs it yet.
        let indexed: Vec<(Id, u64)> =
            self.listed.iter().filter(|(id, _)| self.place(id).is_some()).copied().collect();
        let chosen = state.choose(share, &indexed, Moment::now());
        let bytes = chosen.packs.iter().map(|(_, size)| size).sum();
        watcher.stage("data", Amount { items: chosen.packs.len() as u64, bytes });
        let (blobs, read_bytes) = (&self.blobs, AtomicU64::new(0));
        let repository = self.repository;
        let reader = PackReader { repository, blobs, damage, watcher, read_bytes };
        let progress =
            Mutex::new(Reading { state, chosen: &chosen, done: vec![false; chosen.packs.len()], next: 0 });
        let read = crew::for_each(crew::size(repository), chosen.packs.len(), |number| {
            let (pack, size) = chosen.packs[number];
            let good = reader.read(pack, size, self.place(&pack))?;
            guard(&progress).finished(number, good);
            Ok(())
        });
        let progress = progress.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let done = progress.done.iter().filter(|done| **done).count() as u64;
        report.read = Amount { items: done, bytes: reader.read_bytes.load(Ordering::Relaxed) };
        progress.state.advance(&chosen, progress.next, Moment::now());
        read
    }
}

/// How far the reading has come.
struct Reading<'r> {
    state: &'r mut ReadState,
    chosen: &'r Chosen,
    done: Vec<bool>,
    /// All before it are done.
    next: usize,
}

impl Reading<'_> {
    fn finished(&mut self, number: usize, good: bool) {
        self.state.found(self.chosen.packs[number].0, good);
        self.done[number] = true;
        while self.done.get(self.next) == Some(&true) {
            self.next += 1;
        }
    }
}
