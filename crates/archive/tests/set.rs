//! Sets as a whole: what is in them, what is shared, what stock tools say, what is told of damage.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use stillpoint_archive::{BackupSet, Kit, Piece, Place, SetFacts, list, verify};
use stillpoint_model::site_file::Destination;
use stillpoint_model::*;
use stillpoint_tree::{Filter, IndexAppender, IndexReader, Kind, index_tree};
use support::*;

fn verify_all(folder: &Path) -> Result<Vec<String>, ErrorKind> {
    let monitor: Arc<dyn Monitor> = Arc::new(NoMonitor);
    let report = verify(folder, &monitor, &Cancel::default()).map_err(|error| error.kind)?;
    Ok(report
        .damage
        .into_iter()
        .map(|found| format!("{}: {}", found.path.unwrap_or_default(), found.text))
        .collect())
}

fn listed(set: &BackupSet, component: &str) -> Vec<String> {
    let stored = set.component(&name(component)).unwrap();
    IndexReader::open(&stored.index).unwrap().map(|entry| entry.unwrap().path.to_string()).collect()
}

/// Lets time pass: a file is settled once its last change lies safely (some ticks of the kernel) in the past.
fn let_settle() {
    std::thread::sleep(Duration::from_millis(50));
}

fn sha256sum_check(folder: &Path, sums: &str) {
    let output = Command::new("sha256sum")
        .args(["-c", "--strict", "--quiet", sums])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_published_set_has_the_documented_form_and_nothing_else() {
    let ground = Ground::new();
    let root = ground.folder("backup");
    let mut run = fill_version(ground.top.path(), &one_folder(&root), 1).unwrap();
    fs::write(run.builder.folder().join("backup.log"), b"begin\n").unwrap();
    fs::write(run.context("web", Place::SiteServer).workspace.join("left over"), b"x").unwrap();
    let set = run.publish().unwrap();
    assert_eq!(set.folder(), root.join("P01Backup"));
    let top = [
        "CD.Latest",
        "SHA256SUMS",
        "SiteDBServer",
        "SiteServer",
        "backup.log",
        "manifest",
        "manifest.json",
        "manifest.json.sha256",
        "writers",
    ];
    assert_eq!(names_in(set.folder()), top);
    assert_eq!(names_in(&root), ["P01Backup"]);
    assert_eq!(
        names_in(&set.folder().join("CD.Latest")),
        ["RECOVER.md", "site.toml", "stillpoint", "versions.json"]
    );
    assert_eq!(names_in(&set.folder().join("manifest")), ["ledger.jsonl", "web.jsonl"]);
    assert_eq!(names_in(&set.folder().join("writers")), ["ledger.json", "web.json"]);
    assert_eq!(listed(&set, "ledger"), ["", "dump.sql"]);
    assert_eq!(fs::read(set.folder().join("SiteDBServer/ledger/dump.sql")).unwrap(), b"dump 1");
    let program = Command::new(set.folder().join("CD.Latest/stillpoint")).output().unwrap();
    assert_eq!(program.stdout, b"stillpoint\n", "the program of the kit runs");
}

#[test]
fn a_set_says_when_opened_what_was_said_when_it_was_published() {
    let ground = Ground::new();
    let root = ground.folder("backup");
    let published = publish_version(ground.top.path(), &one_folder(&root), 1).unwrap();
    for path in [root.clone(), root.join("P01Backup")] {
        let set = BackupSet::open(&path).unwrap();
        let text = |set: &BackupSet| serde_json::to_string(set.facts()).unwrap();
        assert_eq!(text(&set), text(&published));
        let stored = set.component(&name("ledger")).unwrap();
        assert_eq!(stored.facts, serde_json::json!({"lsn": "0/1"}));
        assert_eq!((stored.grade, stored.epoch), (Grade::Crash, EpochNumber(7)));
        assert!(stored.folder.join("dump.sql").exists() && stored.index.exists());
        assert!(set.component(&name("other")).is_none());
    }
}

#[test]
fn sha256sum_agrees_with_the_set_whatever_the_names_are() {
    let ground = Ground::new();
    let set = publish_version(ground.top.path(), &one_folder(&ground.folder("backup")), 1).unwrap();
    sha256sum_check(set.folder(), "SHA256SUMS");
    sha256sum_check(set.folder(), "manifest.json.sha256");
    let lines = fs::read(set.folder().join("SHA256SUMS")).unwrap().split(|&b| b == b'\n').count() - 1;
    // The odd names, two files in the folder, the dump, two lists, two writers, four of the kit.
    assert_eq!(lines, odd_names().len() + 2 + 1 + 2 + 2 + 4);
}

#[test]
fn a_second_set_with_nothing_changed_shares_every_file_and_copies_nothing() {
    let ground = Ground::new();
    let destination = one_folder(&ground.folder("backup"));
    let source = ground.folder("source");
    plant_source(&source, "same");
    let publish = |number| {
        let_settle();
        let mut run = TestRun::begin(ground.top.path(), &destination, number).unwrap();
        run.tree("web", Place::SiteServer, "", walked(&source)).unwrap();
        run.publish().unwrap()
    };
    let first = publish(1);
    let inodes = |set: &BackupSet| -> Vec<u64> {
        let folder = set.folder().join("SiteServer/web");
        let mut paths: Vec<PathBuf> =
            odd_names().iter().map(|name| folder.join(OsStr::from_bytes(name))).collect();
        paths.push(folder.join("folder/none"));
        paths.extend(["stillpoint", "site.toml"].map(|name| set.folder().join("CD.Latest").join(name)));
        paths.iter().map(|path| fs::metadata(path).unwrap().ino()).collect()
    };
    let before = inodes(&first);
    let second = publish(2);
    assert_eq!(inodes(&second), before);
    assert_eq!(damage(&second), Vec::<String>::new());
    let web = second.folder().join("SiteServer/web");
    assert_eq!(fs::metadata(web.join("plain")).unwrap().nlink(), 1, "the old set is gone");
    // What changed is not shared.
    fs::write(source.join("plain"), b"changed").unwrap();
    let third = publish(3);
    assert_ne!(inodes(&third)[0], before[0]);
    assert_eq!(inodes(&third)[1..], before[1..]);
    assert_eq!(fs::read(third.folder().join("SiteServer/web/plain")).unwrap(), b"changed");
}

#[test]
fn a_program_that_was_damaged_in_the_last_kit_is_copied_anew() {
    let ground = Ground::new();
    let destination = one_folder(&ground.folder("backup"));
    let publish =
        |number| TestRun::begin(ground.top.path(), &destination, number).unwrap().publish().unwrap();
    let program = publish(1).folder().join("CD.Latest/stillpoint");
    let good = fs::read(&program).unwrap();
    for (number, bad) in [(2, good[1..].to_vec()), (3, [b"?", &good[1..]].concat())] {
        fs::write(&program, bad).unwrap();
        let set = publish(number);
        assert_eq!(fs::read(&program).unwrap(), good);
        assert_eq!(damage(&set), Vec::<String>::new());
    }
}

#[test]
fn a_file_cut_off_in_the_last_set_is_copied_anew_instead_of_shared() {
    let ground = Ground::new();
    let destination = one_folder(&ground.folder("backup"));
    let source = ground.folder("source");
    plant_source(&source, "same");
    let_settle();
    for number in [1, 2] {
        let mut run = TestRun::begin(ground.top.path(), &destination, number).unwrap();
        run.tree("web", Place::SiteServer, "", walked(&source)).unwrap();
        let set = run.publish().unwrap();
        assert_eq!(damage(&set), Vec::<String>::new());
        fs::File::options()
            .write(true)
            .open(set.folder().join("SiteServer/web/plain"))
            .unwrap()
            .set_len(3)
            .unwrap();
        fs::remove_file(set.folder().join("SiteServer/web/two words")).unwrap();
        assert_eq!(damage(&set).len(), 2);
    }
}

fn index_of(root: &Path, list: &Path, hash: bool) {
    struct Silent;
    impl stillpoint_tree::Progress for Silent {
        fn advance(&self, _files: u64, _bytes: u64) -> bool {
            true
        }
    }
    let mut index = IndexAppender::create(list).unwrap();
    index_tree(root, &Filter::default(), &mut index, hash, 1, &Silent).unwrap();
    index.finish().unwrap();
}

#[test]
fn a_tree_of_ours_is_moved_into_place_with_its_list() {
    let ground = Ground::new();
    for with_list in [true, false] {
        let destination = one_folder(&ground.folder(&format!("backup-{with_list}")));
        let mut run = TestRun::begin(ground.top.path(), &destination, 1).unwrap();
        let context = run.context("web", Place::SiteServer);
        let root = context.workspace.join("image");
        plant_source(&root, "mine");
        let inode = fs::metadata(root.join("plain")).unwrap().ino();
        let list = context.workspace.join("list");
        // Without hashes: the sink adds them.
        index_of(&root, &list, false);
        let index = with_list.then(|| list.clone());
        run.tree("web", Place::SiteServer, "", TreeSource { index, owned: true, ..walked(&root) }).unwrap();
        assert!(!root.exists(), "the tree was copied");
        let set = run.publish().unwrap();
        assert_eq!(fs::metadata(set.folder().join("SiteServer/web/plain")).unwrap().ino(), inode);
        assert_eq!(damage(&set), Vec::<String>::new());
        sha256sum_check(set.folder(), "SHA256SUMS");
        let stored = set.component(&name("web")).unwrap();
        let entries: Vec<_> = IndexReader::open(&stored.index).unwrap().map(Result::unwrap).collect();
        let link = entries.iter().find(|entry| entry.path.to_string() == "folder/other name").unwrap();
        assert_eq!(link.hard_link.as_ref().unwrap().to_string(), "folder/big");
        assert!(
            !stored.folder.join("folder/other name").exists(),
            "content is stored under the first name only"
        );
        assert_eq!(entries[1].origin.is_some(), with_list);
    }
}

#[test]
fn a_tree_of_ours_on_another_file_system_is_copied() {
    let mut ground = Ground::new();
    let elsewhere = ground.tmpfs("elsewhere", "size=8m,mode=700");
    let destination = one_folder(&ground.folder("backup"));
    let mut run = TestRun::begin(ground.top.path(), &destination, 1).unwrap();
    let root = elsewhere.join("image");
    plant_source(&root, "mine");
    run.tree("web", Place::SiteServer, "", TreeSource { owned: true, ..walked(&root) }).unwrap();
    assert_eq!(damage(&run.publish().unwrap()), Vec::<String>::new());
}

#[test]
fn a_listed_tree_elsewhere_is_copied_by_its_list_and_shared_with_the_last_set() {
    let ground = Ground::new();
    let destination = one_folder(&ground.folder("backup"));
    let source = ground.folder("source");
    plant_source(&source, "same");
    let_settle();
    let publish = |number: u64| {
        let mut run = TestRun::begin(ground.top.path(), &destination, number).unwrap();
        // The image of a provider: content of now, metadata and origin of the original.
        let list = ground.path(&format!("list-{number}"));
        index_of(&source, &list, false);
        let image = ground.path(&format!("image-{number}"));
        support::run("cp", &["-a", source.to_str().unwrap(), image.to_str().unwrap()]);
        run.tree("web", Place::SiteServer, "", TreeSource { index: Some(list), ..walked(&image) }).unwrap();
        run.publish().unwrap()
    };
    let first = publish(1);
    assert_eq!(damage(&first), Vec::<String>::new());
    let plain = |set: &BackupSet| fs::metadata(set.folder().join("SiteServer/web/plain")).unwrap().ino();
    let before = plain(&first);
    let mtime = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    assert_eq!(mtime(&first.folder().join("SiteServer/web/plain")), mtime(&source.join("plain")));
    let second = publish(2);
    assert_eq!((plain(&second), damage(&second)), (before, Vec::new()));
    // A change that hides behind the old size and time still moves the change time.
    let time = mtime(&source.join("plain"));
    let length = fs::metadata(source.join("plain")).unwrap().len() as usize;
    fs::write(source.join("plain"), vec![b'x'; length]).unwrap();
    fs::File::options().write(true).open(source.join("plain")).unwrap().set_modified(time).unwrap();
    let third = publish(3);
    assert_ne!(plain(&third), before);
    assert_eq!(fs::read(third.folder().join("SiteServer/web/plain")).unwrap(), vec![b'x'; length]);
}

#[test]
fn several_trees_and_streams_of_a_component_become_one_list_in_order() {
    let ground = Ground::new();
    let destination = one_folder(&ground.folder("backup"));
    let source = ground.folder("source");
    plant_source(&source, "x");
    let mut run = TestRun::begin(ground.top.path(), &destination, 1).unwrap();
    let place = Place::SiteDbServer;
    run.stream("db", place, "wal/000002", b"two").unwrap();
    run.tree("db", place, "data/base", walked(&source)).unwrap();
    run.stream("db", place, "wal/000001", b"one").unwrap();
    run.stream("db", place, "data/label", b"label").unwrap();
    run.tree("db", place, "a!", walked(&source.join("folder/empty"))).unwrap();
    let set = run.publish().unwrap();
    let paths = listed(&set, "db");
    let expected = ["", "a!", "data", "data/base", "data/base/ lead"];
    assert_eq!(paths[..5], expected);
    assert_eq!(paths[paths.len() - 4..], ["data/label", "wal", "wal/000001", "wal/000002"]);
    let stored = set.component(&name("db")).unwrap();
    let links: Vec<String> = IndexReader::open(&stored.index)
        .unwrap()
        .filter_map(|entry| Some(entry.unwrap().hard_link?.to_string()))
        .collect();
    assert_eq!(links, ["data/base/folder/big"]);
    assert_eq!(damage(&set), Vec::<String>::new());
    // The next set shares the part that did not change.
    let inode =
        |set: &BackupSet| fs::metadata(set.folder().join("SiteDBServer/db/data/base/plain")).unwrap().ino();
    let before = inode(&set);
    let_settle();
    let mut run = TestRun::begin(ground.top.path(), &destination, 2).unwrap();
    run.tree("db", place, "data/base", walked(&source)).unwrap();
    let set = run.publish().unwrap();
    assert_eq!((inode(&set), damage(&set)), (before, Vec::new()));
}

#[test]
fn what_a_component_brings_twice_is_refused() {
    let ground = Ground::new();
    let mut run = TestRun::begin(ground.top.path(), &one_folder(&ground.folder("backup")), 1).unwrap();
    run.stream("db", Place::SiteDbServer, "dump", b"one").unwrap();
    assert!(run.stream("db", Place::SiteDbServer, "dump", b"two").is_err());
    assert!(run.stream("db", Place::SiteDbServer, "../escape", b"two").is_err());
    let error = run.publish().unwrap_err();
    assert_eq!(
        error.kind,
        ErrorKind::Component,
        "a component of which a call failed is not published: {}",
        error.text
    );
}

#[test]
fn files_that_cannot_be_taken_are_told_with_component_and_path() {
    let mut ground = Ground::new();
    let source = ground.folder("source");
    plant_source(&source, "x");
    fs::create_dir(source.join("mounted")).unwrap();
    ground.tmpfs("source/mounted", "size=64k,mode=700");
    let mut run = TestRun::begin(ground.top.path(), &one_folder(&ground.folder("backup")), 1).unwrap();
    run.tree("web", Place::SiteServer, "part", walked(&source)).unwrap();
    let problems = run.ear.problems();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].component, Some(name("web")));
    assert_eq!(problems[0].path.as_deref(), Some("part/mounted"));
    assert_eq!(damage(&run.publish().unwrap()), Vec::<String>::new());
}

