//! Putting trees back.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail with a panic")]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::*;
use stillpoint_tree::*;

const NEW: PlantOptions = PlantOptions { overwrite: false, remove_extra: false, threads: 2 };
const OVER: PlantOptions = PlantOptions { overwrite: true, remove_extra: false, threads: 2 };
const EXACT: PlantOptions = PlantOptions { overwrite: true, remove_extra: true, threads: 2 };

/// A stored tree, and a place to put it back.
struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    /// Mirrors what `make` makes.
    fn new(make: impl FnOnce(&Path)) -> Self {
        let scene = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(scene.path("source")).unwrap();
        make(&scene.path("source"));
        let (report, _) =
            mirror_with(&scene.path("source"), &scene.path("stored"), &Counter::default(), |_| {}).unwrap();
        assert_eq!(report.problems, []);
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn plant(&self, options: &PlantOptions) -> Result<PlantReport, TreeError> {
        let stored = self.path("stored");
        plant(&stored, &list_of(&stored), &self.path("target"), options, &Counter::default())
    }

    fn target(&self, script: &str) {
        fs::create_dir_all(self.path("target")).unwrap();
        sh(&self.path("target"), script);
    }
}

fn simple() -> Scene {
    Scene::new(|source| {
        write(&source.join("a/file"), "stored file");
        write(&source.join("b"), "stored b");
        fs::hard_link(source.join("b"), source.join("c")).unwrap();
        symlink("b", source.join("link")).unwrap();
    })
}

#[test]
fn a_restored_tree_is_the_original() {
    let scene = Scene::new(rich_tree);
    let report = scene.plant(&NEW).unwrap();
    assert_eq!(report.problems, []);
    assert_eq!(fingerprint(&scene.path("source")), fingerprint(&scene.path("target")));
    // A second opinion, by a program that knows nothing of ours.
    let rsync = Command::new("rsync")
        .args(["-aHAXn", "--devices", "--specials", "--delete", "--checksum", "--itemize-changes"])
        .arg(scene.path("source").join(""))
        .arg(scene.path("target").join(""))
        .output()
        .expect("this test needs rsync");
    assert!(rsync.status.success());
    assert_eq!(String::from_utf8_lossy(&rsync.stdout), "");
    for sparse in ["sparse", "all-hole"] {
        let blocks = |tree: &str| fs::metadata(scene.path(tree).join(sparse)).unwrap().blocks();
        assert!(blocks("target") <= blocks("source"), "{sparse} lost its holes");
    }
}

#[test]
fn a_sparse_terabyte_is_restored_in_no_time() {
    let scene = Scene::new(|source| {
        sh(
            source,
            "truncate -s 1T huge; printf end | dd of=huge bs=1 seek=700000000000 conv=notrunc status=none",
        );
    });
    let report = scene.plant(&NEW).unwrap();
    assert_eq!((report.files, report.bytes), (1, 1 << 40));
    let restored = fs::metadata(scene.path("target/huge")).unwrap();
    assert!(restored.len() == 1 << 40 && restored.blocks() <= 128);
}

#[test]
fn nothing_is_written_when_something_would_be_overwritten() {
    for obstacle in
        ["printf mine > b", "mkdir b", "ln -s /nowhere b", "printf mine > a", "ln -s / a", "ln -s . link"]
    {
        let scene = simple();
        scene.target(obstacle);
        let before = fingerprint(&scene.path("target"));
        let error = scene.plant(&NEW).unwrap_err();
        assert!(matches!(error, TreeError::Exists { .. }), "{obstacle}: {error}");
        assert_eq!(fingerprint(&scene.path("target")), before, "{obstacle}");
    }
    let scene = simple();
    scene.target("mkdir a; printf mine > a/other");
    scene.plant(&NEW).unwrap();
    assert_eq!(fs::read(scene.path("target/a/file")).unwrap(), b"stored file");
    assert_eq!(fs::read(scene.path("target/a/other")).unwrap(), b"mine");
}

#[test]
fn what_is_there_is_replaced_when_that_is_permitted() {
    let scene = simple();
    scene.target("printf old > b; ln b c; ln -s b a; printf x > link; mkdir extra; printf y > extra/file");
    scene.plant(&OVER).unwrap();
    assert_eq!(fs::read(scene.path("target/extra/file")).unwrap(), b"y");
    scene.target("rm -r extra");
    assert_eq!(fingerprint(&scene.path("source")), fingerprint_but_top_time(&scene));
}

