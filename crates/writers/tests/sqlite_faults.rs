//! What can go wrong with an SQLite database between the first look and the release, with real other processes.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use common::{Kept, Surroundings, soon, wait_until};
use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use stillpoint_model::site_file::SqliteSettings;
use stillpoint_model::{
    Context, Deadline, EpochNumber, Event, Grade, Monitor, RestoreOptions, Restorer, StoredComponent, Writer,
    WriterError,
};
use stillpoint_writers::sqlite::{LockOrder, SqliteRestorer, SqliteWriter};

/// Unmounts `$1`. A process that is just being started somewhere may hold it for a moment, so it is tried for a while.
const UNMOUNT: &str =
    "for _ in $(seq 100); do umount \"$1\" 2>/dev/null && exit 0; sleep 0.1; done; exec umount \"$1\"";

const ROUNDS: usize = 20;

/// The `sqlite3` shell as an application of the site: a process of its own, stopped and continued by signals.
struct Shell {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Shell {
    fn open(database: &Path) -> Self {
        let mut child = Command::new("sqlite3")
            .arg(database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the tests need the program sqlite3");
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output }
    }

    fn send(&mut self, sql: &str) {
        writeln!(self.input, "{sql}\nSELECT 'done';").unwrap();
        self.input.flush().unwrap();
    }

    /// Waits until all that was sent is done.
    fn done(&mut self) {
        let mut line = String::new();
        while line.trim_end() != "done" {
            line.clear();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "the shell ended");
        }
    }

