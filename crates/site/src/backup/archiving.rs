//! After the publish: the set becomes a version in every archive of the site.
//!
//! The set is good by then, whatever happens here. An archive that does not take it is a problem of the run, and the others
//! are not held up by it.

use std::sync::Arc;
use std::time::Duration;

use stillpoint_archive::BackupSet;
use stillpoint_model::site_file::Archive;
use stillpoint_model::status::id;
use stillpoint_model::{ArchiveName, Cancel, EpochNumber, Event, Monitor, Problem, SiteCode};
use stillpoint_repository::Watcher;

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

/// Saves the set in all archives, one after the other.
pub(super) fn save_in_all(
    archives: &[Archive],
    set: &Arc<BackupSet>,
    teller: &Arc<Teller>,
    cancel: &Cancel,
) -> Vec<ArchivedSet> {
    let save = |settings: &Archive| {
        let result = save_in(settings, set, teller, cancel);
        let archived = ArchivedSet { archive: settings.name.clone(), result };
        tell(&archived, set.facts().epoch, teller);
        archived
    };
    archives.iter().map(save).collect()
}

fn save_in(
    settings: &Archive,
    set: &Arc<BackupSet>,
    teller: &Arc<Teller>,
    cancel: &Cancel,
) -> Result<SavedVersion, SiteError> {
    teller.status(id::ARCHIVE_SAVE_STARTED, &[settings.name.as_str()]);
    // It reads from the destination and writes to what may be far away: neither may hold the run for ever.
    let limits = Limits { limit: LIMIT, cancel, grace: GRACE };
    let (settings, set, cancel) = (settings.clone(), Arc::clone(set), cancel.clone());
    let teller = Arc::clone(teller);
    apart(&format!("saving the set in archive {}", settings.name), &limits, move || {
        let archive = open_archive(&settings, &cancel)?;
        let watcher = watcher(&settings, &teller, &cancel);
        let saved = archive.save(&set, &watcher)?;
        retire_or_tell(&archive, &set.facts().site, &teller, &*watcher);
        Ok(saved)
    })?
}

/// Tells the run of the work in an archive.
fn watcher(settings: &Archive, teller: &Arc<Teller>, cancel: &Cancel) -> Arc<dyn Watcher> {
    let monitor: Arc<dyn Monitor> = teller.clone();
    let (name, noted) = (settings.name.to_string(), teller.clone());
    let notes = move |text: &str| noted.status(id::ARCHIVE_NOTE, &[&name, text]);
    ArchiveWatcher::new(settings.name.as_str(), monitor, cancel, notes)
}

/// Lets go what the rules of an archive do not keep, after a version that was captured straight into it.
pub(super) fn retire_in(settings: &Archive, site: &SiteCode, teller: &Arc<Teller>, cancel: &Cancel) {
    let limits = Limits { limit: LIMIT, cancel, grace: GRACE };
    let (own, site, cancel, told) = (settings.clone(), site.clone(), cancel.clone(), Arc::clone(teller));
    let done = apart(&format!("letting go of versions in archive {}", settings.name), &limits, move || {
        let archive = open_archive(&own, &cancel)?;
        retire_or_tell(&archive, &site, &told, &*watcher(&own, &told, &cancel));
        Ok::<(), SiteError>(())
    });
    if let Err(error) | Ok(Err(error)) = done {
        teller.status(id::ARCHIVE_NOT_RETIRED, &[settings.name.as_str(), &chain(&error)]);
    }
}

/// The version is there: that an older one could not be let go is told, and no problem of the run.
fn retire_or_tell(archive: &OpenArchive, site: &SiteCode, teller: &Teller, watcher: &dyn Watcher) {
    if let Err(error) = retire(archive, site, teller, watcher) {
        teller.status(id::ARCHIVE_NOT_RETIRED, &[archive.settings.name.as_str(), &chain(&error)]);
    }
}

/// Lets go what the rules do not keep. Their data is removed by a prune, which takes long and is nobody's hurry.
fn retire(
    archive: &OpenArchive,
    site: &SiteCode,
    teller: &Teller,
    watcher: &dyn Watcher,
) -> Result<(), SiteError> {
    if archive.settings.append_only || archive.settings.keep.is_empty() {
        return Ok(());
    }
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
