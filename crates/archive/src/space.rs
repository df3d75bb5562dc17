//! Room at the destination: estimated before, watched during.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use stillpoint_model::site_file::Destination;
use stillpoint_model::{ErrorKind, SiteCode};

use crate::layout::{MANIFEST, roots};
use crate::manifest::Manifest;
use crate::{ArchiveError, Finding, Place};

/// How many bytes are taken between two looks at the free space.
const WATCH_EVERY_BYTES: u64 = 64 << 20;

/// The room of the file system under a folder, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Of the whole file system.
    pub total: u64,
    /// Free for us now.
    pub free: u64,
    /// What must stay free.
    pub reserve: u64,
}

impl Room {
    /// Looks at the file system under `folder` (or its nearest existing parent); `keep_free_percent` of it must stay free.
    pub fn look(folder: &Path, keep_free_percent: u8) -> Result<Self, ArchiveError> {
        let existing = folder.ancestors().find(|path| path.exists()).unwrap_or(folder);
        let facts = rustix::fs::statvfs(existing)
            .map_err(|error| ArchiveError::io("tell the free space of", existing, error.into()))?;
        let total = facts.f_blocks.saturating_mul(facts.f_frsize);
        let reserve = total / 100 * u64::from(keep_free_percent.min(100));
        Ok(Self { total, free: facts.f_bavail.saturating_mul(facts.f_frsize), reserve })
    }

    /// What may be used.
    pub fn usable(&self) -> u64 {
        self.free.saturating_sub(self.reserve)
    }
}

/// Whether what the components will add at most (`needed`, bytes for each place) has room at the destination. Too little
/// is fatal, unless the last good set there may hold enough of it already (unchanged files are shared with it): then it
/// is a warning, and the watch in the sink decides.
pub fn check_room(
    destination: &Destination,
    code: &SiteCode,
    needed: &[(Place, u64)],
    keep_free_percent: u8,
) -> Vec<Finding> {
    let Ok((root, databases)) = roots(destination) else { return Vec::new() };
    let published = root.join(code.set_folder());
    let previous = published.join(MANIFEST).exists().then(|| Manifest::read(&published).ok()).flatten();
    let apart = databases.is_some();
    let folders =
        [Some((&root, Place::SiteServer)), databases.as_ref().map(|folder| (folder, Place::SiteDbServer))];
    let here = |place: Place, of: Place| !apart || place == of;
    folders
        .into_iter()
        .flatten()
        .filter_map(|(folder, of)| {
            let needed = needed.iter().filter(|(place, _)| here(*place, of)).map(|(_, bytes)| bytes).sum();
            let parts = previous.iter().flat_map(|manifest| &manifest.components);
            let stored = parts.filter(|part| here(part.place, of)).map(|part| part.bytes).sum();
            judge(folder, needed, stored, keep_free_percent)
        })
        .collect()
}

fn judge(folder: &Path, needed: u64, stored: u64, keep_free_percent: u8) -> Option<Finding> {
    let remedy = "make room, choose another destination, or lower task.keep_free_percent";
    let room = match Room::look(folder, keep_free_percent) {
        Ok(room) => room,
        Err(error) => {
            return Some(Finding::fatal(error.to_string(), "see that the destination can be reached"));
        }
    };
    let text = format!(
        "{} has {} free of which {} must stay free, and up to {} are needed",
        folder.display(),
        megabytes(room.free),
        megabytes(room.reserve),
        megabytes(needed)
    );
    if needed <= room.usable() {
        None
    } else if needed <= room.usable().saturating_add(stored) {
        let text =
            format!("{text}; it is enough if most is unchanged since the last set ({})", megabytes(stored));
        Some(Finding::warning(text, remedy))
    } else {
        Some(Finding::fatal(text, remedy))
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}

/// Watches the free space while data comes in, and refuses early: a run that is refused harms nothing, a full disk may.
#[derive(Debug)]
pub(crate) struct SpaceWatch {
    folder: PathBuf,
    keep_free_percent: u8,
    since_look: AtomicU64,
}

impl SpaceWatch {
    pub fn new(folder: PathBuf, keep_free_percent: u8) -> Self {
        Self { folder, keep_free_percent, since_look: AtomicU64::new(0) }
    }

    /// Looks now.
    pub fn look(&self) -> Result<(), ArchiveError> {
        let room = Room::look(&self.folder, self.keep_free_percent)?;
        if room.free > room.reserve {
            return Ok(());
        }
        let text = format!(
            "{} is full: {} are free and {} must stay free",
            self.folder.display(),
            megabytes(room.free),
            megabytes(room.reserve)
        );
        Err(ArchiveError::new(ErrorKind::Environment, text)
            .with_hint("make room at the destination, choose another, or lower task.keep_free_percent; the last good set is untouched"))
    }

    /// Tells that `bytes` came in; looks once in a while.
    pub fn advance(&self, bytes: u64) -> Result<(), ArchiveError> {
        if self.since_look.fetch_add(bytes, Ordering::Relaxed) + bytes < WATCH_EVERY_BYTES {
            return Ok(());
        }
        self.since_look.store(0, Ordering::Relaxed);
        self.look()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_room_is_fatal_unless_the_last_set_may_hold_most_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let room = Room::look(folder.path(), 0).unwrap();
        assert!(judge(folder.path(), room.usable() / 2, 0, 0).is_none());
        let too_much = room.total * 2;
        assert!(judge(folder.path(), too_much, 0, 0).unwrap().fatal);
        assert!(!judge(folder.path(), too_much, room.total * 3, 0).unwrap().fatal);
        assert!(judge(folder.path(), 1, 0, 100).unwrap().fatal, "all of it must stay free");
    }
}