/// The target's fingerprint after the top's own time was moved by the test.
fn fingerprint_but_top_time(scene: &Scene) -> Vec<String> {
    sh(scene.folder.path(), "touch -r source target");
    fingerprint(&scene.path("target"))
}

#[test]
fn a_full_folder_is_replaced_by_a_file_only_when_extra_things_may_go() {
    let scene = simple();
    scene.target("mkdir -p b/deep/er; printf mine > b/deep/er/file");
    assert!(matches!(scene.plant(&OVER), Err(TreeError::Exists { .. })));
    assert_eq!(fs::read(scene.path("target/b/deep/er/file")).unwrap(), b"mine");
    assert!(!scene.path("target/a").exists(), "nothing was written");
    scene.plant(&EXACT).unwrap();
    assert_eq!(fingerprint(&scene.path("source")), fingerprint(&scene.path("target")));
}

#[test]
fn what_is_too_much_is_removed_and_the_times_of_folders_are_right_after() {
    let scene = Scene::new(rich_tree);
    scene.target(
        "mkdir -p docs/old/deep ünï; printf x > docs/old/deep/file; printf x > 0first; printf x > zlast
                  ln -s / docs/root; mkfifo ünï/pipe; mkdir -p links/x.d; printf '' > docs/readme.txt.bak",
    );
    deep_tree(&scene.path("target"), 600);
    let report = scene.plant(&EXACT).unwrap();
    assert_eq!(report.problems, []);
    assert_eq!(fingerprint(&scene.path("source")), fingerprint(&scene.path("target")));
}

#[test]
fn what_is_mounted_in_the_target_is_never_removed() {
    let scene = simple();
    scene.target("mkdir -p extra/mounted listed");
    let _mount = Mount::tmpfs(&scene.path("target/extra/mounted"));
    scene.target("printf keep > extra/mounted/file; printf x > extra/goes");
    let report = scene.plant(&EXACT).unwrap();
    assert_eq!(report.problems.len(), 1, "{report:?}");
    assert!(report.problems[0].text.contains("busy"), "{}", report.problems[0].text);
    assert_eq!(fs::read(scene.path("target/extra/mounted/file")).unwrap(), b"keep");
    assert!(!scene.path("target/listed").exists() && !scene.path("target/extra/goes").exists());
}

#[test]
fn damage_is_found_named_and_never_put_in_place() {
    let damages: [(&str, &str); 5] = [
        ("printf 'Stored file' > a/file", "hash"),
        ("printf 'stored' > a/file", "bytes"),
        ("rm a/file", "missing"),
        ("rm a/file; ln -s ../b a/file", "missing"),
        ("rm a/file; mkfifo a/file", "not a file"),
    ];
    for (damage, reason) in damages {
        let scene = simple();
        sh(&scene.path("stored"), damage);
        match scene.plant(&NEW) {
            Err(TreeError::Damaged { path, reason: told }) => {
                assert_eq!(path, scene.path("stored/a/file"), "{damage}");
                assert!(told.contains(reason), "{damage}: {told}");
            }
            other => panic!("{damage}: {other:?}"),
        }
        let left: Vec<_> = fs::read_dir(scene.path("target/a")).unwrap().collect();
        assert!(left.is_empty(), "{damage}: {left:?}");
    }
}

#[test]
fn a_damaged_list_is_found_before_anything_is_written() {
    let scene = simple();
    let list = list_of(&scene.path("stored"));
    let text = fs::read_to_string(&list).unwrap();
    fs::write(&list, &text[..text.len() - 2]).unwrap();
    scene.target("printf mine > b");
    assert!(matches!(scene.plant(&EXACT), Err(TreeError::Index { .. })));
    assert_eq!(fs::read(scene.path("target/b")).unwrap(), b"mine");
}

#[test]
fn links_in_the_target_never_lead_a_restore_outside() {
    let scene = simple();
    let outside = scene.path("outside");
    write(&outside.join("file"), "precious");
    write(&outside.join("sub/b"), "precious");
    let before = fingerprint(&outside);
    scene.target(
        "ln -s ../outside a; ln -s ../outside/file b; ln -s ../outside/sub/b c; ln -s ../outside extra",
    );
    scene.plant(&EXACT).unwrap();
    assert_eq!(fingerprint(&outside), before);
    assert_eq!(fingerprint(&scene.path("source")), fingerprint(&scene.path("target")));
}

