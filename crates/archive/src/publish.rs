//! Sealing a set and giving it its name. The order of the acts is the promise: whatever moment the machine dies at, the
//! name of the set leads to the old set, whole, or to the new one, whole, and the registered undo (which removes the
//! *building* name, and only with our marker in it) never meets a published set.
//!
//! | moment of death | published | under the building name | what heals it |
//! |---|---|---|---|
//! | before the exchange | old | new, marked | the undo removes it |
//! | after the exchange | new | old, marked before the exchange | the undo removes it |
//!
//! The databases' separate part is built under a hidden name, gets its final name before the exchange, and keeps its
//! marker until after it: only `heal` touches it, which asks the published manifest first.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stillpoint_model::{ErrorKind, Event, Monitor, Outcome, Problem};

use crate::facts::{Kit, SetFacts};
use crate::layout::{Place, WORK};
use crate::manifest::{DatabasesPart, FORMAT, Manifest, Part, StoredFile};
use crate::seal::Seal;
use crate::verify::{self, Reading, Roots};
use crate::{ArchiveError, BackupSet, SealedApart, SetBuilder, disk, layout};

/// The points of a publish, each the end of one act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PublishStep {
    /// Lists, words of the writers and recovery kit are written.
    Sealed,
    /// All of it is on the disk.
    Synced,
    /// The manifest is on the disk.
    ManifestWritten,
    /// What was written in this run was read back.
    Verified,
    /// The separate part with the databases has its name.
    DatabasesNamed,
    /// The old set carries our marker.
    OldMarked,
    /// Only where the file system cannot exchange: the old set is put aside.
    SetAside,
    /// The new set has its name.
    Swapped,
    /// That is on the disk.
    SwapDurable,
    /// The new set carries no marker any more.
    Unmarked,
    /// The old set is gone.
    OldRemoved,
}

/// Where a test can stop a publish.
pub(crate) trait Faults {
    /// Called at each point.
    fn reached(&self, _step: PublishStep) -> Result<(), ArchiveError> {
        Ok(())
    }

    /// Whether the file system is to be taken for one that can exchange.
    fn can_exchange(&self) -> bool {
        true
    }
}

/// No faults.
pub(crate) struct NoFaults;

impl Faults for NoFaults {}

/// One publish under way.
pub(crate) struct Publication<'a> {
    builder: SetBuilder,
    facts: SetFacts,
    monitor: &'a Arc<dyn Monitor>,
    faults: &'a dyn Faults,
    /// What is published now, if it can be read.
    old: Option<Manifest>,
}

impl<'a> Publication<'a> {
    pub fn new(
        builder: SetBuilder,
        facts: SetFacts,
        monitor: &'a Arc<dyn Monitor>,
        faults: &'a dyn Faults,
    ) -> Result<Self, ArchiveError> {
        let bug = |text: &str| Err(ArchiveError::new(ErrorKind::Bug, text));
        if facts.site != builder.site || facts.run != builder.run {
            return bug("the facts are those of another run than the set that is published");
        }
        if facts.outcome == Outcome::Failed {
            return bug("a failed run is not published");
        }
        let old = Manifest::read(&builder.yard.locations.published()).ok();
        Ok(Self { builder, facts, monitor, faults, old })
    }

    pub fn run(self, kit: &Kit) -> Result<BackupSet, ArchiveError> {
        let manifest = self.seal(kit)?;
        self.faults.reached(PublishStep::Sealed)?;
        for (file_system, path) in &self.builder.file_systems {
            disk::sync_file_system(file_system, path)?;
        }
        self.faults.reached(PublishStep::Synced)?;
        manifest.write(&self.builder.folder())?;
        self.faults.reached(PublishStep::ManifestWritten)?;
        self.verify(&manifest)?;
        self.faults.reached(PublishStep::Verified)?;
        if self.builder.cancel.is_cancelled() {
            return Err(ArchiveError::new(
                ErrorKind::Cancelled,
                "the run was cancelled before the set was published",
            )
            .with_hint("the last good set is untouched"));
        }
        self.swap()?;
        let removed = self.remove_old();
        if let Err(error) = removed {
            // The set is published. What could not be removed still carries the marker, and the next start removes it.
            self.problem(&format!("the set that was replaced could not be removed: {}", in_full(&error)));
        }
        self.faults.reached(PublishStep::OldRemoved)?;
        BackupSet::published(self.builder.yard.locations.published(), manifest, self.facts)
    }

