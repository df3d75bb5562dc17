//! What stock restic wrote, looked at by us.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/restic_repository.rs"]
mod restic;

use std::fs;
use std::path::Path;

use restic::Restic;
use stillpoint_model::ErrorKind;
use stillpoint_repository::{Contents, Difference, Standing, Unwatched};
use stillpoint_tree::{Filter, RelPath, Walk};

fn path(text: &str) -> RelPath {
    RelPath::from_bytes(text.as_bytes().to_vec()).unwrap()
}

fn with_each_restic(test: impl Fn(&Path)) {
    restic::programs().iter().for_each(|program| test(program));
}

/// A tree whose names are in another order by folder than by path.
fn plain_tree(root: &Path) {
    for folder in ["a", "a.b", "a/z", "empty", "a/z/deep"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    for (name, content) in
        [("a!", "one"), ("a/file", "two"), ("a.b/file", "three"), ("a/z/deep/x.conf", "four"), ("z", "")]
    {
        fs::write(root.join(name), content).unwrap();
    }
}

/// Bytes that no compression and no deduplication makes less.
fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..bytes.div_ceil(8)).flat_map(|_| next()).take(bytes).collect()
}

fn latest(restic: &Restic) -> Contents {
    let repository = restic.open();
    let (_, snapshot) = repository.find_snapshot("latest").unwrap();
    Contents::open(&repository, &snapshot).unwrap()
}

#[test]
fn a_walk_is_in_canonical_order_and_misses_nothing() {
    with_each_restic(|program| {
        let source = tempfile::tempdir().unwrap();
        plain_tree(source.path());
        for number in 0..300 {
            fs::write(source.path().join(format!("empty/{number}")), format!("{number}")).unwrap();
        }
        let restic = Restic::init(program);
        restic.run_in(source.path(), &["backup", "."]);
        let contents = latest(&restic);
        let walked: Vec<_> = contents
            .walk(&RelPath::top(), Filter::default())
            .unwrap()
            .map(|step| step.map(|(path, node)| node.to_entry(path).unwrap()).unwrap())
            .collect();
        let expected: Vec<_> = Walk::new(source.path(), Filter::default())
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| !entry.path.is_top())
            .map(|entry| stillpoint_tree::Entry { origin: None, ..entry })
            .collect();
        assert_eq!(walked, expected);
        let below = contents.walk(&path("a/z"), Filter::new(&["*.conf".into()], &[]).unwrap()).unwrap();
        let below: Vec<_> = below.map(|step| step.unwrap().0.to_string()).collect();
        assert_eq!(below, ["a/z", "a/z/deep", "a/z/deep/x.conf"]);
        let error = contents.walk(&path("a/none"), Filter::default()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Usage, "{error}");
    });
}

#[test]
fn the_content_of_one_file_comes_out_whole() {
    with_each_restic(|program| {
        let source = tempfile::tempdir().unwrap();
        let big = noise(30 << 20, 7);
        fs::write(source.path().join("big"), &big).unwrap();
        fs::write(source.path().join("none"), b"").unwrap();
        let restic = Restic::init(program);
        restic.run_in(source.path(), &["backup", "."]);
        let contents = latest(&restic);
        for (name, content) in [("big", &big[..]), ("none", b"")] {
            let mut out = Vec::new();
            let written = contents.dump(&path(name), &mut out, &Unwatched).unwrap();
            assert_eq!(written, content.len() as u64);
            assert!(out == content, "{name} differs");
        }
        let error = contents.dump(&path("no such"), &mut Vec::new(), &Unwatched).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Usage, "{error}");
    });
}

#[test]
fn a_damaged_part_ends_the_content_before_it() {
    let source = tempfile::tempdir().unwrap();
    let big = noise(30 << 20, 9);
    fs::write(source.path().join("big"), &big).unwrap();
    let restic = Restic::init(&restic::programs()[0]);
    restic.run_in(source.path(), &["backup", "."]);
    damage_largest_pack(restic.path());
    let contents = latest(&restic);
    let mut out = Vec::new();
    let error = contents.dump(&path("big"), &mut out, &Unwatched).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Damaged, "{error}");
    assert!(out.len() < big.len() && big.starts_with(&out), "what came out before is not what was saved");
}

