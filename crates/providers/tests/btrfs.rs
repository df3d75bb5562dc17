//! Snapshots on a real btrfs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at what it did not expect")]

#[path = "support/churn.rs"]
mod churn;
mod support;

use std::fs;

use churn::Churn;
use stillpoint_model::{Grade, Provider, ProviderKind, Suitability, Undo};
use stillpoint_providers::{BtrfsProvider, choose};
use stillpoint_tree::{Filter, Walk};
use support::*;

#[test]
fn a_snapshot_equals_the_tree_as_it_was_held() {
    let disk = Disk::new("btrfs", "1G");
    let aside = tempfile::tempdir().unwrap();
    // Once the subvolume itself, once a folder in it.
    run("btrfs", &["-q", "subvolume", "create", disk.mount.join("volume").to_str().unwrap()]);
    for (round, tree) in [disk.mount.join("volume"), disk.mount.join("volume/deep/tree")].iter().enumerate() {
        fs::create_dir_all(tree).unwrap();
        plant_small_tree(tree);
        let churn = Churn::start(tree, 3 + round as u64);
        let before = run("btrfs", &["subvolume", "list", disk.mount.to_str().unwrap()]);
        for number in 0..5 {
            let run = surroundings(aside.path(), 10 * round as u32 + number, None);
            let (provider, reason) = choose(&request(tree), None, &run.context).unwrap();
            assert_eq!(provider.kind(), ProviderKind::Btrfs, "{reason}");
            let mut cut = provider.open(&request(tree), &run.context).unwrap();
            up_to_the_freeze(cut.as_mut(), &run.context);
            assert_eq!(run.undos.open().len(), 2, "folder and snapshot must be registered before the freeze");
            churn.wait_for(100);
            let copy = aside.path().join("copy");
            {
                let _held = churn.lock.lock().unwrap();
                cut.cut(&run.context, soon()).unwrap();
                copy_aside(tree, &copy);
            }
            churn.wait_for(50);
            let (source, grade) = cut.image(&run.context, soon()).unwrap();
            // The copy may hold the hidden folder with the snapshot; the image must not.
            for hidden in fs::read_dir(&copy).unwrap().map(|e| e.unwrap().path()) {
                if hidden.to_string_lossy().contains(".stillpoint-") {
                    fs::remove_dir_all(hidden).unwrap();
                }
            }
            let listed = list_of(&source);
            let top = listed.iter().find(|e| e.path.is_top()).unwrap();
            restore_times(&copy, top.mtime.seconds, top.mtime.nanoseconds);
            assert_equal(&source, &copy);
            assert_frozen(grade, &run);
            assert!(fs::write(source.root.join("new"), "x").is_err(), "the snapshot can be written");
            cut.release(&run.context).unwrap();
            cut.release(&run.context).unwrap();
            assert!(run.undos.open().is_empty());
            fs::remove_dir_all(&copy).unwrap();
        }
        drop(churn);
        assert_eq!(
            run("btrfs", &["subvolume", "list", disk.mount.to_str().unwrap()]).lines().count(),
            before.lines().count()
        );
        assert!(names_below(&disk.mount).iter().all(|p| !p.to_string_lossy().contains(".stillpoint-")));
    }
}

/// Taking the hidden folder out of the copy moved its modification time.
fn restore_times(folder: &std::path::Path, seconds: i64, nanoseconds: u32) {
    let time = std::time::UNIX_EPOCH + std::time::Duration::new(seconds as u64, nanoseconds);
    fs::File::open(folder).unwrap().set_modified(time).unwrap();
}

#[test]
fn a_snapshot_that_was_never_cut_is_released_without_a_trace() {
    let disk = Disk::new("btrfs", "256M");
    let aside = tempfile::tempdir().unwrap();
    let before = names_below(&disk.mount);
    let run = surroundings(aside.path(), 1, None);
    let mut cut = BtrfsProvider.open(&request(&disk.mount), &run.context).unwrap();
    cut.prepare(&run.context, soon()).unwrap();
    assert!(cut.image(&run.context, soon()).is_err());
    cut.release(&run.context).unwrap();
    assert_eq!(names_below(&disk.mount), before);
    assert!(run.undos.open().is_empty());
    let kinds: Vec<bool> = run.undos.all().iter().map(|u| matches!(u, Undo::RemoveTree { .. })).collect();
    assert_eq!(kinds, [true, false], "undone in reverse order, the snapshot must go before its folder");
}

#[test]
fn a_nested_subvolume_is_told_by_the_walk_of_the_snapshot() {
    let disk = Disk::new("btrfs", "256M");
    let aside = tempfile::tempdir().unwrap();
    run("btrfs", &["-q", "subvolume", "create", disk.mount.join("nested").to_str().unwrap()]);
    let run = surroundings(aside.path(), 1, None);
    let mut cut = BtrfsProvider.open(&request(&disk.mount), &run.context).unwrap();
    up_to_the_freeze(cut.as_mut(), &run.context);
    cut.cut(&run.context, soon()).unwrap();
    let (source, grade) = cut.image(&run.context, soon()).unwrap();
    assert_eq!(grade, Grade::Frozen);
    let filter = Filter::new(&source.include, &source.exclude).unwrap();
    let problems: Vec<_> = Walk::new(&source.root, filter).unwrap().filter_map(Result::err).collect();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].path.to_string(), "nested");
    cut.release(&run.context).unwrap();
}

#[test]
fn another_file_system_is_refused_with_the_reason() {
    let aside = tempfile::tempdir().unwrap();
    let disk = Disk::new("ext4", "64M");
    let run = surroundings(aside.path(), 1, None);
    let probe = BtrfsProvider.probe(&request(&disk.mount), &run.context);
    assert_eq!(probe, Suitability::Unsuitable("the file system is not btrfs".to_owned()));
    let refused =
        choose(&request(&disk.mount), Some(ProviderKind::Btrfs), &run.context).map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("not btrfs"), "{refused}");
}
