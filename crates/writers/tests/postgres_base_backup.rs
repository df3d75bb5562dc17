//! Base backup with a restore point in the freeze, on real servers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at what it did not expect")]

mod postgres_support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

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

fn identify(settings: PostgresSettings) -> Result<Description, WriterError> {
    BaseBackupWriter::new(settings).identify(&Run::new("look").context, soon())
}

fn refusal(settings: PostgresSettings) -> String {
    identify(settings).unwrap_err().to_string()
}

#[test]
fn a_server_that_cannot_be_backed_up_is_refused_with_the_remedy() {
    let settings = "wal_level = minimal\nmax_wal_senders = 0";
    let minimal = Cluster::create(settings);
    let method = PostgresMethod::BaseBackup;
    assert!(refusal(minimal.settings(method)).contains("set wal_level = replica"));
    drop(minimal);

    let cluster = Cluster::create("max_wal_senders = 1");
    let text = refusal(cluster.settings(method));
    assert!(text.contains("max_wal_senders = 2 or more"), "{text}");
    let text = refusal(PostgresSettings { port: 1, ..cluster.settings(method) });
    assert!(text.contains("port 1") && text.contains("check that the server runs"), "{text}");
    cluster.run("postgres", "CREATE ROLE limited LOGIN");
    cluster.run("postgres", "ALTER ROLE postgres PASSWORD 'right'; ALTER ROLE limited PASSWORD 'right'");
    let limited = PostgresSettings { user: "limited".into(), ..cluster.settings(method) };
    cluster.run("postgres", "ALTER SYSTEM SET max_wal_senders = 10");
    let mut cluster = cluster;
    cluster.stop();
    let cluster = Cluster::start(cluster.data.clone(), None);
    let text = refusal(PostgresSettings { bin: Some("/proc".into()), ..cluster.settings(method) });
    assert!(text.contains("pg_basebackup") && text.contains("set bin in the site file"), "{text}");
    let text = refusal(limited.clone());
    assert!(text.contains("ALTER ROLE limited REPLICATION"), "{text}");
    cluster.run("postgres", "ALTER ROLE limited REPLICATION");
    let text = refusal(limited);
    assert!(text.contains("GRANT pg_read_all_settings TO limited"), "{text}");

    fs::write(cluster.data.join("pg_hba.conf"), "local all all password\n").unwrap();
    signal(cluster.pid(), libc::SIGHUP);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    let mut settings = PostgresSettings { password_file: Some(file.clone()), ..cluster.settings(method) };
    let write = |password: &str| {
        fs::write(&file, password).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    };
    write("wrong\n");
    let deadline = soon();
    // The signal takes a moment to be heeded.
    let text = loop {
        match identify(settings.clone()) {
            Err(error) => break error.to_string(),
            Ok(_) => assert!(!deadline.passed(), "a wrong password was taken"),
        }
    };
    assert!(text.contains("password authentication failed") && text.contains("set password_file"), "{text}");
    write("right\n");
    identify(settings.clone()).unwrap();
    settings.password_file = None;
    let text = refusal(settings);
    assert!(text.contains("password_file") && text.contains(".pgpass"), "{text}");
}

#[test]
fn a_standby_is_refused_because_no_restore_point_can_be_made_there() {
    let primary = Cluster::create("");
    let folder = temp_folder();
    let data = folder.path().join("standby");
    let copied = as_server_user("pg_basebackup")
        .args(["-U", "postgres", "-X", "fetch", "--write-recovery-conf", "--checkpoint=fast", "-D"])
        .arg(server_folder(&data))
        .arg("-h")
        .arg(&primary.socket)
        .status();
    assert!(copied.unwrap().success());
    let standby = Cluster::start(data, None);
    let text = refusal(standby.settings(PostgresMethod::BaseBackup));
    assert!(text.contains("is a standby"), "{text}");
}

#[test]
fn a_server_that_hangs_in_the_cut_is_late_and_left_behind() {
    let cluster = Cluster::create("");
    let run = Run::new("hang");
    let mut writer = writer(&cluster);
    writer.identify(&run.context, soon()).unwrap();
    writer.prepare(&run.context, soon()).unwrap();
    writer.freeze(&run.context, soon()).unwrap();
    let backend = "SELECT pid::bigint FROM pg_stat_activity \
                   WHERE application_name = 'stillpoint' AND backend_type = 'client backend'";
    let backend = u32::try_from(cluster.number("postgres", backend)).unwrap();
    signal(backend, libc::SIGSTOP);
    let since = Instant::now();
    let result = writer.cut(&run.context, Deadline::after(Duration::from_millis(500)));
    let waited = since.elapsed();
    writer.release(&run.context).unwrap();
    let released = since.elapsed();
    signal(backend, libc::SIGCONT);
    assert!(matches!(result, Err(WriterError::Late { .. })), "{result:?}");
    assert!(waited < Duration::from_millis(1500), "{waited:?}");
    assert!(released < Duration::from_secs(10), "{released:?}");
    assert_eq!(run.open_undos(), 0);
}