#[test]
fn pipes_and_sockets_are_listed_and_not_stored() {
    let ground = Ground::new();
    let source = ground.folder("source");
    support::run("mkfifo", &[source.join("pipe").to_str().unwrap()]);
    let _socket = std::os::unix::net::UnixListener::bind(source.join("socket")).unwrap();
    let mut run = TestRun::begin(ground.top.path(), &one_folder(&ground.folder("backup")), 1).unwrap();
    run.tree("web", Place::SiteServer, "", walked(&source)).unwrap();
    let set = run.publish().unwrap();
    assert_eq!(listed(&set, "web"), ["", "pipe", "socket"]);
    assert_eq!(names_in(&set.folder().join("SiteServer/web")), Vec::<String>::new());
    assert_eq!(damage(&set), Vec::<String>::new());
}

#[test]
fn a_sparse_file_stays_sparse_and_a_huge_one_is_not_in_the_sums() {
    let ground = Ground::new();
    let source = ground.folder("source");
    let sparse = |name: &str, size: u64| {
        let file = fs::File::create(source.join(name)).unwrap();
        file.set_len(size).unwrap();
        std::os::unix::fs::FileExt::write_at(&file, b"in the middle", size / 2).unwrap();
    };
    sparse("sparse", 64 << 20);
    sparse("huge", 1 << 40);
    let mut run = TestRun::begin(ground.top.path(), &one_folder(&ground.folder("backup")), 1).unwrap();
    run.tree("web", Place::SiteServer, "", walked(&source)).unwrap();
    let set = run.publish().unwrap();
    for name in ["sparse", "huge"] {
        assert!(fs::metadata(set.folder().join("SiteServer/web").join(name)).unwrap().blocks() < 1024);
    }
    let sums = fs::read_to_string(set.folder().join("SHA256SUMS")).unwrap();
    assert!(sums.contains("SiteServer/web/sparse") && !sums.contains("SiteServer/web/huge"));
    sha256sum_check(set.folder(), "SHA256SUMS");
    let huge = fs::File::options().write(true).open(set.folder().join("SiteServer/web/huge")).unwrap();
    std::os::unix::fs::FileExt::write_at(&huge, b"I", 1 << 39).unwrap();
    assert_eq!(damage(&set), ["huge: its content changed"]);
}

