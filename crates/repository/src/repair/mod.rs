//! Healing an archive: what is lost is taken from elsewhere, what is good is taken out of damaged packs.
//!
//! First, under a shared lock, only what is good is added: packs that no index file names are named again, lost blobs are found
//! elsewhere, and the good blobs of damaged packs are put into new ones. From then on the archive is healed. Then, under the
//! exclusive lock, damaged files are removed: index files, packs from which nothing more can be had, version files in whose
//! place there is another. A damaged pack with something that was found nowhere stays, for another try.

mod heal;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use stillpoint_model::ErrorKind;

use crate::blob::BlobKind;
use crate::by_pack::{ByPack, sealed_in, span_of};
use crate::check::damage::Damage;
use crate::check::{self, CheckReport, DamagedPack, DataShare, Packs, ReadState};
use crate::error::RepositoryError;
use crate::id::Id;
use crate::index::{Index, IndexedBlob, IndexedPack, Location};
use crate::lock::RepositoryLock;
use crate::marks::{self, Used, is_of_the_store};
use crate::pack;
use crate::packer::{IndexWriter, Packer};
use crate::prune::removal;
use crate::repository::Repository;
use crate::snapshot::Snapshot;
use crate::store::FileKind;
use crate::watch::{Amount, Watcher};
use heal::Healer;

pub use heal::HealSource;

/// How many files are named of each version that cannot be healed.
const NAMES_MAX: usize = 20;

/// What a repair did.
#[derive(Debug, Clone, Default)]
pub struct RepairReport {
    /// Packs that no index file named any more and that are in one again.
    pub packs_indexed: u64,
    /// Blobs that were lost and found elsewhere.
    pub blobs_healed: u64,
    /// Good blobs that were taken out of damaged packs.
    pub blobs_salvaged: u64,
    /// Version files that were damaged and found elsewhere.
    pub versions_healed: u64,
    /// Damaged files that were removed.
    pub files_removed: u64,
    /// What could not be healed, and whom it touches.
    pub unhealed: Vec<DamagedPack>,
    /// Version files that are damaged and were found nowhere, one sentence each.
    pub damaged_files: Vec<String>,
    /// Why damaged files were not removed yet: somebody was at work the whole time. The archive is healed all the same.
    pub postponed: Option<String>,
}

