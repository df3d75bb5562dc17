//! Faults of disks and files, each through the real program: a destination that fills, refuses or is not there, and trees
//! with everything that a tree can hold, or that change while they are read.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at what it did not expect")]

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use stillpoint_testkit::capability::require_program;
use stillpoint_testkit::program::{finish, own, succeed};
use stillpoint_testkit::{Backup, Filesystem, LoopMount};

/// Unmounts `$1`. A process that is just being started somewhere may hold it for a moment, so it is tried for a while.
const UNMOUNT: &str =
    "for _ in $(seq 100); do umount \"$1\" 2>/dev/null && exit 0; sleep 0.1; done; exec umount \"$1\"";

/// A tree and a destination on a file system of their own; what is mounted inside is unmounted first.
struct Site {
    inner_mounts: Vec<PathBuf>,
    mount: LoopMount,
    folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let (mount, folder) = (LoopMount::new(Filesystem::Ext4, 2048), tempfile::tempdir().unwrap());
        // Each set keeps a copy of the program; without symbols for debuggers it is a tenth as large.
        let strip = require_program("strip", "binutils");
        succeed(
            Command::new(strip).arg("-o").arg(folder.path().join("stillpoint")).arg(own("stillpoint-faulty")),
        );
        let site = Self { inner_mounts: Vec::new(), mount, folder };
        fs::create_dir(site.tree()).unwrap();
        fs::write(site.tree().join("plain"), "plain content\n").unwrap();
        make_private(&site.backups());
        site.write_site_file("site", &site.tree(), &site.backups(), "", "");
        site
    }

    fn tree(&self) -> PathBuf {
        self.mount.path().join("tree")
    }

    fn backups(&self) -> PathBuf {
        self.mount.path().join("backups")
    }

    fn set(&self) -> PathBuf {
        self.backups().join("FILBackup")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.backups().join("backup.log")).unwrap()
    }

    fn write_site_file(&self, name: &str, tree: &Path, folder: &Path, task: &str, more: &str) {
        let text = format!(
            "[site]\ncode = \"FIL\"\nname = \"Files\"\n\n[destination]\nfolder = \"{}\"\n\n\
             [task]\nkeep_free_percent = 0\n{task}\n\n\
             [[component]]\nname = \"content\"\ntype = \"files\"\npath = \"{}\"\nprovider = \"copy\"\n\n{more}",
            folder.display(),
            tree.display(),
        );
        fs::write(self.folder.path().join(format!("{name}.toml")), text).unwrap();
    }

    fn run(&self, name: &str, arguments: &[&str]) -> Backup {
        let mut command = Command::new(self.folder.path().join("stillpoint"));
        command.arg("--state-dir").arg(self.folder.path().join("state")).arg("--json");
        command.arg("--config").arg(self.folder.path().join(format!("{name}.toml"))).args(arguments);
        Backup::of(finish(&mut command))
    }

    #[track_caller]
    fn backup(&self, code: i32) -> Backup {
        let run = self.run("site", &["backup"]);
        assert_eq!(run.finished.code, Some(code), "{:#?}", run.finished);
        run
    }

    #[track_caller]
    fn verify(&self) {
        let run = self.run("site", &["verify", self.set().to_str().unwrap()]);
        assert_eq!(run.finished.code, Some(0), "{:#?}", run.finished);
    }

    /// Puts the tree back beside the one that lives, and says where.
    #[track_caller]
    fn recover(&self) -> PathBuf {
        let place = self.mount.path().join("recovered");
        succeed(Command::new("rm").arg("-rf").arg(&place));
        self.write_site_file("recovered", &place, &self.backups(), "", "");
        let set = self.set();
        let run = self.run("recovered", &["recover", set.to_str().unwrap(), "--with-config"]);
        assert_eq!(run.finished.code, Some(0), "{:#?}", run.finished);
        place
    }

    /// Nothing lies at the destination but the set, the log, and the complete set that an incomplete one keeps.
    #[track_caller]
    fn assert_tidy(&self, destination: &Path) {
        let names = fs::read_dir(destination).unwrap().map(|entry| entry.unwrap().file_name());
        let incomplete = || {
            let manifest = fs::read(destination.join("FILBackup/manifest.json")).unwrap();
            let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
            manifest["outcome"] == "incomplete"
        };
        let left: Vec<_> = names
            .filter(|name| name != "FILBackup" && name != "backup.log")
            .filter(|name| name != "FILBackup.complete" || !incomplete())
            .collect();
        assert!(left.is_empty(), "left behind: {left:?}");
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for path in &self.inner_mounts {
            finish(Command::new("sh").args(["-c", UNMOUNT, "umount"]).arg(path));
        }
    }
}

