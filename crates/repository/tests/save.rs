//! What we save, stock restic finds good and brings back equal.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::io::Read;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use stillpoint_model::ErrorKind;
use stillpoint_repository::store::LocalStore;
use stillpoint_repository::{Content, Recording, Repository, Saver, Secret, Unwatched};
use stillpoint_tree::{Entry, Filter, Kind, RelPath};
use support::{create, differences, facts, noise, open, relative, restic, save};

#[test]
fn restic_brings_back_what_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    let (source, archive) = (folder.path().join("source"), folder.path().join("archive"));
    support::plant_everything(&source);
    let repository = create(&archive);
    save(&repository, &source, 1_700_000_000);
    restic::check_all_data(&archive);
    for (number, program) in restic::programs().iter().enumerate() {
        let target = folder.path().join(format!("target{number}"));
        let text = target.to_str().unwrap();
        restic::succeed(program, &archive, &["restore", "latest", "--target", text]);
        assert_eq!(differences(&source, &target.join("PS1Backup/data")), "", "{}", program.display());
        let list = restic::succeed(program, &archive, &["snapshots", "--json"]);
        assert!(list.contains("\"hostname\":\"PS1\"") && list.contains("2023-11-14T"), "{list}");
    }
}

#[test]
fn what_did_not_change_is_neither_read_nor_stored_again() {
    let folder = tempfile::tempdir().unwrap();
    let (source, archive) = (folder.path().join("source"), folder.path().join("archive"));
    support::plant_everything(&source);
    let repository = create(&archive);
    let first = save(&repository, &source, 1);
    assert!(first.added_bytes > 12_000_000, "{first:?}");
    let second = save(&repository, &source, 2);
    // The folders above the parts bear the time of the version.
    assert!(second.added_bytes < 2_000, "{second:?}");
    std::fs::write(source.join("deep/new"), noise(9, 1000)).unwrap();
    std::fs::File::options()
        .write(true)
        .open(source.join("big"))
        .unwrap()
        .write_all_at(b"changed", 5_000_000)
        .unwrap();
    let third = save(&repository, &source, 3);
    assert!(third.added_bytes > 500_000 && third.added_bytes < 9_000_000, "{third:?}");
    restic::check_all_data(&archive);
    let target = folder.path().join("target");
    let text = target.to_str().unwrap();
    restic::succeed("restic".as_ref(), &archive, &["restore", "latest", "--target", text]);
    assert_eq!(differences(&source, &target.join("PS1Backup/data")), "");
}

#[test]
fn we_add_to_a_repository_of_restic_and_restic_adds_to_ours() {
    for program in restic::programs() {
        let folder = tempfile::tempdir().unwrap();
        let (source, archive) = (folder.path().join("source"), folder.path().join("archive"));
        support::plant_everything(&source);
        restic::succeed(&program, &archive, &["init", "--repository-version", "2"]);
        let repository = open(&archive);
        save(&repository, &source, 1);
        restic::succeed(&program, &archive, &["backup", source.to_str().unwrap()]);
        let snapshots = open(&archive).snapshots().unwrap();
        assert_eq!(snapshots.len(), 2);
        save(&repository, &source, 3);
        restic::succeed(&program, &archive, &["forget", "--keep-last", "1", "--prune"]);
        restic::check_all_data(&archive);
        let text = |id: &stillpoint_repository::Id| id.to_string();
        let left: Vec<String> = repository.snapshots().unwrap().iter().map(|(id, _)| text(id)).collect();
        assert!(!left.is_empty());
    }
}

fn stream_entry() -> Entry {
    Entry { kind: Kind::File(stillpoint_tree::FileFacts::default()), path: RelPath::top(), ..facts(1).folder }
}

#[test]
fn a_stream_is_saved_as_a_file_and_one_that_fails_makes_no_version() {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("archive");
    let repository = create(&archive);
    let content = noise(3, 20_000_000);
    let saver = Saver::begin(&repository, None, Arc::new(Unwatched)).unwrap();
    let mut part = saver.part(&relative("SiteDBServer/dump.sql")).unwrap();
    part.entry(&stream_entry(), Content::Stream(&mut content.as_slice()), false).unwrap();
    assert_eq!(part.end().unwrap().bytes, 20_000_000);
    saver.finish(&facts(1)).unwrap();
    restic::check_all_data(&archive);
    let dumped =
        restic::restic("restic".as_ref(), &archive, &["dump", "latest", "/PS1Backup/SiteDBServer/dump.sql"]);
    assert_eq!(dumped.stdout, content);

    struct Broken(usize);
    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0 =
                self.0.checked_sub(1).ok_or_else(|| std::io::Error::other("the dump ended with status 1"))?;
            buffer.fill(7);
            Ok(buffer.len())
        }
    }
    let saver = Saver::begin(&repository, None, Arc::new(Unwatched)).unwrap();
    let mut part = saver.part(&relative("SiteDBServer/dump.sql")).unwrap();
    let failed = part.entry(&stream_entry(), Content::Stream(&mut Broken(3)), false).unwrap_err();
    assert!(failed.text.contains("the dump ended with status 1"), "{failed}");
    drop(part);
    let refused = saver.finish(&facts(2)).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Component, "{refused}");
    assert_eq!(repository.snapshots().unwrap().len(), 1);
    restic::check_all_data(&archive);
}