    fn run(&mut self, sql: &str) {
        self.send(sql);
        self.done();
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn stop(&self) {
        self.signal(Signal::STOP);
        wait_until("the shell is stopped", || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
            stat.rsplit(") ").next().unwrap().starts_with('T')
        });
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn make_database(path: &Path, journal: &str, rows: u32) {
    let database = Connection::open(path).unwrap();
    database.query_row(&format!("PRAGMA journal_mode = {journal}"), [], |_| Ok(())).unwrap();
    database
        .execute_batch(&format!(
            "PRAGMA synchronous = OFF; CREATE TABLE marker (v INTEGER); INSERT INTO marker VALUES (0);
             CREATE TABLE ballast AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {rows})
                 SELECT n, randomblob(1000) AS filler FROM c;"
        ))
        .unwrap();
}

fn database(site: &Surroundings, journal: &str, rows: u32) -> PathBuf {
    let folder = site.path("app");
    fs::create_dir(&folder).unwrap();
    let path = folder.join("app.db");
    make_database(&path, journal, rows);
    path
}

fn writer(path: &Path, order: LockOrder) -> SqliteWriter {
    SqliteWriter::new(&SqliteSettings { path: path.to_owned() }, order)
}

fn make_ready(writer: &mut SqliteWriter, context: &Context) -> Result<(), WriterError> {
    writer.identify(context, soon())?;
    writer.prepare(context, soon())?;
    writer.poise(context, soon())
}

/// Gives up a run as the coordinator does.
fn give_up(writer: &mut SqliteWriter, context: &Context) {
    writer.thaw(context, soon()).unwrap();
    writer.release(context).unwrap();
}

fn marker_in(path: &Path) -> i64 {
    let database = Connection::open(path).unwrap();
    let verdict: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    database.query_row("SELECT v FROM marker", [], |row| row.get(0)).unwrap()
}

fn copy_of(site: &Surroundings) -> PathBuf {
    site.context.workspace.join("database/app.db")
}

fn empty_workspace(site: &Surroundings) {
    fs::remove_dir_all(&site.context.workspace).unwrap();
    fs::create_dir(&site.context.workspace).unwrap();
}

/// The causes of an error, too, as the edge prints them.
fn chain(error: &WriterError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[test]
fn a_writer_stopped_in_mid_transaction_is_not_in_the_copy_and_commits_after_the_thaw() {
    let site = Surroundings::new();
    let path = database(&site, "delete", 200);
    let mut shell = Shell::open(&path);
    shell.run("PRAGMA busy_timeout = 20000; PRAGMA synchronous = OFF;");
    for round in 1..=i64::try_from(ROUNDS).unwrap() {
        let mut writer = writer(&path, LockOrder::BeforeServices);
        make_ready(&mut writer, &site.context).unwrap();
        shell.run(&format!(
            "BEGIN; UPDATE marker SET v = {round}; UPDATE ballast SET filler = randomblob(1000) WHERE n < 50;"
        ));
        writer.freeze(&site.context, soon()).unwrap();
        // Every other time it is held where it waits for us, with the lock that keeps new readers out.
        if round % 2 == 0 {
            shell.send("COMMIT;");
        }
        shell.stop();
        writer.cut(&site.context, soon()).unwrap();
        shell.signal(Signal::CONT);
        writer.thaw(&site.context, soon()).unwrap();
        if round % 2 == 0 {
            shell.done();
        } else {
            shell.run("COMMIT;");
        }
        writer.capture(&site.context, soon(), &mut Kept::default()).unwrap();
        writer.release(&site.context).unwrap();
        assert_eq!(marker_in(&copy_of(&site)), round - 1);
        assert_eq!(marker_in(&path), round, "the application lost its transaction");
        empty_workspace(&site);
    }
}

#[test]
fn a_lock_that_comes_too_late_names_the_process_that_holds_it() {
    let site = Surroundings::new();
    let path = database(&site, "delete", 10);
    let mut shell = Shell::open(&path);
    let mut writer = writer(&path, LockOrder::BeforeServices);
    make_ready(&mut writer, &site.context).unwrap();
    shell.run("BEGIN EXCLUSIVE;");
    let error = writer.freeze(&site.context, Deadline::after(Duration::from_millis(100))).unwrap_err();
    assert!(matches!(error, WriterError::Late { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&format!("process {} (sqlite3)", shell.child.id())), "{text}");
    give_up(&mut writer, &site.context);
    shell.run("UPDATE marker SET v = 5; COMMIT;");
    assert_eq!(marker_in(&path), 5);
}

#[test]
fn a_database_that_was_replaced_since_it_was_opened_is_a_veto() {
    for journal in ["wal", "delete"] {
        let site = Surroundings::new();
        let path = database(&site, journal, 10);
        let mut writer = writer(&path, LockOrder::AfterServices);
        make_ready(&mut writer, &site.context).unwrap();
        let new = site.path("new.db");
        make_database(&new, journal, 10);
        fs::rename(&new, &path).unwrap();
        let result = writer.freeze(&site.context, soon()).and_then(|()| writer.cut(&site.context, soon()));
        let text = result.unwrap_err().to_string();
        assert!(text.contains("replaced by another file"), "{journal}: {text}");
        give_up(&mut writer, &site.context);
    }
}

#[test]
fn after_a_release_nothing_of_ours_is_open_or_locked() {
    for journal in ["wal", "delete"] {
        let site = Surroundings::new();
        let path = database(&site, journal, 10);
        let inode = fs::metadata(&path).unwrap().ino();
        // Another user, so that ours is not the last and the files beside the database stay.
        let mut shell = Shell::open(&path);
        shell.run("SELECT v FROM marker;");
        for _ in 0..ROUNDS {
            let mut writer = writer(&path, LockOrder::BeforeServices);
            make_ready(&mut writer, &site.context).unwrap();
            writer.freeze(&site.context, soon()).unwrap();
            if journal == "wal" {
                writer.cut(&site.context, soon()).unwrap();
            }
            writer.release(&site.context).unwrap();
            let own = format!(" {} ", std::process::id());
            let locks = fs::read_to_string("/proc/locks").unwrap();
            let ours = |line: &&str| line.contains(&own) && line.contains(&format!(":{inode} "));
            assert_eq!(locks.lines().find(ours), None, "{journal}");
            writer.release(&site.context).unwrap();
            empty_workspace(&site);
        }
        shell.run("UPDATE marker SET v = 1;");
    }
}

#[test]
fn the_log_of_a_stopped_application_survives_our_close() {
    let site = Surroundings::new();
    let path = database(&site, "wal", 10);
    let mut shell = Shell::open(&path);
    shell.run("UPDATE marker SET v = 41;");
    shell.stop();
    let log = path.with_file_name("app.db-wal");
    let (before, database_before) = (fs::read(&log).unwrap(), fs::read(&path).unwrap());
    let mut writer = writer(&path, LockOrder::AfterServices);
    make_ready(&mut writer, &site.context).unwrap();
    writer.cut(&site.context, soon()).unwrap();
    writer.capture(&site.context, soon(), &mut Kept::default()).unwrap();
    writer.release(&site.context).unwrap();
    assert_eq!(fs::read(&log).unwrap(), before, "the log of a living application was touched");
    assert_eq!(fs::read(&path).unwrap(), database_before, "the database of a living application was touched");
    shell.signal(Signal::CONT);
    shell.run("UPDATE marker SET v = v + 1;");
    assert_eq!((marker_in(&copy_of(&site)), marker_in(&path)), (41, 42));
}

/// Cancels the run at the first word of progress.
struct CancelAtProgress(stillpoint_model::Cancel);

impl Monitor for CancelAtProgress {
    fn emit(&self, event: Event) {
        if matches!(event, Event::Progress { bytes, .. } if bytes > 0) {
            self.0.cancel();
        }
    }
}

#[test]
fn a_long_copy_tells_how_far_it_is_and_ends_when_the_run_is_cancelled() {
    let site = Surroundings::new();
    let path = database(&site, "wal", 250_000);
    let mut context = site.context.clone();
    context.monitor = std::sync::Arc::new(CancelAtProgress(context.cancel.clone()));
    let mut writer = writer(&path, LockOrder::AfterServices);
    make_ready(&mut writer, &context).unwrap();
    writer.cut(&context, soon()).unwrap();
    let error = writer.capture(&context, soon(), &mut Kept::default()).unwrap_err();
    assert!(matches!(error, WriterError::Cancelled), "{error:?}");
    writer.release(&context).unwrap();
}

/// A folder that nobody can write to, root included: a read-only bind mount, gone at the end.
struct ReadOnly(PathBuf);

impl ReadOnly {
    fn mount(folder: &Path) -> Self {
        let mount = |arguments: &[&str]| {
            let status = Command::new("mount").args(arguments).arg(folder).status().unwrap();
            assert!(status.success(), "the test needs the right to mount");
        };
        mount(&["--bind", folder.to_str().unwrap()]);
        let mounted = Self(folder.to_owned());
        mount(&["-o", "remount,ro,bind"]);
        mounted
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let _ = Command::new("sh").args(["-c", UNMOUNT, "umount"]).arg(&self.0).status();
    }
}

#[test]
fn a_database_that_cannot_be_written_to_says_so_where_sqlite_must_write() {
    for journal in ["wal", "delete"] {
        let site = Surroundings::new();
        let path = database(&site, journal, 500);
        // A log needs its index beside it, and what a killed writer left half done must be rolled back.
        if journal == "delete" {
            let mut shell = Shell::open(&path);
            shell.run("PRAGMA cache_size = 10; BEGIN; UPDATE ballast SET filler = randomblob(1000);");
        }
        let mount = ReadOnly::mount(path.parent().unwrap());
        let mut writer = writer(&path, LockOrder::AfterServices);
        let result =
            make_ready(&mut writer, &site.context).and_then(|()| writer.freeze(&site.context, soon()));
        let text = chain(&result.unwrap_err());
        assert!(text.contains("cannot be written to"), "{journal}: {text}");
        give_up(&mut writer, &site.context);
        drop(mount);
    }
}

#[test]
fn a_quiet_database_on_a_read_only_file_system_is_copied() {
    let site = Surroundings::new();
    let path = database(&site, "delete", 10);
    let mount = ReadOnly::mount(path.parent().unwrap());
    let mut writer = writer(&path, LockOrder::AfterServices);
    make_ready(&mut writer, &site.context).unwrap();
    writer.freeze(&site.context, soon()).unwrap();
    writer.cut(&site.context, soon()).unwrap();
    writer.thaw(&site.context, soon()).unwrap();
    writer.capture(&site.context, soon(), &mut Kept::default()).unwrap();
    writer.release(&site.context).unwrap();
    assert_eq!(fs::read(copy_of(&site)).unwrap(), fs::read(&path).unwrap());
    drop(mount);
}

fn captured(site: &Surroundings, path: &Path) -> StoredComponent {
    let mut writer = writer(path, LockOrder::AfterServices);
    make_ready(&mut writer, &site.context).unwrap();
    writer.freeze(&site.context, soon()).unwrap();
    writer.cut(&site.context, soon()).unwrap();
    writer.thaw(&site.context, soon()).unwrap();
    writer.capture(&site.context, soon(), &mut Kept::default()).unwrap();
    writer.release(&site.context).unwrap();
    StoredComponent {
        name: "part".parse().unwrap(),
        folder: site.context.workspace.join("database"),
        index: site.context.workspace.join("database.list"),
        facts: serde_json::Value::Null,
        grade: Grade::Frozen,
        epoch: EpochNumber(1),
    }
}

#[test]
fn a_stored_database_that_is_damaged_never_replaces_the_one_that_is_there() {
    for journal in ["wal", "delete"] {
        let site = Surroundings::new();
        let path = database(&site, journal, 200);
        let stored = captured(&site, &path);
        let copy = File::options().write(true).open(copy_of(&site)).unwrap();
        copy.write_all_at(&[0xA5; 32 * 1024], copy.metadata().unwrap().len() / 2).unwrap();
        let before = fs::read(&path).unwrap();
        let mut restorer = SqliteRestorer::new(&SqliteSettings { path: path.clone() });
        let options = RestoreOptions { overwrite: true };
        let error = restorer.restore(&site.context, &stored, &options, soon()).unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
        let names: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().flatten().collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }
}

#[test]
fn a_stale_journal_alone_is_an_obstacle_and_is_gone_only_when_overwriting_was_asked_for() {
    for ending in ["-wal", "-shm", "-journal"] {
        let site = Surroundings::new();
        let path = database(&site, "delete", 10);
        let stored = captured(&site, &path);
        let before = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let stale = path.with_file_name(format!("app.db{ending}"));
        fs::write(&stale, "of another life").unwrap();
        let mut restorer = SqliteRestorer::new(&SqliteSettings { path: path.clone() });
        assert!(restorer.obstacles(&stored).unwrap()[0].contains(stale.to_str().unwrap()));
        restorer.restore(&site.context, &stored, &RestoreOptions { overwrite: false }, soon()).unwrap_err();
        assert!(stale.exists() && !path.exists());
        restorer.restore(&site.context, &stored, &RestoreOptions { overwrite: true }, soon()).unwrap();
        assert!(!stale.exists());
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}