/// Heals an archive as far as these sources can.
///
/// # Errors
///
/// The archive is in use by somebody who works alone (`Busy`), a source cannot be read, the work was cancelled, or the store
/// fails. Nothing good is ever removed.
pub fn repair(
    repository: &Repository,
    sources: &[HealSource<'_>],
    wait: Duration,
    watcher: &dyn Watcher,
) -> Result<RepairReport, RepositoryError> {
    let mut report = RepairReport::default();
    let lock = RepositoryLock::shared(repository, wait, watcher)?;
    let doomed = add_what_is_good(repository, sources, &lock, watcher, &mut report)?;
    lock.release(watcher);
    if doomed.is_empty() {
        return Ok(report);
    }
    let lock = match RepositoryLock::exclusive(repository, wait, watcher) {
        Err(error) if error.kind == ErrorKind::Busy => {
            report.postponed = Some(error.text);
            return Ok(report);
        }
        other => other?,
    };
    let replaced = removal::rewrite_index(repository, &doomed.packs, &doomed.index_files, watcher)?;
    for (kind, files) in [
        (FileKind::Index, &replaced),
        (FileKind::Pack, &doomed.packs),
        (FileKind::Snapshot, &doomed.versions),
    ] {
        removal::remove(repository, kind, files, &lock, watcher)?;
        report.files_removed += files.len() as u64;
    }
    lock.release(watcher);
    Ok(report)
}

/// Damaged files that are no longer needed, each kind sorted.
#[derive(Default)]
struct Doomed {
    index_files: Vec<Id>,
    packs: Vec<Id>,
    versions: Vec<Id>,
}

impl Doomed {
    fn is_empty(&self) -> bool {
        self.index_files.is_empty() && self.packs.is_empty() && self.versions.is_empty()
    }
}

fn add_what_is_good(
    repository: &Repository,
    sources: &[HealSource<'_>],
    lock: &RepositoryLock,
    watcher: &dyn Watcher,
    report: &mut RepairReport,
) -> Result<Doomed, RepositoryError> {
    let mut doomed = Doomed::default();
    let versions = load_versions(repository, sources, &mut doomed, report)?;
    let listed = repository.list(FileKind::Pack)?;
    let index = rebuild_index(repository, &versions, &listed, watcher, &mut doomed, report)?;
    let damage = Damage::none_of(&index);
    let packs = Packs::new(repository, &index, &listed);
    let mut seen = CheckReport::default();
    packs.compare(&damage, &mut seen);
    let used = check::check_versions(repository, &index, &damage, &versions, watcher)?;
    packs.read(DataShare::All, &damage, &mut ReadState::default(), watcher, &mut seen)?;
    let packer = Packer::new(repository);
    let mut healer = Healer {
        repository,
        index: &index,
        damage: &damage,
        used: &used,
        packer: &packer,
        watcher,
        wanted: damage.lost(&used),
        healed: BTreeSet::new(),
    };
    sources.iter().try_for_each(|source| healer.heal_from(*source))?;
    let Healer { wanted, healed, .. } = healer;
    report.blobs_healed = healed.len() as u64;
    report.blobs_salvaged = salvage(repository, &index, &damage, &packer, watcher)?;
    packer.finish()?;
    lock.still_ours()?;
    for (id, version) in versions.iter().filter(|(id, _)| doomed.versions.contains(id)) {
        repository.save_snapshot(&Snapshot { original: Some(*id), parent: None, ..version.clone() })?;
    }
    // What was found nowhere may be found another time, by its place in a damaged pack.
    let needed_still: BTreeSet<Id> =
        wanted.iter().flat_map(|(kind, id)| index.find(*kind, id)).map(|place| place.pack).collect();
    let damaged = damage.packs().into_iter().map(|(pack, ..)| pack);
    doomed.packs = damaged.filter(|pack| !needed_still.contains(pack)).collect();
    if !wanted.is_empty() {
        let newer = Arc::new(Index::load_what_is_good(repository, |_, _| ())?);
        let damage = damage.in_index(&newer);
        check::check_versions(repository, &newer, &damage, &versions, watcher)?;
        let named = check::name_damage(repository, &newer, &damage, &versions, NAMES_MAX, watcher);
        report.unhealed = named.0.into_iter().filter(|pack| pack.lost > 0).collect();
        if let Some(error) = named.1 {
            watcher.note(&format!("whom the damage touches is not known: {error}"));
        }
    }
    Ok(doomed)
}

/// All versions: those whose file is damaged from another archive that has them.
fn load_versions(
    repository: &Repository,
    sources: &[HealSource<'_>],
    doomed: &mut Doomed,
    report: &mut RepairReport,
) -> Result<Vec<(Id, Snapshot)>, RepositoryError> {
    let mut versions: Vec<(Id, Snapshot)> = Vec::new();
    for (id, _) in repository.list(FileKind::Snapshot)? {
        let error = match repository.load_json(FileKind::Snapshot, id) {
            Ok(version) => {
                versions.push((id, version));
                continue;
            }
            Err(error) if error.is_missing() => continue,
            Err(error) if is_of_the_store(&error) => return Err(error),
            Err(error) => error,
        };
        match find_version(id, sources)? {
            Some(version) => {
                versions.push((id, version));
                doomed.versions.push(id);
                report.versions_healed += 1;
            }
            None => report.damaged_files.push(error.text),
        }
    }
    Ok(versions)
}

fn find_version(wanted: Id, sources: &[HealSource<'_>]) -> Result<Option<Snapshot>, RepositoryError> {
    for source in sources {
        if let HealSource::Archive(archive) = source {
            let mut versions = archive.snapshots()?.into_iter();
            let found = versions.find(|(id, version)| *id == wanted || version.original == Some(wanted));
            if let Some((_, version)) = found {
                return Ok(Some(version));
            }
        }
    }
    Ok(None)
}

/// The index of all files that are good, and of the packs that only damaged ones named.
fn rebuild_index(
    repository: &Repository,
    versions: &[(Id, Snapshot)],
    listed: &[(Id, u64)],
    watcher: &dyn Watcher,
    doomed: &mut Doomed,
    report: &mut RepairReport,
) -> Result<Arc<Index>, RepositoryError> {
    let index = Index::load_what_is_good(repository, |id, _| doomed.index_files.push(id))?;
    let missed = std::sync::atomic::AtomicBool::new(!doomed.index_files.is_empty());
    let tops = versions.iter().map(|(_, version)| version.tree);
    marks::mark(repository, &index, &Used::none_of(&index), tops, watcher, &|flaw| {
        missed.fetch_or(!index.has(flaw.kind, &flaw.id), std::sync::atomic::Ordering::Relaxed);
        Ok(())
    })?;
    // Else packs that no index file names are leftovers, or are being written.
    if !missed.into_inner() {
        return Ok(Arc::new(index));
    }
    let mut indexed = index.packs().to_vec();
    indexed.sort_unstable();
    let mut writer = IndexWriter::new(repository);
    watcher.stage("index", Amount { items: listed.len() as u64, bytes: 0 });
    for (pack, size) in listed.iter().filter(|(pack, _)| indexed.binary_search(pack).is_err()) {
        watcher.check()?;
        match pack::read_list(repository.store(), repository.key(), *pack, *size) {
            Ok(blobs) => {
                writer
                    .add(IndexedPack { id: *pack, blobs: blobs.iter().map(IndexedBlob::from).collect() })?;
                report.packs_indexed += 1;
            }
            Err(error) if is_of_the_store(&error) => return Err(error),
            Err(error) => watcher.note(&error.text),
        }
        watcher.advance(Amount { items: 1, bytes: 0 });
    }
    writer.flush()?;
    Ok(Arc::new(Index::load_what_is_good(repository, |_, _| ())?))
}

/// Takes the good blobs out of damaged packs that lie nowhere else, also those that no version needs: whoever saves meanwhile
/// may rely on them.
fn salvage(
    repository: &Repository,
    index: &Index,
    damage: &Damage<'_>,
    packer: &Packer<'_>,
    watcher: &dyn Watcher,
) -> Result<u64, RepositoryError> {
    // The first good place of each blob of which no place is in a good pack.
    let is_first_good = |kind: BlobKind, number: usize, location: &Location| {
        let first = index.number_of(kind, &location.blob.id).unwrap_or(number);
        let places = || (first..).zip(index.find(kind, &location.blob.id));
        let mut good = places().filter(|(place, _)| !damage.is_bad(kind, *place));
        good.next().is_some_and(|(place, _)| place == number)
            && places().all(|(place, at)| damage.is_bad(kind, place) || damage.has(&at.pack))
    };
    let blobs = ByPack::new(index, |kind, number, location| {
        damage.has(&location.pack) && !damage.is_bad(kind, number) && is_first_good(kind, number, location)
    });
    let mut salvaged = 0;
    for pack in 0..blobs.count() {
        for run in blobs.runs(pack) {
            watcher.check()?;
            let run = blobs.run(run);
            let span = span_of(&run);
            let Some(id) = run.first().map(|(_, location)| location.pack) else { continue };
            let bytes = repository.read_pack(id, span.clone())?;
            for (_, location) in &run {
                let sealed = sealed_in(&bytes, &span, location).unwrap_or_default();
                repository.open_blob(location, &mut sealed.to_vec())?;
                packer.add(&location.blob, sealed)?;
                salvaged += 1;
            }
        }
    }
    Ok(salvaged)
}
