//! A file system of its own, on a loop device.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::capability::{require_program, require_root};
use crate::program::{finish, succeed, wait_for};

/// Unmounts `$1`. A process that is just being started somewhere may hold it for a moment, so it is tried for a while.
const UNMOUNT: &str =
    "for _ in $(seq 100); do umount \"$1\" 2>/dev/null && exit 0; sleep 0.1; done; exec umount \"$1\"";

/// The kinds of file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filesystem {
    /// With snapshots.
    Btrfs,
    /// With reflinks.
    Xfs,
    /// With neither.
    Ext4,
}

/// A mounted file system; unmounted, detached and removed at the end.
#[derive(Debug)]
pub struct LoopMount {
    filesystem: Filesystem,
    /// Last to go: the image and the mount point are in it.
    folder: tempfile::TempDir,
}

impl LoopMount {
    /// Makes and mounts a file system of `size_mib`. The image is sparse, so it takes only what is written.
    pub fn new(filesystem: Filesystem, size_mib: u64) -> Self {
        require_root();
        let (maker, package, options): (_, _, &[&str]) = match filesystem {
            Filesystem::Btrfs => ("mkfs.btrfs", "btrfs-progs", &["-q"]),
            Filesystem::Xfs => ("mkfs.xfs", "xfsprogs", &["-q", "-m", "reflink=1"]),
            // Nothing is left to be initialised in the background.
            Filesystem::Ext4 => {
                let whole = "lazy_itable_init=0,lazy_journal_init=0";
                ("mkfs.ext4", "e2fsprogs", &["-q", "-F", "-E", whole])
            }
        };
        let maker = require_program(maker, package);
        let folder = tempfile::Builder::new().prefix("stillpoint-").tempdir().unwrap_or_else(|error| {
            panic!("no temporary folder: {error}");
        });
        let made = Self { filesystem, folder };
        let image = made.folder.path().join("image");
        let sized = File::create(&image).and_then(|file| file.set_len(size_mib << 20));
        let pointed = sized.and_then(|()| std::fs::create_dir(made.path()));
        // Servers that run as another user must get through.
        let opened = pointed.and_then(|()| open_to_all(made.folder.path()));
        assert!(opened.is_ok(), "{} cannot be set up: {opened:?}", made.folder.path().display());
        succeed(Command::new(maker).args(options).arg(&image));
        made.mount_again();
        made
    }

    /// Lets the file system stop at this instant, as when the power fails: nothing that is not on the disk yet gets there.
    /// For ext4 and XFS. Everything on it fails until it is mounted again.
    pub fn cut_power(&self) {
        let xfs_io = require_program("xfs_io", "xfsprogs");
        succeed(Command::new(xfs_io).args(["-x", "-c", "shutdown"]).arg(self.path()));
        succeed(Command::new("sh").args(["-c", UNMOUNT, "umount"]).arg(self.path()));
        // A process of another mount namespace may still have it for a moment, and a mount would find the stopped one.
        let losetup = require_program("losetup", "mount");
        wait_for("the loop device lets go of its image", Duration::from_secs(20), || {
            let devices = succeed(Command::new(&losetup).arg("-j").arg(self.folder.path().join("image")));
            devices.is_empty().then_some(())
        });
    }

    /// Mounts it after [`LoopMount::cut_power`].
    pub fn mount_again(&self) {
        // The loop device goes with the mount, even when this process is killed and somebody else unmounts.
        let image = self.folder.path().join("image");
        succeed(
            Command::new(require_program("mount", "mount")).args(["-o", "loop"]).arg(&image).arg(self.path()),
        );
    }

    /// The top of the file system.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    /// From now on the image is read and written past the page cache of the file system that it lies on: what is read here
    /// after this file system's own cache was dropped comes from the disk.
    pub fn bypass_cache(&self) {
        let image = self.folder.path().join("image");
        let devices = succeed(Command::new("losetup").args(["-n", "-O", "NAME", "-j"]).arg(image));
        succeed(Command::new("losetup").arg("--direct-io=on").arg(devices.trim()));
    }