fn make_private(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
}

/// What two trees differ in; empty when in nothing.
fn differences(left: &Path, right: &Path) -> String {
    let rsync = require_program("rsync", "rsync");
    let slash = |path: &Path| format!("{}/", path.display());
    succeed(Command::new(rsync).args(["-nciaHAX", "--delete"]).arg(slash(left)).arg(slash(right)))
}

/// A component whose output nobody can know before.
fn command(script: &str) -> String {
    format!("[[component]]\nname = \"report\"\ntype = \"command\"\nrun = [\"/bin/sh\", \"-c\", {script:?}]\n")
}

#[test]
fn a_destination_that_fills_while_it_is_captured_leaves_the_old_set_whole() {
    let (site, small) = (Site::new(), LoopMount::new(Filesystem::Ext4, 96));
    let destination = small.path().join("backups");
    make_private(&destination);
    site.write_site_file("site", &site.tree(), &destination, "", &command("echo short"));
    site.backup(0);
    let set = destination.join("FILBackup");
    let before = fs::read(set.join("manifest.json")).unwrap();
    let verify = || {
        let run = site.run("site", &["verify", set.to_str().unwrap()]);
        assert_eq!(run.finished.code, Some(0), "{:#?}", run.finished);
    };
    // While it is captured: nobody knows before how much a command writes.
    let endless = command("head -c 300000000 /dev/urandom");
    site.write_site_file("site", &site.tree(), &destination, "", &endless);
    let run = site.backup(12);
    assert!(run.finished.stdout.contains("No space left"), "{:#?}", run.finished);
    assert!(run.finished.stdout.contains("report"), "{:#?}", run.finished);
    assert!(run.told(5060), "{:#?}", run.finished);
    let log = fs::read_to_string(destination.join("backup.log")).unwrap();
    assert!(log.contains("STATMSG: ID=5060") && log.contains("No space left"), "{log}");
    verify();
    site.assert_tidy(&destination);
    // Before: a tree that cannot have room is not even begun.
    fs::write(site.tree().join("large"), vec![7_u8; 200 << 20]).unwrap();
    site.write_site_file("site", &site.tree(), &destination, "", "");
    let run = site.backup(12);
    assert!(!run.finished.stdout.contains("\"phase\":\"prepare\""), "{:#?}", run.finished);
    verify();
    site.assert_tidy(&destination);
    assert_eq!(fs::read(set.join("manifest.json")).unwrap(), before, "the old set was touched");
    fs::remove_file(site.tree().join("large")).unwrap();
    site.backup(0);
    verify();
    site.assert_tidy(&destination);
}

#[test]
fn a_destination_that_fills_in_the_first_pass_leaves_the_old_set_whole() {
    let (site, small) = (Site::new(), LoopMount::new(Filesystem::Ext4, 96));
    let destination = small.path().join("backups");
    make_private(&destination);
    site.write_site_file("site", &site.tree(), &destination, "", "");
    site.backup(0);
    // The file grows between the estimate and the first pass: as one does whose writer is not quieted.
    let grow = site.tree().join("grows");
    let growing = command(&format!("head -c 200000000 /dev/urandom > {}", grow.display()));
    site.write_site_file("site", &site.tree(), &destination, "", &growing);
    let ended = AtomicBool::new(false);
    let run = std::thread::scope(|scope| {
        scope.spawn(|| {
            let file = fs::File::create(&grow).unwrap();
            let block = vec![9_u8; 1 << 20];
            let mut length = 0;
            while !ended.load(Ordering::SeqCst) && length < 400 << 20 {
                file.write_all_at(&block, length).unwrap();
                length += block.len() as u64;
            }
        });
        let run = site.run("site", &["backup"]);
        ended.store(true, Ordering::SeqCst);
        run
    });
    assert_eq!(run.finished.code, Some(12), "{:#?}", run.finished);
    assert!(run.told(5060), "{:#?}", run.finished);
    site.assert_tidy(&destination);
    let verified = site.run("site", &["verify", destination.join("FILBackup").to_str().unwrap()]);
    assert_eq!(verified.finished.code, Some(0), "{:#?}", verified.finished);
}

