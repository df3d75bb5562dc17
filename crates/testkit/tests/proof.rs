//! The proof: a set that is made while the ledger works as fast as it can is of one instant, over every writer, every
//! provider and every way of bringing the application to rest.
//!
//! `STILLPOINT_PROOF_EPOCHS` is the number of epochs in a row for each combination (1 if it is not set).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at what it did not expect")]

use std::process::Command;

use stillpoint_testkit::program::{finish, succeed};
use stillpoint_testkit::{LedgerSite, QuietKind, StoreKind, TreeKind, check_ledger};

fn epochs() -> u32 {
    match std::env::var("STILLPOINT_PROOF_EPOCHS") {
        Ok(text) => text.parse().expect("STILLPOINT_PROOF_EPOCHS is a number"),
        Err(_) => 1,
    }
}

/// Backs up under load, recovers and checks, again and again.
fn prove(store: StoreKind, tree: TreeKind) {
    let mut site = LedgerSite::build(store, tree);
    for quiet in [QuietKind::Freeze, QuietKind::Command, QuietKind::Stop] {
        site.start(quiet);
        let (mut windows_us, mut half_done, mut rows) = (Vec::new(), 0, 0);
        for epoch in 1..=epochs() {
            let what = format!("{store:?}, {tree:?}, {quiet:?}, epoch {epoch}");
            site.advance();
            let backup = site.backup();
            site.advance();
            assert_eq!(backup.last("run-ended", "grade"), quiet.grade(), "{what}");
            let reason = backup.last("provider-chosen", "reason");
            let tracker = match tree {
                TreeKind::CopyWithFanotify => "fanotify",
                TreeKind::CopyWithScan => "scanning",
                TreeKind::Btrfs | TreeKind::Reflink => "",
            };
            assert!(reason.contains(tracker), "{what}: {reason}");
            let report = site.recover_and_check(quiet.mode());
            assert!(report.is_whole(), "{what}: {report}");
            windows_us.push(backup.window_us());
            half_done += report.workers.iter().filter(|worker| worker.under_way).count();
            rows += report.rows;
        }
        site.stop();
        windows_us.sort_unstable();
        println!(
            "{store:?}, {tree:?}, {quiet:?}: {} epochs, {rows} rows, {half_done} operations under way, 0 violations; \
             window {} / {} / {} us (min / median / max)",
            windows_us.len(),
            windows_us[0],
            windows_us[windows_us.len() / 2],
            windows_us[windows_us.len() - 1],
        );
    }
}

macro_rules! proofs {
    ($($name:ident: $store:ident, $tree:ident;)*) => {$(
        #[test]
        fn $name() {
            prove(StoreKind::$store, TreeKind::$tree);
        }
    )*};
}

proofs! {
    sqlite_wal_and_a_btrfs_snapshot_are_of_one_instant: SqliteWal, Btrfs;
    sqlite_wal_and_reflinks_are_of_one_instant: SqliteWal, Reflink;
    sqlite_wal_and_a_copy_with_fanotify_are_of_one_instant: SqliteWal, CopyWithFanotify;
    sqlite_wal_and_a_copy_with_scan_are_of_one_instant: SqliteWal, CopyWithScan;
    sqlite_rollback_and_a_btrfs_snapshot_are_of_one_instant: SqliteRollback, Btrfs;
    sqlite_rollback_and_reflinks_are_of_one_instant: SqliteRollback, Reflink;
    sqlite_rollback_and_a_copy_with_fanotify_are_of_one_instant: SqliteRollback, CopyWithFanotify;
    sqlite_rollback_and_a_copy_with_scan_are_of_one_instant: SqliteRollback, CopyWithScan;
    postgres_base_backup_and_a_btrfs_snapshot_are_of_one_instant: PostgresBaseBackup, Btrfs;
    postgres_base_backup_and_reflinks_are_of_one_instant: PostgresBaseBackup, Reflink;
    postgres_base_backup_and_a_copy_with_fanotify_are_of_one_instant: PostgresBaseBackup, CopyWithFanotify;
    postgres_base_backup_and_a_copy_with_scan_are_of_one_instant: PostgresBaseBackup, CopyWithScan;
    postgres_view_and_a_btrfs_snapshot_are_of_one_instant: PostgresView, Btrfs;
    postgres_view_and_reflinks_are_of_one_instant: PostgresView, Reflink;
    postgres_view_and_a_copy_with_fanotify_are_of_one_instant: PostgresView, CopyWithFanotify;
    postgres_view_and_a_copy_with_scan_are_of_one_instant: PostgresView, CopyWithScan;
}

/// The same site and program, but nothing is brought to rest: the check finds what the program could not know.
#[test]
fn a_set_of_an_application_that_nobody_held_is_caught() {
    let mut site = LedgerSite::build(StoreKind::SqliteWal, TreeKind::Btrfs);
    site.start(QuietKind::Unheld);
    // Once it may be lucky.
    let caught = (0..5).any(|_| {
        site.advance();
        site.backup();
        !site.recover_and_check(QuietKind::Unheld.mode()).is_whole()
    });
    assert!(caught, "a running application was cut at one instant by five sets in a row");
}

/// The same site, the same check, but backed up as people do it by hand: the check finds it.
#[test]
fn dump_then_copy_of_the_same_site_is_caught() {
    let mut site = LedgerSite::build(StoreKind::SqliteWal, TreeKind::Btrfs);
    site.start(QuietKind::Command);
    let settings = site.settings();
    let folder = tempfile::tempdir().unwrap();
    let live = settings.content.with_file_name("ledger.db");
    let dump = folder.path().join("ledger.db");
    succeed(
        Command::new("sqlite3")
            .arg(live)
            .args([".timeout 30000", &format!("VACUUM INTO '{}'", dump.display())]),
    );
    finish(Command::new("cp").arg("-a").arg(&settings.content).arg(folder.path()));
    site.advance();
    let store =
        stillpoint_ledger::StoreSettings::Sqlite { path: dump, journal: stillpoint_ledger::JournalMode::Wal };
    let report = check_ledger(vec![store], &folder.path().join("content"), QuietKind::Freeze.mode());
    assert!(report.violation_count > 0 && report.rows > 0, "dump, then copy was not caught: {report}");
}
