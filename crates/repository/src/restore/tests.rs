//! Archives that no program would write.

use std::fs;
use std::path::Path;

use stillpoint_tree::{Entry, FileFacts, Timestamp};

use super::*;
use crate::blob::BlobKind;
use crate::id::Id;
use crate::index::{IndexFile, IndexedBlob, IndexedPack};
use crate::node::{Node, Tree};
use crate::pack::{self, PackedBlob};
use crate::repository::{Repository, to_json};
use crate::secret::Secret;
use crate::snapshot::Snapshot;
use crate::store::{FileKind, FileName, MemoryStore};
use crate::time::Moment;
use crate::watch::Unwatched;

/// An archive that is made by hand: one pack, in which everything is.
struct Handmade {
    repository: Repository,
    pack: Vec<u8>,
    blobs: Vec<PackedBlob>,
}

impl Handmade {
    fn new() -> Self {
        let store = Box::new(MemoryStore::default());
        let repository = Repository::create(store, &Secret::new(b"x".to_vec()), "test").unwrap();
        Self { repository, pack: Vec::new(), blobs: Vec::new() }
    }

    fn blob(&mut self, kind: BlobKind, plain: &[u8]) -> Id {
        let offset = u32::try_from(self.pack.len()).unwrap();
        self.repository.key().seal_onto(plain, &mut self.pack).unwrap();
        let length = u32::try_from(self.pack.len()).unwrap() - offset;
        let id = Id::of(plain);
        self.blobs.push(PackedBlob { kind, id, offset, length, uncompressed: 0 });
        id
    }

    fn folder(&mut self, nodes: Vec<Node>) -> Id {
        let text = to_json(&Tree { nodes }).unwrap();
        self.blob(BlobKind::Tree, &text)
    }

    fn contents(mut self, tree: Id) -> Contents {
        pack::finish(&mut self.pack, &self.blobs, self.repository.key()).unwrap();
        let id = Id::of(&self.pack);
        self.repository.store().write_new(FileName::Of(FileKind::Pack, id), &self.pack).unwrap();
        let blobs = self.blobs.iter().map(IndexedBlob::from).collect();
        let index = IndexFile { packs: vec![IndexedPack { id, blobs }] };
        self.repository.save_json(FileKind::Index, &index).unwrap();
        Contents::open(&self.repository, &snapshot(tree)).unwrap()
    }
}

fn snapshot(tree: Id) -> Snapshot {
    let time = Moment::of_file(Timestamp::default());
    let text = format!("{{\"time\":\"{time}\",\"tree\":\"{tree}\",\"paths\":[\"/\"]}}");
    serde_json::from_str(&text).unwrap()
}

fn node(name: &str, kind: stillpoint_tree::Kind) -> Node {
    let entry = Entry {
        path: RelPath::top(),
        kind,
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: Timestamp { seconds: 7, nanoseconds: 0 },
        xattrs: Vec::new(),
        hard_link: None,
        origin: None,
    };
    Node::of_entry(&entry, name.as_bytes())
}

fn file(name: &str, size: u64, blobs: &[Id]) -> Node {
    let kind = stillpoint_tree::Kind::File(FileFacts { size, sha256: None });
    let mut node = node(name, kind);
    node.content = Some(blobs.to_vec());
    node
}

fn folder(name: &str, subtree: Id) -> Node {
    let mut node = node(name, stillpoint_tree::Kind::Directory);
    node.subtree = Some(subtree);
    node
}

fn restore(contents: &Contents, target: &Path, options: &RestoreOptions) -> RestoreReport {
    contents.restore(target, options, &Unwatched).unwrap()
}

fn told(report: &RestoreReport) -> Vec<(String, &str)> {
    report.problems.iter().map(|problem| (problem.path.to_string(), &*problem.text)).collect()
}

#[test]
fn a_full_disk_ends_everything_and_a_forbidden_file_does_not() {
    let error = |errno: Errno| TreeError::Io { act: "write", path: "x".into(), source: errno.into() };
    assert!(is_of_all(&error(Errno::NOSPC)) && !is_of_all(&error(Errno::ACCESS)));
    assert!(target_error(error(Errno::NOSPC)).hint.is_some());
}

#[test]
fn content_counts_and_a_wrong_size_is_told() {
    let mut archive = Handmade::new();
    let (one, two) = (archive.blob(BlobKind::Data, b"one, "), archive.blob(BlobKind::Data, b"two"));
    let top = archive.folder(vec![file("right", 8, &[one, two]), file("wrong", 9, &[two, one])]);
    let contents = archive.contents(top);
    let target = tempfile::tempdir().unwrap();
    let report = restore(&contents, target.path(), &RestoreOptions::default());
    assert_eq!(fs::read(target.path().join("right")).unwrap(), b"one, two");
    assert_eq!(fs::read(target.path().join("wrong")).unwrap(), b"twoone, ");
    let text = "it is said to have 9 bytes, and its content has 8";
    assert_eq!(told(&report), [("wrong".to_owned(), text)]);
    let mut out = Vec::new();
    let wrong = RelPath::from_bytes(b"wrong".to_vec()).unwrap();
    let error = contents.dump(&wrong, &mut out, &Unwatched).unwrap_err();
    assert_eq!((error.kind, &*out), (ErrorKind::Damaged, &b"twoone, "[..]));
}