#[test]
fn a_full_disk_ends_the_run_early_with_the_old_set_untouched() {
    let mut ground = Ground::new();
    let root = ground.image("small", &["mkfs.ext4", "-q", "-m", "0"], 64);
    let destination = one_folder(&root);
    let top = ground.top.path().to_owned();
    publish_version(&top, &destination, 1).unwrap();
    let big = vec![7; 1 << 20];
    // The reserve: refused before anything is full.
    let mut run = TestRun::begin(&top, &destination, 2).unwrap();
    run.builder = run.builder.keep_free_percent(99);
    let error = run.stream("ledger", Place::SiteDbServer, "dump.sql", &big).unwrap_err();
    assert!(error.0.contains("must stay free"), "{error}");
    // The disk itself.
    let mut run = TestRun::begin(&top, &destination, 3).unwrap();
    run.builder = run.builder.keep_free_percent(0);
    let context = run.context("ledger", Place::SiteDbServer);
    let endless = &mut std::io::repeat(7);
    let error = run
        .builder
        .sink(Place::SiteDbServer, &context.component)
        .stream(&context, "dump.sql", endless)
        .unwrap_err();
    assert!(error.0.contains("cannot write") && error.0.contains("make room"), "{error}");
    let source = ground.folder("big source");
    for number in 0..80 {
        fs::write(source.join(format!("{number}")), &big).unwrap();
    }
    let error = run.tree("web", Place::SiteServer, "", walked(&source)).unwrap_err();
    assert!(error.0.contains("make room"), "{error}");
    assert!(run.publish().is_err());
    Undos::reconcile(&ground.path("undos"));
    assert_eq!(names_in(&root), ["P01Backup", "lost+found"]);
    let set = BackupSet::open(&root).unwrap();
    assert_eq!((set.facts().run.clone(), damage(&set)), (run_id(1), Vec::new()));
}

