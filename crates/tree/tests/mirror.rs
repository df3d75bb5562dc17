//! Copies of real trees, at rest and alive.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail with a panic")]

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use common::*;
use sha2::{Digest, Sha256};
use stillpoint_tree::*;

/// Does something once, in the middle of the first file that is longer than 16 MiB.
struct MidFile<F: Fn() + Sync>(AtomicBool, F);

impl<F: Fn() + Sync> MidFile<F> {
    fn new(act: F) -> Self {
        Self(AtomicBool::new(false), act)
    }

    fn happened(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl<F: Fn() + Sync> Progress for MidFile<F> {
    fn advance(&self, files: u64, _bytes: u64) -> bool {
        if files == 0 && !self.0.swap(true, Ordering::SeqCst) {
            (self.1)();
        }
        true
    }
}

/// What the copy must hold of the original: all but what is listed only.
fn comparable(root: &Path) -> Vec<String> {
    let mut lines = fingerprint(root);
    lines.retain(|line| {
        !["\".\" ", "\"./pipe\"", "\"./char\"", "\"./block\"", "\"./docs/readme.txt\"", "\"./links/second\""]
            .iter()
            .any(|name| line.starts_with(name))
    });
    lines
}

#[test]
fn a_copy_has_all_content_and_metadata_and_the_list_has_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    rich_tree(&source);
    let counter = Counter::default();
    let (report, entries) = mirror_with(&source, &target, &counter, |_| {}).unwrap();
    assert_eq!(report.problems, []);
    assert_eq!(comparable(&source), comparable(&target));
    let walked: Vec<Entry> = Walk::new(&source, Filter::default()).unwrap().map(Result::unwrap).collect();
    assert_eq!(report.entries, walked.len() as u64);
    assert_eq!(report.files, counter.files.load(Ordering::SeqCst) + 2, "later names are no work");
    for (walked, mut listed) in walked.into_iter().zip(entries.clone()) {
        if let Kind::File(facts) = &mut listed.kind
            && listed.hard_link.is_none()
        {
            let content = fs::read(listed.path.under(&source)).unwrap();
            assert_eq!(facts.sha256.take(), Some(Sha256::digest(&content).into()), "{}", listed.path);
        }
        let origin = listed.origin.as_mut().unwrap();
        assert!(std::mem::take(&mut origin.settled));
        assert_eq!(listed, walked);
    }
    for entry in &entries {
        verify_entry(&target, entry).unwrap();
    }
    assert!(!target.join("pipe").exists() && !target.join("links/second").exists());
    assert_eq!(entry(&entries, "links/second").hard_link, Some(rel("a-first-name")));
}

#[test]
fn listing_in_place_gives_the_same_list_as_copying() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    rich_tree(&source);
    let (copied, entries) = mirror_with(&source, &target, &Counter::default(), |_| {}).unwrap();
    let list = folder.path().join("list");
    let mut index = IndexAppender::create(&list).unwrap();
    let listed = index_tree(&source, &Filter::default(), &mut index, true, 2, &Counter::default()).unwrap();
    index.finish().unwrap();
    assert_eq!((listed.entries, listed.files, listed.bytes), (copied.entries, copied.files, copied.bytes));
    let again: Vec<Entry> = IndexReader::open(&list).unwrap().map(Result::unwrap).collect();
    assert_eq!(again, entries);
}

#[test]
fn a_sparse_terabyte_takes_no_time_and_no_room() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir(&source).unwrap();
    sh(
        &source,
        "truncate -s 1T huge; printf end | dd of=huge bs=1 seek=700000000000 conv=notrunc status=none",
    );
    let (report, entries) = mirror_with(&source, &target, &Counter::default(), |_| {}).unwrap();
    assert_eq!(report.bytes, 1 << 40);
    assert!(report.copied_bytes <= 64 << 10, "{report:?}");
    let stored = fs::metadata(target.join("huge")).unwrap();
    assert_eq!(stored.len(), 1 << 40);
    assert!(stored.blocks() * 512 <= 64 << 10, "{} blocks", stored.blocks());
    verify_entry(&target, entry(&entries, "huge")).unwrap();
    let mut file = fs::OpenOptions::new().write(true).open(target.join("huge")).unwrap();
    file.write_all(b"x").unwrap();
    assert!(matches!(verify_entry(&target, entry(&entries, "huge")), Err(TreeError::Damaged { .. })));
}

