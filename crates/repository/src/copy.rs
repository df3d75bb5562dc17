//! Copying versions from one archive to another, with other keys.
//!
//! Each version is written in the order of a save: packs, index files, snapshot. What a copy that died left behind is in the index
//! of the target and is not copied again.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::by_pack::{ByPack, sealed_in, span_of};
use crate::crew;
use crate::error::RepositoryError;
use crate::id::Id;
use crate::index::{Index, Location};
use crate::lock::RepositoryLock;
use crate::marks::{self, Used, is_of_the_store};
use crate::pack::PackedBlob;
use crate::packer::Packer;
use crate::proof::prove;
use crate::repository::Repository;
use crate::save::upload::lock as guard;
use crate::snapshot::Snapshot;
use crate::watch::{Amount, Watcher};

/// What a copy did.
#[derive(Debug, Clone, Default)]
pub struct CopyReport {
    /// The versions that were copied: their names there and here.
    pub copied: Vec<(Id, Id)>,
    /// The versions that the target had already.
    pub there: Vec<Id>,
    /// The versions that cannot be copied because they are damaged, and what is. All others are copied all the same.
    pub damaged: Vec<(Id, RepositoryError)>,
    /// Blobs and bytes that were stored.
    pub stored: Amount,
}

/// Copies those of the versions that the target does not have: by the name that a version had first, or by the run that made it.
///
/// # Errors
///
/// One of the archives is in use by somebody who works alone (`Busy`), one of these versions is not there, the work was
/// cancelled, or a store fails. What was copied by then stays and is not copied again.
pub fn copy(
    from: &Repository,
    to: &Repository,
    versions: &[Id],
    wait: Duration,
    watcher: &dyn Watcher,
) -> Result<CopyReport, RepositoryError> {
    let mut report = CopyReport::default();
    let reading = RepositoryLock::reading(from, wait, watcher)?;
    let lock = RepositoryLock::shared(to, wait, watcher)?;
    let known = Known::of(&to.snapshots()?);
    let mut missing = Vec::new();
    for (id, version) in from.snapshots()?.into_iter().filter(|(id, _)| versions.contains(id)) {
        if known.has(id, &version) {
            report.there.push(id);
        } else {
            missing.push((id, version));
        }
    }
    let found = missing.len() + report.there.len();
    if found < versions.iter().collect::<BTreeSet<_>>().len() {
        let text = format!("{} has not all of the versions that are to be copied", from.store().name());
        return Err(RepositoryError::new(stillpoint_model::ErrorKind::Usage, text));
    }
    if !missing.is_empty() {
        copy_missing(from, to, missing, &lock, watcher, &mut report)?;
    }
    lock.release(watcher);
    if let Some(reading) = reading {
        reading.release(watcher);
    }
    Ok(report)
}

/// What the target has.
struct Known {
    names: BTreeSet<Id>,
    runs: BTreeSet<(String, String)>,
}

fn run_of(version: &Snapshot) -> Option<(String, String)> {
    version.tag("run").map(|run| (version.hostname.clone(), run.to_owned()))
}

impl Known {
    fn of(versions: &[(Id, Snapshot)]) -> Self {
        Self {
            names: versions
                .iter()
                .flat_map(|(id, version)| [Some(*id), version.original])
                .flatten()
                .collect(),
            runs: versions.iter().filter_map(|(_, version)| run_of(version)).collect(),
        }
    }

    fn has(&self, id: Id, version: &Snapshot) -> bool {
        self.names.contains(&version.original.unwrap_or(id))
            || self.names.contains(&id)
            || run_of(version).is_some_and(|run| self.runs.contains(&run))
    }
}

fn copy_missing(
    from: &Repository,
    to: &Repository,
    missing: Vec<(Id, Snapshot)>,
    lock: &RepositoryLock,
    watcher: &dyn Watcher,
    report: &mut CopyReport,
) -> Result<(), RepositoryError> {
    let index = Index::load(from)?;
    let there = Index::load(to)?;
    let copied = Used::none_of(&index);
    let copier = Copier {
        from,
        to,
        index: &index,
        there: &there,
        copied: &copied,
        watcher,
        damage: Mutex::default(),
        blobs: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
    };
    let mut used = Used::none_of(&index);
    for (id, version) in missing {
        match copier.version(&used, &version, lock)? {
            None => {
                let original = version.original.or(Some(id));
                let name = to.save_snapshot(&Snapshot { parent: None, original, ..version })?;
                report.copied.push((id, name));
            }
            Some(damage) => {
                report.damaged.push((id, damage));
                // What is marked is no longer what was copied.
                used = Used::none_of(&index);
            }
        }
    }
    report.stored =
        Amount { items: copier.blobs.load(Ordering::Relaxed), bytes: copier.bytes.load(Ordering::Relaxed) };
    Ok(())
}