    /// Which kind it is.
    pub fn filesystem(&self) -> Filesystem {
        self.filesystem
    }
}

fn open_to_all(folder: &Path) -> std::io::Result<()> {
    std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755))
}

impl Drop for LoopMount {
    fn drop(&mut self) {
        let path = self.path();
        // A test that failed in a freeze must not leave a file system that nobody can unmount.
        finish(Command::new("fsfreeze").arg("-u").arg(&path));
        if finish(Command::new("sh").args(["-c", UNMOUNT, "umount"]).arg(&path)).code != Some(0) {
            finish(Command::new("umount").arg("-l").arg(&path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts() -> String {
        std::fs::read_to_string("/proc/self/mountinfo").unwrap()
    }

    #[test]
    fn what_was_not_synced_is_gone_when_the_power_was_cut() {
        for filesystem in [Filesystem::Ext4, Filesystem::Xfs] {
            let mount = LoopMount::new(filesystem, 512);
            let (synced, unsynced) = (mount.path().join("synced"), mount.path().join("unsynced"));
            std::fs::write(&synced, "content").unwrap();
            File::open(&synced).and_then(|file| file.sync_all()).unwrap();
            File::open(mount.path()).and_then(|folder| folder.sync_all()).unwrap();
            std::fs::write(&unsynced, "content").unwrap();
            mount.cut_power();
            mount.mount_again();
            assert_eq!(std::fs::read_to_string(&synced).unwrap(), "content", "{filesystem:?}");
            assert_eq!(std::fs::read_to_string(&unsynced).unwrap_or_default(), "", "{filesystem:?}");
        }
    }

    #[test]
    fn the_cache_below_is_bypassed_when_asked_for() {
        let mount = LoopMount::new(Filesystem::Ext4, 64);
        mount.bypass_cache();
        std::fs::write(mount.path().join("file"), "content").unwrap();
        let text = mounts();
        let line = text.lines().find(|line| line.contains(mount.path().to_str().unwrap())).unwrap();
        let device = line.split(" - ").nth(1).unwrap().split(' ').nth(1).unwrap();
        let flag = PathBuf::from(device.replace("/dev/", "/sys/block/")).join("loop/dio");
        assert_eq!(std::fs::read_to_string(flag).unwrap().trim(), "1");
    }

    #[test]
    fn each_kind_is_mounted_and_gone_with_its_value_even_after_a_panic() {
        for (filesystem, word) in
            [(Filesystem::Btrfs, "btrfs"), (Filesystem::Xfs, "xfs"), (Filesystem::Ext4, "ext4")]
        {
            let (seen, panicked) = std::sync::mpsc::channel();
            let test = std::thread::spawn(move || {
                let mount = LoopMount::new(filesystem, 512);
                std::fs::write(mount.path().join("file"), "content").unwrap();
                seen.send((mount.path(), mounts())).unwrap();
                panic!("as a failing test would");
            });
            let (path, while_mounted) = panicked.recv().unwrap();
            assert!(test.join().is_err());
            let line = while_mounted.lines().find(|line| line.contains(path.to_str().unwrap())).unwrap();
            assert!(line.contains(&format!(" - {word} /dev/loop")), "{line}");
            assert!(!mounts().contains(path.to_str().unwrap()));
            assert!(!path.parent().unwrap().exists());
            let device = line.split(" - ").nth(1).unwrap().split(' ').nth(1).unwrap().to_owned();
            let backing = PathBuf::from(device.replace("/dev/", "/sys/block/")).join("loop/backing_file");
            let image = path.with_file_name("image");
            wait_for("the loop device lets go of its image", Duration::from_secs(10), || {
                let held = std::fs::read_to_string(&backing).unwrap_or_default();
                (!held.contains(image.to_str().unwrap())).then_some(())
            });
        }
    }
}
