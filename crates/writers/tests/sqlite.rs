//! SQLite databases under real writers: other processes that commit as fast as they can while the database is cut.
//!
//! Marker technique: the application commits the number n, then writes n to a file. Held anywhere, `database == file` or
//! `database == file + 1`. Brought to rest between two operations, they are equal.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::{Group, Hierarchy, Kept, Surroundings, soon, wait_until};
use rusqlite::Connection;
use stillpoint_model::site_file::{Quiet, ServiceSettings, SqliteSettings};
use stillpoint_model::{
    Captured, Deadline, EpochNumber, Grade, Level, RestoreOptions, Restorer, StoredComponent, Writer,
    WriterError,
};
use stillpoint_tree::{IndexReader, Kind};
use stillpoint_writers::services::ServiceWriter;
use stillpoint_writers::sqlite::{LockOrder, SqliteRestorer, SqliteWriter};

const ROUNDS: usize = 20;

/// Not a test: the application, in a process of its own. It rests while the file `rest` is there and says so in `resting`.
#[test]
#[ignore = "a stand-in for a process, started by other tests"]
fn application() {
    let Some(folder) = std::env::var_os("APPLICATION").map(PathBuf::from) else { return };
    let database = Connection::open(folder.join("app.db")).unwrap();
    database.busy_timeout(Duration::from_secs(60)).unwrap();
    database.execute_batch("PRAGMA synchronous = OFF").unwrap();
    let file = File::options().write(true).open(folder.join("marker")).unwrap();
    let mut number: i64 = database.query_row("SELECT v FROM marker", [], |row| row.get(0)).unwrap();
    loop {
        if folder.join("rest").exists() {
            fs::write(folder.join("resting"), "").unwrap();
            wait_forever_until(|| !folder.join("rest").exists());
            fs::remove_file(folder.join("resting")).unwrap();
        }
        number += 1;
        database.execute_batch("BEGIN IMMEDIATE").unwrap();
        database.execute("UPDATE marker SET v = ?", [number]).unwrap();
        database.execute("INSERT INTO history VALUES (?, randomblob(200))", [number]).unwrap();
        database.execute_batch("COMMIT").unwrap();
        file.write_all_at(format!("{number:020}").as_bytes(), 0).unwrap();
    }
}

fn wait_forever_until(done: impl Fn() -> bool) {
    while !done() {
        std::thread::yield_now();
    }
}

struct Application {
    folder: PathBuf,
    child: Option<Child>,
}

impl Application {
    /// Makes the database, filled to some size.
    fn create(site: &Surroundings, journal: &str) -> Self {
        let folder = site.path("app");
        fs::create_dir(&folder).unwrap();
        let application = Self { folder, child: None };
        make_database(&application.database(), journal);
        fs::write(application.folder.join("marker"), format!("{:020}", 0)).unwrap();
        application
    }

    fn start(mut self) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "application", "--ignored"])
            .env("APPLICATION", &self.folder)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        self.wait_for_commits();
        self
    }

    fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    fn database(&self) -> PathBuf {
        self.folder.join("app.db")
    }

    fn marker(&self) -> u64 {
        fs::read_to_string(self.folder.join("marker")).unwrap().parse().unwrap()
    }

    fn wait_for_commits(&self) {
        let before = self.marker();
        wait_until("the application commits", || self.marker() > before + 10);
    }

    /// Brings it to rest between two operations.
    fn rest(&self) {
        fs::write(self.folder.join("rest"), "").unwrap();
        wait_until("the application rests", || self.folder.join("resting").exists());
    }

    fn go_on(&self) {
        fs::remove_file(self.folder.join("rest")).unwrap();
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn writer(&self, order: LockOrder) -> SqliteWriter {
        SqliteWriter::new(&SqliteSettings { path: self.database() }, order)
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.kill();
    }
}

fn make_database(path: &Path, journal: &str) {
    let database = Connection::open(path).unwrap();
    database.query_row(&format!("PRAGMA journal_mode = {journal}"), [], |_| Ok(())).unwrap();
    database
        .execute_batch(
            "PRAGMA page_size; CREATE TABLE marker (v INTEGER); INSERT INTO marker VALUES (0);
             CREATE TABLE history (n INTEGER PRIMARY KEY, filler BLOB);
             CREATE TABLE ballast AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 2000)
                 SELECT n, randomblob(1000) AS filler FROM c;",
        )
        .unwrap();
}