#[test]
fn what_no_index_knows_takes_only_what_it_is_of() {
    let mut archive = Handmade::new();
    let here = archive.blob(BlobKind::Data, b"here");
    let nowhere = Id::of(b"nowhere");
    let good = archive.folder(vec![file("good", 4, &[here])]);
    let top = archive.folder(vec![
        folder("a folder", good),
        file("lost", 8, &[here, nowhere]),
        folder("lost folder", nowhere),
        file("whole", 4, &[here]),
    ]);
    let contents = archive.contents(top);
    let target = tempfile::tempdir().unwrap();
    let mut options = RestoreOptions::default();
    for _ in 0..2 {
        // What is too much in a folder of which nobody knows what was in it stays.
        fs::create_dir_all(target.path().join("lost folder/mine")).unwrap();
        let report = restore(&contents, target.path(), &options);
        assert_eq!((report.files, report.folders, report.removed), (2, 2, 0), "{report:?}");
        let mut paths: Vec<String> = told(&report).into_iter().map(|(path, _)| path).collect();
        paths.sort();
        assert_eq!(paths, ["lost", "lost folder"]);
        assert!(!target.path().join("lost").exists() && target.path().join("lost folder/mine").exists());
        assert_eq!(fs::read(target.path().join("a folder/good")).unwrap(), b"here");
        options = RestoreOptions { overwrite: Overwrite::Replace, remove_extra: true, ..options };
    }
    let walked: Vec<_> = contents.walk(&RelPath::top(), Filter::default()).unwrap().collect();
    assert_eq!(walked.iter().filter(|step| step.is_err()).count(), 1);
    assert_eq!(walked.len(), 6);
}

#[test]
fn names_of_one_file_that_changed_between_them_are_all_kept() {
    let mut archive = Handmade::new();
    let (old, new) = (archive.blob(BlobKind::Data, b"old"), archive.blob(BlobKind::Data, b"new"));
    let named = |name: &str, blob| {
        let mut node = file(name, 3, &[blob]);
        (node.inode, node.device_id, node.links) = (5, 6, 3);
        node
    };
    let top = archive.folder(vec![named("a", old), named("b", new), named("c", old)]);
    let contents = archive.contents(top);
    let target = tempfile::tempdir().unwrap();
    let report = restore(&contents, target.path(), &RestoreOptions::default());
    assert_eq!((report.files, report.problem_count), (3, 0));
    let read = |name: &str| fs::read(target.path().join(name)).unwrap();
    assert_eq!([read("a"), read("b"), read("c")], [b"old", b"new", b"old"]);
    let inode =
        |name: &str| std::os::unix::fs::MetadataExt::ino(&fs::metadata(target.path().join(name)).unwrap());
    assert!(inode("a") == inode("c") && inode("a") != inode("b"));
}

#[test]
fn a_file_of_many_blobs_out_of_order_is_whole() {
    let mut archive = Handmade::new();
    let piece = |number: u32| number.to_le_bytes().repeat(1 + number as usize % 37);
    let ids: Vec<Id> = (0..600).map(|number| archive.blob(BlobKind::Data, &piece(number))).collect();
    // Backwards in the pack, and one of them again and again.
    let order: Vec<u32> = (0..600).rev().flat_map(|number| [number, 7]).collect();
    let content: Vec<u8> = order.iter().flat_map(|number| piece(*number)).collect();
    let blobs: Vec<Id> = order.iter().map(|number| ids[*number as usize]).collect();
    let top = archive.folder(vec![file("many", content.len() as u64, &blobs)]);
    let contents = archive.contents(top);
    let target = tempfile::tempdir().unwrap();
    let report = restore(&contents, target.path(), &RestoreOptions::default());
    assert!(report.problems.is_empty(), "{report:?}");
    assert!(fs::read(target.path().join("many")).unwrap() == content);
    let mut out = Vec::new();
    let path = RelPath::from_bytes(b"many".to_vec()).unwrap();
    contents.dump(&path, &mut out, &Unwatched).unwrap();
    assert!(out == content);
}

#[test]
fn names_out_of_order_are_restored_and_not_compared() {
    let mut archive = Handmade::new();
    let blob = archive.blob(BlobKind::Data, b"x");
    let odd = archive.folder(vec![file("b", 1, &[blob]), file("a", 1, &[blob])]);
    let even = archive.folder(vec![file("a", 1, &[blob])]);
    let before = archive.contents(odd);
    let after = before.of(&snapshot(even));
    let target = tempfile::tempdir().unwrap();
    assert_eq!(restore(&before, target.path(), &RestoreOptions::default()).files, 2);
    assert!(before.diff(&after, Filter::default()).any(|change| change.is_err()));
}
