//! Healing an archive from what else there is of its site.

use std::path::PathBuf;
use std::sync::Arc;

use stillpoint_repository::{HealSource, RepairReport, Watcher, repair};

use super::open::{LOCK_PATIENCE, OpenArchive};
use crate::SiteError;

impl OpenArchive {
    /// Heals the archive from other archives, and from folders with the files, such as the published set.
    pub fn repair(
        &self,
        archives: &[OpenArchive],
        folders: &[PathBuf],
        watcher: &Arc<dyn Watcher>,
    ) -> Result<RepairReport, SiteError> {
        self.refuse_append_only("repairs nothing")?;
        let archives = archives.iter().map(|archive| HealSource::Archive(&archive.repository));
        // A folder heals content only; an archive, which heals all, is asked first.
        let sources: Vec<HealSource<'_>> =
            archives.chain(folders.iter().map(|folder| HealSource::Folder(folder))).collect();
        repair(&self.repository, &sources, LOCK_PATIENCE, &**watcher).map_err(|error| self.error(error))
    }
}
