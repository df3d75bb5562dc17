//! What comes out of the archive is what went in.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/restic_repository.rs"]
mod restic;
#[path = "support/sample.rs"]
mod sample;

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use restic::Restic;
use sample::{assert_same, everything, noise};
use stillpoint_model::ErrorKind;
use stillpoint_repository::{Amount, Contents, Overwrite, RestoreOptions, RestoreReport, Unwatched, Watcher};
use stillpoint_tree::{Filter, RelPath};

/// A tree, and a repository that restic saved it in.
struct Saved {
    folder: tempfile::TempDir,
    restic: Restic,
}

impl Saved {
    fn new(program: &Path, build: impl Fn(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("source")).unwrap();
        build(&folder.path().join("source"));
        let saved = Self { folder, restic: Restic::init(program) };
        saved.save();
        saved
    }

    fn with_system(build: impl Fn(&Path)) -> Self {
        Self::new(&restic::programs()[0], build)
    }

    fn save(&self) {
        self.restic.run_in(&self.source(), &["backup", "."]);
    }

    fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    /// Where to restore to.
    fn target(&self) -> PathBuf {
        self.folder.path().join("target")
    }

    fn contents(&self) -> Contents {
        let repository = self.restic.open();
        let (_, snapshot) = repository.find_snapshot("latest").unwrap();
        Contents::open(&repository, &snapshot).unwrap()
    }

    fn restore(&self, options: &RestoreOptions) -> RestoreReport {
        self.contents().restore(&self.target(), options, &Unwatched).unwrap()
    }

    /// Restores, and nothing must be amiss. The top has no metadata in what restic saved.
    fn restore_well(&self, options: &RestoreOptions) -> RestoreReport {
        let report = self.restore(options);
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        report
    }

    fn assert_restored(&self) {
        let top = fs::metadata(self.source()).unwrap();
        let file = fs::File::open(self.target()).unwrap();
        file.set_modified(top.modified().unwrap()).unwrap();
        fs::set_permissions(self.target(), top.permissions()).unwrap();
        assert_same(&self.source(), &self.target());
    }
}

fn path(text: &str) -> RelPath {
    RelPath::from_bytes(text.as_bytes().to_vec()).unwrap()
}

fn replace() -> RestoreOptions {
    RestoreOptions { overwrite: Overwrite::Replace, ..RestoreOptions::default() }
}

fn blocks(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks()
}

#[test]
fn everything_that_a_tree_can_have_comes_back() {
    for program in restic::programs() {
        let saved = Saved::new(&program, everything);
        let report = saved.restore_well(&RestoreOptions::default());
        saved.assert_restored();
        let (before, after) =
            (blocks(&saved.source().join("plain/sparse")), blocks(&saved.target().join("plain/sparse")));
        assert!(after <= before + 8, "the holes of {before} blocks became {after}");
        assert_eq!(report.unchanged_files, 0);
        // Once more: all is there, and nothing is written, whatever is allowed.
        let inode = fs::metadata(saved.target().join("plain/deeper/big")).unwrap().ino();
        for options in [RestoreOptions::default(), replace()] {
            let again = saved.restore_well(&options);
            assert_eq!(
                (again.files, again.unchanged_files, again.fetched_bytes),
                (report.files, report.files, 0)
            );
        }
        assert_eq!(fs::metadata(saved.target().join("plain/deeper/big")).unwrap().ino(), inode);
        saved.assert_restored();
    }
}

#[test]
fn a_part_of_a_version_comes_back_alone() {
    let saved = Saved::with_system(everything);
    let from = RestoreOptions { from: path("plain"), ..RestoreOptions::default() };
    saved.restore_well(&from);
    assert_same(&saved.source().join("plain"), &saved.target());
    fs::remove_dir_all(saved.target()).unwrap();
    let one = RestoreOptions { from: path("plain/small"), ..RestoreOptions::default() };
    saved.restore_well(&one);
    assert_eq!(fs::read(saved.target().join("small")).unwrap(), b"a few bytes");
    assert_eq!(fs::read_dir(saved.target()).unwrap().count(), 1);
    fs::remove_dir_all(saved.target()).unwrap();
    let filter = Filter::new(&["links/*".into()], &["dangling".into()]).unwrap();
    let report = saved.restore_well(&RestoreOptions { filter, ..RestoreOptions::default() });
    // Of the names of one file, the ones outside are not asked for.
    assert_eq!((report.files, report.folders), (3, 1));
    let none = RestoreOptions { from: path("none"), ..RestoreOptions::default() };
    let error = saved.contents().restore(&saved.target(), &none, &Unwatched).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Usage, "{error}");
}

