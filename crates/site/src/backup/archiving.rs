//! After the publish: the set becomes a version in every archive of the site, an archive that was away gets what it missed, and
//! what the rules of an archive do not keep is let go.
//!
//! The set is good by then, whatever happens here. An archive that does not take it is a problem of the run, and the others
//! are not held up by it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use stillpoint_archive::BackupSet;
use stillpoint_model::site_file::Archive;
use stillpoint_model::status::id;
use stillpoint_model::{ArchiveName, Cancel, EpochNumber, ErrorKind, Event, Monitor, Problem, SiteCode};
use stillpoint_repository::{Id, Watcher};

use super::begin::{Limits, apart};
use super::teller::Teller;
use crate::archive::{ArchiveWatcher, OpenArchive, SavedVersion, open_archive};
use crate::error::{SiteError, chain};

/// What came of a set in one archive.
#[derive(Debug)]
pub struct ArchivedSet {
    /// The archive.
    pub archive: ArchiveName,
    /// The version; or why there is none.
    pub result: Result<SavedVersion, SiteError>,
}

/// How long a first version over a slow line may take. The engine itself gives up what does not answer, much sooner.
const LIMIT: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long it may take to end tidily when the run is cancelled.
const GRACE: Duration = Duration::from_secs(60);

/// The archives of one run, as far as they can be reached.
pub(super) struct Archiving<'a> {
    site: &'a SiteCode,
    teller: &'a Arc<Teller>,
    cancel: &'a Cancel,
    reached: Vec<Reached>,
}

/// An archive that has the version of this run.
#[derive(Clone)]
struct Reached {
    archive: OpenArchive,
    /// The newest version that it had before this run.
    before: Option<Timestamp>,
}

impl<'a> Archiving<'a> {
    pub fn new(site: &'a SiteCode, teller: &'a Arc<Teller>, cancel: &'a Cancel) -> Self {
        Self { site, teller, cancel, reached: Vec::new() }
    }

    /// Saves the set in all archives, one after the other.
    pub fn save_in_all(&mut self, archives: &[Archive], set: &Arc<BackupSet>) -> Vec<ArchivedSet> {
        let mut made = Vec::new();
        for settings in archives {
            let set_of_run = Arc::clone(set);
            let saved =
                self.add_to(settings, None, move |archive, watcher| archive.save(&set_of_run, watcher));
            made.push(self.told(settings, set.facts().epoch, saved));
        }
        self.catch_up();
        self.retire();
        made
    }

    /// The version was captured straight into one archive: the others get it from there.
    pub fn copy_to_others(
        &mut self,
        archives: &[Archive],
        version: ArchivedSet,
        epoch: EpochNumber,
    ) -> Vec<ArchivedSet> {
        let first = archives.iter().find(|settings| settings.name == version.archive);
        let (Some(first), Ok(saved)) = (first, &version.result) else { return vec![version] };
        let id = saved.id;
        let source = match self.add_to(first, Some(id), move |_, _| Ok(())) {
            Ok(()) => self.reached.last().map(|reached| reached.archive.clone()),
            Err(error) => {
                self.not_retired(first, &error);
                None
            }
        };
        let mut made = vec![version];
        for settings in archives.iter().filter(|settings| settings.name != first.name) {
            let source = source.clone();
            let copied = self.add_to(settings, None, move |archive, watcher| match source {
                Some(source) => copied_version(archive, &source, id, watcher),
                None => {
                    Err(SiteError::new(ErrorKind::Environment, "the archive that has the version is away"))
                }
            });
            made.push(self.told(settings, epoch, copied));
        }
        self.catch_up();
        self.retire();
        made
    }