#[test]
fn an_unchanged_file_is_shared_with_the_earlier_copy_and_a_changed_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let [source, first, second] = ["source", "first", "second"].map(|name| folder.path().join(name));
    for name in ["same", "content", "mode", "owner", "attribute", "inode", "replaced", "unsettled", "gone"] {
        write(&source.join("d").join(name), format!("{name} as it was"));
    }
    sh(&source, "mkdir e; printf linked > e/one; ln e/one e/two");
    let (_, before) = mirror_with(&source, &first, &Counter::default(), |_| {}).unwrap();
    // Some differ only in what the list says of the earlier copy: each fact alone must tell.
    let list = list_of(&first);
    let text = fs::read_to_string(&list).unwrap();
    let lines = text.lines().map(|line| match line.split('"').nth(3).unwrap() {
        "d/unsettled" => line.replace("\"settled\":true", "\"settled\":false"),
        "d/mode" => line.replace("\"mode\":\"0", "\"mode\":\"1"),
        "d/owner" => line.replace("\"uid\":", "\"uid\":1"),
        "d/inode" => line.replace("\"inode\":", "\"inode\":1"),
        _ => line.to_owned(),
    });
    let lines: Vec<String> = lines.collect();
    fs::write(&list, lines.join("\n") + "\n").unwrap();
    let kept = fingerprint(&first);
    sh(
        &source.join("d"),
        r#"was=$(stat -c %y content); printf 'Content as it was' > content; touch -d "$was" content
           cp -p replaced r; mv r replaced; rm gone; printf new > new; setfattr -n user.x -v y attribute"#,
    );
    let baseline = Baseline { root: first.clone(), index: list };
    let (report, after) =
        mirror_with(&source, &second, &Counter::default(), |o| o.baseline = Some(baseline)).unwrap();
    assert_eq!(report.problems, []);
    let inode = |path: std::path::PathBuf| fs::metadata(path).unwrap().ino();
    let shared: Vec<&str> = [
        "d/same",
        "d/content",
        "d/mode",
        "d/owner",
        "d/attribute",
        "d/inode",
        "d/replaced",
        "d/unsettled",
        "e/one",
    ]
    .into_iter()
    .filter(|name| inode(first.join(name)) == inode(second.join(name)))
    .collect();
    assert_eq!(shared, ["d/same", "e/one"]);
    assert_eq!(report.shared_bytes, "same as it was".len() as u64 + 6);
    assert_eq!(entry(&after, "d/same"), entry(&before, "d/same"));
    assert_eq!(entry(&after, "d/attribute").xattrs.len(), 1);
    assert_eq!(fingerprint(&first), kept, "the earlier copy stays as it was");
    for entry in &after {
        verify_entry(&second, entry).unwrap();
    }
}

/// Attributes are not asked for again while the change time stays, so what could not be read must not be taken for known.
#[test]
fn a_file_whose_attributes_could_not_be_read_is_taken_and_told_again_by_the_next_copy() {
    // The kernel hands out no list of names longer than 64 KiB, and this file system lets it grow.
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let [source, first, second] = ["source", "first", "second"].map(|name| folder.path().join(name));
    write(&source.join("file"), "content");
    for number in 0..300 {
        set_xattr(&source.join("file"), &format!("trusted.{}{number:03}", "a".repeat(240)), b"");
    }
    let told = |report: &MirrorReport| {
        report.problems.iter().map(|problem| problem.text.contains("extended attributes")).collect::<Vec<_>>()
    };
    let (report, entries) = mirror_with(&source, &first, &Counter::default(), |_| {}).unwrap();
    assert_eq!(told(&report), [true]);
    assert!(!entry(&entries, "file").origin.unwrap().settled);
    let baseline = Baseline { root: first.clone(), index: list_of(&first) };
    let (report, _) =
        mirror_with(&source, &second, &Counter::default(), |o| o.baseline = Some(baseline)).unwrap();
    assert_eq!((told(&report), report.shared_bytes), (vec![true], 0));
}

