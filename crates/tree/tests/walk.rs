//! The walk over real trees.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail with a panic")]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use common::*;
use stillpoint_tree::*;

fn walk(root: &std::path::Path) -> (Vec<Entry>, Vec<FileProblem>) {
    let (mut entries, mut problems) = (Vec::new(), Vec::new());
    for item in Walk::new(root, Filter::default()).unwrap() {
        match item {
            Ok(entry) => entries.push(entry),
            Err(problem) => problems.push(problem),
        }
    }
    assert!(entries.is_sorted_by(|a, b| a.path < b.path), "canonical order, nothing twice");
    (entries, problems)
}

fn names(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| entry.path.to_string()).collect()
}

#[test]
fn a_tree_is_told_in_canonical_order_with_all_its_kinds() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(&root.join("a/z"), "12345");
    write(&root.join("a.b"), "");
    write(&root.join("a/b/c"), "x");
    symlink("a/z", root.join("link")).unwrap();
    let _socket = UnixListener::bind(root.join("socket")).unwrap();
    sh(root, "mkfifo fifo; mknod null c 1 3; mknod disk b 7 200");
    set_xattr(&root.join("a/z"), "user.colour", b"red");
    let (entries, problems) = walk(root);
    assert_eq!(problems, []);
    let expected = ["", "a", "a/b", "a/b/c", "a/z", "a.b", "disk", "fifo", "link", "null", "socket"];
    assert_eq!(names(&entries), expected);
    let kind = |name: &str| entries.iter().find(|e| e.path == rel(name)).unwrap().kind.clone();
    assert_eq!(kind("a/z"), Kind::File(FileFacts { size: 5, sha256: None }));
    assert_eq!(kind("link"), Kind::Symlink(b"a/z".to_vec()));
    assert_eq!(kind("null"), Kind::CharDevice { major: 1, minor: 3 });
    assert_eq!(kind("disk"), Kind::BlockDevice { major: 7, minor: 200 });
    assert_eq!((kind("fifo"), kind("socket")), (Kind::Fifo, Kind::Socket));
    for entry in &entries {
        assert_eq!(read_entry(root, &entry.path).unwrap().as_ref(), Some(entry));
    }
    let bare = entries.iter().map(|entry| Entry { xattrs: Vec::new(), ..entry.clone() });
    let walked = Walk::without_attributes(root, Filter::default()).unwrap().map(Result::unwrap);
    assert_eq!(walked.collect::<Vec<_>>(), bare.collect::<Vec<_>>());
    assert_eq!(read_entry(root, &rel("none")).unwrap(), None);
    assert_eq!(read_entry(root, &rel("link/x")).unwrap(), None);
    assert_eq!(read_entry(root, &rel("a.b/x")).unwrap(), None);
    let xattr = Xattr { name: b"user.colour".to_vec(), value: b"red".to_vec() };
    assert_eq!(entries[4].xattrs, [xattr]);
}

#[test]
fn the_later_names_of_a_file_point_to_its_first() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(&root.join("m"), "1");
    fs::create_dir(root.join("a")).unwrap();
    fs::hard_link(root.join("m"), root.join("a/x")).unwrap();
    fs::hard_link(root.join("m"), root.join("z")).unwrap();
    write(&root.join("other"), "2");
    let links: Vec<_> = walk(root).0.into_iter().map(|e| (e.path, e.hard_link)).collect();
    assert_eq!(
        links[2..],
        [
            (rel("a/x"), None),
            (rel("m"), Some(rel("a/x"))),
            (rel("other"), None),
            (rel("z"), Some(rel("a/x"))),
        ]
    );
}

#[test]
fn what_is_mounted_inside_is_not_entered_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for name in ["mounted", "bound", "elsewhere"] {
        fs::create_dir(root.join(name)).unwrap();
    }
    write(&root.join("elsewhere/file"), "x");
    let _tmpfs = Mount::tmpfs(&root.join("mounted"));
    // The same file system a second time: the device number alone would not tell.
    let _bind = Mount::bind(&root.join("elsewhere"), &root.join("bound"));
    write(&root.join("mounted/inside"), "x");
    let (entries, problems) = walk(root);
    assert_eq!(names(&entries), ["", "bound", "elsewhere", "elsewhere/file", "mounted"]);
    let told: Vec<String> = problems.iter().map(|p| p.path.to_string()).collect();
    assert_eq!(told, ["bound", "mounted"]);
}

