//! Trees with everything that a file system has, and the judge of their copies.

#![allow(dead_code, reason = "not every test uses everything")]

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use stillpoint_repository::store::LocalStore;
use stillpoint_repository::{Moment, Repository, Saver, Secret, SnapshotFacts, Unwatched};
use stillpoint_tree::{Entry, Filter, Kind, RelPath, Timestamp};

/// Bytes that no compression and no deduplication makes less.
pub fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..bytes.div_ceil(8)).flat_map(|_| next()).take(bytes).collect()
}

/// Runs a program that must be there and succeed.
pub fn run(program: &str, package: &str, arguments: &[&str], paths: &[&Path]) -> String {
    let output = Command::new(program).args(arguments).args(paths).output();
    let output =
        output.unwrap_or_else(|e| panic!("{program} cannot be started ({e}): apt-get install {package}"));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?} {paths:?}: {told}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn touch(path: &Path, time: &str) {
    run("touch", "coreutils", &["-h", "-d", time], &[path]);
}

/// Every kind of entry, with metadata of every kind. Needs root.
pub fn everything(root: &Path) {
    let at = |name: &str| root.join(name);
    for folder in ["plain", "plain/deeper", "links", "empty folder", "special"] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    fs::write(at("plain/small"), "a few bytes").unwrap();
    fs::write(at("plain/empty"), "").unwrap();
    fs::write(at("plain/deeper/big"), noise(20 << 20, 1)).unwrap();
    // Names that are not text.
    use std::os::unix::ffi::OsStrExt;
    for name in
        [&b"not \xff\xfe utf-8"[..], b"new\nline", b"\"quoted\\name\"", b"-dash", "ünïcödé 漢字".as_bytes()]
    {
        fs::write(at("special").join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    // Holes at the begin, in the middle and at the end, and zeros that are not on a border of blocks.
    let sparse = fs::File::create(at("plain/sparse")).unwrap();
    sparse.write_all_at(&noise(5000, 2), 3 << 20).unwrap();
    sparse.write_all_at(&noise(1 << 20, 3), (40 << 20) + 123).unwrap();
    sparse.set_len(64 << 20).unwrap();
    // Names of one file in several folders, and of one that has other names outside.
    fs::write(at("links/first"), noise(3 << 20, 4)).unwrap();
    fs::hard_link(at("links/first"), at("links/second")).unwrap();
    fs::hard_link(at("links/first"), at("special/third")).unwrap();
    symlink("../plain/small", at("links/symbolic")).unwrap();
    symlink("nowhere", at("links/dangling")).unwrap();
    run("mkfifo", "coreutils", &[], &[&at("special/pipe")]);
    run("mknod", "coreutils", &[at("special/null").to_str().unwrap(), "c", "1", "3"], &[]);
    run("mknod", "coreutils", &[at("special/block").to_str().unwrap(), "b", "7", "99"], &[]);
    // Attributes, ACLs, owners, modes.
    fs::write(at("plain/attributes"), "x").unwrap();
    run("setfattr", "attr", &["-n", "user.note", "-v", "hello"], &[&at("plain/attributes")]);
    run("setfattr", "attr", &["-n", "user.empty"], &[&at("plain/attributes")]);
    run("setfattr", "attr", &["-n", "user.folder", "-v", "yes"], &[&at("plain/deeper")]);
    fs::write(at("plain/acl"), "x").unwrap();
    run("setfacl", "acl", &["-m", "u:1234:rwx,g:77:r"], &[&at("plain/acl")]);
    run("setfacl", "acl", &["-d", "-m", "u:1234:rwx"], &[&at("plain/deeper")]);
    for (name, owner, mode) in [
        ("plain/small", (1, 2), 0o644),
        ("plain/attributes", (70_000, 80_000), 0o4755),
        ("links/first", (3, 4), 0o2710),
        ("special/pipe", (5, 6), 0o622),
        ("empty folder", (7, 8), 0o1777),
        ("special", (9, 10), 0o700),
    ] {
        std::os::unix::fs::chown(at(name), Some(owner.0), Some(owner.1)).unwrap();
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    std::os::unix::fs::lchown(at("links/symbolic"), Some(11), Some(12)).unwrap();
    // Old and odd times; folders last.
    touch(&at("plain/small"), "1969-07-20T20:17:40.123456789Z");
    touch(&at("plain/empty"), "2038-01-20T00:00:00.000000001Z");
    touch(&at("links/symbolic"), "2001-02-03T04:05:06.7Z");
    touch(&at("special/pipe"), "2002-02-03T04:05:06.7Z");
    for folder in ["plain/deeper", "plain", "empty folder", "."] {
        touch(&at(folder), "2020-02-02T02:02:02.020202020Z");
    }
}

/// Asserts that two trees are equal in everything that rsync can compare: names, content, modes, owners, times, links,
/// devices, hard links, ACLs and attributes.
pub fn assert_same(expected: &Path, actual: &Path) {
    let slash = |path: &Path| format!("{}/", path.display());
    let arguments = ["-aHAXn", "--checksum", "--delete", "--itemize-changes", "--no-inc-recursive"];
    let told = run("rsync", "rsync", &arguments, &[Path::new(&slash(expected)), Path::new(&slash(actual))]);
    assert_eq!(told, "", "{} is not as {}", actual.display(), expected.display());
}

/// Saves a tree as the part `data` of a version of `/site`, in a new archive.
pub fn save(archive: &Path, tree: &Path) -> Repository {
    let password = Secret::new(b"correct horse".to_vec());
    let repository = Repository::create(Box::new(LocalStore::new(archive)), &password, "test").unwrap();
    let saver = Saver::begin(&repository, None, Arc::new(Unwatched)).unwrap();
    let mut part = saver.part(&RelPath::top().child(b"data")).unwrap();
    part.tree(tree, Filter::default(), None).unwrap();
    assert_eq!(part.end().unwrap().problems, []);
    let folder = Entry {
        path: RelPath::top(),
        kind: Kind::Directory,
        mode: 0o700,
        uid: 0,
        gid: 0,
        mtime: Timestamp::default(),
        xattrs: Vec::new(),
        hard_link: None,
        origin: None,
    };
    let facts = SnapshotFacts {
        time: Moment::now(),
        hostname: "site".into(),
        path: "/site".into(),
        tags: Vec::new(),
        incomplete: false,
        folder,
    };
    saver.finish(&facts).unwrap();
    repository
}