/// The attribute that lets entries be added to a folder but not removed; taken off again at the end.
struct AppendOnly(PathBuf);

impl AppendOnly {
    fn set(folder: &Path) -> Self {
        succeed(Command::new(require_program("chattr", "e2fsprogs")).arg("+a").arg(folder));
        Self(folder.to_owned())
    }
}

impl Drop for AppendOnly {
    fn drop(&mut self) {
        finish(Command::new("chattr").arg("-a").arg(&self.0));
    }
}

#[test]
fn a_destination_that_refuses_deletes_is_refused_before_anything_is_begun() {
    let site = Site::new();
    site.backup(0);
    let before = fs::read(site.set().join("manifest.json")).unwrap();
    let refusing = AppendOnly::set(&site.backups());
    let run = site.backup(12);
    assert!(run.finished.stdout.contains("delet"), "{:#?}", run.finished);
    assert!(run.told(5026) && run.told(5060), "{:#?}", run.finished);
    assert!(!run.finished.stdout.contains("\"phase\":\"prepare\""), "{:#?}", run.finished);
    drop(refusing);
    assert_eq!(fs::read(site.set().join("manifest.json")).unwrap(), before);
    site.verify();
    // What could not be deleted then is gone with the next run.
    site.backup(0);
    site.assert_tidy(&site.backups());
}

#[test]
fn a_share_that_is_not_mounted_is_refused_and_nothing_is_written_under_it() {
    let (site, share) = (Site::new(), LoopMount::new(Filesystem::Ext4, 256));
    let destination = share.path().join("backups");
    make_private(&destination);
    site.write_site_file("site", &site.tree(), &destination, "", "");
    let path = site.folder.path().join("site.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("folder = ", "share = ")).unwrap();
    site.backup(0);
    succeed(Command::new("sh").args(["-c", UNMOUNT, "umount"]).arg(share.path()));
    // The folder is there all the same, as a mount point often is.
    make_private(&destination);
    let run = site.backup(12);
    assert!(run.finished.stdout.contains("is not mounted"), "{:#?}", run.finished);
    assert!(run.told(5026) && run.told(5060), "{:#?}", run.finished);
    assert_eq!(fs::read_dir(&destination).unwrap().count(), 0);
    assert_eq!(site.run("site", &["reconcile"]).finished.code, Some(0));
    assert_eq!(fs::read_dir(&destination).unwrap().count(), 0);
}

/// What is at a place of every file of the churn: any prefix of it is content that a file once had.
fn byte_at(place: usize) -> u8 {
    (place % 251) as u8
}

/// Files that vanish, grow, shrink and become something else, as fast as it can.
fn churn(tree: &Path, ended: &AtomicBool) {
    let content: Vec<u8> = (0..200_000).map(byte_at).collect();
    let mut round = 0_usize;
    while !ended.load(Ordering::SeqCst) {
        round += 1;
        let path = tree.join(format!("file-{}", round % 40));
        let turning = tree.join(format!("turning-{}", round % 10));
        // What fails here fails because of an earlier round, and the next makes it good.
        let _ = match round % 5 {
            0 => fs::remove_file(&path),
            1 => fs::write(&path, &content[..round * 7919 % content.len()]),
            2 => fs::File::options()
                .write(true)
                .open(&path)
                .and_then(|file| file.set_len(file.metadata()?.len() / 2)),
            3 => fs::remove_file(&turning).and_then(|()| fs::create_dir(&turning)),
            _ => fs::remove_dir(&turning).and_then(|()| {
                if round.is_multiple_of(2) { symlink("plain", &turning) } else { fs::write(&turning, "") }
            }),
        };
        if round.is_multiple_of(50) {
            let _ = fs::write(&turning, "");
        }
    }
}

#[test]
fn a_tree_that_changes_while_it_is_read_is_never_stored_with_wrong_content() {
    let site = Site::new();
    for number in 0..300 {
        let content: Vec<u8> = (0..2000 + number).map(byte_at).collect();
        fs::write(site.tree().join(format!("still-{number}")), content).unwrap();
    }
    site.write_site_file("site", &site.tree(), &site.backups(), "minimum_grade = \"fuzzy\"", "");
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| churn(&site.tree(), &ended));
        }
        let rounds = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..6 {
                let run = site.run("site", &["backup"]);
                assert!(matches!(run.finished.code, Some(0 | 3)), "{:#?}", run.finished);
                assert_eq!(run.finished.code == Some(3), run.told(5129), "{:#?}", run.finished);
                assert!(!run.finished.stderr.contains("panicked"), "{:#?}", run.finished);
                site.verify();
                check_churned(&site.recover());
                site.assert_tidy(&site.backups());
            }
            // The same tree where a fuzzy one is not good enough: refused, or as good as was asked for.
            site.write_site_file("strict", &site.tree(), &site.backups(), "minimum_grade = \"crash\"", "");
            let run = site.run("strict", &["backup"]);
            match run.finished.code {
                Some(13) => assert!(run.told(5106), "{:#?}", run.finished),
                Some(0 | 3) => assert_eq!(run.last("run-ended", "grade"), "crash"),
                _ => panic!("{:#?}", run.finished),
            }
            site.verify();
            site.assert_tidy(&site.backups());
        }));
        ended.store(true, Ordering::SeqCst);
        rounds.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    site.write_site_file("site", &site.tree(), &site.backups(), "", "");
    site.backup(0);
    assert_eq!(differences(&site.tree(), &site.recover()), "", "at rest the tree is not what was stored");
}