#[test]
fn a_part_that_was_not_ended_makes_no_version() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    support::plant_everything(&source);
    let repository = create(&folder.path().join("archive"));
    let saver = Saver::begin(&repository, None, Arc::new(Unwatched)).unwrap();
    let mut good = saver.part(&relative("a")).unwrap();
    good.tree(&source, Filter::default(), None).unwrap();
    good.end().unwrap();
    let mut still_working = saver.part(&relative("b")).unwrap();
    still_working.tree(&source, Filter::default(), None).unwrap();
    let refused = saver.finish(&facts(1)).unwrap_err();
    assert!(refused.text.contains("b did not answer for itself"), "{refused}");
    assert!(repository.snapshots().unwrap().is_empty());
}

#[test]
fn what_cannot_be_read_makes_no_complete_version() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("a"), "a").unwrap();
    std::fs::write(source.join("b"), noise(1, 2_000_000)).unwrap();
    std::fs::write(source.join("c"), "c").unwrap();
    let archive = folder.path().join("archive");
    let repository = create(&archive);
    let list = folder.path().join("list");
    let mut report = stillpoint_tree::MirrorReport::default();
    let mut index = stillpoint_tree::IndexAppender::create(&list).unwrap();
    for entry in stillpoint_tree::Walk::new(&source, Filter::default()).unwrap() {
        let mut entry = entry.unwrap();
        if let Kind::File(facts) = &mut entry.kind {
            *facts = stillpoint_tree::hash_file(&entry.path.under(&source)).unwrap();
            report.files += 1;
        }
        index.append(&entry).unwrap();
    }
    index.finish().unwrap();
    assert_eq!(report.files, 3);
    let change = |name: &str, content: &[u8]| std::fs::write(source.join(name), content).unwrap();
    let cases: [(&str, &dyn Fn()); 4] = [
        ("a", &|| change("a", b"x")),
        ("a", &|| std::fs::remove_file(source.join("a")).unwrap()),
        ("b", &|| change("b", &noise(2, 2_000_000))),
        ("b", &|| change("b", &noise(1, 1_999_999))),
    ];
    let save = |incomplete: bool| {
        let saver = Saver::begin(&repository, None, Arc::new(Unwatched)).unwrap();
        let mut part = saver.part(&relative("data")).unwrap();
        part.listed(&list, &source).unwrap();
        let report = part.end().unwrap();
        let finished = saver.finish(&stillpoint_repository::SnapshotFacts { incomplete, ..facts(1) });
        (report, finished)
    };
    for (name, damage) in cases {
        change("a", b"a");
        change("b", &noise(1, 2_000_000));
        assert_eq!(save(false).0.left_out, 0);
        let versions = repository.snapshots().unwrap().len();
        damage();
        let (report, finished) = save(false);
        assert_eq!(report.left_out, 1);
        assert_eq!(report.problems[0].path, relative(name), "{:?}", report.problems);
        assert_eq!(finished.unwrap_err().kind, ErrorKind::Component);
        assert_eq!(repository.snapshots().unwrap().len(), versions);
        save(true).1.unwrap();
    }
    restic::check_all_data(&archive);
}