struct Copier<'c> {
    from: &'c Repository,
    to: &'c Repository,
    index: &'c Index,
    there: &'c Index,
    copied: &'c Used,
    watcher: &'c dyn Watcher,
    /// Why this version cannot be copied.
    damage: Mutex<Option<RepositoryError>>,
    blobs: AtomicU64,
    bytes: AtomicU64,
}

impl Copier<'_> {
    /// Copies what a version needs. Returns what of it is damaged.
    fn version(
        &self,
        used: &Used,
        version: &Snapshot,
        lock: &RepositoryLock,
    ) -> Result<Option<RepositoryError>, RepositoryError> {
        self.watcher.stage("mark", Amount::default());
        marks::mark(self.from, self.index, used, [version.tree], self.watcher, &|flaw| {
            self.damaged(flaw.error);
            Ok(())
        })?;
        if let Some(damage) = guard(&self.damage).take() {
            return Ok(Some(damage));
        }
        let blobs = ByPack::new(self.index, |kind, number, location| {
            used.of(kind).has(number)
                && !self.copied.of(kind).has(number)
                && !self.there.has(kind, &location.blob.id)
        });
        let bytes = (0..blobs.count()).flat_map(|pack| blobs.blobs(pack));
        let bytes = bytes.map(|(_, location)| u64::from(location.blob.length)).sum();
        self.watcher.stage("copy", Amount { items: blobs.count() as u64, bytes });
        let packer = Packer::new(self.to);
        let done = crew::for_each(crew::size(self.to), blobs.count(), |pack| {
            lock.still_ours()?;
            blobs.runs(pack).try_for_each(|run| self.run(&blobs.run(run), &packer))?;
            self.watcher.advance(Amount { items: 1, bytes: 0 });
            Ok(())
        });
        // What was copied by then is named, so that it need not be copied again.
        let finished = packer.finish();
        done?;
        finished?;
        lock.still_ours()?;
        Ok(guard(&self.damage).take())
    }

    fn damaged(&self, error: RepositoryError) {
        guard(&self.damage).get_or_insert(error);
    }

    fn run(&self, run: &[(usize, Location)], packer: &Packer<'_>) -> Result<(), RepositoryError> {
        self.watcher.check()?;
        let span = span_of(run);
        let Some(pack) = run.first().map(|(_, location)| location.pack) else { return Ok(()) };
        let bytes = match self.from.read_pack(pack, span.clone()) {
            Err(error) if is_of_the_store(&error) => return Err(error),
            // Each by itself, and from wherever else it lies.
            other => other.unwrap_or_default(),
        };
        let (mut scratch, mut sealed) = (Vec::new(), Vec::new());
        for (number, location) in run {
            let blob = &location.blob;
            let mut own = sealed_in(&bytes, &span, location).unwrap_or_default().to_vec();
            match prove(self.from, blob, &mut own, &mut scratch) {
                Ok(stored) => {
                    sealed.clear();
                    self.to.key().seal_onto(stored, &mut sealed)?;
                    let length = u32::try_from(sealed.len()).unwrap_or(u32::MAX);
                    packer.add(&PackedBlob { length, ..*blob }, &sealed)?;
                }
                Err(_) => match self.from.read_blob(self.index, blob.kind, &blob.id) {
                    Ok(plain) => packer.add_plain(blob.kind, blob.id, &plain)?,
                    Err(error) if is_of_the_store(&error) => return Err(error),
                    Err(error) => {
                        self.damaged(error);
                        continue;
                    }
                },
            }
            self.copied.of(blob.kind).set(*number);
            self.blobs.fetch_add(1, Ordering::Relaxed);
            self.bytes.fetch_add(u64::from(blob.length), Ordering::Relaxed);
        }
        self.watcher.advance(Amount { items: 0, bytes: span.end - span.start });
        Ok(())
    }
}
