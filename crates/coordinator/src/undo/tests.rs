//! Undos on the real thing: file systems in loop mounts, a cgroup of version 1.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use stillpoint_model::CgroupVersion;

use super::*;

/// Unmounts `$1`. A process that is just being started somewhere may hold it for a moment, so it is tried for a while.
const UNMOUNT: &str =
    "for _ in $(seq 100); do umount \"$1\" 2>/dev/null && exit 0; sleep 0.1; done; exec umount \"$1\"";

fn shell(script: &str, arguments: &[&Path]) -> String {
    let output = Command::new("sh").args(["-ec", script, "sh"]).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {said}; this test needs loop mounts and mkfs");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A fresh file system in a loop mount, gone with the value.
struct Mounted {
    folder: tempfile::TempDir,
    top: PathBuf,
}

impl Mounted {
    fn new(kind: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (image, top) = (folder.path().join("image"), folder.path().join("top"));
        std::fs::create_dir(&top).unwrap();
        let make = format!("truncate -s 300M \"$1\"; mkfs.{kind} -q \"$1\"; mount -o loop \"$1\" \"$2\"");
        shell(&make, &[&image, &top]);
        Self { folder, top }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(Command::new("fsfreeze").arg("-u").arg(&self.top).output());
        drop(Command::new("sh").args(["-c", UNMOUNT, "umount"]).arg(&self.top).status());
        assert!(self.folder.path().exists());
    }
}

fn done(undo: &Undo) -> Ending {
    execute(undo, &Commands::default())
}

#[test]
fn a_frozen_file_system_goes_on_and_a_second_time_nothing_happens() {
    let mounted = Mounted::new("ext4");
    shell("fsfreeze -f \"$1\"", &[&mounted.top]);
    let undo = Undo::ThawFilesystem { mount_point: mounted.top.clone() };
    assert_eq!(done(&undo), Ok(Undone::Acted));
    assert_eq!(done(&undo), Ok(Undone::Nothing));
    std::fs::write(mounted.top.join("file"), "it can be written to").unwrap();
}

#[test]
fn only_a_read_only_snapshot_is_deleted() {
    let mounted = Mounted::new("btrfs");
    let (live, snapshot) = (mounted.top.join("live"), mounted.top.join("snapshot"));
    shell("btrfs subvolume create \"$1\"; btrfs subvolume snapshot -r \"$1\" \"$2\"", &[&live, &snapshot]);
    std::fs::write(live.join("precious"), "x").unwrap();
    let delete = |path: &Path| done(&Undo::DeleteSubvolume { path: path.to_owned() });
    assert!(delete(&live).unwrap_err().contains("can be written to"));
    assert!(live.join("precious").exists());
    // Its top is a subvolume too.
    assert!(delete(&mounted.top).is_err());
    assert_eq!(delete(&snapshot), Ok(Undone::Acted));
    assert!(!snapshot.exists());
    assert_eq!(delete(&snapshot), Ok(Undone::Nothing));
}

#[test]
fn a_subvolume_in_a_folder_of_ours_is_never_emptied_as_a_folder() {
    let mounted = Mounted::new("btrfs");
    let (ours, inner) = (mounted.top.join("ours"), mounted.top.join("ours/inner"));
    shell("mkdir \"$1\"; btrfs subvolume create \"$2\"; echo x > \"$2/precious\"", &[&ours, &inner]);
    std::fs::write(ours.join(Undo::MARKER), "r1").unwrap();
    let text = done(&Undo::RemoveTree { path: ours, run: "r1".into() }).unwrap_err();
    assert!(text.contains("subvolume"), "{text}");
    assert!(inner.join("precious").exists());
}

/// A sleeping process in a freezer cgroup of version 1.
struct Group {
    path: PathBuf,
    child: Child,
}

impl Group {
    fn new() -> Self {
        let path = PathBuf::from(format!("/sys/fs/cgroup/freezer/stillpoint-undo-{}", std::process::id()));
        std::fs::create_dir(&path)
            .expect("this test needs the freezer of cgroup v1 at /sys/fs/cgroup/freezer");
        let child = Command::new("sleep").arg("100").spawn().unwrap();
        std::fs::write(path.join("cgroup.procs"), child.id().to_string()).unwrap();
        Self { path, child }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        drop(std::fs::write(self.path.join("freezer.state"), "THAWED"));
        drop(self.child.kill());
        drop(self.child.wait());
        let until = Instant::now() + Duration::from_secs(5);
        while std::fs::remove_dir(&self.path).is_err() && Instant::now() < until {
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_group_of_version_1_goes_on_and_a_second_time_nothing_happens() {
    let group = Group::new();
    std::fs::write(group.path.join("freezer.state"), "FROZEN").unwrap();
    let undo = Undo::ThawCgroup { cgroup: group.path.clone(), version: CgroupVersion::V1 };
    assert_eq!(done(&undo), Ok(Undone::Acted));
    assert_eq!(std::fs::read_to_string(group.path.join("freezer.state")).unwrap().trim(), "THAWED");
    assert_eq!(done(&undo), Ok(Undone::Nothing));
}
