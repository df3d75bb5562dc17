//! The ledger application as a process, and its check: both must be right before any backup is judged by them.

#![allow(clippy::unwrap_used, reason = "in a test, what fails must end the test")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use stillpoint_ledger::app::{LedgerSettings, holder};
use stillpoint_ledger::check::Mode;
use stillpoint_ledger::{JournalMode, StoreSettings, control};
use stillpoint_testkit::program::{finish, own, succeed, wait_for};
use stillpoint_testkit::{
    Cgroup, CgroupFreezer, LedgerProcess, PostgresCluster, check_ledger, ledger_arguments,
};

const WAIT: Duration = Duration::from_secs(30);

fn sqlite(folder: &Path, journal: JournalMode) -> StoreSettings {
    StoreSettings::Sqlite { path: folder.join("ledger.db"), journal }
}

fn ledger(folder: &Path, stores: Vec<StoreSettings>) -> LedgerSettings {
    let settings = LedgerSettings::new(stores, folder.join("content"), folder.join("control"));
    LedgerSettings { window: 60, workers: 3, mapped: true, ..settings }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Copies database files and content as they are at this moment.
fn copy_of(settings: &LedgerSettings, into: &Path) {
    let site = settings.content.parent().unwrap();
    for entry in std::fs::read_dir(site).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.file_name().unwrap().to_str().unwrap().starts_with("ledger.db") {
            succeed(Command::new("cp").arg("-a").arg(&entry).arg(into));
        }
    }
    // Files come and go under a running application: what vanishes is no failure of the copy.
    finish(Command::new("cp").arg("-a").arg(&settings.content).arg(into));
}

#[test]
fn at_rest_by_its_own_command_nothing_is_half_done_and_afterwards_it_goes_on() {
    for journal in [JournalMode::Wal, JournalMode::Rollback] {
        let folder = folder();
        let process =
            LedgerProcess::start(&ledger(folder.path(), vec![sqlite(folder.path(), journal)]), None);
        for _ in 0..10 {
            process.advance();
            control::quiesce(process.control(), WAIT).unwrap();
            control::quiesce(process.control(), WAIT).unwrap();
            let before = control::status(process.control(), WAIT).unwrap();
            let report = process.check(Mode::Strict);
            assert!(report.is_whole() && before.quiesced, "{report}");
            let numbers: Vec<u64> = report.workers.iter().map(|worker| worker.highest).collect();
            assert_eq!(before.numbers, numbers);
            assert_eq!(control::status(process.control(), WAIT).unwrap(), before);
            control::resume(process.control(), WAIT).unwrap();
            control::resume(process.control(), WAIT).unwrap();
        }
        assert_eq!(process.advance().errors, 0);
    }
}

#[test]
fn stopped_it_is_at_rest_and_started_anew_it_goes_on_where_it_was() {
    let folder = folder();
    let settings = ledger(folder.path(), vec![sqlite(folder.path(), JournalMode::Wal)]);
    let mut last = 0;
    for _ in 0..4 {
        let mut process = LedgerProcess::start(&settings, None);
        process.stop();
        assert_eq!(holder(process.control()).unwrap(), None);
        let report = process.check(Mode::Strict);
        assert!(report.is_whole(), "{report}");
        let highest = report.workers[0].highest;
        assert!(highest > last, "{highest} is not after {last}");
        last = highest;
    }
}

#[test]
fn killed_at_any_moment_it_is_as_after_a_power_cut_and_heals_itself_at_the_next_start() {
    for journal in [JournalMode::Wal, JournalMode::Rollback] {
        let folder = folder();
        let settings = ledger(folder.path(), vec![sqlite(folder.path(), journal)]);
        let mut half_done = 0;
        for _ in 0..8 {
            let mut process = LedgerProcess::start(&settings, None);
            process.kill();
            let report = process.check(Mode::PowerCut);
            assert!(report.is_whole(), "{report}");
            half_done += report.workers.iter().filter(|worker| worker.under_way).count();
        }
        assert!(half_done > 0, "no kill met an operation under way, so this test shows nothing");
        let mut process = LedgerProcess::start(&settings, None);
        process.stop();
        let report = process.check(Mode::Strict);
        assert!(report.is_whole(), "{report}");
    }
}

#[test]
fn held_by_the_freezer_a_copy_is_as_after_a_power_cut() {
    for freezer in [CgroupFreezer::V1, CgroupFreezer::V2] {
        let folder = folder();
        let cgroup = Cgroup::new(freezer);
        let settings = ledger(folder.path(), vec![sqlite(folder.path(), JournalMode::Wal)]);
        let process = LedgerProcess::start(&settings, Some(&cgroup));
        for epoch in 0..5 {
            process.advance();
            let copy = folder.path().join(format!("copy-{epoch}"));
            std::fs::create_dir(&copy).unwrap();
            cgroup.freeze();
            copy_of(&settings, &copy);
            cgroup.thaw();
            let report =
                check_ledger(vec![sqlite(&copy, JournalMode::Wal)], &copy.join("content"), Mode::PowerCut);
            assert!(report.is_whole(), "{report}");
        }
        process.advance();
    }
}