#[test]
fn the_watch_refuses_in_the_middle_of_a_stream_when_the_reserve_is_reached() {
    let mut ground = Ground::new();
    let root = ground.tmpfs("memory", "size=200m,mode=700");
    let mut run = TestRun::begin(ground.top.path(), &one_folder(&root), 1).unwrap();
    run.builder = run.builder.keep_free_percent(40);
    let context = run.context("ledger", Place::SiteDbServer);
    let endless = &mut std::io::repeat(7);
    let error = run
        .builder
        .sink(Place::SiteDbServer, &context.component)
        .stream(&context, "dump", endless)
        .unwrap_err();
    assert!(error.0.contains("must stay free"), "{error}");
    let written = fs::metadata(run.builder.folder().join("SiteDBServer/ledger/dump")).unwrap().len();
    assert!(((100 << 20)..(190 << 20)).contains(&written), "{written}");
}

#[test]
fn a_cancelled_run_ends_in_the_sink() {
    let ground = Ground::new();
    let mut run = TestRun::begin(ground.top.path(), &one_folder(&ground.folder("backup")), 1).unwrap();
    run.cancel.cancel();
    let source = ground.folder("source");
    plant_source(&source, "x");
    assert!(run.stream("ledger", Place::SiteDbServer, "dump", b"x").unwrap_err().0.contains("cancelled"));
    assert!(run.tree("web", Place::SiteServer, "", walked(&source)).unwrap_err().0.contains("cancelled"));
}

