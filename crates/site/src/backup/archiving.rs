//! After the publish: the set becomes a version in every archive of the site.
//!
//! The set is good by then, whatever happens here. An archive that does not take it is a problem of the run, and the others
//! are not held up by it.

use std::sync::Arc;
use std::time::Duration;

use stillpoint_archive::BackupSet;
use stillpoint_model::site_file::Archive;
use stillpoint_model::status::id;
use stillpoint_model::{ArchiveName, Cancel, EpochNumber, Event, Monitor, Problem};
use stillpoint_repository::Watcher;

use super::begin::{Limits, apart};
use super::teller::Teller;
use crate::archive::{ArchiveWatcher, SavedVersion, open_archive};
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
        let monitor: Arc<dyn Monitor> = teller.clone();
        let name = settings.name.to_string();
        let notes = move |text: &str| teller.status(id::ARCHIVE_NOTE, &[&name, text]);
        let watcher: Arc<dyn Watcher> = ArchiveWatcher::new(settings.name.as_str(), monitor, &cancel, notes);
        archive.save(&set, &watcher)
    })?
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