#[test]
fn a_nested_subvolume_is_told_in_the_tree_and_in_its_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let mounted = folder.path().join("btrfs");
    let _btrfs = Mount::image(&["mkfs.btrfs", "-q"], 128, &mounted);
    sh(
        &mounted,
        "btrfs -q subvolume create site; btrfs -q subvolume create site/nested; touch site/nested/x site/y
                  btrfs -q subvolume snapshot -r site cut",
    );
    for tree in ["site", "cut"] {
        let (entries, problems) = walk(&mounted.join(tree));
        assert_eq!(names(&entries), ["", "nested", "y"], "{tree}");
        assert_eq!(problems.len(), 1, "{tree}: {problems:?}");
        assert_eq!(problems[0].path, rel("nested"));
    }
}

#[test]
fn a_tree_deeper_than_any_path_may_be_long_is_walked_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let depth = 2000;
    deep_tree(folder.path(), depth);
    let (entries, problems) = walk(folder.path());
    assert_eq!(problems, []);
    assert_eq!(entries.len(), depth + 2);
    let last = &entries[depth + 1];
    assert!(last.path.as_bytes().len() > 4096 && last.path.as_bytes().ends_with(b"/bottom"));
    assert_eq!(read_entry(folder.path(), &last.path).unwrap().as_ref(), Some(last));
}

#[test]
fn what_may_not_be_read_is_a_problem_and_the_rest_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    set_mode(root, 0o755);
    write(&root.join("secret/x"), "x");
    write(&root.join("visible"), "x");
    set_mode(&root.join("secret"), 0o700);
    let (entries, problems) = as_nobody(|| walk(root));
    assert_eq!(names(&entries), ["", "secret", "visible"]);
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].path, rel("secret"));
    assert!(problems[0].text.contains("Permission denied"), "{}", problems[0].text);
}

#[test]
fn what_the_filter_leaves_out_is_not_even_looked_into() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["keep/a.txt", "keep/b.tmp", "cache/c.txt"] {
        write(&folder.path().join(file), "x");
    }
    let filter = Filter::new(&[], &["*.tmp".to_owned(), "cache/".to_owned()]).unwrap();
    let entries: Vec<Entry> = Walk::new(folder.path(), filter).unwrap().map(Result::unwrap).collect();
    assert_eq!(names(&entries), ["", "keep", "keep/a.txt"]);
}

#[test]
fn entries_that_vanish_under_the_walk_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for file in ["a/1", "b/2", "c"] {
        write(&root.join(file), "x");
    }
    let mut walk = Walk::new(root, Filter::default()).unwrap();
    assert!(walk.next().unwrap().unwrap().path.is_top());
    fs::remove_dir_all(root.join("b")).unwrap();
    fs::remove_file(root.join("c")).unwrap();
    let rest: Vec<Entry> = walk.map(Result::unwrap).collect();
    assert_eq!(names(&rest), ["a", "a/1"]);
}

#[test]
fn a_folder_that_becomes_a_link_under_the_walk_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (root, outside) = (folder.path().join("tree"), folder.path().join("outside"));
    write(&root.join("a/file"), "inside");
    write(&root.join("a/sub/file"), "inside");
    write(&outside.join("sub/secret"), "outside");
    write(&outside.join("file"), "outside");
    let mut walk = Walk::new(&root, Filter::default()).unwrap();
    assert!(walk.next().unwrap().unwrap().path.is_top());
    assert_eq!(walk.next().unwrap().unwrap().path, rel("a"));
    assert_eq!(walk.next().unwrap().unwrap().path, rel("a/file"));
    fs::rename(root.join("a"), root.join("was-a")).unwrap();
    symlink(&outside, root.join("a")).unwrap();
    let rest: Vec<_> = walk.map(|item| item.unwrap().path.to_string()).collect();
    assert!(rest.iter().all(|path| !path.contains("secret")), "{rest:?}");
}