#[test]
fn a_report_counts_files_with_several_names_wherever_those_are() {
    let folder = tempfile::tempdir().unwrap();
    let [source, target] = ["source", "target"].map(|name| folder.path().join(name));
    write(&source.join("single"), "x");
    sh(
        &source,
        "printf y > inside; ln inside inside2; printf z > out; ln out ../out2; ln -s x soft; ln soft ../soft2",
    );
    let (report, _) = mirror_with(&source, &target, &Counter::default(), |_| {}).unwrap();
    assert_eq!((report.several_names, report.unhashed), (4, 0));
}

#[test]
fn a_stored_file_that_was_cut_off_is_not_shared() {
    let folder = tempfile::tempdir().unwrap();
    let [source, first, second] = ["source", "first", "second"].map(|name| folder.path().join(name));
    write(&source.join("file"), "content");
    mirror_with(&source, &first, &Counter::default(), |_| {}).unwrap();
    fs::write(first.join("file"), "con").unwrap();
    let baseline = Baseline { root: first.clone(), index: list_of(&first) };
    let (report, _) =
        mirror_with(&source, &second, &Counter::default(), |o| o.baseline = Some(baseline)).unwrap();
    assert_eq!(report.shared_bytes, 0);
    assert_eq!(fs::read(second.join("file")).unwrap(), b"content");
}

#[test]
fn a_damaged_list_of_the_earlier_copy_does_not_stop_this_one() {
    let folder = tempfile::tempdir().unwrap();
    let [source, first, second] = ["source", "first", "second"].map(|name| folder.path().join(name));
    write(&source.join("a"), "content");
    write(&source.join("b"), "content");
    mirror_with(&source, &first, &Counter::default(), |_| {}).unwrap();
    let list = list_of(&first);
    let text = fs::read_to_string(&list).unwrap();
    fs::write(&list, &text[..text.len() - 10]).unwrap();
    let baseline = Baseline { root: first.clone(), index: list };
    let (report, _) =
        mirror_with(&source, &second, &Counter::default(), |o| o.baseline = Some(baseline)).unwrap();
    assert_eq!((report.files, report.shared_bytes, report.copied_bytes), (2, 7, 7));
}

/// A tree with one file of 40 MiB, mirrored while `act` is done to it in the middle.
fn with_an_act_in_the_middle(
    live: bool,
    act: &str,
) -> (tempfile::TempDir, Result<(MirrorReport, Vec<Entry>), TreeError>) {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    write(&source.join("file"), vec![7; 40 << 20]);
    write(&source.join("other"), "calm");
    let progress = MidFile::new(|| drop(sh(&source, act)));
    let result = mirror_with(&source, &target, &progress, |o| (o.live, o.threads) = (live, 1));
    assert!(progress.happened());
    (folder, result)
}

const ACTS: [(&str, u64); 5] = [
    ("printf more >> file", 40 << 20),
    ("truncate -s 20M file", 20 << 20),
    ("rm file", 40 << 20),
    ("rm file; mkdir file", 40 << 20),
    ("printf x | dd of=file conv=notrunc status=none", 40 << 20),
];

#[test]
fn what_changes_in_a_live_tree_is_listed_without_hash_to_be_looked_at_again() {
    for (act, bytes) in ACTS {
        let (_folder, result) = with_an_act_in_the_middle(true, act);
        let (report, entries) = result.unwrap();
        assert_eq!((report.problems.len(), report.unhashed), (0, 1), "{act}");
        let file = entry(&entries, "file");
        assert_eq!((size(file), sha256(file)), (bytes, None), "{act}");
        assert!(!file.origin.unwrap().settled, "{act}");
        assert!(sha256(entry(&entries, "other")).is_some(), "{act}");
    }
}