fn wait_until_nothing_streams(cluster: &Cluster) {
    let deadline = soon();
    let busy =
        "SELECT (SELECT count(*) FROM pg_replication_slots) + (SELECT count(*) FROM pg_stat_replication)";
    while cluster.number("postgres", busy) > 0 {
        assert!(!deadline.passed(), "a slot or a stream was left behind");
    }
}

#[test]
fn nothing_streams_on_after_a_run_that_was_given_up() {
    let cluster = Cluster::create("");
    let give_up = |name: &str, prepare: &dyn Fn(&Run), check: &dyn Fn(WriterError)| {
        let run = Run::new(name);
        let mut writer = writer(&cluster);
        writer.identify(&run.context, soon()).unwrap();
        prepare(&run);
        check(writer.prepare(&run.context, soon()).unwrap_err());
        writer.release(&run.context).unwrap();
        writer.release(&run.context).unwrap();
        assert_eq!(run.open_undos(), 0);
        wait_until_nothing_streams(&cluster);
    };
    give_up("cancelled", &|run| run.context.cancel.cancel(), &|error| {
        assert!(matches!(error, WriterError::Cancelled), "{error}")
    });
    give_up("refused", &|run| run.undos.refuse.store(true, Ordering::SeqCst), &|error| {
        assert!(matches!(error, WriterError::Undo(_)), "{error}")
    });

    // The log receiver dies between prepare and freeze.
    let run = Run::new("killed");
    let mut writer = writer(&cluster);
    writer.identify(&run.context, soon()).unwrap();
    writer.prepare(&run.context, soon()).unwrap();
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_replication";
    assert_eq!(cluster.number("postgres", end), 1);
    let deadline = soon();
    let error = loop {
        match writer.freeze(&run.context, soon()) {
            Err(error) => break error.to_string(),
            Ok(()) => assert!(!deadline.passed(), "a dead receiver was not noticed"),
        }
    };
    assert!(error.contains("pg_receivewal") && error.contains("still needed"), "{error}");
    writer.release(&run.context).unwrap();
    wait_until_nothing_streams(&cluster);
}

#[test]
fn a_broken_archive_does_not_hold_the_backup_up_and_settings_outside_are_kept() {
    let etc = temp_folder();
    let cluster = Cluster::create("archive_mode = on\narchive_command = 'false'\n");
    let (conf, hba) = (etc.path().join("postgresql.conf"), etc.path().join("pg_hba.conf"));
    fs::create_dir(etc.path().join("conf.d")).unwrap();
    fs::write(etc.path().join("conf.d/more.conf"), "work_mem = '5MB'\n").unwrap();
    fs::write(&hba, "local all all trust\nlocal replication all trust\n").unwrap();
    let text = fs::read_to_string(cluster.data.join("postgresql.conf")).unwrap();
    fs::write(&conf, format!("{text}\nhba_file = '{}'\ninclude_dir = 'conf.d'\n", hba.display())).unwrap();
    let mut cluster = cluster;
    cluster.stop();
    let file = format!("config_file={}", conf.display());
    let restarted = Cluster::start_with(cluster.data.clone(), None, &[&file]);

    let application = Application::start(&restarted, &["postgres"]);
    let run = Run::new("archive");
    let (stored, _, _) = run.back_up(&mut writer(&restarted), &application, || {});
    assert_eq!(run.problems(), Vec::<String>::new());
    let facts: BaseBackupFacts = serde_json::from_value(stored.facts).unwrap();
    let kept: Vec<(&str, PathBuf)> =
        facts.settings_files.iter().map(|file| (file.role.as_str(), file.path.clone())).collect();
    let more = etc.path().join("conf.d/more.conf");
    assert_eq!(kept, [("include", more.clone()), ("hba_file", hba), ("config_file", conf)]);
    let copy = stored.folder.join("config").join(&facts.settings_files[0].stored);
    assert_eq!(fs::read(copy).unwrap(), fs::read(more).unwrap());
    let log = fs::read_dir(stored.folder.join("base/pg_wal")).unwrap().flatten();
    assert!(!log.into_iter().any(|entry| entry.file_name().len() == 24), "the log is in the set twice");
}