/// Turns one bit in the middle of the largest pack.
fn damage_largest_pack(repository: &Path) {
    let folders = fs::read_dir(repository.join("data")).unwrap().map(|entry| entry.unwrap().path());
    let packs = folders.flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    let pack = packs.max_by_key(|pack| fs::metadata(pack).unwrap().len()).unwrap();
    let mut content = fs::read(&pack).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::remove_file(&pack).unwrap();
    fs::write(&pack, content).unwrap();
}

#[test]
fn what_changed_between_two_versions_is_told_and_nothing_else() {
    with_each_restic(|program| {
        let source = tempfile::tempdir().unwrap();
        let root = source.path();
        plain_tree(root);
        let restic = Restic::init(program);
        restic.run_in(root, &["backup", "."]);
        fs::write(root.join("a/file"), "another").unwrap();
        fs::remove_dir_all(root.join("a/z")).unwrap();
        fs::write(root.join("a/z"), "now a file").unwrap();
        fs::create_dir(root.join("new")).unwrap();
        fs::write(root.join("new/inside"), "x").unwrap();
        fs::set_permissions(root.join("z"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        restic.run_in(root, &["backup", "--force", "."]);
        let repository = restic.open();
        let versions = repository.snapshots().unwrap();
        let before = Contents::open(&repository, &versions[0].1).unwrap();
        let after = before.of(&versions[1].1);
        let told = |before: &Contents, after: &Contents| -> Vec<(String, Difference)> {
            let diff = before.diff(after, Filter::default()).map(Result::unwrap);
            diff.map(|change| (change.path.to_string(), change.difference)).collect()
        };
        use Difference::{Added, Content, Metadata, Removed};
        let expected = [
            ("a", Metadata),
            ("a/file", Content),
            ("a/z", Removed),
            ("a/z/deep", Removed),
            ("a/z/deep/x.conf", Removed),
            ("a/z", Added),
            ("new", Added),
            ("new/inside", Added),
            ("z", Metadata),
        ];
        assert_eq!(told(&before, &after), expected.map(|(path, how)| (path.to_owned(), how)));
        assert!(told(&before, &before).is_empty());
    });
}

#[test]
fn a_file_is_found_in_all_versions_with_what_became_of_it() {
    let source = tempfile::tempdir().unwrap();
    let root = source.path();
    plain_tree(root);
    let restic = Restic::init(&restic::programs()[0]);
    let save = || restic.run_in(root, &["backup", "--force", "."]);
    save();
    fs::write(root.join("z"), "elsewhere").unwrap();
    save();
    save();
    fs::write(root.join("a/z/deep/x.conf"), "changed").unwrap();
    save();
    fs::remove_file(root.join("a/z/deep/x.conf")).unwrap();
    fs::write(root.join("empty/y.conf"), "other").unwrap();
    save();
    let repository = restic.open();
    let versions = repository.snapshots().unwrap();
    let contents = Contents::open(&repository, &versions[0].1).unwrap();
    let find = |pattern: &str| {
        let filter = Filter::new(&[pattern.to_owned()], &[]).unwrap();
        let mut found = Vec::new();
        let problems = contents
            .find(
                &versions,
                &filter,
                &mut |one| {
                    let number = versions.iter().position(|(id, _)| *id == one.version).unwrap();
                    found.push((number, one.path.to_string(), one.standing));
                },
                &Unwatched,
            )
            .unwrap();
        assert!(problems.is_empty());
        found
    };
    use Standing::{Changed, New, Same};
    let (deep, other) = ("a/z/deep/x.conf".to_owned(), "empty/y.conf".to_owned());
    assert_eq!(
        find("*.conf"),
        [
            (0, deep.clone(), New),
            (1, deep.clone(), Same),
            (2, deep.clone(), Same),
            (3, deep, Changed),
            (4, other, New)
        ]
    );
    let folder = |number, standing| (number, "a/z".to_owned(), standing);
    assert_eq!(
        find("a/z"),
        [folder(0, New), folder(1, Same), folder(2, Same), folder(3, Changed), folder(4, Changed)]
    );
}