#[test]
fn what_changes_in_a_tree_at_rest_is_a_problem_and_is_listed_as_it_was_read() {
    for (act, bytes) in ACTS {
        let (folder, result) = with_an_act_in_the_middle(false, act);
        let (report, entries) = result.unwrap();
        assert_eq!(report.problems.len(), 1, "{act}");
        assert_eq!(report.problems[0].path, rel("file"));
        let file = entry(&entries, "file");
        assert_eq!(size(file), bytes, "{act}");
        assert!(!file.origin.unwrap().settled, "{act}");
        verify_entry(&folder.path().join("target"), file).unwrap();
        assert!(sha256(file).is_some(), "{act}");
    }
}

#[test]
fn what_vanishes_from_a_live_tree_before_it_is_read_is_not_listed() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    write(&source.join("0"), vec![7; 20 << 20]);
    sh(
        &source,
        "printf x > a; mkdir b; printf y > b/first; ln b/first second; ln b/first third; printf z > pipe",
    );
    let act = "rm a b/first; rm pipe; mkfifo pipe";
    let progress = MidFile::new(|| drop(sh(&source, act)));
    let (report, entries) =
        mirror_with(&source, &target, &progress, |o| (o.live, o.threads) = (true, 1)).unwrap();
    assert_eq!(report.problems, []);
    let names: Vec<String> = entries.iter().map(|e| e.path.to_string()).filter(|n| n != "pipe").collect();
    assert_eq!(names, ["", "0", "b", "second", "third"]);
    // The name that was first is gone: the next one has the content.
    assert_eq!(entry(&entries, "second").hard_link, None);
    assert_eq!(fs::read(target.join("second")).unwrap(), b"y");
    assert_eq!(entry(&entries, "third").hard_link, Some(rel("second")));
    assert!(!target.join("a").exists());
}

#[test]
fn in_a_live_tree_only_what_changed_before_the_pass_is_settled() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    let changed_at = |name: &str| {
        let facts = fs::metadata(source.join(name)).unwrap();
        Timestamp { seconds: facts.ctime(), nanoseconds: facts.ctime_nsec() as u32 }
    };
    write(&source.join("early"), "x");
    write(&source.join("late"), "x");
    // The kernel's clock for files stands still for some milliseconds at a time.
    while changed_at("late") <= changed_at("early") {
        write(&source.join("late"), "x");
    }
    let limit = changed_at("late");
    let (_, entries) = mirror_with(&source, &target, &Counter::default(), |o| {
        (o.live, o.settled_before) = (true, Some(limit))
    })
    .unwrap();
    assert!(entry(&entries, "early").origin.unwrap().settled);
    assert!(!entry(&entries, "late").origin.unwrap().settled);
    assert!(sha256(entry(&entries, "late")).is_some());
}

#[test]
fn a_file_that_may_not_be_read_is_a_problem_and_is_not_listed() {
    let folder = tempfile::tempdir().unwrap();
    set_mode(folder.path(), 0o777);
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    write(&source.join("open"), "x");
    write(&source.join("secret"), "x");
    fs::hard_link(source.join("secret"), source.join("secret2")).unwrap();
    set_mode(&source.join("secret"), 0o600);
    let (report, entries) =
        as_nobody(|| mirror_with(&source, &target, &Counter::default(), |o| o.live = true)).unwrap();
    let names: Vec<String> = entries.iter().map(|e| e.path.to_string()).collect();
    assert_eq!(names, ["", "open"]);
    assert_eq!(report.problem_count, 2);
    assert!(report.problems[0].text.contains("Permission denied"), "{}", report.problems[0].text);
    assert!(!target.join("secret").exists());
}

