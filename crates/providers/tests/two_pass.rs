//! The two-pass copy on real file systems.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at what it did not expect")]

#[path = "support/churn.rs"]
mod churn;
mod support;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Stdio};

use churn::{Churn, Mapping};
use stillpoint_model::{Grade, Provider, ProviderKind, StoredPrevious, Suitability, TreeSource};
use stillpoint_providers::{CopyProvider, ReflinkProvider, TrackerKind, choose};
use support::*;

/// Cuts a churning tree again and again; each image must equal an independent copy made while the churn was held.
fn images_equal_what_was_held(disk: &str, provider: &dyn Provider, in_workspace: bool, rounds: u32) {
    let disk = Disk::new(disk, "1G");
    let aside = tempfile::tempdir().unwrap();
    let tree = disk.mount.join("tree");
    fs::create_dir(&tree).unwrap();
    plant_small_tree(&tree);
    let churn = Churn::start(&tree, u64::from(rounds) + 7);
    for round in 0..rounds {
        let work_parent = if in_workspace { &disk.mount } else { aside.path() };
        let run = surroundings(work_parent, round, None);
        let mut cut = provider.open(&request(&tree), &run.context).unwrap();
        up_to_the_freeze(cut.as_mut(), &run.context);
        churn.wait_for(200);
        let copy = aside.path().join(format!("copy-{round}"));
        {
            let _held = churn.lock.lock().unwrap();
            cut.cut(&run.context, soon()).unwrap();
            copy_aside(&tree, &copy);
        }
        churn.wait_for(50);
        let (source, grade) = cut.image(&run.context, soon()).unwrap();
        assert_equal(&source, &copy);
        assert_frozen(grade, &run);
        cut.release(&run.context).unwrap();
        assert!(run.undos.open().is_empty(), "{:?}", run.undos.open());
        fs::remove_dir_all(&copy).unwrap();
        fs::remove_dir_all(&run.context.workspace).unwrap();
    }
    drop(churn);
    let left: Vec<_> = names_below(&disk.mount)
        .into_iter()
        .filter(|p| p.to_string_lossy().contains(".stillpoint"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_copy_followed_by_fanotify_equals_the_tree_as_it_was_held() {
    images_equal_what_was_held("ext4", &CopyProvider::with_tracker(TrackerKind::Fanotify), false, 12);
}

#[test]
fn a_copy_followed_by_scans_equals_the_tree_as_it_was_held() {
    images_equal_what_was_held("ext4", &CopyProvider::with_tracker(TrackerKind::Scan), false, 12);
}

#[test]
fn a_copy_with_the_workspace_on_the_same_file_system_equals_the_tree_as_it_was_held() {
    images_equal_what_was_held("ext4", &CopyProvider::with_tracker(TrackerKind::Fanotify), true, 6);
}

#[test]
fn clones_followed_by_fanotify_equal_the_tree_as_it_was_held() {
    images_equal_what_was_held("xfs", &ReflinkProvider::with_tracker(TrackerKind::Fanotify), false, 8);
}

#[test]
fn clones_followed_by_scans_equal_the_tree_as_it_was_held() {
    images_equal_what_was_held("xfs", &ReflinkProvider::with_tracker(TrackerKind::Scan), true, 8);
}

#[test]
fn clones_on_btrfs_equal_the_tree_as_it_was_held() {
    images_equal_what_was_held("btrfs", &ReflinkProvider::default(), false, 6);
}

/// Maps a file into memory, and keeps it mapped.
type MakeMap = fn(&Path) -> Box<dyn FnMut(&Path) -> Mapping>;

/// One mapped file, stored to at each point where a store could get lost.
fn stores_through_memory_are_caught(tracker: TrackerKind, path_of_map: MakeMap) {
    let disk = Disk::new("ext4", "256M");
    let aside = tempfile::tempdir().unwrap();
    let tree = disk.mount.join("tree");
    fs::create_dir(&tree).unwrap();
    let file = tree.join("mapped");
    fs::write(&file, [0u8; 8192]).unwrap();
    fs::write(tree.join("other"), "x").unwrap();
    let mut map = path_of_map(&file);
    let run = surroundings(aside.path(), 1, None);
    let mut cut = CopyProvider::with_tracker(tracker).open(&request(&tree), &run.context).unwrap();
    cut.prepare(&run.context, soon()).unwrap();
    cut.poise(&run.context, soon()).unwrap();
    let mut mapping = map(&file);
    mapping.store(100, 1);
    mapping.store(5000, 2);
    cut.cut(&run.context, soon()).unwrap();
    // What comes after the cut is not in it.
    mapping.store(100, 9);
    let (source, grade) = cut.image(&run.context, soon()).unwrap();
    let stored = fs::read(source.root.join("mapped")).unwrap();
    assert_eq!((stored[100], stored[5000]), (1, 2));
    assert_frozen(grade, &run);
    let listed = list_of(&source).into_iter().find(|e| e.path.to_string() == "mapped").unwrap();
    assert!(!listed.origin.unwrap().settled, "the next run would take this file for unchanged");
    cut.release(&run.context).unwrap();
}

#[test]
fn a_store_through_a_mapping_made_before_the_tracking_is_caught() {
    for tracker in [TrackerKind::Fanotify, TrackerKind::Scan] {
        stores_through_memory_are_caught(tracker, |file| {
            let mut mapping = Some(Mapping::new(file));
            // Dirty before the first pass: the change time does not move again until the page is clean.
            mapping.as_mut().unwrap().store(100, 77);
            Box::new(move |_| mapping.take().unwrap())
        });
    }
}

#[test]
fn a_store_through_a_mapping_of_a_file_opened_before_the_tracking_is_caught() {
    stores_through_memory_are_caught(TrackerKind::Fanotify, |file| {
        let open = OpenOptions::new().read(true).write(true).open(file).unwrap();
        Box::new(move |_| Mapping::of(&open))
    });
}

#[test]
fn a_store_through_a_mapping_of_a_file_opened_after_the_last_pass_is_caught() {
    stores_through_memory_are_caught(TrackerKind::Fanotify, |_| Box::new(Mapping::new));
}

#[test]
fn a_store_to_a_dirty_page_between_the_passes_is_caught() {
    let disk = Disk::new("ext4", "256M");
    let aside = tempfile::tempdir().unwrap();
    let tree = disk.mount.join("tree");
    fs::create_dir(&tree).unwrap();
    let file = tree.join("mapped");
    fs::write(&file, [0u8; 4096]).unwrap();
    let mut mapping = Mapping::new(&file);
    for tracker in [TrackerKind::Fanotify, TrackerKind::Scan] {
        let number = tracker as u32;
        let run = surroundings(aside.path(), number, None);
        let mut cut = CopyProvider::with_tracker(tracker).open(&request(&tree), &run.context).unwrap();
        mapping.store(0, 10);
        cut.prepare(&run.context, soon()).unwrap();
        mapping.store(0, 20);
        cut.poise(&run.context, soon()).unwrap();
        // No other store moves the change time until the page is written out.
        mapping.store(0, 30);
        mapping.store(1, 31);
        cut.cut(&run.context, soon()).unwrap();
        let (source, grade) = cut.image(&run.context, soon()).unwrap();
        assert_eq!(fs::read(source.root.join("mapped")).unwrap()[..2], [30, 31], "{tracker:?}");
        assert_frozen(grade, &run);
        cut.release(&run.context).unwrap();
    }
}

/// A process of its own that appends to a file as fast as it can, until its input ends.
struct Appender(std::process::Child);

impl Appender {
    fn start(file: &Path) -> Self {
        let script = "i=0; while :; do i=$((i+1)); echo $i; done >> \"$0\"";
        let child = Command::new("sh").args(["-c", script]).arg(file).stdin(Stdio::null()).spawn().unwrap();
        let size = || fs::metadata(file).map_or(0, |m| m.len());
        while size() == 0 {
            std::thread::yield_now();
        }
        Self(child)
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_writer_that_is_not_held_makes_the_image_fuzzy_and_is_named() {
    for tracker in [TrackerKind::Fanotify, TrackerKind::Scan] {
        let disk = Disk::new("ext4", "512M");
        let aside = tempfile::tempdir().unwrap();
        let tree = disk.mount.join("tree");
        fs::create_dir(&tree).unwrap();
        for i in 0..2000 {
            fs::write(tree.join(format!("file-{i}")), "before").unwrap();
        }
        let run = surroundings(aside.path(), 1, None);
        let mut cut = CopyProvider::with_tracker(tracker).open(&request(&tree), &run.context).unwrap();
        up_to_the_freeze(cut.as_mut(), &run.context);
        for i in 0..2000 {
            fs::write(tree.join(format!("file-{i}")), "after").unwrap();
        }
        let appender = Appender::start(&tree.join("a-log"));
        cut.cut(&run.context, soon()).unwrap();
        let pid = appender.0.id();
        drop(appender);
        let (_, grade) = cut.image(&run.context, soon()).unwrap();
        let problems = run.problems.list().join("\n");
        assert_eq!(grade, Grade::Fuzzy, "{tracker:?}: {problems}");
        assert!(problems.contains("a-log"), "{problems}");
        if tracker == TrackerKind::Fanotify {
            assert!(problems.contains(&format!("process {pid}")), "{problems}");
        }
        cut.release(&run.context).unwrap();
    }
}

#[test]
fn a_change_through_a_name_outside_the_tree_is_caught() {
    for tracker in [TrackerKind::Fanotify, TrackerKind::Scan] {
        let disk = Disk::new("ext4", "256M");
        let aside = tempfile::tempdir().unwrap();
        let tree = disk.mount.join("tree");
        fs::create_dir(&tree).unwrap();
        for name in ["known", "linked-later"] {
            fs::write(tree.join(name), "before").unwrap();
        }
        fs::hard_link(tree.join("known"), disk.mount.join("outside-1")).unwrap();
        let run = surroundings(aside.path(), 1, None);
        let mut cut = CopyProvider::with_tracker(tracker).open(&request(&tree), &run.context).unwrap();
        up_to_the_freeze(cut.as_mut(), &run.context);
        fs::hard_link(tree.join("linked-later"), disk.mount.join("outside-2")).unwrap();
        let script = "echo after > outside-1; echo after > outside-2";
        assert!(Command::new("sh").args(["-c", script]).current_dir(&disk.mount).status().unwrap().success());
        cut.cut(&run.context, soon()).unwrap();
        let copy = aside.path().join("copy");
        copy_aside(&tree, &copy);
        let (source, grade) = cut.image(&run.context, soon()).unwrap();
        assert_equal(&source, &copy);
        assert_frozen(grade, &run);
        cut.release(&run.context).unwrap();
    }
}

#[test]
fn names_of_a_file_stay_together_when_the_first_of_them_goes_away_with_its_folder() {
    for tracker in [TrackerKind::Fanotify, TrackerKind::Scan] {
        let disk = Disk::new("ext4", "256M");
        let aside = tempfile::tempdir().unwrap();
        let tree = disk.mount.join("tree");
        fs::create_dir_all(tree.join("a")).unwrap();
        fs::create_dir_all(tree.join("m")).unwrap();
        fs::write(tree.join("a/first"), "content").unwrap();
        fs::hard_link(tree.join("a/first"), tree.join("m/second")).unwrap();
        fs::hard_link(tree.join("a/first"), tree.join("m/third")).unwrap();
        let run = surroundings(aside.path(), 1, None);
        let mut cut = CopyProvider::with_tracker(tracker).open(&request(&tree), &run.context).unwrap();
        up_to_the_freeze(cut.as_mut(), &run.context);
        // Out of the tree: neither an event nor a change time tells of the file.
        fs::rename(tree.join("a"), disk.mount.join("gone")).unwrap();
        cut.cut(&run.context, soon()).unwrap();
        let copy = aside.path().join("copy");
        copy_aside(&tree, &copy);
        let (source, grade) = cut.image(&run.context, soon()).unwrap();
        assert_equal(&source, &copy);
        assert_frozen(grade, &run);
        cut.release(&run.context).unwrap();
    }
}

#[test]
fn unchanged_files_are_shared_with_the_last_good_set_which_is_never_changed() {
    let disk = Disk::new("ext4", "512M");
    let aside = Disk::new("ext4", "512M");
    let tree = disk.mount.join("tree");
    fs::create_dir(&tree).unwrap();
    plant_small_tree(&tree);
    fs::write(tree.join("changes"), "one").unwrap();
    fs::write(tree.join("stays"), "the same").unwrap();
    let cut_once = |number: u32, previous: Option<StoredPrevious>, between: &dyn Fn()| -> TreeSource {
        let run = surroundings(&aside.mount, number, previous);
        let mut cut = CopyProvider::default().open(&request(&tree), &run.context).unwrap();
        up_to_the_freeze(cut.as_mut(), &run.context);
        between();
        cut.cut(&run.context, soon()).unwrap();
        let copy = aside.mount.join(format!("copy-{number}"));
        copy_aside(&tree, &copy);
        let (source, grade) = cut.image(&run.context, soon()).unwrap();
        assert_equal(&source, &copy);
        assert_frozen(grade, &run);
        cut.release(&run.context).unwrap();
        source
    };
    // What was changed within the last tick before a pass is not settled, so the first set only serves to let time pass.
    let ticked = std::time::Instant::now();
    while ticked.elapsed() < std::time::Duration::from_millis(30) {
        std::hint::spin_loop();
    }
    let first = cut_once(1, None, &|| {});
    let before = inodes_below(&first.root);
    let previous = StoredPrevious { folder: first.root.clone(), index: first.index.clone().unwrap() };
    let second = cut_once(2, Some(previous), &|| fs::write(tree.join("changes"), "two").unwrap());
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    assert_eq!(inode(&first.root.join("stays")), inode(&second.root.join("stays")), "copied again");
    assert_ne!(inode(&first.root.join("changes")), inode(&second.root.join("changes")));
    assert_eq!(fs::read(first.root.join("changes")).unwrap(), b"one");
    assert_eq!(before, inodes_below(&first.root));
    assert_equal(&first, &aside.mount.join("copy-1"));
}

#[test]
fn patterns_hold_in_every_pass() {
    for tracker in [TrackerKind::Fanotify, TrackerKind::Scan] {
        let disk = Disk::new("ext4", "256M");
        let aside = tempfile::tempdir().unwrap();
        let tree = disk.mount.join("tree");
        fs::create_dir_all(tree.join("cache/deep")).unwrap();
        fs::create_dir_all(tree.join("kept")).unwrap();
        let run = surroundings(aside.path(), 1, None);
        let mut wanted = request(&tree);
        wanted.exclude = vec!["cache/".to_owned(), "*.tmp".to_owned()];
        let mut cut = CopyProvider::with_tracker(tracker).open(&wanted, &run.context).unwrap();
        up_to_the_freeze(cut.as_mut(), &run.context);
        for name in ["cache/deep/x", "kept/x", "kept/x.tmp", "y.tmp"] {
            fs::write(tree.join(name), "new").unwrap();
        }
        cut.cut(&run.context, soon()).unwrap();
        let (source, grade) = cut.image(&run.context, soon()).unwrap();
        let names: Vec<String> = list_of(&source).iter().map(|e| e.path.to_string()).collect();
        assert_eq!(names, ["", "kept", "kept/x"]);
        assert_frozen(grade, &run);
        cut.release(&run.context).unwrap();
    }
}

#[test]
fn a_large_or_sparse_file_changed_before_the_cut_keeps_content_and_holes() {
    let disk = Disk::new("ext4", "512M");
    let aside = tempfile::tempdir().unwrap();
    let tree = disk.mount.join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("large"), vec![1u8; 9_000_000]).unwrap();
    let run = surroundings(aside.path(), 1, None);
    let mut cut = CopyProvider::default().open(&request(&tree), &run.context).unwrap();
    up_to_the_freeze(cut.as_mut(), &run.context);
    let large = OpenOptions::new().write(true).open(tree.join("large")).unwrap();
    large.write_all_at(b"changed", 5_000_000).unwrap();
    let sparse = fs::File::create(tree.join("sparse")).unwrap();
    sparse.write_all_at(b"far out", 1 << 30).unwrap();
    cut.cut(&run.context, soon()).unwrap();
    let copy = aside.path().join("copy");
    copy_aside(&tree, &copy);
    let (source, grade) = cut.image(&run.context, soon()).unwrap();
    assert_equal(&source, &copy);
    assert_frozen(grade, &run);
    assert!(fs::metadata(source.root.join("sparse")).unwrap().blocks() < 1000, "the hole was filled");
    cut.release(&run.context).unwrap();
}

#[test]
fn clones_beside_the_tree_are_gone_after_the_release_and_their_undo_settled() {
    let disk = Disk::new("xfs", "512M");
    let aside = tempfile::tempdir().unwrap();
    // The top of the mount itself: the hidden folder lies in the tree, and is not taken.
    for tree in [disk.mount.clone(), disk.mount.join("tree")] {
        fs::create_dir_all(&tree).unwrap();
        fs::write(tree.join("file"), "content").unwrap();
        let before = names_below(&disk.mount);
        let run = surroundings(aside.path(), before.len() as u32, None);
        let (provider, reason) = choose(&request(&tree), None, &run.context).unwrap();
        assert_eq!(provider.kind(), ProviderKind::Reflink, "{reason}");
        assert!(reason.contains("not btrfs"), "{reason}");
        assert_eq!(names_below(&disk.mount), before, "the probe left something");
        let mut cut = provider.open(&request(&tree), &run.context).unwrap();
        up_to_the_freeze(cut.as_mut(), &run.context);
        fs::write(tree.join("file"), "new content").unwrap();
        cut.cut(&run.context, soon()).unwrap();
        let (source, grade) = cut.image(&run.context, soon()).unwrap();
        assert_frozen(grade, &run);
        assert!(!source.owned);
        assert_eq!(fs::read(source.root.join("file")).unwrap(), b"new content");
        assert!(list_of(&source).iter().all(|e| !e.path.to_string().contains(".stillpoint")));
        cut.release(&run.context).unwrap();
        cut.release(&run.context).unwrap();
        assert_eq!(names_below(&disk.mount), before);
        assert!(run.undos.open().is_empty());
        assert!(!run.undos.all().is_empty());
    }
}

#[test]
fn a_run_that_is_given_up_leaves_nothing_beside_the_tree() {
    let disk = Disk::new("xfs", "512M");
    let aside = tempfile::tempdir().unwrap();
    let tree = disk.mount.join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("file"), "content").unwrap();
    let before = names_below(&disk.mount);
    let run = surroundings(aside.path(), 1, None);
    let mut cut = ReflinkProvider::default().open(&request(&tree), &run.context).unwrap();
    run.context.cancel.cancel();
    assert!(cut.prepare(&run.context, soon()).is_err());
    cut.release(&run.context).unwrap();
    assert_eq!(names_below(&disk.mount), before);
    assert!(run.undos.open().is_empty());
}

#[test]
fn a_file_system_without_clones_is_served_by_copies_and_the_reason_says_so() {
    let disk = Disk::new("ext4", "256M");
    let aside = tempfile::tempdir().unwrap();
    let run = surroundings(aside.path(), 1, None);
    let (provider, reason) = choose(&request(&disk.mount), None, &run.context).unwrap();
    assert_eq!(provider.kind(), ProviderKind::Copy);
    for part in ["not btrfs", "not reflink: the file system cannot clone files", "fanotify"] {
        assert!(reason.contains(part), "{reason}");
    }
    let refused = choose(&request(&disk.mount), Some(ProviderKind::Reflink), &run.context).map(|_| ());
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("cannot clone files") && text.contains("remove the demand"), "{text}");
}

#[test]
fn a_second_mount_in_the_tree_is_found_by_scans() {
    let disk = Disk::new("ext4", "256M");
    let aside = tempfile::tempdir().unwrap();
    fs::create_dir_all(disk.mount.join("tree/again")).unwrap();
    let (tree, again) = (disk.mount.join("tree"), disk.mount.join("tree/again"));
    run("mount", &["--bind", disk.mount.to_str().unwrap(), again.to_str().unwrap()]);
    let run_here = surroundings(aside.path(), 1, None);
    let probe = CopyProvider::default().probe(&request(&tree), &run_here.context);
    run("sh", &["-c", support::UNMOUNT, "umount", again.to_str().unwrap()]);
    assert!(matches!(&probe, Suitability::Suitable(why) if why.contains("scanning")), "{probe:?}");
}

#[test]
fn many_events_in_other_places_do_not_disturb_the_tree() {
    let disk = Disk::new("ext4", "512M");
    let aside = tempfile::tempdir().unwrap();
    let (tree, other) = (disk.mount.join("tree"), disk.mount.join("other"));
    fs::create_dir(&tree).unwrap();
    fs::create_dir(&other).unwrap();
    let mut file = fs::File::create(tree.join("file")).unwrap();
    let run = surroundings(aside.path(), 1, None);
    let mut cut =
        CopyProvider::with_tracker(TrackerKind::Fanotify).open(&request(&tree), &run.context).unwrap();
    up_to_the_freeze(cut.as_mut(), &run.context);
    let appender = Appender::start(&other.join("log"));
    file.write_all(b"x").unwrap();
    cut.cut(&run.context, soon()).unwrap();
    drop(appender);
    let (source, grade) = cut.image(&run.context, soon()).unwrap();
    assert_eq!(fs::read(source.root.join("file")).unwrap(), b"x");
    assert_frozen(grade, &run);
    cut.release(&run.context).unwrap();
}
