//! A small file system in memory, to be filled.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::capability::{require_program, require_root};
use crate::program::{finish, succeed};

/// The file that takes all the room.
const FILLER: &str = "filler";

/// A small file system; unmounted and removed at the end.
#[derive(Debug)]
pub struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// Mounts one of this size.
    pub fn new(size_kib: u64) -> Self {
        require_root();
        let folder = tempfile::Builder::new().prefix("stillpoint-disk-").tempdir();
        let folder = folder.unwrap_or_else(|error| panic!("no temporary folder: {error}"));
        let mount = require_program("mount", "mount");
        let options = format!("size={size_kib}k,mode=0700");
        succeed(
            Command::new(mount).args(["-t", "tmpfs", "-o", &options, "stillpoint-test"]).arg(folder.path()),
        );
        Self { folder }
    }

    /// Its top.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where the file is that takes all the room, as `STILLPOINT_FAULT_FILL` wants it.
    pub fn filler(&self) -> PathBuf {
        self.folder.path().join(FILLER)
    }

    /// Gives the room back; no harm when it was never taken.
    pub fn free(&self) {
        match std::fs::remove_file(self.filler()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                panic!("{} cannot be removed: {error}", self.filler().display())
            }
            _ => {}
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whoever still has a file open on it, after a test that failed, does not keep it.
        finish(Command::new("umount").arg("-l").arg(self.folder.path()));
    }
}