#[test]
fn databases_apart_are_part_of_the_set_and_go_with_it() {
    let ground = Ground::new();
    let (files, databases) = (ground.folder("backup"), ground.folder("databases"));
    let destination = two_folders(&files, &databases);
    publish_version(ground.top.path(), &destination, 1).unwrap();
    let set = publish_version(ground.top.path(), &destination, 2).unwrap();
    let part = databases.join(format!("P01Backup-db-{}", run_id(2)));
    assert_eq!(names_in(&databases), [part.file_name().unwrap().to_str().unwrap()]);
    assert_eq!(names_in(&part), ["SHA256SUMS", "SiteDBServer", "part.json"]);
    assert!(!set.folder().join("SiteDBServer").exists());
    sha256sum_check(set.folder(), "SHA256SUMS");
    sha256sum_check(&part, "SHA256SUMS");
    assert_eq!(set.component(&name("ledger")).unwrap().folder, part.join("SiteDBServer/ledger"));
    fs::write(part.join("SiteDBServer/ledger/dump.sql"), b"dump X").unwrap();
    assert_eq!(damage(&set), ["dump.sql: its content changed"]);
    // On a bare machine it may lie beside the set; without it, the set is told as not whole.
    fs::rename(&part, files.join(part.file_name().unwrap())).unwrap();
    assert!(BackupSet::open(&files).unwrap().component(&name("ledger")).unwrap().folder.starts_with(&files));
    // An archive keeps all of it as one folder.
    let inside = set.folder().join("databases");
    fs::rename(files.join(part.file_name().unwrap()), &inside).unwrap();
    let one = BackupSet::open(&files).unwrap();
    assert_eq!(one.component(&name("ledger")).unwrap().folder, inside.join("SiteDBServer/ledger"));
    assert_eq!(damage(&one), ["dump.sql: its content changed"]);
    let at = |path: &str| stillpoint_tree::RelPath::from_bytes(path.into()).unwrap();
    let has = |path: &str| {
        one.pieces().iter().any(|piece| match piece {
            Piece::Component { at: found, .. }
            | Piece::Folder { at: found, .. }
            | Piece::File { at: found, .. } => *found == at(path),
        })
    };
    for path in
        ["databases/SiteDBServer/ledger", "databases/part.json", "SiteServer/web", "manifest.json", "writers"]
    {
        assert!(has(path), "{path} is no piece of the set: {:?}", one.pieces());
    }
    fs::remove_dir_all(inside).unwrap();
    let error = BackupSet::open(&files).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Damaged);
    assert!(error.text.contains("databases") && error.hint.unwrap().contains("beside"), "{}", error.text);
}