#[test]
fn a_wrong_key_is_told_apart_from_damage() {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("archive");
    let repository = create(&archive);
    let open_with =
        |password: &str| Repository::open(Box::new(LocalStore::new(&archive)), &Secret::new(password.into()));
    assert_eq!(open_with("wrong").unwrap_err().kind, ErrorKind::Key);
    let added = repository.add_key(&Secret::new(b"in the safe".to_vec()), "safe").unwrap();
    open_with("in the safe").unwrap();
    restic::succeed("restic".as_ref(), &archive, &["key", "list"]);
    assert_eq!(repository.keys().unwrap().len(), 2);
    let current = repository.keys().unwrap().into_iter().find(|key| key.current).unwrap();
    assert_eq!(repository.remove_key(current.id).unwrap_err().kind, ErrorKind::Usage);
    repository.remove_key(added).unwrap();
    assert_eq!(open_with("in the safe").unwrap_err().kind, ErrorKind::Key);
    let key = archive.join(format!("keys/{}", current.id));
    let good = std::fs::read(&key).unwrap();
    std::fs::write(&key, &good[..good.len() - 1]).unwrap();
    assert_eq!(open_with(restic::PASSWORD).unwrap_err().kind, ErrorKind::Damaged);
    std::fs::remove_file(&key).unwrap();
    assert_eq!(open_with(restic::PASSWORD).unwrap_err().kind, ErrorKind::Damaged);
    std::fs::write(&key, &good).unwrap();
    std::fs::write(archive.join("config"), "x".repeat(155)).unwrap();
    assert_eq!(open_with(restic::PASSWORD).unwrap_err().kind, ErrorKind::Damaged);
    std::fs::remove_file(archive.join("config")).unwrap();
    let none = open_with(restic::PASSWORD).unwrap_err();
    assert!(none.kind == ErrorKind::Environment && none.text.contains("is not an archive"), "{none}");
}

#[test]
fn a_repository_is_never_made_over_another() {
    let folder = tempfile::tempdir().unwrap();
    create(folder.path());
    let config = std::fs::read(folder.path().join("config")).unwrap();
    let again = Repository::create(Box::new(LocalStore::new(folder.path())), &support::secret(), "test");
    assert_eq!(again.unwrap_err().kind, ErrorKind::WouldOverwrite);
    assert_eq!(std::fs::read(folder.path().join("config")).unwrap(), config);
}

/// What the list says, without what depends on when it was made.
fn listed(path: &std::path::Path) -> Vec<Entry> {
    let entries = stillpoint_tree::IndexReader::open(path).unwrap().map(Result::unwrap);
    let settled = |mut entry: Entry| {
        if let Some(origin) = &mut entry.origin {
            origin.settled = true;
        }
        // Only the first name of a file tells its hash.
        if let (Kind::File(facts), true) = (&mut entry.kind, entry.hard_link.is_some()) {
            facts.sha256 = None;
        }
        entry
    };
    entries.map(settled).collect()
}

#[test]
fn a_part_lists_what_it_takes_with_the_hashes_also_of_what_it_does_not_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    support::plant_everything(&source);
    let expected = folder.path().join("expected");
    let mut index = stillpoint_tree::IndexAppender::create(&expected).unwrap();
    struct Quiet;
    impl stillpoint_tree::Progress for Quiet {
        fn advance(&self, _files: u64, _bytes: u64) -> bool {
            true
        }
    }
    stillpoint_tree::index_tree(&source, &Filter::default(), &mut index, true, 2, &Quiet).unwrap();
    index.finish().unwrap();
    let repository = create(&folder.path().join("archive"));
    let mut before = None;
    for number in 0..3 {
        let list = folder.path().join(format!("list{number}"));
        let parent = repository.snapshots().unwrap().pop();
        let saver = Saver::begin(&repository, parent, Arc::new(Unwatched)).unwrap();
        let recording = Recording { list: list.clone(), before: before.take() };
        let mut part = saver.part_with_list(&relative("SiteServer/app"), recording).unwrap();
        part.tree(&source, Filter::default(), None).unwrap();
        part.end().unwrap();
        let saved = saver.finish(&facts(number)).unwrap();
        assert!(number == 0 || saved.added_bytes < 4_000, "{saved:?}");
        assert_eq!(listed(&list), listed(&expected), "{number}");
        before = Some((list, RelPath::top()));
    }
}

#[test]
fn a_part_in_another_part_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let repository = create(&folder.path().join("archive"));
    let saver = Saver::begin(&repository, None, Arc::new(Unwatched)).unwrap();
    for at in ["a", "a/b"] {
        let mut part = saver.part(&relative(at)).unwrap();
        part.tree(folder.path(), Filter::new(&[], &["archive".into()]).unwrap(), None).unwrap();
        part.end().unwrap();
    }
    assert_eq!(saver.finish(&facts(1)).unwrap_err().kind, ErrorKind::Bug);
    assert!(repository.snapshots().unwrap().is_empty());
}

#[test]
fn an_archive_of_another_version_is_refused_and_not_touched() {
    for program in restic::programs() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("archive");
        restic::succeed(&program, &archive, &["init", "--repository-version", "1"]);
        let before = support::listing(&archive);
        let refused = Repository::open(Box::new(LocalStore::new(&archive)), &support::secret()).unwrap_err();
        assert!(refused.kind == ErrorKind::Environment && refused.text.contains("version 1"), "{refused}");
        assert!(refused.hint.unwrap().contains("Nothing was changed"));
        assert_eq!(support::listing(&archive), before);
    }
}
