//! An archive of several versions, and what they must come back as.

#![allow(dead_code, reason = "not every test uses everything")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use stillpoint_repository::{Id, Unwatched, forget};

use crate::support::{create, differences, noise, open, restic, save};

const AT_ONCE: Duration = Duration::ZERO;

/// An archive of some versions, with the folders as they were.
pub struct Archive {
    pub folder: tempfile::TempDir,
    pub versions: Vec<Id>,
}

impl Archive {
    /// Each version has files of its own beside files that all have, so that every pack of every version is partly used.
    pub fn new(count: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repository = create(&folder.path().join("archive"));
        let source = folder.path().join("source");
        std::fs::create_dir_all(source.join("own/deep")).unwrap();
        let mut versions = Vec::new();
        for number in 0..count {
            for part in 0..4 {
                let bytes = noise(number * 100 + part, 40_000);
                std::fs::write(source.join(format!("all-{number}-{part}")), bytes).unwrap();
                let bytes = noise(number * 100 + 50 + part, 40_000);
                std::fs::write(source.join(format!("own/deep/{part}")), bytes).unwrap();
            }
            versions.push(save(&repository, &source, 1_700_000_000 + i64::try_from(number).unwrap()).id);
            copy(&source, &folder.path().join(format!("was-{number}")));
        }
        Self { folder, versions }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("archive")
    }

    /// Forgets all but the versions of these numbers.
    pub fn keep(&self, numbers: &[usize]) {
        let gone = self.versions.iter().enumerate().filter(|(number, _)| !numbers.contains(number));
        let gone: Vec<Id> = gone.map(|(_, id)| *id).collect();
        assert_eq!(forget(&open(&self.path()), &gone, AT_ONCE, &Unwatched).unwrap(), gone);
    }

    /// Restic finds the archive in this folder good to the last byte and brings these versions back as they were.
    pub fn judge(&self, at: &Path, numbers: &[usize], what: &str) {
        let checked = restic::restic("restic".as_ref(), at, &["check", "--read-data"]);
        let text = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(checked.status.success(), "{what}: {text}");
        for number in numbers {
            let target = tempfile::tempdir_in(self.folder.path()).unwrap();
            let (id, text) = (self.versions[*number].to_string(), target.path().to_str().unwrap());
            restic::succeed("restic".as_ref(), at, &["restore", &id, "--target", text]);
            let was = self.folder.path().join(format!("was-{number}"));
            assert_eq!(differences(&was, &target.path().join("PS1Backup/data")), "", "{what}");
        }
    }
}

pub fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.unwrap().success());
}

pub fn files(at: &Path, kind: &str) -> usize {
    fn count(folder: &Path) -> usize {
        std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                if path.is_dir() { count(&path) } else { 1 }
            })
            .sum()
    }
    count(&at.join(kind))
}

pub fn bytes(at: &Path) -> u64 {
    let output = Command::new("du").args(["-sb"]).arg(at.join("data")).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

/// The packs of an archive, the longest first.
pub fn packs(at: &Path) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(at.join("data")).unwrap();
    let mut all: Vec<PathBuf> = folders
        .flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap())
        .map(|pack| pack.unwrap().path())
        .collect();
    all.sort_by_key(|path| std::cmp::Reverse((path.metadata().unwrap().len(), path.clone())));
    all
}

/// The name of the file at this path.
pub fn id_of(path: &Path) -> Id {
    path.file_name().unwrap().to_str().unwrap().parse().unwrap()
}

/// Flips a bit of a file.
pub fn flip(path: &Path, at: usize) {
    let mut content = std::fs::read(path).unwrap();
    content[at] ^= 0x10;
    std::fs::write(path, content).unwrap();
}