    /// Opens an archive and adds to it. It may read from the destination and write to what is far away: neither may hold the
    /// run for ever. A version of this run may be there already.
    fn add_to<T: Send + 'static>(
        &mut self,
        settings: &Archive,
        of_this_run: Option<Id>,
        add: impl FnOnce(&OpenArchive, &Arc<dyn Watcher>) -> Result<T, SiteError> + Send + 'static,
    ) -> Result<T, SiteError> {
        self.teller.status(id::ARCHIVE_SAVE_STARTED, &[settings.name.as_str()]);
        let (own, site, cancel) = (settings.clone(), self.site.clone(), self.cancel.clone());
        let watcher = self.watcher(settings);
        let done = self.apart(settings, "saving the set in", move || {
            let archive = open_archive(&own, &cancel)?;
            let before = archive.newest_before(site.as_str(), of_this_run)?;
            let added = add(&archive, &watcher)?;
            Ok((Reached { archive, before }, added))
        });
        let (reached, added) = done?;
        self.reached.push(reached);
        Ok(added)
    }

    fn apart<T: Send + 'static>(
        &self,
        settings: &Archive,
        what: &str,
        work: impl FnOnce() -> Result<T, SiteError> + Send + 'static,
    ) -> Result<T, SiteError> {
        let limits = Limits { limit: LIMIT, cancel: self.cancel, grace: GRACE };
        apart(&format!("{what} archive {}", settings.name), &limits, work)?
    }

    /// Tells the run of the work in an archive.
    fn watcher(&self, settings: &Archive) -> Arc<dyn Watcher> {
        let monitor: Arc<dyn Monitor> = self.teller.clone();
        let (name, noted) = (settings.name.to_string(), self.teller.clone());
        let notes = move |text: &str| noted.status(id::ARCHIVE_NOTE, &[&name, text]);
        ArchiveWatcher::new(settings.name.as_str(), monitor, self.cancel, notes)
    }

    fn told(
        &self,
        settings: &Archive,
        epoch: EpochNumber,
        result: Result<SavedVersion, SiteError>,
    ) -> ArchivedSet {
        let archived = ArchivedSet { archive: settings.name.clone(), result };
        tell(&archived, epoch, self.teller);
        archived
    }

    /// Copies what an archive missed while it was away, from the others. That it could not be done is told: the set of this
    /// run is there.
    fn catch_up(&self) {
        for target in &self.reached {
            // What is new, or was emptied, did not miss anything: `archive copy` fills it.
            let Some(before) = target.before else { continue };
            let name = &target.archive.settings.name;
            for source in self.reached.iter().filter(|source| source.archive.settings.name != *name) {
                let from = source.archive.settings.name.to_string();
                let (to, source, site) = (target.archive.clone(), source.archive.clone(), self.site.clone());
                let watcher = self.watcher(&target.archive.settings);
                let copied = self.apart(&target.archive.settings, "catching up", move || {
                    let missing = to.missing_from(&source, site.as_str(), Some(before))?;
                    let missing: Vec<Id> = missing.iter().map(|version| version.id).collect();
                    if missing.is_empty() {
                        return Ok(0);
                    }
                    let report = to.copy_from(&source, &missing, &watcher)?;
                    match report.damaged.into_iter().next() {
                        Some((id, error)) => Err(SiteError::new(
                            ErrorKind::Damaged,
                            format!("version {} of archive {} is damaged", id.short(), source.settings.name),
                        )
                        .because(error)),
                        None => Ok(report.copied.len()),
                    }
                });
                match copied {
                    Ok(0) => {}
                    Ok(count) => {
                        let inserts = [name.as_str(), &count.to_string(), &from];
                        self.teller.status(id::ARCHIVE_CAUGHT_UP, &inserts);
                    }
                    Err(error) => {
                        let inserts = [name.as_str(), &from, &chain(&error)];
                        self.teller.status(id::ARCHIVE_NOT_CAUGHT_UP, &inserts);
                    }
                }
            }
        }
    }

    /// Lets go what the rules do not keep. The new version is there: that an older one could not go is told, and no problem of
    /// the run.
    fn retire(&self) {
        for Reached { archive, .. } in &self.reached {
            if archive.settings.append_only || archive.settings.keep.is_empty() {
                continue;
            }
            let (own, site, teller) = (archive.clone(), self.site.clone(), Arc::clone(self.teller));
            let watcher = self.watcher(&archive.settings);
            let what = "letting go of versions in";
            let done = self.apart(&archive.settings, what, move || retire(&own, &site, &teller, &*watcher));
            if let Err(error) = done {
                self.not_retired(&archive.settings, &error);
            }
        }
    }

    fn not_retired(&self, settings: &Archive, error: &SiteError) {
        self.teller.status(id::ARCHIVE_NOT_RETIRED, &[settings.name.as_str(), &chain(error)]);
    }
}

/// The version with this name of another archive, in this one.
fn copied_version(
    archive: &OpenArchive,
    source: &OpenArchive,
    version: Id,
    watcher: &Arc<dyn Watcher>,
) -> Result<SavedVersion, SiteError> {
    let report = archive.copy_from(source, &[version], watcher)?;
    if let Some((_, error)) = report.damaged.into_iter().next() {
        return Err(SiteError::new(ErrorKind::Damaged, "the new version is damaged").because(error));
    }
    match report.copied.first() {
        Some((_, id)) => {
            Ok(SavedVersion { id: *id, added_bytes: None, stored_bytes: Some(report.stored.bytes) })
        }
        None => Ok(SavedVersion { id: version, added_bytes: None, stored_bytes: None }),
    }
}

/// Their data is removed by a prune, which takes long and is nobody's hurry.
fn retire(
    archive: &OpenArchive,
    site: &SiteCode,
    teller: &Teller,
    watcher: &dyn Watcher,
) -> Result<(), SiteError> {
    let name = archive.settings.name.as_str();
    let plan = archive.retention(site.as_str())?;
    for (one, doubt) in plan.versions.iter().filter_map(|one| Some((one, one.doubt()?))) {
        let epoch = one.version.epoch.unwrap_or_default().to_string();
        teller.status(id::ARCHIVE_CLOCK_DOUBT, &[name, &one.version.id.short(), &epoch, &doubt]);
    }
    let retired: Vec<_> = plan.retired().map(|one| one.version.id).collect();
    let gone = archive.forget(&retired, watcher)?;
    if !gone.is_empty() {
        teller.status(id::ARCHIVE_RETIRED, &[name, &gone.len().to_string()]);
    }
    Ok(())
}

/// Tells what came of it.
pub(super) fn tell(archived: &ArchivedSet, epoch: EpochNumber, teller: &Teller) {
    let ArchivedSet { archive, result } = archived;
    match result {
        Ok(saved) => {
            let size = |bytes: Option<u64>| bytes.unwrap_or_default().to_string();
            let version = saved.id.short();
            let (added, stored) = (size(saved.added_bytes), size(saved.stored_bytes));
            teller.emit(Event::VersionSaved {
                archive: archive.clone(),
                version: saved.id.to_string(),
                epoch,
                added_bytes: saved.added_bytes,
                stored_bytes: saved.stored_bytes,
            });
            let inserts = [archive.as_str(), &version, &epoch.to_string(), &added, &stored];
            teller.status(id::ARCHIVE_SAVED, &inserts);
        }
        Err(error) => {
            let why = chain(error);
            teller.status(id::ARCHIVE_NOT_SAVED, &[archive.as_str(), &why]);
            let text = format!("the set is not in archive {archive}: {why}");
            teller.emit(Event::Problem(Problem { component: None, path: None, text }));
        }
    }
}