    /// Writes all but the content, which lies elsewhere.
    pub fn seal_without_content(self, kit: &Kit) -> Result<SealedApart, ArchiveError> {
        let manifest = self.seal(kit)?;
        let folder = self.builder.folder();
        manifest.write(&folder)?;
        let own = [
            layout::MANIFEST,
            layout::MANIFEST_SUM,
            layout::SUMS,
            layout::LISTS,
            layout::WRITERS,
            layout::KIT,
        ];
        let pieces = own.iter().map(|name| folder.join(name)).collect();
        let sizes =
            manifest.components.iter().map(|part| (part.name.clone(), part.files, part.bytes)).collect();
        Ok(SealedApart { folder, pieces, sizes, run: self.builder.run.clone() })
    }

    /// Writes everything but the manifest itself.
    fn seal(&self, kit: &Kit) -> Result<Manifest, ArchiveError> {
        let locations = &self.builder.yard.locations;
        let sealed =
            Seal { builder: &self.builder, facts: &self.facts, old: self.old.as_ref() }.write(kit)?;
        let databases = locations.databases_published().map(|folder| self.write_part(folder)).transpose()?;
        for place in Place::ALL {
            disk::remove_tree(&locations.building_for(place).join(WORK))?;
        }
        let facts = &self.facts;
        Ok(Manifest {
            format: FORMAT,
            min_reader: FORMAT,
            site: facts.site.clone(),
            name: facts.name.clone(),
            run: facts.run.clone(),
            epoch: facts.epoch,
            cut_at: facts.cut_at,
            window_us: facts.window_us,
            outcome: facts.outcome,
            grade: facts.grade,
            problems: facts.problems.clone(),
            tools: facts.tools.clone(),
            components: sealed.components,
            databases,
            kit: sealed.kit,
            sums: sealed.sums,
        })
    }

    /// Lets the separate folder with the databases say to whom it belongs.
    fn write_part(&self, folder: PathBuf) -> Result<DatabasesPart, ArchiveError> {
        let locations = &self.builder.yard.locations;
        let building = locations.building_for(Place::SiteDbServer);
        let parts = self.facts.components.iter().filter(|(_, place, ..)| *place == Place::SiteDbServer);
        let part = Part {
            format: FORMAT,
            min_reader: FORMAT,
            site: self.facts.site.clone(),
            run: self.facts.run.clone(),
            epoch: self.facts.epoch,
            set: locations.published(),
            components: parts.map(|(name, ..)| name.clone()).collect(),
            sums: StoredFile::of(&building, layout::SUMS.to_owned())?,
        };
        let mut text = serde_json::to_vec_pretty(&part).map_err(|error| ArchiveError {
            source: Some(Box::new(error)),
            ..ArchiveError::new(ErrorKind::Bug, "the words of the databases' part cannot be written as JSON")
        })?;
        text.push(b'\n');
        disk::write_durably(&building.join(layout::PART), &text)?;
        Ok(DatabasesPart { folder, part: StoredFile::of(&building, layout::PART.to_owned())? })
    }

    /// Reads back what was written in this run. What is shared with the old set was not written and is only looked at.
    fn verify(&self, manifest: &Manifest) -> Result<(), ArchiveError> {
        let locations = &self.builder.yard.locations;
        let roots = Roots { set: locations.building(), databases: locations.databases_building() };
        let old = self.old.as_ref().map(|old| Roots {
            set: locations.published(),
            databases: old.databases.as_ref().map(|part| part.folder.clone()),
        });
        let reading = Reading::Written { old };
        let report = verify::check(manifest, &roots, &reading, self.monitor, &self.builder.cancel)?;
        let Some(first) = report.damage.first() else { return Ok(()) };
        let path = first.path.as_deref().unwrap_or("the set");
        let text = format!(
            "what was written is not what was read: {path}: {} (one of {})",
            first.text,
            report.damage.len()
        );
        Err(ArchiveError::new(ErrorKind::Damaged, text)
            .with_hint("the disk of the destination may be failing: look at the kernel's log; the last good set is untouched"))
    }

