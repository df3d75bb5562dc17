//! What the tests of the archive share.
#![allow(dead_code, reason = "not every test uses everything")]

pub mod restic;

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use stillpoint_repository::store::LocalStore;
use stillpoint_repository::{Moment, Repository, Saved, Saver, Secret, SnapshotFacts, Unwatched};
use stillpoint_tree::{Entry, Filter, Kind, RelPath, Timestamp};

/// The password of all repositories of the tests.
pub fn secret() -> Secret {
    Secret::new(restic::PASSWORD.into())
}

/// A new repository in this folder.
pub fn create(folder: &Path) -> Repository {
    Repository::create(Box::new(LocalStore::new(folder)), &secret(), "test").unwrap()
}

/// An existing repository in this folder.
pub fn open(folder: &Path) -> Repository {
    Repository::open(Box::new(LocalStore::new(folder)), &secret()).unwrap()
}

/// A path in a version.
pub fn relative(path: &str) -> RelPath {
    RelPath::from_bytes(path.as_bytes().to_vec()).unwrap()
}

/// What a version is called, at this many seconds since 1970.
pub fn facts(seconds: i64) -> SnapshotFacts {
    SnapshotFacts {
        time: Moment::of_file(Timestamp { seconds, nanoseconds: 5 }),
        hostname: "PS1".into(),
        path: "/PS1Backup".into(),
        tags: vec!["site=PS1".into(), format!("epoch={seconds}")],
        incomplete: false,
        folder: Entry {
            path: RelPath::top(),
            kind: Kind::Directory,
            mode: 0o700,
            uid: 0,
            gid: 0,
            mtime: Timestamp { seconds, nanoseconds: 0 },
            xattrs: Vec::new(),
            hard_link: None,
            origin: None,
        },
    }
}

/// Saves a folder as the part `data` of a version.
pub fn save(repository: &Repository, folder: &Path, seconds: i64) -> Saved {
    let parent = repository.snapshots().unwrap().pop();
    let saver = Saver::begin(repository, parent, Arc::new(Unwatched)).unwrap();
    let mut part = saver.part(&relative("data")).unwrap();
    part.tree(folder, Filter::default(), None).unwrap();
    let report = part.end().unwrap();
    assert_eq!(report.problems, []);
    saver.finish(&facts(seconds)).unwrap()
}

/// Bytes that look random and are the same every time.
pub fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..count).map(next).collect()
}

fn run(program: &str, arguments: &[&str], path: &Path) {
    let output = Command::new(program).args(arguments).arg(path).output();
    let output = output.unwrap_or_else(|error| panic!("{program} is missing: {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A folder with one of everything that a file system has.
pub fn plant_everything(folder: &Path) {
    std::fs::create_dir_all(folder.join("deep/er")).unwrap();
    std::fs::write(folder.join("small"), "a few bytes").unwrap();
    std::fs::write(folder.join("empty"), "").unwrap();
    std::fs::write(folder.join("text"), "the same again, ".repeat(200_000)).unwrap();
    std::fs::write(folder.join("big"), noise(1, 9_000_000)).unwrap();
    for (number, name) in
        [&b"na\xffme"[..], b"new\nline", b"qu\"ote\\back", "ünï".as_bytes()].iter().enumerate()
    {
        let path = folder.join("deep").join(std::ffi::OsStr::from_bytes(name));
        std::fs::write(path, noise(number as u64, 100 + number)).unwrap();
    }
    std::fs::hard_link(folder.join("big"), folder.join("deep/er/again")).unwrap();
    std::fs::hard_link(folder.join("small"), folder.join("deep/small-too")).unwrap();
    symlink("../small", folder.join("deep/link")).unwrap();
    symlink("to nowhere", folder.join("dangling")).unwrap();
    run("mkfifo", &[], &folder.join("pipe"));
    let made =
        Command::new("mknod").arg("-m640").arg(folder.join("device")).args(["c", "240", "77"]).status();
    assert!(made.unwrap().success(), "the tests make a device, as root");
    let sparse = std::fs::File::create(folder.join("sparse")).unwrap();
    sparse.set_len(50 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"in the middle", 30 << 20).unwrap();
    let mode = |path: &str, mode| {
        std::fs::set_permissions(folder.join(path), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("text", 0o4755);
    mode("deep/er", 0o1777);
    mode("empty", 0o000);
    std::os::unix::fs::chown(folder.join("empty"), Some(12_345), Some(54_321)).unwrap();
    run("setfattr", &["-n", "user.kind", "-v", "test"], &folder.join("small"));
    run("setfacl", &["-m", "u:12345:rx"], &folder.join("deep"));
    run("setfacl", &["-d", "-m", "g:54321:rwx"], &folder.join("deep"));
    run("touch", &["-d", "1965-04-03 02:01:00.123456789"], &folder.join("text"));
    run("touch", &["-h", "-d", "2001-02-03 04:05:06.5"], &folder.join("dangling"));
    run("touch", &["-d", "2002-02-03 04:05:06.7"], &folder.join("deep"));
}

/// What rsync finds different between two trees: names, kinds, content, modes, owners, times, links, ACLs, attributes.
pub fn differences(one: &Path, other: &Path) -> String {
    let slash = |path: &Path| format!("{}/", path.display());
    let output = Command::new("rsync")
        .args(["-aHAXn", "--checksum", "--delete", "--itemize-changes", "--numeric-ids"])
        .args([slash(one), slash(other)])
        .output()
        .unwrap_or_else(|error| panic!("rsync is missing: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Every file below a folder, with the time of its last change.
pub fn listing(folder: &Path) -> Vec<(std::path::PathBuf, std::time::SystemTime)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let facts = path.metadata().unwrap();
        if facts.is_dir() {
            found.extend(listing(&path));
        } else {
            found.push((path, facts.modified().unwrap()));
        }
    }
    found.sort();
    found
}