#[test]
fn nothing_is_written_when_something_would_be_overwritten() {
    let saved = Saved::with_system(everything);
    fs::create_dir_all(saved.target().join("plain")).unwrap();
    fs::write(saved.target().join("plain/small"), "mine").unwrap();
    let error =
        saved.contents().restore(&saved.target(), &RestoreOptions::default(), &Unwatched).unwrap_err();
    assert_eq!(error.kind, ErrorKind::WouldOverwrite);
    assert!(error.text.contains("plain/small"), "{error}");
    assert_eq!(fs::read(saved.target().join("plain/small")).unwrap(), b"mine");
    assert_eq!(fs::read_dir(saved.target()).unwrap().count(), 1);
    // A link in the place of a folder is in the way, too.
    fs::remove_dir_all(saved.target()).unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(saved.target()).unwrap();
    symlink(outside.path(), saved.target().join("plain")).unwrap();
    let error =
        saved.contents().restore(&saved.target(), &RestoreOptions::default(), &Unwatched).unwrap_err();
    assert_eq!(error.kind, ErrorKind::WouldOverwrite);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn links_in_the_target_are_replaced_and_never_followed() {
    let saved = Saved::with_system(everything);
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("small"), "outside").unwrap();
    fs::create_dir_all(saved.target().join("links")).unwrap();
    symlink(outside.path(), saved.target().join("plain")).unwrap();
    symlink(outside.path().join("small"), saved.target().join("links/first")).unwrap();
    fs::hard_link(outside.path().join("small"), saved.target().join("links/second")).unwrap();
    saved.restore_well(&replace());
    saved.assert_restored();
    assert_eq!(fs::read(outside.path().join("small")).unwrap(), b"outside");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(fs::metadata(outside.path().join("small")).unwrap().mode() & 0o7777, 0o644);
}