/// Every file is one that there was at some time.
fn check_churned(tree: &Path) {
    let mut files = 0;
    for entry in fs::read_dir(tree).unwrap().map(|entry| entry.unwrap()) {
        let name = entry.file_name().into_string().unwrap();
        if !entry.file_type().unwrap().is_file() || name == "plain" {
            continue;
        }
        files += 1;
        let content = fs::read(entry.path()).unwrap();
        let right = content.iter().enumerate().all(|(place, byte)| *byte == byte_at(place));
        assert!(right, "{name} holds what was never in it ({} bytes)", content.len());
        if let Some(number) = name.strip_prefix("still-") {
            assert_eq!(content.len(), 2000 + number.parse::<usize>().unwrap(), "{name}");
        }
    }
    assert!(files >= 300, "only {files} files");
}

#[test]
fn odd_names_pipes_sockets_and_devices_come_back() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let site = Site::new();
    let names: [&[u8]; 6] = [
        b"line\nbreak",
        b"\xff\xfe invalid \x80",
        b" blanks at the ends ",
        b"-rf",
        "\u{e9}\u{1f600}".as_bytes(),
        &[b'x'; 255],
    ];
    for name in names {
        let folder = site.tree().join("odd").join(OsStr::from_bytes(name));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(OsStr::from_bytes(name)), name).unwrap();
        symlink(OsStr::from_bytes(name), folder.join("link")).unwrap();
    }
    succeed(Command::new("mkfifo").arg(site.tree().join("pipe")));
    succeed(Command::new("mknod").arg(site.tree().join("null")).args(["c", "1", "3"]));
    succeed(Command::new("mknod").arg(site.tree().join("disk")).args(["b", "7", "99"]));
    let bound = site.tree().join("socket");
    let _socket = std::os::unix::net::UnixListener::bind(&bound).unwrap();
    site.backup(0);
    site.verify();
    let place = site.recover();
    // A socket means nothing without the process that made it.
    assert!(!place.join("socket").exists());
    fs::remove_file(&bound).unwrap();
    let found = differences(&site.tree(), &place);
    let found: Vec<&str> = found.lines().filter(|line| !line.ends_with(" ./")).collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_sparse_terabyte_takes_seconds_and_no_room() {
    const SIZE: u64 = 1 << 40;
    let site = Site::new();
    let path = site.tree().join("sparse");
    let file = fs::File::create(&path).unwrap();
    file.set_len(SIZE).unwrap();
    file.write_all_at(b"in the middle", SIZE / 2).unwrap();
    file.write_all_at(b"end", SIZE - 3).unwrap();
    let begun = Instant::now();
    site.backup(0);
    site.verify();
    let place = site.recover().join("sparse");
    let elapsed = begun.elapsed();
    assert!(elapsed < Duration::from_secs(60), "{elapsed:?}");
    let stored = fs::metadata(site.set().join("SiteServer/content/sparse")).unwrap();
    let recovered = fs::metadata(&place).unwrap();
    for facts in [stored, recovered] {
        assert_eq!(facts.len(), SIZE);
        assert!(facts.blocks() * 512 < 1 << 20, "{} blocks", facts.blocks());
    }
    let read = |place: &Path, at: u64, length: usize| {
        let mut bytes = vec![0; length];
        fs::File::open(place).unwrap().read_exact_at(&mut bytes, at).unwrap();
        bytes
    };
    assert_eq!(read(&place, SIZE / 2, 13), b"in the middle");
    assert_eq!(read(&place, SIZE - 3, 3), b"end");
    assert!(read(&place, SIZE / 4, 100_000).iter().all(|byte| *byte == 0));
}