#[test]
fn a_link_that_appears_under_the_restore_is_not_followed() {
    struct Swap(PathBuf);
    impl Progress for Swap {
        fn advance(&self, files: u64, _bytes: u64) -> bool {
            if files == 0 && !self.0.join("a").is_symlink() {
                fs::rename(self.0.join("a"), self.0.join("was-a")).unwrap();
                symlink("../outside", self.0.join("a")).unwrap();
            }
            true
        }
    }
    let scene = Scene::new(|source| {
        write(&source.join("a/0"), vec![1; 20 << 20]);
        write(&source.join("a/b/file"), "stored");
    });
    fs::create_dir_all(scene.path("outside/b")).unwrap();
    let stored = scene.path("stored");
    let options = PlantOptions { threads: 1, ..NEW };
    // Whether it ends with an error depends on who is faster; what must never happen is a file outside.
    let _ = plant(&stored, &list_of(&stored), &scene.path("target"), &options, &Swap(scene.path("target")));
    assert!(scene.path("target/a").is_symlink());
    assert_eq!(fs::read_dir(scene.path("outside")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(scene.path("outside/b")).unwrap().count(), 0);
}

#[test]
fn attributes_that_a_folder_hands_down_do_not_stay() {
    let scene = simple();
    scene.target("setfacl -d -m u:1234:rwx .; setfattr -n user.old -v x .");
    let report = scene.plant(&EXACT).unwrap();
    assert_eq!(report.problems, []);
    assert_eq!(fingerprint(&scene.path("source")), fingerprint(&scene.path("target")));
}

#[test]
fn without_the_rights_everything_comes_back_but_what_takes_them() {
    let scene = Scene::new(|source| {
        write(&source.join("own"), "x");
        sh(source, "mknod device c 1 3; printf y > roots; chmod 644 *; chown 65534:65534 own");
    });
    set_mode(scene.folder.path(), 0o777);
    set_mode(&list_of(&scene.path("stored")), 0o644);
    let report = as_nobody(|| scene.plant(&NEW)).unwrap();
    assert_eq!(report.files, 2);
    let told: Vec<String> = report.problems.iter().map(|p| p.path.to_string()).collect();
    assert_eq!(told, ["device", "roots", ""]);
    assert_eq!(fs::read(scene.path("target/roots")).unwrap(), b"y");
}

#[test]
fn a_tree_deeper_than_any_path_may_be_long_comes_back() {
    let scene = Scene::new(|source| deep_tree(source, 700));
    assert_eq!(scene.plant(&NEW).unwrap().files, 1);
    assert_eq!(scene.plant(&EXACT).unwrap().files, 1);
    let stored = scene.path("target");
    let walked = Walk::new(&stored, Filter::default()).unwrap().last().unwrap().unwrap();
    assert!(walked.path.as_bytes().ends_with(b"/bottom"));
}

#[test]
fn on_one_file_system_with_clones_content_is_cloned_and_still_checked() {
    let folder = tempfile::tempdir().unwrap();
    let mounted = folder.path().join("xfs");
    let _xfs = Mount::image(&["mkfs.xfs", "-q", "-m", "reflink=1"], 320, &mounted);
    let (source, stored, target) = (mounted.join("source"), mounted.join("stored"), mounted.join("target"));
    write(&source.join("file"), vec![9; 8 << 20]);
    mirror_with(&source, &stored, &Counter::default(), |_| {}).unwrap();
    plant(&stored, &list_of(&stored), &target, &NEW, &Counter::default()).unwrap();
    let extents =
        sh(&mounted, "xfs_bmap -v target/file stored/file | awk '/^ *0:/ {print $3}' | uniq | wc -l");
    assert_eq!(extents.trim(), "1");
    sh(&stored, "printf x | dd of=file bs=1 seek=5000000 conv=notrunc status=none");
    let error = plant(&stored, &list_of(&stored), &target, &OVER, &Counter::default()).unwrap_err();
    assert!(matches!(error, TreeError::Damaged { .. }), "{error}");
    assert_eq!(fs::read(target.join("file")).unwrap(), vec![9; 8 << 20], "what was there stays");
}

#[test]
fn a_file_whose_names_cannot_be_linked_comes_back_as_files_of_their_own() {
    let scene = Scene::new(|source| {
        sh(source, "mkdir a b; printf content > a/one; ln a/one b/two");
    });
    scene.target("mkdir a");
    let _mount = Mount::tmpfs(&scene.path("target/a"));
    let report = scene.plant(&NEW).unwrap();
    assert_eq!(fs::read(scene.path("target/b/two")).unwrap(), b"content");
    let told: Vec<String> = report.problems.iter().map(|p| p.path.to_string()).collect();
    assert_eq!(told, ["b/two"]);
}