#[test]
fn over_existing_data_only_what_differs_is_written() {
    let saved = Saved::with_system(everything);
    saved.restore_well(&RestoreOptions::default());
    let target = saved.target();
    // In the middle of a big file; a file cut off; one with other metadata; one more; a folder in the place of a file.
    let big = fs::OpenOptions::new().write(true).open(target.join("plain/deeper/big")).unwrap();
    big.write_all_at(b"something else", 10 << 20).unwrap();
    let cut = fs::OpenOptions::new().write(true).open(target.join("plain/sparse")).unwrap();
    cut.set_len(30 << 20).unwrap();
    fs::set_permissions(target.join("plain/acl"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    fs::write(target.join("plain/extra"), "too much").unwrap();
    fs::create_dir_all(target.join("empty folder/more/and more")).unwrap();
    fs::remove_file(target.join("special/third")).unwrap();
    fs::copy(target.join("links/first"), target.join("special/third")).unwrap();
    fs::remove_file(target.join("special/pipe")).unwrap();
    fs::create_dir_all(target.join("special/pipe/in the way")).unwrap();
    let dry = RestoreOptions { remove_extra: true, dry_run: true, ..replace() };
    let planned = saved.restore_well(&dry);
    let report = saved.restore_well(&RestoreOptions { remove_extra: true, ..replace() });
    saved.assert_restored();
    assert_eq!(report.removed, 2);
    assert!(report.fetched_bytes > 0 && report.fetched_bytes < 45 << 20, "{report:?}");
    assert_eq!((planned.files, planned.removed), (report.files, report.removed));
    assert_eq!(planned.fetched_bytes, report.fetched_bytes);
}

#[test]
fn a_dry_run_writes_nothing() {
    let saved = Saved::with_system(everything);
    let report = saved.restore_well(&RestoreOptions { dry_run: true, ..RestoreOptions::default() });
    assert!(!saved.target().exists());
    let real = saved.restore_well(&RestoreOptions::default());
    assert_eq!((report.files, report.folders, report.bytes), (real.files, real.folders, real.bytes));
}

#[test]
fn what_a_filter_leaves_out_is_never_too_much() {
    let saved = Saved::with_system(everything);
    saved.restore_well(&RestoreOptions::default());
    fs::write(saved.target().join("links/extra"), "x").unwrap();
    fs::write(saved.target().join("plain/extra"), "x").unwrap();
    let filter = Filter::new(&["plain".into()], &["small".into()]).unwrap();
    let report = saved.restore_well(&RestoreOptions { filter, remove_extra: true, ..replace() });
    assert_eq!(report.removed, 1);
    assert!(saved.target().join("plain/small").exists() && saved.target().join("links/extra").exists());
}

/// Ends the work after so many bytes.
struct EndsAfter(Mutex<u64>);

impl Watcher for EndsAfter {
    fn advance(&self, done: Amount) {
        let mut left = self.0.lock().unwrap();
        *left = left.saturating_sub(done.bytes);
    }

    fn is_cancelled(&self) -> bool {
        *self.0.lock().unwrap() == 0
    }
}

#[test]
fn an_interrupted_restore_goes_on_where_it_stopped() {
    let saved = Saved::with_system(|root| {
        fs::write(root.join("a small one"), "whole").unwrap();
        fs::write(root.join("big"), noise(60 << 20, 5)).unwrap();
        fs::write(root.join("last"), noise(1 << 20, 6)).unwrap();
    });
    let watcher = EndsAfter(Mutex::new(30 << 20));
    let error = saved.contents().restore(&saved.target(), &RestoreOptions::default(), &watcher).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Cancelled);
    assert!(!saved.target().join("big").exists(), "a part of a file under its name");
    let report = saved.restore_well(&RestoreOptions::default());
    assert!(report.fetched_bytes < 45 << 20, "{report:?}");
    saved.assert_restored();
}

/// Kills its own process when so much was told.
struct DiesAfter(Mutex<u32>);

impl Watcher for DiesAfter {
    fn advance(&self, _: Amount) {
        let mut left = self.0.lock().unwrap();
        *left -= 1;
        if *left == 0 {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
        }
    }
}

const DIE_AFTER: &str = "STILLPOINT_TEST_DIE_AFTER";
const DIE_IN: &str = "STILLPOINT_TEST_DIE_IN";

/// The one that is killed is this very test in another process: everything is there whole or not at all, wherever it dies, and the
/// next one goes on.
#[test]
fn a_killed_restore_leaves_whole_files_and_goes_on() {
    if let (Ok(steps), Ok(folder)) = (std::env::var(DIE_AFTER), std::env::var(DIE_IN)) {
        let folder = Path::new(&folder);
        let repository = restic::open(&folder.join("archive"));
        let (_, snapshot) = repository.find_snapshot("latest").unwrap();
        let contents = Contents::open(&repository, &snapshot).unwrap();
        let watcher = DiesAfter(Mutex::new(steps.parse().unwrap()));
        contents.restore(&folder.join("target"), &RestoreOptions::default(), &watcher).unwrap();
        return;
    }
    let saved = Saved::with_system(|root| {
        fs::create_dir(root.join("folder")).unwrap();
        fs::write(root.join("first"), noise(3 << 20, 50)).unwrap();
        fs::write(root.join("folder/big"), noise(12 << 20, 51)).unwrap();
        fs::hard_link(root.join("folder/big"), root.join("folder/other name")).unwrap();
        symlink("big", root.join("folder/link")).unwrap();
        fs::write(root.join("last"), "last").unwrap();
    });
    symlink(saved.restic.path(), saved.folder.path().join("archive")).unwrap();
    let mut killed = 0;
    for steps in 1.. {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_killed_restore_leaves_whole_files_and_goes_on"])
            .env(DIE_AFTER, steps.to_string())
            .env(DIE_IN, saved.folder.path())
            .output()
            .unwrap();
        let dead = std::os::unix::process::ExitStatusExt::signal(&child.status) == Some(9);
        assert!(dead || child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
        for name in ["first", "folder/big", "folder/other name", "last"] {
            if let Ok(content) = fs::read(saved.target().join(name)) {
                assert!(content == fs::read(saved.source().join(name)).unwrap(), "{name} is not whole");
            }
        }
        saved.restore_well(&RestoreOptions::default());
        saved.assert_restored();
        fs::remove_dir_all(saved.target()).unwrap();
        if !dead {
            break;
        }
        killed += 1;
    }
    assert!(killed > 5, "only {killed} places to die");
}

#[test]
fn what_a_dead_restore_left_may_hold_anything() {
    let saved = Saved::with_system(|root| fs::write(root.join("big"), noise(20 << 20, 8)).unwrap());
    let watcher = EndsAfter(Mutex::new(5 << 20));
    saved.contents().restore(&saved.target(), &RestoreOptions::default(), &watcher).unwrap_err();
    let left: Vec<_> = fs::read_dir(saved.target()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left.len(), 1, "{left:?}");
    let file = fs::OpenOptions::new().write(true).open(&left[0]).unwrap();
    file.write_all_at(&noise(30 << 20, 9), 0).unwrap();
    saved.restore_well(&RestoreOptions::default());
    saved.assert_restored();
}

#[test]
fn one_damaged_part_takes_only_its_file() {
    let saved = Saved::with_system(|root| {
        for number in 0..40 {
            fs::write(root.join(format!("{number}")), noise(1 << 20, 100 + number)).unwrap();
        }
    });
    damage_one_blob(saved.restic.path());
    let report = saved.restore(&RestoreOptions::default());
    assert_eq!((report.problem_count, report.files), (1, 39), "{:?}", report.problems);
    let lost = report.problems[0].path.as_path();
    assert!(report.problems[0].text.contains("damaged"), "{:?}", report.problems);
    assert!(!saved.target().join(lost).exists());
    fs::remove_file(saved.source().join(lost)).unwrap();
    saved.assert_restored();
}

/// Turns one bit of a pack, in its first blob.
fn damage_one_blob(repository: &Path) {
    let folders = fs::read_dir(repository.join("data")).unwrap().map(|entry| entry.unwrap().path());
    let packs = folders.flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    let pack = packs.max_by_key(|pack| fs::metadata(pack).unwrap().len()).unwrap();
    let mut content = fs::read(&pack).unwrap();
    content[100] ^= 1;
    fs::remove_file(&pack).unwrap();
    fs::write(&pack, content).unwrap();
}

/// A file system of 16 MiB, which goes with this.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn at(path: &'a Path) -> Self {
        fs::create_dir(path).unwrap();
        sample::run("mount", "mount", &["-t", "tmpfs", "-o", "size=16m", "tmpfs"], &[path]);
        Self(path)
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_is_one_clear_error_and_whole_files() {
    let saved = Saved::with_system(|root| {
        for number in 0..30 {
            fs::write(root.join(format!("{number}")), noise(1 << 20, 300 + number)).unwrap();
        }
    });
    let target = saved.target();
    let disk = SmallDisk::at(&target);
    let error = saved.contents().restore(&target, &RestoreOptions::default(), &Unwatched).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Environment, "{error}");
    assert!(error.text.contains("no room") && error.hint.is_some(), "{error}");
    let mut whole = 0;
    for entry in fs::read_dir(&target).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if !name.starts_with('.') {
            assert!(fs::read(&path).unwrap() == fs::read(saved.source().join(name)).unwrap(), "{name}");
            whole += 1;
        }
    }
    assert!(whole > 5, "{whole}");
    // With more room, the same call goes on.
    sample::run("mount", "mount", &["-o", "remount,size=64m"], &[&target]);
    let report = saved.restore_well(&RestoreOptions::default());
    assert!(report.unchanged_files >= whole, "{report:?}");
    saved.assert_restored();
    drop(disk);
}