/// Makes a folder in a folder, so many levels deep, with a file at the bottom. No path need reach so deep: each step is
/// taken from the folder before.
fn dig(top: &Path, levels: usize) {
    let down = "i=0; while [ $i -lt $0 ]; do mkdir level && cd -P level || exit 1; i=$((i+1)); done; echo deep > bottom";
    succeed(Command::new("sh").args(["-c", down, &levels.to_string()]).current_dir(top));
}

#[test]
fn a_tree_of_five_hundred_levels_comes_back() {
    const LEVELS: usize = 500;
    let site = Site::new();
    dig(&site.tree(), LEVELS);
    site.backup(0);
    site.verify();
    let count = "i=0; while cd -P level 2>/dev/null; do i=$((i+1)); done; echo $i; cat bottom";
    let found = succeed(Command::new("sh").args(["-c", count]).current_dir(site.recover()));
    assert_eq!(found, format!("{LEVELS}\ndeep\n"));
    // A second run compares with the first set, and removes it.
    site.backup(0);
    site.verify();
    site.assert_tidy(&site.backups());
}

/// A set is reached by whole paths, which the kernel takes up to 4,096 bytes (`PATH_MAX`). What is deeper is refused as a
/// whole, in good order: never stored in part and called complete.
#[test]
fn a_tree_of_two_thousand_levels_is_refused_and_leaves_the_old_set_whole() {
    let site = Site::new();
    site.backup(0);
    let before = fs::read(site.set().join("manifest.json")).unwrap();
    dig(&site.tree(), 2000);
    let run = site.backup(1);
    assert!(run.told(5060) && run.finished.stdout.contains("too long"), "{:#?}", run.finished);
    assert!(!run.finished.stderr.contains("panicked"), "{:#?}", run.finished);
    assert_eq!(fs::read(site.set().join("manifest.json")).unwrap(), before, "the old set was touched");
    site.verify();
    site.assert_tidy(&site.backups());
    succeed(Command::new("rm").arg("-rf").arg(site.tree().join("level")));
    site.backup(0);
    site.verify();
    site.assert_tidy(&site.backups());
}

#[test]
fn a_mount_inside_the_tree_is_told_and_not_entered() {
    let mut site = Site::new();
    let inner = site.tree().join("inner");
    fs::create_dir(&inner).unwrap();
    succeed(Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "stillpoint-test"]).arg(&inner));
    site.inner_mounts.push(inner.clone());
    fs::write(inner.join("elsewhere"), "not of this file system").unwrap();
    let run = site.backup(3);
    assert!(run.told(5125) && run.told(5129), "{:#?}", run.finished);
    let named =
        |text: &str| text.lines().any(|line| line.contains("inner") && line.contains("another file system"));
    assert!(named(&run.finished.stdout) && named(&site.log()), "{:#?}", run.finished);
    site.verify();
    let place = site.recover();
    assert!(place.join("plain").exists() && place.join("inner").is_dir());
    assert!(!place.join("inner/elsewhere").exists());
    succeed(Command::new("sh").args(["-c", UNMOUNT, "umount"]).arg(&inner));
    site.backup(0);
}

#[test]
fn what_cannot_be_read_is_told_and_the_rest_is_stored() {
    let site = Site::new();
    // A broken file system shows like this to root: a file whose pages cannot be read. One of /proc stands for it: a link
    // would be stored as a link, so it is mounted over a file.
    let mut site = site;
    let path = site.tree().join("unreadable");
    fs::File::options().create(true).truncate(true).write(true).mode(0o600).open(&path).unwrap();
    succeed(Command::new("mount").args(["--bind", "/proc/self/mem"]).arg(&path));
    site.inner_mounts.push(path.clone());
    let run = site.backup(3);
    assert!(run.told(5125), "{:#?}", run.finished);
    assert!(run.finished.stdout.contains("unreadable"), "{:#?}", run.finished);
    site.verify();
    assert!(site.recover().join("plain").exists());
}