#[test]
fn a_recovered_cluster_is_started_refuses_to_be_replaced_unasked_and_can_be_backed_up_again() {
    let sockets = temp_folder();
    let socket = server_folder(&sockets.path().join("s"));
    let cluster = Cluster::create(&format!("unix_socket_directories = '{}'", socket.display()));
    let application = Application::start(&cluster, &["postgres"]);
    let run = Run::new("first");
    let (stored, marker, _) = run.back_up(&mut writer(&cluster), &application, || {});
    drop((application, cluster));

    let target = temp_folder();
    let data = target.path().join("new place");
    let settings = PostgresSettings {
        data: Some(data.clone()),
        ..postgres_support::settings(PostgresMethod::BaseBackup, &socket)
    };
    let context = Context { workspace: server_like_workspace(&run), ..run.context.clone() };
    let mut restorer = BaseBackupRestorer::new(settings.clone());
    assert_eq!(restorer.obstacles(&stored).unwrap(), Vec::<String>::new());
    restorer.restore(&context, &stored, &RestoreOptions::default(), soon()).unwrap();
    restorer.start(&context, soon()).unwrap();
    restorer.start(&context, soon()).unwrap();
    let running = RunningServer(data.clone());

    // The recovered cluster is on a second timeline now.
    let mut client = settings_client(&settings);
    assert_eq!(client.query_one("SELECT max(n) FROM ledger", &[]).unwrap().get::<_, i64>(0), marker);
    client.batch_execute("INSERT INTO ledger VALUES (-1, 0)").unwrap();
    let again = Run::new("second");
    let mut second = BaseBackupWriter::new(settings.clone());
    second.identify(&again.context, soon()).unwrap();
    second.prepare(&again.context, soon()).unwrap();
    client.batch_execute("INSERT INTO ledger VALUES (-2, 0)").unwrap();
    second.freeze(&again.context, soon()).unwrap();
    second.cut(&again.context, soon()).unwrap();
    client.batch_execute("INSERT INTO ledger VALUES (-3, 0)").unwrap();
    let stored_again = again.capture(&mut second);
    second.release(&again.context).unwrap();
    drop(client);

    let overwrite = RestoreOptions { overwrite: true };
    let context = Context { workspace: server_like_workspace(&again), ..again.context.clone() };
    let mut restorer = BaseBackupRestorer::new(settings.clone());
    let error = restorer.restore(&context, &stored_again, &overwrite, soon()).unwrap_err().to_string();
    assert!(error.contains("runs on") && error.contains("stop it first"), "{error}");
    drop(running);
    let error = restorer.restore(&context, &stored_again, &RestoreOptions::default(), soon());
    assert!(error.unwrap_err().to_string().contains("would be replaced"));
    let restored = restorer.restore(&context, &stored_again, &overwrite, soon()).unwrap();
    assert!(restored.notes.iter().any(|note| note.contains("new place.before-second")), "{restored:?}");
    assert!(target.path().join("new place.before-second/PG_VERSION").is_file());
    restorer.start(&context, soon()).unwrap();
    let _running = RunningServer(data);
    let least = settings_client(&settings).query_one("SELECT min(n) FROM ledger", &[]).unwrap();
    assert_eq!(least.get::<_, i64>(0), -2);
}

/// A server that a restorer started; stopped with the value.
struct RunningServer(PathBuf);

impl Drop for RunningServer {
    fn drop(&mut self) {
        let stopped = as_server_user("pg_ctl")
            .args(["stop", "-w", "-m", "immediate", "-s", "-D"])
            .arg(&self.0)
            .status();
        assert!(std::thread::panicking() || stopped.unwrap().success());
    }
}

fn settings_client(settings: &PostgresSettings) -> postgres::Client {
    let mut config = postgres::Config::new();
    config.host(&settings.host).user("postgres").dbname("postgres");
    config.connect(postgres::NoTls).unwrap()
}

#[test]
fn a_restore_point_that_is_not_in_the_log_fails_the_restore_instead_of_ending_it_early() {
    let cluster = Cluster::create("");
    let application = Application::start(&cluster, &["postgres"]);
    let run = Run::new("damage");
    let (mut stored, _, _) = run.back_up(&mut writer(&cluster), &application, || {});
    let settings = restored_settings(&cluster, &run);
    let context = Context { workspace: server_like_workspace(&run), ..run.context.clone() };
    stored.facts["restore_point"] = "stillpoint-never-made".into();
    let mut restorer = BaseBackupRestorer::new(settings);
    let error =
        restorer.restore(&context, &stored, &RestoreOptions::default(), soon()).unwrap_err().to_string();
    assert!(
        error.contains("stillpoint-never-made") && error.contains("before configured recovery target"),
        "{error}"
    );
}