    fn swap(&self) -> Result<(), ArchiveError> {
        let locations = &self.builder.yard.locations;
        let (root, published, building) = (&locations.root, locations.published(), locations.building());
        let run = self.builder.run.as_str();
        if let (Some(folder), Some(from), Some(to)) =
            (&locations.databases, locations.databases_building(), locations.databases_published())
        {
            disk::rename_new(folder, &from, &to)?;
            disk::sync_folder(folder)?;
        }
        self.faults.reached(PublishStep::DatabasesNamed)?;
        if fs::symlink_metadata(&published).is_err() {
            disk::rename_new(root, &building, &published)?;
        } else {
            disk::mark(&published, run)?;
            if let Some(databases) = self.old_databases() {
                disk::mark(&databases, run)?;
            }
            self.faults.reached(PublishStep::OldMarked)?;
            self.exchange(root, &building, &published)?;
        }
        self.faults.reached(PublishStep::Swapped)?;
        disk::sync_folder(root)?;
        self.faults.reached(PublishStep::SwapDurable)
    }

    fn exchange(&self, root: &Path, building: &Path, published: &Path) -> Result<(), ArchiveError> {
        if self.faults.can_exchange() && disk::exchange(root, building, published)? == disk::Swap::Done {
            return Ok(());
        }
        // Two renames. Dead between them, nothing has the name of the set: `BackupSet::open` then finds the old one
        // where it was put, and `heal` gives it its name back.
        let aside = self.builder.yard.locations.aside();
        disk::rename_new(root, published, &aside)?;
        disk::sync_folder(root)?;
        self.faults.reached(PublishStep::SetAside)?;
        disk::rename_new(root, building, published)
    }

    /// The separate part with the databases of the old set, if it is where we would have put it.
    fn old_databases(&self) -> Option<PathBuf> {
        let folder = &self.old.as_ref()?.databases.as_ref()?.folder;
        (folder.parent() == self.builder.yard.locations.databases.as_deref() && folder.is_dir())
            .then(|| folder.clone())
    }

    fn remove_old(&self) -> Result<(), ArchiveError> {
        let locations = &self.builder.yard.locations;
        let run = self.builder.run.as_str();
        for folder in [Some(locations.published()), locations.databases_published()].into_iter().flatten() {
            disk::unmark(&folder)?;
        }
        self.faults.reached(PublishStep::Unmarked)?;
        let replaced = [locations.building(), locations.aside()];
        let was = |outcome| self.old.as_ref().is_some_and(|old| old.outcome == outcome);
        if self.facts.outcome == Outcome::Incomplete && was(Outcome::Complete) {
            self.keep_old(&replaced)?;
        } else {
            for folder in replaced.into_iter().chain(self.old_databases()) {
                disk::remove_marked(&folder, run)?;
            }
            if self.facts.outcome == Outcome::Complete {
                self.remove_kept()?;
            }
        }
        disk::sync_folder(&locations.root)
    }

    /// The set that is replaced was complete and the new one is not: it stays beside it. Its databases lose their marker
    /// first, so that nothing takes them for a leftover; the set itself loses it last, so that it is either removed as a
    /// whole by an undo, or kept.
    fn keep_old(&self, replaced: &[PathBuf]) -> Result<(), ArchiveError> {
        let locations = &self.builder.yard.locations;
        self.remove_kept()?;
        if let Some(databases) = self.old_databases() {
            disk::unmark(&databases)?;
        }
        let kept = locations.kept();
        for folder in replaced.iter().filter(|folder| folder.exists()) {
            disk::rename_new(&locations.root, folder, &kept)?;
            disk::unmark(&kept)?;
        }
        Ok(())
    }

    /// Removes the complete set that was kept beside an incomplete one, with its databases. Only a set of this site.
    fn remove_kept(&self) -> Result<(), ArchiveError> {
        let locations = &self.builder.yard.locations;
        let (kept, run) = (locations.kept(), self.builder.run.as_str());
        let Ok(manifest) = Manifest::read(&kept) else { return Ok(()) };
        if manifest.site != self.facts.site {
            return Ok(());
        }
        let databases = manifest.databases.map(|part| part.folder);
        let ours = |folder: &PathBuf| folder.parent() == locations.databases.as_deref();
        for folder in [Some(kept), databases.filter(ours)].into_iter().flatten() {
            disk::remove_marked(&folder, run)?;
        }
        Ok(())
    }

    fn problem(&self, text: &str) {
        self.monitor.emit(Event::Problem(Problem { component: None, path: None, text: text.to_owned() }));
    }
}

/// The error with its causes, for a problem (errors themselves are printed once, at the edge).
pub(crate) fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