#[test]
fn a_part_of_another_set_is_not_taken_for_ours() {
    let ground = Ground::new();
    let (files, databases) = (ground.folder("backup"), ground.folder("databases"));
    let destination = two_folders(&files, &databases);
    publish_version(ground.top.path(), &destination, 1).unwrap();
    let part = |number| databases.join(format!("P01Backup-db-{}", run_id(number)));
    support::run("cp", &["-a", part(1).to_str().unwrap(), ground.path("kept").to_str().unwrap()]);
    publish_version(ground.top.path(), &destination, 2).unwrap();
    fs::remove_dir_all(part(2)).unwrap();
    fs::rename(ground.path("kept"), part(2)).unwrap();
    assert_eq!(BackupSet::open(&files).unwrap_err().kind, ErrorKind::Damaged);
}

#[test]
fn sets_are_listed_also_under_names_that_a_hook_gave_them() {
    let ground = Ground::new();
    let root = ground.folder("backup");
    publish_version(ground.top.path(), &one_folder(&root), 1).unwrap();
    fs::rename(root.join("P01Backup"), root.join("Monday")).unwrap();
    publish_version(ground.top.path(), &one_folder(&root), 2).unwrap();
    fs::create_dir(root.join("something else")).unwrap();
    let half = TestRun::begin(ground.top.path(), &one_folder(&root), 3).unwrap();
    let sets = list(&root).unwrap();
    let runs: Vec<RunId> = sets.iter().map(|set| set.content.as_ref().unwrap().run.clone()).collect();
    assert_eq!(runs, [run_id(1), run_id(2)]);
    let content = sets[0].content.as_ref().unwrap();
    assert_eq!((content.components, content.grade), (2, Some(Grade::Crash)));
    assert_eq!(BackupSet::open(&root).unwrap_err().kind, ErrorKind::Usage, "which of the two is not said");
    assert!(BackupSet::open(&root.join("Monday")).is_ok());
    drop(half);
    fs::write(root.join("Monday/manifest.json"), b"{}").unwrap();
    assert!(list(&root).unwrap()[0].content.as_ref().unwrap_err().contains("checksum"));
}

