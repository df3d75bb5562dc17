//! Whose turn it is: one run at a time for a site, and one epoch at a time on a machine. The kernel's file locks end with
//! the process that holds them, so that a dead run never keeps anybody out. And the number of the last epoch.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use serde::{Deserialize, Serialize};
use stillpoint_model::{EpochNumber, ErrorKind, RunId, SiteCode};

use crate::StageError;

const MACHINE_LOCK: &str = "epoch.lock";
const SITE_LOCK: &str = "lock";
const EPOCH: &str = "epoch";

/// The folder with what must survive a run of one site: `<state root>/<CODE>/` with the journal, the lock, the number of
/// the last epoch. The machine-wide lock lies in the state root.
#[derive(Debug, Clone)]
pub struct StateFolder {
    root: PathBuf,
    folder: PathBuf,
    site: SiteCode,
}

/// Who holds a lock, as written in it.
#[derive(Debug, Serialize, Deserialize)]
struct Owner {
    process: u32,
    site: SiteCode,
    run: RunId,
    since: jiff::Timestamp,
}

impl StateFolder {
    /// Opens it, creating it (0700) when it is not there. The root must be absolute.
    pub fn open(state_root: &Path, site: &SiteCode) -> Result<Self, StageError> {
        if !state_root.is_absolute() {
            return Err(StageError {
                kind: ErrorKind::Config,
                text: format!("the state folder {} is not an absolute path", state_root.display()),
                hint: Some(
                    "Give the state folder as an absolute path, such as /var/lib/stillpoint.".to_owned(),
                ),
                source: None,
            });
        }
        let folder = state_root.join(site.as_str());
        let created = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        created.map_err(|error| io_error("create the state folder", &folder, error))?;
        Ok(Self { root: state_root.to_owned(), folder, site: site.clone() })
    }

    /// Where the site's own state lies: `<state root>/<CODE>`.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Takes the lock of the site and of the machine (flock); busy tells who holds it (process, site, run, since when).
    pub fn lock(&self, run: &RunId) -> Result<StateLock, StageError> {
        let owner = Owner {
            process: std::process::id(),
            site: self.site.clone(),
            run: run.clone(),
            since: jiff::Timestamp::now(),
        };
        let site = take(&self.folder.join(SITE_LOCK), &owner)?;
        let machine = take(&self.root.join(MACHINE_LOCK), &owner)?;
        Ok(StateLock { folder: self.folder.clone(), files: [site, machine] })
    }
}

/// The held lock; ends with the value (and with the process).
#[derive(Debug)]
pub struct StateLock {
    folder: PathBuf,
    files: [File; 2],
}

impl StateLock {
    /// The number for the next epoch, made durable before it is returned.
    pub fn next_epoch(&self) -> Result<EpochNumber, StageError> {
        let path = self.folder.join(EPOCH);
        let last = match std::fs::read_to_string(&path) {
            Ok(text) => text.trim().parse::<u64>().map_err(|error| StageError {
                kind: ErrorKind::Damaged,
                text: format!("{} does not hold the number of the last epoch", path.display()),
                hint: Some(
                    "Write the epoch of the newest set into it; `stillpoint list` shows it.".to_owned(),
                ),
                source: Some(Box::new(error)),
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(io_error("read", &path, error)),
        };
        let next = last + 1;
        write_durably(&path, format!("{next}\n").as_bytes())
            .map_err(|error| io_error("write", &path, error))?;
        Ok(EpochNumber(next))
    }

    /// Whether the lock is of this state folder.
    pub(crate) fn is_of(&self, state: &StateFolder) -> bool {
        self.folder == state.folder
    }
}

impl Drop for StateLock {
    fn drop(&mut self) {
        // Only tidiness: the lock itself ends with the descriptor, and nobody reads the owner of a free lock.
        for file in &self.files {
            let _ = file.set_len(0);
        }
    }
}

/// Replaces a small file so that after a crash it is the old one or the new one.
pub(crate) fn write_durably(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Opens a lock file, never through a link.
pub(crate) fn open_lock(path: &Path) -> std::io::Result<File> {
    let flags = OFlags::NOFOLLOW.bits() as i32;
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags)
        .open(path)
}

fn take(path: &Path, owner: &Owner) -> Result<File, StageError> {
    let mut file = open_lock(path).map_err(|error| io_error("open", path, error))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(busy(path, &mut file)),
        Err(error) => return Err(io_error("lock", path, error.into())),
    }
    let written = serde_json::to_vec(owner).map_err(std::io::Error::from).and_then(|text| {
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(&text)
    });
    written.map_err(|error| io_error("write", path, error))?;
    Ok(file)
}

fn busy(path: &Path, file: &mut File) -> StageError {
    let mut text = String::new();
    // The holder may be just writing it; then we say less.
    let _ = file.read_to_string(&mut text);
    let holder = match serde_json::from_str::<Owner>(&text) {
        Ok(Owner { process, site, run, since }) => {
            format!("process {process} with run {run} of site {site} since {since}")
        }
        Err(_) => "another process".to_owned(),
    };
    StageError {
        kind: ErrorKind::Busy,
        text: format!("{} is held by {holder}", path.display()),
        hint: Some("Wait for it to end, or end that process; the lock ends with it.".to_owned()),
        source: None,
    }
}

pub(crate) fn io_error(act: &str, path: &Path, error: std::io::Error) -> StageError {
    StageError {
        kind: ErrorKind::Environment,
        text: format!("cannot {act} {}", path.display()),
        hint: Some("See that the state folder can be written to and has room.".to_owned()),
        source: Some(Box::new(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(root: &Path, code: &str) -> StateFolder {
        StateFolder::open(root, &code.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_second_run_is_told_who_holds_the_site_or_the_machine() {
        let root = tempfile::tempdir().unwrap();
        let (p01, p02) = (state(root.path(), "P01"), state(root.path(), "P02"));
        let run: RunId = "20261122T020000Z-1".parse().unwrap();
        let held = p01.lock(&run).unwrap();
        for other in [&p01, &p02] {
            let refused = other.lock(&run).unwrap_err();
            assert_eq!(refused.kind, ErrorKind::Busy);
            assert!(refused.text.contains(run.as_str()) && refused.text.contains("P01"), "{}", refused.text);
            assert!(refused.text.contains(&std::process::id().to_string()));
        }
        drop(held);
        p02.lock(&run).unwrap();
    }

    #[test]
    fn an_epoch_number_is_never_given_twice() {
        let root = tempfile::tempdir().unwrap();
        let folder = state(root.path(), "P01");
        let run: RunId = "r".parse().unwrap();
        let first = folder.lock(&run).unwrap().next_epoch().unwrap();
        let lock = folder.lock(&run).unwrap();
        assert_eq!((first, lock.next_epoch().unwrap()), (EpochNumber(1), EpochNumber(2)));
        std::fs::write(folder.path().join(EPOCH), "two").unwrap();
        assert_eq!(lock.next_epoch().unwrap_err().kind, ErrorKind::Damaged);
    }

    #[test]
    fn the_state_folder_is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let folder = state(root.path(), "P01");
        assert_eq!(std::fs::metadata(folder.path()).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(StateFolder::open(Path::new("relative"), &"P01".parse().unwrap()).is_err());
    }
}