/// What the captured copy says: the marker, whether it agrees with the history, and whether it is whole.
fn value_in(copy: &Path) -> u64 {
    let database = Connection::open(copy).unwrap();
    let verdict: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    let (value, count): (i64, i64) = database
        .query_row("SELECT v, (SELECT count(*) FROM history) FROM marker", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!(value, count, "the marker and the history are of different instants");
    value.cast_unsigned()
}

fn make_ready(writer: &mut SqliteWriter, site: &Surroundings) -> Result<Level, WriterError> {
    let level = writer.identify(&site.context, soon())?.level;
    writer.prepare(&site.context, soon())?;
    writer.poise(&site.context, soon())?;
    Ok(level)
}

fn capture(writer: &mut SqliteWriter, site: &Surroundings) -> Result<(PathBuf, Captured), WriterError> {
    let mut kept = Kept::default();
    let captured = writer.capture(&site.context, soon(), &mut kept);
    writer.release(&site.context).unwrap();
    let captured = captured?;
    let (folder, source) = kept.trees.pop().unwrap();
    assert!(folder.is_empty() && source.owned);
    let names: Vec<_> = fs::read_dir(&source.root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 1, "{names:?}: a log or journal lies beside the copy");
    Ok((source.root.join(&names[0]), captured))
}

fn empty_workspace(site: &Surroundings) {
    fs::remove_dir_all(&site.context.workspace).unwrap();
    fs::create_dir(&site.context.workspace).unwrap();
}

/// The application is held by the freezer wherever it happens to be.
fn held_rounds(journal: &str, hierarchy: Hierarchy) {
    let site = Surroundings::new();
    let app = Application::create(&site, journal).start();
    let group = Group::new(hierarchy);
    group.take(app.id());
    let settings = ServiceSettings {
        quiet: Quiet::Freeze,
        unit: None,
        cgroup: Some(group.folder.clone()),
        freeze_command: None,
        thaw_command: None,
        running_command: None,
    };
    let mut pins = Vec::new();
    for round in 0..ROUNDS {
        let mut service = ServiceWriter::new(&settings).unwrap();
        service.identify(&site.context, soon()).unwrap();
        service.poise(&site.context, soon()).unwrap();
        let mut writer = app.writer(LockOrder::BeforeServices);
        let level = make_ready(&mut writer, &site).unwrap();
        assert_eq!(level, if journal == "wal" { Level::BackEnd } else { Level::Lock });
        // By level: the lock before the application, the database after it; the thaw the other way round.
        if level == Level::Lock {
            writer.freeze(&site.context, soon()).unwrap();
        }
        service.freeze(&site.context, soon()).unwrap();
        if level == Level::BackEnd {
            writer.freeze(&site.context, soon()).unwrap();
        }
        let file = app.marker();
        writer.cut(&site.context, soon()).unwrap();
        if level == Level::BackEnd {
            writer.thaw(&site.context, soon()).unwrap();
        }
        service.thaw(&site.context, soon()).unwrap();
        if level == Level::Lock {
            writer.thaw(&site.context, soon()).unwrap();
        }
        service.release(&site.context).unwrap();
        app.wait_for_commits();
        let (copy, captured) = capture(&mut writer, &site).unwrap();
        let value = value_in(&copy);
        assert!(value == file || value == file + 1, "round {round}: database {value}, file {file}");
        assert_eq!(captured.grade, Grade::Frozen);
        pins.push(captured.facts["pinned_in_us"].as_u64().unwrap());
        empty_workspace(&site);
    }
    pins.sort_unstable();
    println!(
        "{journal} {hierarchy:?}: view taken in {} us (median), {} us (longest)",
        pins[ROUNDS / 2],
        pins[ROUNDS - 1]
    );
    group.thaw();
}

#[test]
fn a_view_of_a_database_with_a_log_is_of_the_instant_of_the_hold() {
    held_rounds("wal", Hierarchy::Unified);
}

#[test]
fn a_copy_of_a_database_with_a_rollback_journal_is_of_the_instant_of_the_hold() {
    held_rounds("delete", Hierarchy::Unified);
    held_rounds("truncate", Hierarchy::Freezer);
}

#[test]
fn a_database_of_an_application_at_rest_is_exactly_of_that_instant() {
    for journal in ["wal", "delete"] {
        let site = Surroundings::new();
        let app = Application::create(&site, journal).start();
        for round in 0..ROUNDS {
            let mut writer = app.writer(LockOrder::AfterServices);
            assert_eq!(make_ready(&mut writer, &site).unwrap(), Level::BackEnd);
            app.rest();
            writer.freeze(&site.context, soon()).unwrap();
            let file = app.marker();
            writer.cut(&site.context, soon()).unwrap();
            writer.thaw(&site.context, soon()).unwrap();
            app.go_on();
            app.wait_for_commits();
            let (copy, _) = capture(&mut writer, &site).unwrap();
            assert_eq!(value_in(&copy), file, "{journal}, round {round}");
            empty_workspace(&site);
        }
    }
}

/// The inodes on which this process holds POSIX locks. The kernel shows its list in parts, and where others lock and
/// unlock between two of them, a line may be passed over: so what any of some looks shows is held.
fn locked_by_us() -> Vec<u64> {
    let mut locked: Vec<u64> = (0..5).flat_map(|_| locked_at_a_look()).collect();
    locked.sort_unstable();
    locked.dedup();
    locked
}

fn locked_at_a_look() -> Vec<u64> {
    let locks = fs::read_to_string("/proc/locks").unwrap();
    let own = std::process::id().to_string();
    let fields = locks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    fields
        .filter(|fields| fields[1] == "POSIX" && fields[4] == own)
        .map(|fields| fields[5].rsplit(':').next().unwrap().parse().unwrap())
        .collect()
}

#[test]
fn another_thread_that_opens_and_closes_the_files_does_not_drop_our_locks() {
    for journal in ["wal", "delete"] {
        let site = Surroundings::new();
        let app = Application::create(&site, journal).start();
        let mut writer = app.writer(LockOrder::BeforeServices);
        make_ready(&mut writer, &site).unwrap();
        let file = app.marker();
        writer.freeze(&site.context, soon()).unwrap();
        if journal == "wal" {
            writer.cut(&site.context, soon()).unwrap();
        }
        // What a copy of the folder does.
        let mut inodes = Vec::new();
        for entry in fs::read_dir(&app.folder).unwrap().flatten() {
            if let Ok(bytes) = fs::read(entry.path()) {
                drop(bytes);
                inodes.push((entry.file_name(), entry.metadata().unwrap().ino()));
            }
        }
        let locked = locked_by_us();
        for (name, inode) in &inodes {
            let expected = *name == *"app.db" || *name == *"app.db-shm";
            assert_eq!(locked.contains(inode), expected, "{journal}: {}", name.display());
        }
        if journal == "delete" {
            writer.cut(&site.context, soon()).unwrap();
        }
        writer.thaw(&site.context, soon()).unwrap();
        let (copy, _) = capture(&mut writer, &site).unwrap();
        assert!(value_in(&copy) >= file);
        let left = locked_by_us();
        assert!(!inodes.iter().any(|(_, inode)| left.contains(inode)), "a lock is left");
        app.wait_for_commits();
    }
}

#[test]
fn a_view_stays_as_it_is_while_the_log_is_taken_in_by_others() {
    let site = Surroundings::new();
    let app = Application::create(&site, "wal").start();
    let mut writer = app.writer(LockOrder::AfterServices);
    make_ready(&mut writer, &site).unwrap();
    app.rest();
    let file = app.marker();
    writer.cut(&site.context, soon()).unwrap();
    app.go_on();
    // Somebody who copies the folder, and somebody who empties the log, all the time.
    let stop = Arc::new(AtomicBool::new(false));
    let rounds = Arc::new(AtomicU64::new(0));
    let meddler = {
        let (stop, rounds, folder) = (stop.clone(), rounds.clone(), app.folder.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                for entry in fs::read_dir(&folder).unwrap().flatten() {
                    let _ = File::open(entry.path());
                }
                // The shell has locks of its own; a connection of this process would share ours.
                let _ = Command::new("sqlite3")
                    .arg(folder.join("app.db"))
                    .arg("PRAGMA busy_timeout = 50; PRAGMA wal_checkpoint(TRUNCATE);")
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .status()
                    .expect("the tests need the program sqlite3");
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    wait_until("the meddler meddled", || rounds.load(Ordering::Relaxed) > 5);
    app.wait_for_commits();
    let captured = capture(&mut writer, &site);
    stop.store(true, Ordering::Relaxed);
    meddler.join().unwrap();
    assert_eq!(value_in(&captured.unwrap().0), file);
}

#[test]
fn a_lock_that_cannot_be_had_in_time_is_a_veto_that_says_why() {
    let site = Surroundings::new();
    let app = Application::create(&site, "delete");
    let mut writer = app.writer(LockOrder::BeforeServices);
    make_ready(&mut writer, &site).unwrap();
    let holder = Holder::start(&app.database(), "BEGIN EXCLUSIVE; UPDATE marker SET v = 1;");
    let error = writer.freeze(&site.context, Deadline::after(Duration::from_millis(200))).unwrap_err();
    assert!(error.to_string().contains("shared lock"), "{error}");
    writer.thaw(&site.context, soon()).unwrap();
    writer.release(&site.context).unwrap();
    drop(holder);
}

/// Another program with a transaction under way, killed at the end.
struct Holder(Child);

impl Holder {
    fn start(database: &Path, sql: &str) -> Self {
        let mut child = Command::new("sqlite3")
            .arg(database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the tests need the program sqlite3");
        let mut input = child.stdin.take().unwrap();
        writeln!(input, "{sql}\nSELECT 'begun';").unwrap();
        input.flush().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        assert!(output.lines().any(|line| line.unwrap() == "begun"), "the statements failed");
        // An end of its input would end it.
        child.stdin = Some(input);
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn what_a_killed_writer_left_half_done_is_not_in_the_copy() {
    let site = Surroundings::new();
    let app = Application::create(&site, "delete");
    let before = fs::read(app.database()).unwrap();
    // A small cache makes it write to the database before it commits.
    let sql = "PRAGMA cache_size = 10; BEGIN; UPDATE ballast SET filler = randomblob(1000); UPDATE marker SET v = 77;";
    drop(Holder::start(&app.database(), sql));
    assert!(app.folder.join("app.db-journal").exists(), "no journal was left: the test shows nothing");
    assert_ne!(fs::read(app.database()).unwrap(), before, "nothing was half done: the test shows nothing");
    let mut writer = app.writer(LockOrder::AfterServices);
    make_ready(&mut writer, &site).unwrap();
    writer.freeze(&site.context, soon()).unwrap();
    writer.cut(&site.context, soon()).unwrap();
    writer.thaw(&site.context, soon()).unwrap();
    let (copy, _) = capture(&mut writer, &site).unwrap();
    assert_eq!(fs::read(copy).unwrap(), before);
}

#[test]
fn a_journal_mode_that_changes_under_way_is_a_veto() {
    let site = Surroundings::new();
    let app = Application::create(&site, "delete");
    let mut writer = app.writer(LockOrder::BeforeServices);
    make_ready(&mut writer, &site).unwrap();
    let status =
        Command::new("sqlite3").arg(app.database()).arg("PRAGMA journal_mode = wal").output().unwrap();
    assert!(status.status.success());
    let error = writer.freeze(&site.context, soon()).unwrap_err();
    assert!(error.to_string().contains("journal mode"), "{error}");
    writer.thaw(&site.context, soon()).unwrap();
    writer.release(&site.context).unwrap();
}

#[test]
fn a_damaged_database_fails_the_capture() {
    for journal in ["wal", "delete"] {
        let site = Surroundings::new();
        let app = Application::create(&site, journal);
        let file = File::options().write(true).open(app.database()).unwrap();
        let length = file.metadata().unwrap().len();
        file.write_all_at(&[0xA5; 64 * 1024], length / 2).unwrap();
        let mut writer = app.writer(LockOrder::AfterServices);
        make_ready(&mut writer, &site).unwrap();
        writer.freeze(&site.context, soon()).unwrap();
        writer.cut(&site.context, soon()).unwrap();
        writer.thaw(&site.context, soon()).unwrap();
        let error = capture(&mut writer, &site).map(drop).unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");
    }
}

#[test]
fn what_is_no_database_is_told_at_once() {
    let site = Surroundings::new();
    let (text, folder) = (site.path("text"), site.path("folder"));
    fs::write(&text, "x".repeat(4096)).unwrap();
    fs::create_dir(&folder).unwrap();
    for (path, words) in [
        (text, "not an SQLite database"),
        (folder, "not a file"),
        (site.path("missing"), "cannot find the database"),
    ] {
        let mut writer = SqliteWriter::new(&SqliteSettings { path }, LockOrder::BeforeServices);
        let error = writer.identify(&site.context, soon()).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn a_database_that_two_components_name_is_refused() {
    let site = Surroundings::new();
    let app = Application::create(&site, "wal");
    let mut first = app.writer(LockOrder::AfterServices);
    make_ready(&mut first, &site).unwrap();
    let other = Surroundings::new();
    fs::hard_link(app.database(), other.path("other name")).unwrap();
    let second = |site: &Surroundings| {
        let path = other.path("other name");
        make_ready(&mut SqliteWriter::new(&SqliteSettings { path }, LockOrder::AfterServices), site)
    };
    let error = second(&other).unwrap_err();
    assert!(error.to_string().contains("two components"), "{error}");
    first.release(&site.context).unwrap();
    empty_workspace(&other);
    second(&other).unwrap();
}

/// A whole run over a database that nobody uses.
fn quiet_run(site: &Surroundings, path: &Path) -> (PathBuf, Captured, PathBuf) {
    let mut writer = SqliteWriter::new(&SqliteSettings { path: path.to_owned() }, LockOrder::BeforeServices);
    make_ready(&mut writer, site).unwrap();
    writer.freeze(&site.context, soon()).unwrap();
    writer.cut(&site.context, soon()).unwrap();
    writer.thaw(&site.context, soon()).unwrap();
    let (copy, captured) = capture(&mut writer, site).unwrap();
    (copy, captured, site.context.workspace.join("database.list"))
}

#[test]
fn of_a_database_with_a_rollback_journal_only_what_changed_is_copied_in_the_cut() {
    // What was deleted leaves pages behind that are not in use; a vacuum shortens the file, and moves the rest.
    for (change, most) in [
        ("UPDATE marker SET v = 1; INSERT INTO history VALUES (1, NULL)", 4 << 16),
        ("INSERT INTO ballast VALUES (0, randomblob(200000))", 6 << 16),
        ("DELETE FROM ballast WHERE n > 100; VACUUM", u64::MAX),
    ] {
        let site = Surroundings::new();
        let path = site.path("app.db");
        make_database(&path, "delete");
        let mut writer = SqliteWriter::new(&SqliteSettings { path: path.clone() }, LockOrder::BeforeServices);
        make_ready(&mut writer, &site).unwrap();
        // Another process: a connection of ours would share its locks with the writer's.
        let changed = Command::new("sqlite3").arg(&path).arg(change).status().unwrap();
        assert!(changed.success(), "the tests need the program sqlite3");
        writer.freeze(&site.context, soon()).unwrap();
        writer.cut(&site.context, soon()).unwrap();
        writer.thaw(&site.context, soon()).unwrap();
        let (copy, captured) = capture(&mut writer, &site).unwrap();
        assert!(fs::read(&copy).unwrap() == fs::read(&path).unwrap(), "after {change} the copy is another");
        value_in(&copy);
        if captured.facts["method"] == "copy" {
            let written = captured.facts["cut_bytes"].as_u64().unwrap();
            assert!(
                written > 0 && written <= most,
                "{change}: {written} bytes of {} were copied",
                fs::metadata(&path).unwrap().len()
            );
        }
    }
}

#[test]
fn the_list_has_the_original_name_owner_and_mode() {
    for (journal, name) in [("wal", &b"odd name%20?#\xFF.db"[..]), ("delete", b"plain.db")] {
        let site = Surroundings::new();
        let path = site.path("").join(OsStr::from_bytes(name));
        make_database(&path, journal);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        chown(&path, Some(1234), Some(2345)).unwrap();
        let (copy, captured, list) = quiet_run(&site, &path);
        assert_eq!(copy.file_name().unwrap().as_bytes(), name);
        assert_eq!(
            captured.facts["journal"].as_str(),
            Some(if journal == "wal" { "wal" } else { "rollback" })
        );
        let entry = IndexReader::open(&list).unwrap().nth(1).unwrap().unwrap();
        assert_eq!((entry.path.as_bytes(), entry.mode, entry.uid, entry.gid), (name, 0o640, 1234, 2345));
        let Kind::File(facts) = entry.kind else { panic!("not a file") };
        assert_eq!(facts.size, fs::metadata(&copy).unwrap().len());
        // The copy is of the same kind as the original.
        let header = fs::read(&copy).unwrap();
        assert_eq!(header[..20], fs::read(&path).unwrap()[..20]);
        let left: Vec<_> =
            fs::read_dir(site.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "{left:?}: something was left beside the database");
    }
}

#[test]
fn what_sqlite_makes_beside_the_database_belongs_to_its_owner() {
    let site = Surroundings::new();
    let app = Application::create(&site, "wal");
    chown(app.database(), Some(1234), Some(2345)).unwrap();
    let mut writer = app.writer(LockOrder::AfterServices);
    make_ready(&mut writer, &site).unwrap();
    for ending in ["-wal", "-shm"] {
        let facts = fs::metadata(app.folder.join(format!("app.db{ending}"))).unwrap();
        assert_eq!((facts.uid(), facts.gid()), (1234, 2345), "{ending}");
    }
    writer.release(&site.context).unwrap();
}

#[test]
fn an_empty_file_is_an_empty_database() {
    let site = Surroundings::new();
    let path = site.path("empty.db");
    fs::write(&path, "").unwrap();
    let (copy, ..) = quiet_run(&site, &path);
    assert_eq!(fs::metadata(copy).unwrap().len(), 0);
}

fn stored(copy: &Path, list: PathBuf) -> StoredComponent {
    StoredComponent {
        name: "part".parse().unwrap(),
        folder: copy.parent().unwrap().to_owned(),
        index: list,
        facts: serde_json::Value::Null,
        grade: Grade::Frozen,
        epoch: EpochNumber(1),
    }
}

#[test]
fn a_restored_database_is_as_it_was_and_no_foreign_journal_is_left_beside_it() {
    let site = Surroundings::new();
    let app = Application::create(&site, "wal");
    fs::set_permissions(app.database(), fs::Permissions::from_mode(0o640)).unwrap();
    chown(app.database(), Some(1234), Some(2345)).unwrap();
    let (copy, _, list) = quiet_run(&site, &app.database());
    let stored = stored(&copy, list);
    // A later life of the database, ended in the middle: its log is still there.
    drop(Holder::start(&app.database(), "UPDATE marker SET v = 99;"));
    assert!(app.folder.join("app.db-wal").exists());
    let mut restorer = SqliteRestorer::new(&SqliteSettings { path: app.database() });
    assert_eq!(restorer.obstacles(&stored).unwrap().len(), 3);
    let no = RestoreOptions { overwrite: false };
    restorer.restore(&site.context, &stored, &no, soon()).unwrap_err();
    assert!(app.folder.join("app.db-wal").exists());
    let yes = RestoreOptions { overwrite: true };
    let holder = Holder::start(&app.database(), "SELECT 1 FROM marker;");
    let error = restorer.restore(&site.context, &stored, &yes, soon()).unwrap_err();
    assert!(error.to_string().contains(&format!("process {} has", holder.0.id())), "{error}");
    drop(holder);
    let restored = restorer.restore(&site.context, &stored, &yes, soon()).unwrap();
    assert_eq!((restored.files, restored.notes.len()), (1, 0));
    let facts = fs::metadata(app.database()).unwrap();
    assert_eq!((facts.mode() & 0o7777, facts.uid(), facts.gid()), (0o640, 1234, 2345));
    let names: Vec<_> = fs::read_dir(&app.folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(value_in(&app.database()), 0);
}
