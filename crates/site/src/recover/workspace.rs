//! The private folder of a recovery, and what a killed one left of it.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use stillpoint_coordinator::StateLock;
use stillpoint_model::{ErrorKind, RunId, Undo};

use crate::error::SiteError;

/// How its name in the state root begins; the run's id follows.
const PREFIX: &str = "recover-";

/// A private folder for the time of a recovery.
pub(super) struct Workspace(pub PathBuf);

impl Workspace {
    pub fn create(state_root: &Path, run: &RunId) -> Result<Self, SiteError> {
        let folder = state_root.join(format!("{PREFIX}{run}"));
        let made = fs::DirBuilder::new().mode(0o700).create(&folder);
        made.and_then(|()| fs::write(folder.join(Undo::MARKER), run.as_str())).map_err(|error| {
            SiteError::new(ErrorKind::Environment, format!("cannot create {}", folder.display()))
                .because(error)
        })?;
        Ok(Self(folder))
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // What stays is removed by the next start.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes the folders of recoveries that were killed; says which. Nobody works in one: whoever does holds the lock of the
/// machine, which is the caller's.
pub(crate) fn remove_leftovers(state_root: &Path, _lock: &StateLock) -> Vec<String> {
    let ours = |folder: &Path, run: &str| {
        let marker = fs::read_to_string(folder.join(Undo::MARKER));
        if marker.is_ok_and(|marker| marker == run) {
            fs::remove_dir_all(folder).is_ok()
        } else {
            // Killed between the folder and its marker.
            fs::remove_dir(folder).is_ok()
        }
    };
    let entries = fs::read_dir(state_root).into_iter().flatten().flatten();
    let removed = entries.filter_map(|entry| {
        let name = entry.file_name();
        let run = name.to_str()?.strip_prefix(PREFIX)?;
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        (is_folder && ours(&entry.path(), run))
            .then(|| format!("removed {}, which a killed recovery left", entry.path().display()))
    });
    removed.collect()
}

#[cfg(test)]
mod tests {
    use stillpoint_coordinator::StateFolder;

    use super::*;

    #[test]
    fn what_a_killed_recovery_left_is_removed_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let run: RunId = "20261122T020000Z-7".parse().unwrap();
        let lock = StateFolder::open(root.path(), &"P01".parse().unwrap()).unwrap().lock(&run).unwrap();
        let killed = Workspace::create(root.path(), &run).unwrap();
        fs::create_dir(killed.0.join("component")).unwrap();
        let path = killed.0.clone();
        std::mem::forget(killed);
        let strange = root.path().join("recover-notes");
        fs::create_dir(&strange).unwrap();
        fs::write(strange.join("mine"), "x").unwrap();
        assert_eq!(remove_leftovers(root.path(), &lock).len(), 1);
        assert!(!path.exists() && strange.join("mine").exists());
        assert!(remove_leftovers(root.path(), &lock).is_empty());
    }
}
