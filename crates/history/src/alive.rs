//! Whether the process that records a run is still there: it holds a lock that ends with it, however it ends.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Held by a run while it is under way.
pub(crate) struct Alive {
    path: PathBuf,
    _held: File,
}

fn path_of(history: &Path, run: &str) -> PathBuf {
    history.with_extension(format!("{run}.alive"))
}

impl Alive {
    /// Says that the run is under way.
    pub fn begin(history: &Path, run: &str) -> std::io::Result<Self> {
        let path = path_of(history, run);
        let held = File::options().write(true).create_new(true).open(&path)?;
        flock(&held, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self { path, _held: held })
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Whether the run is under way. A file that nobody holds is what a dead process left, and is removed.
pub(crate) fn is_alive(history: &Path, run: &str) -> bool {
    let path = path_of(history, run);
    let Ok(file) = File::open(&path) else { return false };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            let _ = std::fs::remove_file(&path);
            false
        }
        Err(_) => true,
    }
}
