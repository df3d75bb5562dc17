//! A mounted archive shows what was saved. Needs root and the kernel's FUSE.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../../repository/tests/support/restic_repository.rs"]
mod restic;
#[path = "../../repository/tests/support/sample.rs"]
mod sample;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use restic::Restic;
use sample::{assert_same, everything};
use stillpoint_model::ErrorKind;
use stillpoint_mount::{Mounted, mount};

/// A saved tree, and a folder to mount at.
struct Saved {
    folder: tempfile::TempDir,
    restic: Restic,
}

impl Saved {
    fn new() -> Self {
        let saved =
            Self { folder: tempfile::tempdir().unwrap(), restic: Restic::init(&restic::programs()[0]) };
        fs::create_dir(saved.source()).unwrap();
        fs::create_dir(saved.place()).unwrap();
        everything(&saved.source());
        saved.restic.run_in(saved.folder.path(), &["backup", "source"]);
        saved
    }

    fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    fn place(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    fn mount(&self) -> Mounted {
        let mounted = mount(&self.restic.open(), &self.place(), false);
        mounted.unwrap_or_else(|error| panic!("{error} ({:?})", error.hint))
    }

    fn is_mounted(&self) -> bool {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        mounts.contains(self.place().to_str().unwrap())
    }
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn every_version_is_a_folder_with_all_that_was_saved() {
    let saved = Saved::new();
    fs::write(saved.source().join("plain/small"), "another").unwrap();
    saved.restic.run_in(saved.folder.path(), &["backup", "source"]);
    let mounted = saved.mount();
    let versions = names(&saved.place());
    assert_eq!(versions.len(), 3, "{versions:?}");
    assert_eq!(versions[2], "latest");
    // The names of two versions of one second have no order.
    let newest = fs::read_link(saved.place().join("latest")).unwrap();
    let is_newest = |name: &&String| newest.to_str() == Some(name.as_str());
    assert_eq!(versions[..2].iter().filter(is_newest).count(), 1, "{versions:?}");
    let older = versions[..2].iter().find(|name| !is_newest(name)).unwrap();
    assert_same(&saved.source(), &saved.place().join("latest/source"));
    let before = fs::read(saved.place().join(older).join("source/plain/small")).unwrap();
    assert_eq!(before, b"a few bytes");
    // Here and there, across the borders of blobs.
    let (original, shown) = ("plain/deeper/big", saved.place().join("latest/source/plain/deeper/big"));
    let (original, shown) =
        (fs::read(saved.source().join(original)).unwrap(), fs::File::open(shown).unwrap());
    for at in (0..original.len() as u64).step_by(1_234_567) {
        let mut piece = vec![0; 300_000.min(original.len() - at as usize)];
        shown.read_exact_at(&mut piece, at).unwrap();
        assert!(piece == original[at as usize..][..piece.len()], "at {at}");
    }
    assert_eq!(shown.read_at(&mut [0; 10], original.len() as u64).unwrap(), 0);
    drop(shown);
    let refused = fs::write(saved.place().join("latest/source/new"), "x").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    let missing = fs::metadata(saved.place().join("latest/none")).unwrap_err();
    assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
    mounted.end().unwrap();
    assert!(!saved.is_mounted());
}

#[test]
fn a_mount_ends_with_whoever_made_it_also_when_it_is_in_use() {
    let saved = Saved::new();
    let mounted = saved.mount();
    assert!(saved.is_mounted() && !mounted.is_over());
    drop(mounted);
    assert!(!saved.is_mounted());
    let mounted = saved.mount();
    let open = fs::File::open(saved.place().join("latest/source/plain/small")).unwrap();
    drop(mounted);
    assert!(!saved.is_mounted());
    drop(open);
    let mounted = saved.mount();
    let open = fs::File::open(saved.place().join("latest/source/plain/small")).unwrap();
    let error = mounted.end().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Busy, "{error}");
    assert!(!saved.is_mounted());
    drop(open);
}

#[test]
fn that_somebody_unmounts_it_is_seen() {
    let saved = Saved::new();
    let mounted = saved.mount();
    sample::run("umount", "mount", &[], &[&saved.place()]);
    // The thread that answers the kernel ends soon after.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !mounted.is_over() {
        assert!(std::time::Instant::now() < deadline, "nobody noticed");
        std::thread::yield_now();
    }
    mounted.end().unwrap();
}

#[test]
fn a_damaged_blob_is_an_error_of_reading_and_nothing_else() {
    let saved = Saved::new();
    let folders = fs::read_dir(saved.restic.path().join("data")).unwrap().map(|entry| entry.unwrap().path());
    let packs = folders.flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    for pack in packs.filter(|pack| fs::metadata(pack).unwrap().len() > 1 << 20) {
        let mut content = fs::read(&pack).unwrap();
        let length = content.len();
        content[..length - (1 << 16)].fill(7);
        fs::remove_file(&pack).unwrap();
        fs::write(&pack, content).unwrap();
    }
    let _mounted = saved.mount();
    let shown = saved.place().join("latest/source/plain/deeper/big");
    assert_eq!(fs::metadata(&shown).unwrap().len(), 20 << 20);
    assert!(fs::read(&shown).is_err());
    assert_eq!(names(&saved.place().join("latest/source/plain")).len(), 6);
}
