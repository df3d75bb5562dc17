//! A view taken in the freeze and read by sessions that locked before it, on real servers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at what it did not expect")]

mod postgres_support;

use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use postgres_support::*;
use stillpoint_model::site_file::PostgresMethod;
use stillpoint_model::*;
use stillpoint_writers::postgres::{ViewFacts, ViewRestorer, ViewWriter};

fn writer(cluster: &Cluster) -> ViewWriter {
    ViewWriter::new(cluster.settings(PostgresMethod::View))
}

fn restore(
    run: &Run,
    stored: &StoredComponent,
    target: &Cluster,
    overwrite: bool,
) -> Result<Restored, WriterError> {
    let workspace = run.folder.path().join("restore");
    std::fs::create_dir_all(&workspace).unwrap();
    let context = Context { workspace, ..run.context.clone() };
    let mut restorer = ViewRestorer::new(target.settings(PostgresMethod::View));
    restorer.restore(&context, stored, &RestoreOptions { overwrite }, soon())
}

/// One of everything that is easily lost.
const ODDITIES: &str = r#"
    CREATE ROLE keeper NOLOGIN;
    CREATE SCHEMA "Odd Schema" AUTHORIZATION keeper;
    CREATE TABLE "Odd Schema"."it's ""odd""" ("Ünïcode" text, "select" int, twice int GENERATED ALWAYS AS ("select" * 2) STORED);
    INSERT INTO "Odd Schema"."it's ""odd""" VALUES (E'tab\there\nline\\ \\N', 21), (NULL, NULL);
    CREATE TABLE parts (n int, t text) PARTITION BY RANGE (n);
    CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (0) TO (10);
    CREATE TABLE parts_high PARTITION OF parts FOR VALUES FROM (10) TO (100);
    INSERT INTO parts SELECT n, 'p' FROM generate_series(0, 49) n;
    CREATE TABLE parent (id int PRIMARY KEY);
    CREATE TABLE child (id int GENERATED ALWAYS AS IDENTITY, parent int REFERENCES parent) INHERITS (parent);
    INSERT INTO parent VALUES (1), (2);
    INSERT INTO child (parent) VALUES (1), (2);
    CREATE UNLOGGED TABLE quick (n int);
    INSERT INTO quick VALUES (7);
    CREATE TABLE nothing ();
    INSERT INTO nothing DEFAULT VALUES;
    CREATE VIEW seen AS SELECT count(*) AS n FROM parts;
    CREATE MATERIALIZED VIEW kept AS SELECT n FROM seen;
    CREATE MATERIALIZED VIEW kept_again AS SELECT n + 1 AS n FROM kept;
    CREATE SEQUENCE untouched START 5;
    CREATE SEQUENCE "Odd Sequence";
    SELECT setval('"Odd Sequence"', 41);
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
    CREATE TABLE guarded (n int);
    INSERT INTO guarded VALUES (1);
    CREATE TRIGGER guard BEFORE INSERT ON guarded FOR EACH ROW EXECUTE FUNCTION refuse();
    CREATE TABLE private (n int);
    INSERT INTO private VALUES (3);
    ALTER TABLE private ENABLE ROW LEVEL SECURITY;
    ALTER TABLE private FORCE ROW LEVEL SECURITY;
"#;