#[test]
fn what_is_no_set_is_refused_with_the_reason() {
    let ground = Ground::new();
    let root = ground.folder("backup");
    let refused = |path: &Path| {
        let error = BackupSet::open(path).unwrap_err();
        assert!(error.hint.is_some(), "{}", error.text);
        (error.kind, error.text)
    };
    let (kind, text) = refused(&root);
    assert!(kind == ErrorKind::Usage && text.contains("is not a backup set"), "{text}");
    let (kind, text) = refused(&root.join("nowhere"));
    assert!(kind == ErrorKind::Usage && text.contains("there is no backup set"), "{text}");
    let run = fill_version(ground.top.path(), &one_folder(&root), 1).unwrap();
    let (kind, text) = refused(&run.builder.folder());
    assert!(kind == ErrorKind::Usage && text.contains("half-built"), "{text}");
    assert_eq!(refused(&root).0, ErrorKind::Usage);
    let set = run.publish().unwrap();
    let building = root.join(".P01Backup.building-20261122T030000Z-1");
    support::run("cp", &["-a", set.folder().to_str().unwrap(), building.to_str().unwrap()]);
    let (kind, text) = refused(&building);
    assert!(kind == ErrorKind::Usage && text.contains("is not published"), "{text}");
    // A set of the future, with a checksum that fits.
    let text = fs::read_to_string(set.folder().join("manifest.json")).unwrap();
    let text = text.replace("\"min_reader\": 1", "\"min_reader\": 2").replace("\"cut_at\"", "\"cut\"");
    fs::write(set.folder().join("manifest.json"), text).unwrap();
    let sum =
        Command::new("sha256sum").arg("manifest.json").current_dir(set.folder()).output().unwrap().stdout;
    fs::write(set.folder().join("manifest.json.sha256"), sum).unwrap();
    let (kind, text) = refused(&root);
    assert!(kind == ErrorKind::Environment && text.contains("format"), "{text}");
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Act {
    Flip,
    Truncate,
    Delete,
    Add,
}

fn harm(path: &Path, act: Act) {
    match act {
        Act::Flip => {
            let mut content = fs::read(path).unwrap();
            let at = content.len() / 2;
            content[at] ^= 1;
            fs::write(path, content).unwrap();
        }
        Act::Truncate => {
            let half = fs::metadata(path).unwrap().len() / 2;
            fs::File::options().write(true).open(path).unwrap().set_len(half).unwrap();
        }
        Act::Delete => fs::remove_file(path).unwrap(),
        Act::Add => fs::write(path.with_file_name("stranger"), b"?").unwrap(),
    }
}

#[test]
fn every_kind_of_damage_to_every_kind_of_file_is_told() {
    let ground = Ground::new();
    let root = ground.folder("backup");
    publish_version(ground.top.path(), &one_folder(&root), 1).unwrap();
    let set = root.join("P01Backup");
    let good = ground.path("good");
    support::run("cp", &["-a", set.to_str().unwrap(), good.to_str().unwrap()]);
    let files = [
        "SiteServer/web/folder/big",
        "SiteServer/web/plain",
        "SiteDBServer/ledger/dump.sql",
        "manifest/web.jsonl",
        "manifest.json",
        "manifest.json.sha256",
        "SHA256SUMS",
        "writers/ledger.json",
        "CD.Latest/stillpoint",
        "CD.Latest/site.toml",
        "CD.Latest/RECOVER.md",
        "CD.Latest/versions.json",
    ];
    for file in files {
        for act in [Act::Flip, Act::Truncate, Act::Delete, Act::Add] {
            let top_level = !file.contains('/');
            if act == Act::Add && top_level {
                // A hook may put its own files beside ours.
                continue;
            }
            harm(&set.join(file), act);
            let found = verify_all(&set);
            let case = format!("{act:?} {file}: {found:?}");
            let opened = BackupSet::open(&set).map(|_| ()).map_err(|error| error.kind);
            if file.starts_with("manifest.json") {
                assert_eq!(found, Err(ErrorKind::Damaged), "{case}");
                assert_eq!(opened, Err(ErrorKind::Damaged), "{case}");
            } else {
                let found = found.unwrap();
                assert_eq!(found.len(), 1, "{case}");
                let name = if act == Act::Add { "stranger" } else { file.rsplit('/').next().unwrap() };
                assert!(found[0].contains(name), "{case}");
                let needed_to_open =
                    act != Act::Add && (file.starts_with("manifest/") || file.starts_with("writers/"));
                assert_eq!(opened, if needed_to_open { Err(ErrorKind::Damaged) } else { Ok(()) }, "{case}");
            }
            fs::remove_dir_all(&set).unwrap();
            support::run("cp", &["-a", good.to_str().unwrap(), set.to_str().unwrap()]);
        }
    }
    assert_eq!(verify_all(&set), Ok(Vec::new()));
}

#[test]
fn a_changed_type_a_changed_link_and_a_stranger_folder_are_told() {
    let ground = Ground::new();
    let set = publish_version(ground.top.path(), &one_folder(&ground.folder("backup")), 1).unwrap();
    let web = set.folder().join("SiteServer/web");
    fs::remove_dir(web.join("folder/empty")).unwrap();
    fs::write(web.join("folder/empty"), b"").unwrap();
    fs::remove_file(web.join("pointer")).unwrap();
    std::os::unix::fs::symlink("elsewhere", web.join("pointer")).unwrap();
    fs::create_dir_all(web.join("folder/new/below")).unwrap();
    fs::create_dir(set.folder().join("SiteServer/other")).unwrap();
    let mut found = damage(&set);
    found.sort();
    assert_eq!(
        found,
        [
            "SiteServer/other: does not belong to the set",
            "folder/empty: is of another type than listed",
            "folder/new: does not belong to the set",
            "pointer: points elsewhere",
        ]
    );
}

#[test]
fn a_verify_can_be_cancelled_and_tells_what_it_read() {
    let ground = Ground::new();
    let set = publish_version(ground.top.path(), &one_folder(&ground.folder("backup")), 1).unwrap();
    let monitor: Arc<dyn Monitor> = Arc::new(NoMonitor);
    let report = set.verify(&monitor, &Cancel::default()).unwrap();
    let (files, bytes) = [name("web"), name("ledger")]
        .iter()
        .filter_map(|name| set.size(name))
        .fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    assert_eq!(files, odd_names().len() as u64 + 2 + 1);
    assert!(report.files > files && report.bytes > bytes, "{report:?}");
    let cancel = Cancel::default();
    cancel.cancel();
    assert_eq!(set.verify(&monitor, &cancel).unwrap_err().kind, ErrorKind::Cancelled);
}

#[test]
fn a_component_without_data_is_in_the_set() {
    let ground = Ground::new();
    let mut run = TestRun::begin(ground.top.path(), &one_folder(&ground.folder("backup")), 1).unwrap();
    run.context("app", Place::SiteServer);
    let set = run.publish().unwrap();
    assert_eq!(listed(&set, "app"), [""]);
    assert_eq!(set.size(&name("app")), Some((0, 0)));
    assert_eq!(damage(&set), Vec::<String>::new());
    let entry =
        IndexReader::open(&set.component(&name("app")).unwrap().index).unwrap().next().unwrap().unwrap();
    assert_eq!(entry.kind, Kind::Directory);
}

/// Publishes version `number` of the test set with this outcome.
fn publish_with(ground: &Ground, destination: &Destination, number: u64, outcome: Outcome) -> BackupSet {
    let run = fill_version(ground.top.path(), destination, number).unwrap();
    let (facts, monitor) = (SetFacts { outcome, ..run.facts() }, run.monitor());
    let kit = Kit {
        program: run.kit().program.clone(),
        site_file: run.kit().site_file.clone(),
        recover: run.kit().recover.clone(),
    };
    run.builder.publish(facts, &kit, &monitor).unwrap()
}

#[test]
fn a_complete_set_is_kept_beside_an_incomplete_one_until_the_next_complete_one() {
    let ground = Ground::new();
    for (form, apart) in [("one", false), ("two", true)] {
        let (files, databases) =
            (ground.folder(&format!("{form}-files")), ground.folder(&format!("{form}-databases")));
        let destination = if apart { two_folders(&files, &databases) } else { one_folder(&files) };
        let kept = files.join("P01Backup.complete");
        publish_with(&ground, &destination, 1, Outcome::Complete);
        for number in [2, 3] {
            publish_with(&ground, &destination, number, Outcome::Incomplete);
            assert_eq!(BackupSet::open(&kept).unwrap().facts().run, run_id(1));
            assert_eq!(verify_all(&kept).unwrap(), Vec::<String>::new());
            assert_eq!(mend(&destination), Vec::<String>::new(), "what is kept was taken for a leftover");
            assert_eq!(verify_all(&kept).unwrap(), Vec::<String>::new());
        }
        let last = BackupSet::open(&files).unwrap();
        assert_eq!((last.facts().run.clone(), last.complete_beside()), (run_id(3), Some(kept.clone())));
        assert_eq!(BackupSet::open(&kept).unwrap().complete_beside(), None);
        publish_with(&ground, &destination, 4, Outcome::Complete);
        assert_eq!(names_in(&files), ["P01Backup"]);
        assert_eq!(names_in(&databases).len(), usize::from(apart));
    }
}