#[test]
fn dump_then_copy_of_a_running_sqlite_site_is_caught() {
    let folder = folder();
    let settings = ledger(folder.path(), vec![sqlite(folder.path(), JournalMode::Wal)]);
    let process = LedgerProcess::start(&settings, None);
    for attempt in 0..3 {
        let copy = folder.path().join(format!("copy-{attempt}"));
        std::fs::create_dir(&copy).unwrap();
        let dump = copy.join("ledger.db");
        let live = rusqlite::Connection::open(folder.path().join("ledger.db")).unwrap();
        live.busy_timeout(WAIT).unwrap();
        live.execute("VACUUM INTO ?1", [dump.to_str().unwrap()]).unwrap();
        finish(Command::new("cp").arg("-a").arg(&settings.content).arg(&copy));
        let stores = vec![sqlite(&copy, JournalMode::Wal)];
        let report = check_ledger(stores, &copy.join("content"), Mode::PowerCut);
        assert!(report.violation_count > 0, "dump, then copy was not caught: {report}");
    }
    process.advance();
}

#[test]
fn two_stores_and_the_files_are_of_one_instant_at_rest_and_after_a_kill() {
    let (folder, cluster) = (folder(), PostgresCluster::create());
    cluster.execute("postgres", "CREATE DATABASE ledger");
    let postgres = StoreSettings::Postgres { connection: cluster.connection("ledger") };
    let settings = ledger(folder.path(), vec![sqlite(folder.path(), JournalMode::Wal), postgres]);
    let mut process = LedgerProcess::start(&settings, None);
    for _ in 0..3 {
        control::quiesce(process.control(), WAIT).unwrap();
        let report = process.check(Mode::Strict);
        assert!(report.is_whole(), "{report}");
        control::resume(process.control(), WAIT).unwrap();
        process.advance();
    }
    process.kill();
    let report = process.check(Mode::PowerCut);
    assert!(report.is_whole(), "{report}");
    let mut process = LedgerProcess::start(&settings, None);
    process.stop();
    let report = process.check(Mode::Strict);
    assert!(report.is_whole(), "{report}");
}

#[test]
fn dump_then_copy_of_a_running_postgres_site_is_caught() {
    let (folder, cluster) = (folder(), PostgresCluster::create());
    cluster.execute("postgres", "CREATE DATABASE ledger");
    cluster.execute("postgres", "CREATE DATABASE recovered");
    let postgres = StoreSettings::Postgres { connection: cluster.connection("ledger") };
    let settings = ledger(folder.path(), vec![postgres]);
    let process = LedgerProcess::start(&settings, None);
    let dump = cluster.host().join("dump");
    succeed(
        PostgresCluster::program("pg_dump").arg("-Fc").arg("-f").arg(&dump).arg(cluster.connection("ledger")),
    );
    let copy = folder.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    finish(Command::new("cp").arg("-a").arg(&settings.content).arg(&copy));
    process.advance();
    succeed(PostgresCluster::program("pg_restore").arg("-d").arg(cluster.connection("recovered")).arg(&dump));
    let recovered = StoreSettings::Postgres { connection: cluster.connection("recovered") };
    let report = check_ledger(vec![recovered], &copy.join("content"), Mode::PowerCut);
    assert!(report.violation_count > 0, "dump, then copy was not caught: {report}");
    assert!(report.rows > 0 && report.files > 0, "nothing was compared: {report}");
}

#[test]
fn a_start_is_harmless_when_it_works_already_and_two_at_once_make_one_process() {
    let folder = folder();
    let settings = ledger(folder.path(), vec![sqlite(folder.path(), JournalMode::Wal)]);
    let mut process = LedgerProcess::start(&settings, None);
    let start = || {
        let mut command = Command::new(own("ledger-app"));
        command.arg("start").args(ledger_arguments(&settings));
        command
    };
    succeed(&mut start());
    assert_eq!(holder(process.control()).unwrap(), Some(process.id()));
    process.stop();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| succeed(&mut start()));
        }
    });
    process.advance();
    let taken = finish(Command::new(own("ledger-app")).arg("run").args(ledger_arguments(&settings)));
    assert_eq!(taken.code, Some(11), "{taken:?}");
    process.stop();
    let check = finish(Command::new(own("ledger-app")).args(check_arguments(&settings)));
    assert_eq!(check.code, Some(0), "{check:?}");
}

#[test]
fn the_end_of_its_leader_ends_it_at_rest() {
    let folder = folder();
    let mut leader = Command::new("sleep").arg("1000").spawn().unwrap();
    let settings = ledger(folder.path(), vec![sqlite(folder.path(), JournalMode::Wal)]);
    let settings = LedgerSettings { leader: Some(leader.id()), ..settings };
    succeed(Command::new(own("ledger-app")).arg("start").args(ledger_arguments(&settings)));
    control::wait_for_advance(&settings.control, WAIT).unwrap();
    leader.kill().unwrap();
    leader.wait().unwrap();
    wait_for("the ledger application is gone", WAIT, || {
        holder(&settings.control).unwrap().is_none().then_some(())
    });
    let report = check_ledger(settings.stores, &settings.content, Mode::Strict);
    assert!(report.is_whole(), "{report}");
}

fn check_arguments(settings: &LedgerSettings) -> Vec<PathBuf> {
    let site = settings.content.parent().unwrap();
    let [check, sqlite, content] = ["check", "--sqlite", "--content"].map(PathBuf::from);
    vec![check, sqlite, site.join("ledger.db"), content, settings.content.clone()]
}