fn check_oddities(restored: &Cluster, database: &str) {
    let number = |sql| restored.number(database, sql);
    assert_eq!(number(r#"SELECT twice::bigint FROM "Odd Schema"."it's ""odd""" WHERE "select" = 21"#), 42);
    let text =
        restored.text(database, r#"SELECT "Ünïcode" FROM "Odd Schema"."it's ""odd""" WHERE "select" = 21"#);
    assert_eq!(text, "tab\there\nline\\ \\N");
    assert_eq!(number("SELECT count(*) FROM ONLY parts_low"), 10);
    assert_eq!(number("SELECT count(*) FROM parts"), 50);
    assert_eq!(number("SELECT count(*) FROM ONLY parent"), 2);
    assert_eq!(number("SELECT max(id)::bigint FROM child"), 2);
    assert_eq!(number("SELECT n::bigint FROM quick"), 7);
    assert_eq!(number("SELECT count(*) FROM nothing"), 1);
    assert_eq!(number("SELECT n::bigint FROM kept_again"), 51);
    assert_eq!(number("SELECT nextval('untouched')"), 5);
    assert_eq!(number("SELECT nextval('\"Odd Sequence\"')"), 42);
    assert_eq!(number("SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND conname LIKE 'child%'"), 1);
    assert_eq!(number("SELECT n::bigint FROM guarded"), 1);
    assert_eq!(number("SELECT n::bigint FROM private"), 3);
    assert_eq!(number("SELECT count(*) FROM pg_trigger WHERE tgname = 'guard'"), 1);
    let owner = "SELECT pg_get_userbyid(nspowner)::text FROM pg_namespace WHERE nspname = 'Odd Schema'";
    assert_eq!(restored.text(database, owner), "keeper");
}

#[test]
fn databases_are_as_in_the_freeze_round_after_round_though_a_table_is_emptied_afterwards() {
    let cluster = Cluster::create("");
    let target = Cluster::create("");
    cluster.run("postgres", "CREATE DATABASE shop");
    cluster.run("postgres", "CREATE DATABASE \"Büro/1\"");
    cluster.run("shop", ODDITIES);
    let application = Application::start(&cluster, &["shop", "Büro/1"]);
    for round in 0..5 {
        let run = Run::new(&format!("round-{round}"));
        let (sent, done) = mpsc::channel();
        let mut client = cluster.client("shop");
        let (stored, marker, window) = run.back_up(&mut writer(&cluster), &application, || {
            // It waits for our locks, and everybody who comes later waits behind it.
            std::thread::spawn(move || sent.send(client.batch_execute("TRUNCATE parts")).unwrap());
            let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'TRUNCATE%'";
            let deadline = soon();
            while cluster.number("postgres", waiting) == 0 {
                assert!(!deadline.passed(), "TRUNCATE did not have to wait");
            }
        });
        done.recv_timeout(Duration::from_secs(20)).expect("the locks were not let go").unwrap();
        cluster.run("shop", "INSERT INTO parts SELECT n, 'p' FROM generate_series(0, 49) n");
        assert_eq!(stored.grade, Grade::Frozen);
        assert_eq!(run.problems(), Vec::<String>::new());

        let restored = restore(&run, &stored, &target, round > 0).unwrap();
        assert!(!restored.notes.iter().any(|note| note.contains("ERROR")), "{restored:?}");
        for database in ["shop", "Büro/1"] {
            let number = |sql| target.number(database, sql);
            assert_eq!(number("SELECT max(n) FROM ledger"), marker, "round {round}");
            assert_eq!(number("SELECT count(*) FROM ledger"), marker);
            // No number is lost or handed out twice.
            assert_eq!(number("SELECT nextval('numbers')"), marker + 1);
        }
        check_oddities(&target, "shop");
        println!("round {round}: marker {marker}, window {window:?}");
    }
    let asides = "SELECT count(*) FROM pg_database WHERE datname LIKE 'shop_before_round-%'";
    assert_eq!(target.number("postgres", asides), 4);
}

#[test]
fn psql_alone_restores_the_set_by_hand() {
    let cluster = Cluster::create("");
    cluster.run("postgres", "CREATE DATABASE shop");
    cluster.run("shop", ODDITIES);
    let application = Application::start(&cluster, &["shop"]);
    let run = Run::new("by-hand");
    let (stored, marker, _) = run.back_up(&mut writer(&cluster), &application, || {});
    let target = Cluster::create("");
    for (script, stop) in [("globals.sql", "0"), ("shop/restore.sql", "1")] {
        let psql = Command::new(bin().join("psql"))
            .args(["-X", "-q", "-U", "postgres", "-d", "template1", "-h"])
            .arg(&target.socket)
            .args(["-v", &format!("ON_ERROR_STOP={stop}"), "-f", script])
            .current_dir(&stored.folder)
            .stdout(Stdio::null())
            .status();
        assert!(psql.unwrap().success(), "{script}");
    }
    assert_eq!(target.number("shop", "SELECT max(n) FROM ledger"), marker);
    assert_eq!(target.number("shop", "SELECT nextval('numbers')"), marker + 1);
    check_oddities(&target, "shop");
}

#[test]
fn what_is_created_before_the_freeze_is_caught_up_with_and_what_comes_later_is_refused() {
    let cluster = Cluster::create("");
    cluster.run("postgres", "CREATE TABLE first (n int)");
    let run = Run::new("changes");
    let context = &run.context;
    let mut caught_up = writer(&cluster);
    caught_up.identify(context, soon()).unwrap();
    caught_up.prepare(context, soon()).unwrap();
    cluster.run(
        "postgres",
        "CREATE TABLE second (n int); INSERT INTO second VALUES (1); CREATE TEMP TABLE t (n int)",
    );
    caught_up.poise(context, soon()).unwrap();
    cluster.run("postgres", "INSERT INTO second VALUES (2); ANALYZE; CREATE TEMP TABLE t (n int)");
    caught_up.freeze(context, soon()).unwrap();
    caught_up.cut(context, soon()).unwrap();
    cluster.run("postgres", "INSERT INTO second VALUES (3); CREATE TABLE third (n int)");
    let stored = run.capture(&mut caught_up);
    caught_up.release(context).unwrap();
    let facts: ViewFacts = serde_json::from_value(stored.facts).unwrap();
    let names: Vec<&str> = facts.databases[0].tables.iter().map(|table| table.name.as_str()).collect();
    assert_eq!(names, ["public.first", "public.second"]);
    let rows = std::fs::read_to_string(stored.folder.join(&facts.databases[0].tables[1].file)).unwrap();
    assert_eq!(rows, "1\n2\n");

    let run = Run::new("refused");
    let context = &run.context;
    let mut refused = writer(&cluster);
    refused.identify(context, soon()).unwrap();
    refused.prepare(context, soon()).unwrap();
    refused.poise(context, soon()).unwrap();
    cluster.run("postgres", "CREATE FUNCTION late() RETURNS int LANGUAGE sql AS 'SELECT 1'");
    refused.freeze(context, soon()).unwrap();
    refused.cut(context, soon()).unwrap();
    let error = refused.capture(context, soon(), &mut run.sink()).unwrap_err().to_string();
    assert!(error.contains("run the backup again"), "{error}");
    refused.release(context).unwrap();
}

#[test]
fn a_server_that_hangs_in_the_cut_is_late_and_left_behind() {
    let cluster = Cluster::create("");
    let run = Run::new("hang");
    let mut writer = writer(&cluster);
    writer.identify(&run.context, soon()).unwrap();
    writer.prepare(&run.context, soon()).unwrap();
    writer.freeze(&run.context, soon()).unwrap();
    // That of the description is gone for us and may not be for the server: it holds nothing.
    let ours =
        "FROM pg_stat_activity WHERE application_name = 'stillpoint' AND state = 'idle in transaction'";
    while cluster.number("postgres", &format!("SELECT count(*) {ours}")) != 1 {
        std::thread::sleep(Duration::from_millis(2));
    }
    let backend = cluster.number("postgres", &format!("SELECT pid::bigint {ours}"));
    let backend = u32::try_from(backend).unwrap();
    signal(backend, libc::SIGSTOP);
    let since = Instant::now();
    let result = writer.cut(&run.context, Deadline::after(Duration::from_millis(500)));
    writer.release(&run.context).unwrap();
    let waited = since.elapsed();
    signal(backend, libc::SIGCONT);
    assert!(matches!(result, Err(WriterError::Late { .. })), "{result:?}");
    assert!(waited < Duration::from_millis(1500), "{waited:?}");
}

#[test]
fn what_the_method_cannot_hold_is_refused_with_the_remedy() {
    let cluster = Cluster::create("");
    cluster.run("postgres", "CREATE ROLE limited LOGIN; SELECT lo_create(0)");
    let run = Run::new("refusals");
    let refused = |change: &dyn Fn(&mut stillpoint_model::site_file::PostgresSettings)| {
        let mut settings = cluster.settings(PostgresMethod::View);
        change(&mut settings);
        ViewWriter::new(settings).identify(&run.context, soon()).unwrap_err().to_string()
    };
    let error = refused(&|_| {});
    assert!(error.contains("1 large objects") && error.contains("base-backup"), "{error}");
    let error = refused(&|settings| settings.databases = vec!["absent".into()]);
    assert!(error.contains("absent") && error.contains("postgres"), "{error}");
    let error = refused(&|settings| settings.user = "limited".into());
    assert!(error.contains("no superuser"), "{error}");
    let error = refused(&|settings| settings.port = 1);
    assert!(error.contains("check that the server runs"), "{error}");
}

#[test]
fn a_restore_never_replaces_a_database_unasked() {
    let cluster = Cluster::create("");
    cluster.run("postgres", "CREATE DATABASE shop");
    let application = Application::start(&cluster, &["shop"]);
    let run = Run::new("unasked");
    let (stored, _, _) = run.back_up(&mut writer(&cluster), &application, || {});
    drop(application);
    let restorer = ViewRestorer::new(cluster.settings(PostgresMethod::View));
    let obstacles = restorer.obstacles(&stored).unwrap();
    assert!(obstacles.iter().any(|text| text.contains("database shop exists")), "{obstacles:?}");
    let error = restore(&run, &stored, &cluster, false).unwrap_err().to_string();
    assert!(error.contains("would be replaced"), "{error}");
    assert_eq!(
        cluster.number("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE '%before%'"),
        0
    );
}