#[test]
fn a_full_target_ends_the_work_and_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    write(&source.join("a"), vec![1; 3 << 20]);
    fs::create_dir(&target).unwrap();
    let _tmpfs = Mount::tmpfs(&target);
    sh(&target, "mount -o remount,size=1M .");
    let error = mirror_with(&source, &target, &Counter::default(), |_| {}).unwrap_err();
    let TreeError::Io { act, path, source } = error else { panic!("{error}") };
    assert_eq!((act, path, source.raw_os_error()), ("write", target.join("a"), Some(libc::ENOSPC)));
}

#[test]
fn a_target_that_is_not_empty_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    for name in ["file", "folder/file"] {
        write(&source.join(name), "new");
    }
    write(&target.join("file"), "old");
    let error = mirror_with(&source, &target, &Counter::default(), |_| {}).unwrap_err();
    assert!(matches!(&error, TreeError::Exists { path } if *path == target.join("file")), "{error}");
    assert_eq!(fs::read(target.join("file")).unwrap(), b"old");
}

#[test]
fn a_target_inside_the_source_is_not_copied_into_itself() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    write(&source.join("file"), "x");
    let target = source.join("sets/target");
    let list = folder.path().join("list");
    fs::create_dir_all(&target).unwrap();
    let mut index = IndexAppender::create(&list).unwrap();
    let options = MirrorOptions {
        filter: Filter::default(),
        transfer: Transfer::Copy,
        baseline: None,
        hash: false,
        live: false,
        settled_before: None,
        threads: 1,
    };
    let report = mirror(&source, &target, &mut index, &options, &Counter::default()).unwrap();
    assert_eq!(report.problem_count, 1);
    assert!(target.join("sets/target").is_dir() && !target.join("sets/target/sets").exists());
}

