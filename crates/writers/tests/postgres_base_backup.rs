//! Base backup with a restore point in the freeze, on real servers.

mod postgres_support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use postgres_support::*;
use stillpoint_model::site_file::{PostgresMethod, PostgresSettings};
use stillpoint_model::*;
use stillpoint_writers::postgres::{BaseBackupFacts, BaseBackupRestorer, BaseBackupWriter};

fn writer(cluster: &Cluster) -> BaseBackupWriter {
    BaseBackupWriter::new(cluster.settings(PostgresMethod::BaseBackup))
}

fn restore(run: &Run, stored: &StoredComponent, settings: PostgresSettings) -> Restored {
    let context = Context { workspace: server_like_workspace(run), ..run.context.clone() };
    let mut restorer = BaseBackupRestorer::new(settings);
    restorer.restore(&context, stored, &RestoreOptions::default(), soon()).unwrap()
}

fn server_like_workspace(run: &Run) -> PathBuf {
    let workspace = run.folder.path().join("restore");
    fs::create_dir_all(&workspace).unwrap();
    workspace
}

fn restored_settings(cluster: &Cluster, run: &Run) -> PostgresSettings {
    let data = run.folder.path().join("restored");
    PostgresSettings { data: Some(data), ..cluster.settings(PostgresMethod::BaseBackup) }
}

#[test]
fn a_cluster_is_recovered_exactly_to_the_freeze_round_after_round() {
    let cluster = Cluster::create("");
    cluster.run("postgres", "CREATE DATABASE shop");
    let spaces = temp_folder();
    let location = server_folder(&spaces.path().join("fast space"));
    cluster.run("shop", &format!("CREATE TABLESPACE fast LOCATION '{}'", location.display()));
    cluster.run(
        "shop",
        "CREATE TABLE far (n int) TABLESPACE fast; INSERT INTO far SELECT generate_series(1, 100)",
    );
    let application = Application::start(&cluster, &["shop"]);
    for round in 0..5 {
        let run = Run::new(&format!("round-{round}"));
        let (stored, marker, window) = run.back_up(&mut writer(&cluster), &application, || {});
        assert_eq!(stored.grade, Grade::Frozen);
        assert_eq!(run.problems(), Vec::<String>::new());
        let settings = restored_settings(&cluster, &run);
        restore(&run, &stored, settings.clone());
        let data = settings.data.unwrap();
        for left in ["recovery.signal", "backup_label", "postmaster.pid"] {
            assert!(!data.join(left).exists(), "{left} was left behind");
        }
        let restored = Cluster::start(data, None);
        let counted = |sql| restored.number("shop", sql);
        assert_eq!(counted("SELECT max(n) FROM ledger"), marker, "round {round}");
        assert_eq!(counted("SELECT count(*) FROM ledger"), marker, "round {round}");
        assert!(counted("SELECT last_value FROM numbers") >= marker);
        assert_eq!(counted("SELECT count(*) FROM far"), 100);
        assert!(
            counted(
                "SELECT count(*) FROM pg_tablespace WHERE pg_tablespace_location(oid) LIKE '%restored.tablespaces%'"
            ) == 1
        );
        println!("round {round}: marker {marker}, window {window:?}");
    }
}

#[test]
fn postgresql_alone_restores_the_set_by_hand() {
    let cluster = Cluster::create("");
    let application = Application::start(&cluster, &["postgres"]);
    let run = Run::new("by-hand");
    let (stored, marker, _) = run.back_up(&mut writer(&cluster), &application, || {});
    let facts: BaseBackupFacts = serde_json::from_value(stored.facts.clone()).unwrap();

    let data = run.folder.path().join("data");
    let copy = |what: &str, to: &std::path::Path| {
        let from = stored.folder.join(what);
        assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
    };
    copy("base", &data);
    copy("wal/.", &data.join("pg_wal"));
    fs::write(data.join("recovery.signal"), "").unwrap();
    assert!(Command::new("chown").args(["-R", "postgres:"]).arg(&data).status().unwrap().success());
    let target = format!("recovery_target_name={}", facts.restore_point);
    let settings =
        ["restore_command=false", target.as_str(), "recovery_target_action=promote", "hot_standby=off"];
    let restored = Cluster::start_with(data, None, &settings);
    assert_eq!(restored.number("postgres", "SELECT max(n) FROM ledger"), marker);
    assert_eq!(restored.number("postgres", "SELECT count(*) FROM ledger"), marker);
}