/// A version that we saved, and stock restic restores, too.
#[test]
fn what_we_saved_comes_back_from_us_as_from_restic() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("source")).unwrap();
    everything(&at("source"));
    use std::os::unix::ffi::OsStrExt;
    symlink(std::ffi::OsStr::from_bytes(b"\xff odd"), at("source/links/odd")).unwrap();
    let repository = sample::save(&at("archive"), &at("source"));
    let (_, snapshot) = repository.find_snapshot("latest").unwrap();
    let contents = Contents::open(&repository, &snapshot).unwrap();
    let options = RestoreOptions { from: path("site/data"), ..RestoreOptions::default() };
    let report = contents.restore(&at("target"), &options, &Unwatched).unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    assert_same(&at("source"), &at("target"));
    // restic before 0.18 loses what is not text in the target of a link.
    fs::remove_file(at("target/links/odd")).unwrap();
    let text = at("theirs").to_str().unwrap().to_owned();
    let archive = at("archive").to_str().unwrap().to_owned();
    let done = std::process::Command::new(&restic::programs()[0])
        .args(["--no-cache", "-q", "-r", &archive, "restore", "latest", "--target", &text])
        .env("RESTIC_PASSWORD", restic::PASSWORD)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let theirs = at("theirs/site/data");
    fs::remove_file(theirs.join("links/odd")).unwrap();
    for folder in [at("target"), theirs.clone()] {
        let links = fs::File::open(folder.join("links")).unwrap();
        links.set_modified(std::time::UNIX_EPOCH).unwrap();
    }
    assert_same(&theirs, &at("target"));
}

#[test]
fn two_restores_into_one_folder_do_not_mix() {
    struct Second<'a>(&'a Saved, Mutex<Option<ErrorKind>>);
    impl Watcher for Second<'_> {
        fn advance(&self, _: Amount) {
            let mut seen = self.1.lock().unwrap();
            if seen.is_none() {
                let result = self.0.contents().restore(&self.0.target(), &replace(), &Unwatched);
                *seen = Some(result.unwrap_err().kind);
            }
        }
    }
    let saved = Saved::with_system(|root| fs::write(root.join("one"), "x").unwrap());
    let watcher = Second(&saved, Mutex::new(None));
    saved.contents().restore(&saved.target(), &RestoreOptions::default(), &watcher).unwrap();
    assert_eq!(*watcher.1.lock().unwrap(), Some(ErrorKind::Busy));
}