#[test]
fn cancelling_ends_the_work() {
    struct Never;
    impl Progress for Never {
        fn advance(&self, _files: u64, _bytes: u64) -> bool {
            false
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    (0..600).for_each(|n| write(&source.join(n.to_string()), "x"));
    let error = mirror_with(&source, &target, &Never, |_| {}).unwrap_err();
    assert!(matches!(error, TreeError::Cancelled));
}

#[test]
fn a_tree_deeper_than_any_path_may_be_long_is_copied() {
    let folder = tempfile::tempdir().unwrap();
    let [source, first, second] = ["source", "first", "second"].map(|name| folder.path().join(name));
    fs::create_dir(&source).unwrap();
    deep_tree(&source, 700);
    let (report, _) = mirror_with(&source, &first, &Counter::default(), |_| {}).unwrap();
    assert_eq!((report.entries, report.copied_bytes, report.problem_count), (702, 4, 0));
    let baseline = Baseline { root: first.clone(), index: list_of(&first) };
    let (report, entries) =
        mirror_with(&source, &second, &Counter::default(), |o| o.baseline = Some(baseline)).unwrap();
    assert_eq!((report.shared_bytes, report.problem_count), (4, 0));
    verify_entry(&second, &entries[701]).unwrap();
}

#[test]
fn files_are_cloned_where_the_file_system_can_and_refused_where_it_must_and_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let mounted = folder.path().join("xfs");
    let _xfs = Mount::image(&["mkfs.xfs", "-q", "-m", "reflink=1"], 320, &mounted);
    let source = mounted.join("source");
    write(&source.join("file"), vec![9; 8 << 20]);
    write(&source.join("empty"), "");
    let (report, entries) = mirror_with(&source, &mounted.join("target"), &Counter::default(), |o| {
        o.transfer = Transfer::Reflink
    })
    .unwrap();
    assert_eq!((report.problem_count, report.copied_bytes), (0, 8 << 20));
    let extents =
        sh(&mounted, "xfs_bmap -v target/file source/file | awk '/^ *0:/ {print $3}' | uniq | wc -l");
    assert_eq!(extents.trim(), "1", "one extent in two files");
    assert_eq!(sha256(entry(&entries, "file")), Some(Sha256::digest(vec![9; 8 << 20]).into()));
    // The list lies on another file system than a target on the temporary folder's.
    let elsewhere = folder.path().join("elsewhere");
    let (report, entries) =
        mirror_with(&source, &elsewhere, &Counter::default(), |o| o.transfer = Transfer::Reflink).unwrap();
    assert_eq!((report.problem_count, entries.len()), (1, 2));
    assert!(!elsewhere.join("file").exists());
    let third = folder.path().join("third");
    let (report, _) =
        mirror_with(&source, &third, &Counter::default(), |o| o.transfer = Transfer::ReflinkOrCopy).unwrap();
    assert_eq!((report.problem_count, report.copied_bytes), (0, 8 << 20));
}

#[test]
fn a_folder_that_was_swapped_for_a_link_is_not_read_through() {
    let folder = tempfile::tempdir().unwrap();
    let [source, target, outside] = ["source", "target", "outside"].map(|name| folder.path().join(name));
    write(&source.join("0"), vec![7; 20 << 20]);
    write(&source.join("a/passwd"), "inside");
    write(&outside.join("passwd"), "outside");
    let progress = MidFile::new(|| {
        fs::rename(source.join("a"), source.join("was-a")).unwrap();
        symlink(&outside, source.join("a")).unwrap();
    });
    mirror_with(&source, &target, &progress, |o| (o.live, o.threads) = (true, 1)).unwrap();
    let read = fs::read_to_string(target.join("a/passwd")).unwrap_or_default();
    assert_ne!(read, "outside");
}

#[test]
fn one_file_is_copied_into_place_without_touching_what_is_shared() {
    let folder = tempfile::tempdir().unwrap();
    let [source, target, set] = ["source", "target", "set"].map(|name| folder.path().join(name));
    write(&source.join("a/b/file"), "new content");
    write(&target.join("a/b/file"), "old");
    fs::create_dir(&set).unwrap();
    fs::hard_link(target.join("a/b/file"), set.join("file")).unwrap();
    let file = read_entry(&source, &rel("a/b/file")).unwrap().unwrap();
    assert_eq!(copy_entry(&source, &target, &file, Transfer::Copy).unwrap(), 11);
    assert_eq!(fs::read(target.join("a/b/file")).unwrap(), b"new content");
    assert_eq!(fs::read(set.join("file")).unwrap(), b"old", "the file of the set must not change");

    // Whatever is in the way: no folder yet, a file or a link where a folder is needed, a folder where the file goes.
    for obstacle in
        ["rm -r a", "rm -r a; printf x > a", "rm -r a; ln -s ../set a", "rm -r a; mkdir -p a/b/file/deep/er"]
    {
        sh(&target, obstacle);
        assert_eq!(copy_entry(&source, &target, &file, Transfer::ReflinkOrCopy).unwrap(), 11, "{obstacle}");
        assert_eq!(fs::read(target.join("a/b/file")).unwrap(), b"new content", "{obstacle}");
        assert!(!target.join("a").is_symlink());
    }
    assert_eq!(fs::read_dir(&set).unwrap().count(), 1);
    sh(&source, "rm a/b/file; mkfifo a/b/file");
    let error = copy_entry(&source, &target, &file, Transfer::Copy).unwrap_err();
    assert!(
        matches!(error, TreeError::Io { source, .. } if source.kind() == std::io::ErrorKind::InvalidInput)
    );
    sh(&source, "rm a/b/file");
    let error = copy_entry(&source, &target, &file, Transfer::Copy).unwrap_err();
    assert!(matches!(error, TreeError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound));
}

#[test]
fn hash_file_gives_what_an_entry_has() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("file"), "abc");
    let facts = hash_file(&folder.path().join("file")).unwrap();
    assert_eq!(facts, FileFacts { size: 3, sha256: Some(Sha256::digest("abc").into()) });
    assert!(hash_file(folder.path()).is_err());
}
