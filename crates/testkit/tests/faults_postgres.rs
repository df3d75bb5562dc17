//! The program fails and is killed at every act of the two PostgreSQL writers, over a real server. After each fault the
//! server is as it was: nobody of ours is connected or streams, no slot is held, every table can be written to and emptied;
//! no process is left, the last good set is whole, and the next run is complete.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at what it did not expect")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use postgres::{Client, NoTls};
use stillpoint_testkit::capability::require_program;
use stillpoint_testkit::fault_table::{Point, points, try_all};
use stillpoint_testkit::program::{finish, own, succeed, wait_for};
use stillpoint_testkit::{Backup, PostgresCluster, SmallDisk};

/// How soon the server must be as it was; the machine may be busy.
const LIMIT: Duration = Duration::from_secs(30);

struct Site {
    disk: SmallDisk,
    cluster: PostgresCluster,
    folder: tempfile::TempDir,
}

impl Site {
    fn start() -> Self {
        let cluster = PostgresCluster::create();
        cluster.execute("postgres", "CREATE TABLE t AS SELECT generate_series(1, 1000) AS number");
        let (disk, folder) = (SmallDisk::new(512 << 10), tempfile::tempdir().unwrap());
        // Each set keeps a copy of the program; without symbols for debuggers it is a tenth as large.
        let strip = require_program("strip", "binutils");
        succeed(
            Command::new(strip).arg("-o").arg(folder.path().join("stillpoint")).arg(own("stillpoint-faulty")),
        );
        let component = |name: &str, method: &str| {
            format!(
                "[[component]]\nname = \"{name}\"\ntype = \"postgres\"\nmethod = {method}\nhost = \"{}\"\nport = {}\n\n",
                cluster.host().display(),
                PostgresCluster::PORT,
            )
        };
        let text = format!(
            "[site]\ncode = \"FPG\"\nname = \"Faults\"\n\n[destination]\nfolder = \"{}\"\n\n\
             [task]\nkeep_free_percent = 0\n\n{}{}",
            disk.path().join("backups").display(),
            component("base", "\"base-backup\""),
            component("view", "\"view\"\ndatabases = [\"postgres\"]"),
        );
        fs::write(folder.path().join("site.toml"), text).unwrap();
        succeed(Command::new("mkdir").args(["-m", "0700"]).arg(disk.path().join("backups")));
        Self { disk, cluster, folder }
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("stillpoint")
    }

    fn run(&self, fault: Option<&str>, arguments: &[&str]) -> Backup {
        let mut command = Command::new("timeout");
        command.args(["-s", "KILL", "120"]).arg(self.program());
        command.arg("--state-dir").arg(self.folder.path().join("state")).arg("--json");
        command.arg("--config").arg(self.folder.path().join("site.toml")).args(arguments);
        command.env("STILLPOINT_ACT_LOG", self.folder.path().join("acts"));
        command.env_remove("STILLPOINT_FAULT").envs(fault.map(|order| ("STILLPOINT_FAULT", order)));
        Backup::of(finish(&mut command))
    }

    /// A run without faults.
    #[track_caller]
    fn backup(&self) -> Backup {
        let run = self.run(None, &["backup"]);
        assert_eq!(run.finished.code, Some(0), "{:#?}", run.finished);
        run
    }

    fn acts(&self) -> Vec<String> {
        self.backup();
        let text = fs::read_to_string(self.folder.path().join("acts")).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// Nothing of ours is in the server, no process is left, and the tables are the application's again.
    fn assert_as_found(&self) {
        let ours = "SELECT (SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND \
                    (application_name LIKE 'stillpoint%' OR backend_type = 'walsender')) \
                    + (SELECT count(*) FROM pg_replication_slots)";
        let mut client = Client::connect(&self.cluster.connection("postgres"), NoTls).unwrap();
        wait_for("nobody of ours is in the server", LIMIT, || {
            let count: i64 = client.query_one(ours, &[]).unwrap().get(0);
            (count == 0).then_some(())
        });
        client
            .batch_execute(
                "SET lock_timeout = '5s'; TRUNCATE t; INSERT INTO t SELECT generate_series(1, 1000)",
            )
            .unwrap();
        let socket = self.cluster.host().display().to_string();
        wait_for("every process of the run has ended", LIMIT, || {
            let processes = fs::read_dir("/proc").unwrap().flatten();
            let ours = |path: PathBuf| {
                let command = fs::read(path.join("cmdline")).unwrap_or_default();
                let command = String::from_utf8_lossy(&command).into_owned();
                fs::read_link(path.join("exe")).is_ok_and(|exe| exe == self.program())
                    || (command.contains("pg_basebackup") && command.contains(&socket))
            };
            processes.into_iter().all(|entry| !ours(entry.path())).then_some(())
        });
    }
}

#[derive(Debug)]
struct Case {
    point: Point,
    fault: &'static str,
}

impl Case {
    fn order(&self) -> String {
        self.point.order("before", self.fault)
    }
}

/// Right after an act of a writer is right before its next, so one side is enough.
fn cases() -> Vec<Case> {
    let acts = Site::start().acts();
    let own = points(&acts).into_iter().filter(|point| point.act.contains('/'));
    let faults = |point: Point| ["fail", "kill"].map(|fault| Case { point: point.clone(), fault });
    let cases: Vec<Case> = own.flat_map(faults).collect();
    assert_eq!(cases.len(), 32, "{cases:#?}");
    cases
}

fn try_case(site: &Site, case: &Case) {
    let run = site.run(Some(&case.order()), &["backup"]);
    let killed = matches!(run.finished.code, None | Some(137));
    assert_eq!(killed, case.fault == "kill", "{:#?}", run.finished);
    site.assert_as_found();
    if !killed {
        let component = case.point.act.split('/').nth(1).unwrap();
        let named = |line: &str| line.contains("a fault was ordered") && line.contains(component);
        assert!(run.finished.stdout.lines().any(named), "{:#?}", run.finished);
    }
    let backups = site.disk.path().join("backups");
    let verified = site.run(None, &["verify", &backups.join("FPGBackup").to_string_lossy()]);
    assert_eq!(verified.finished.code, Some(0), "the last good set: {:#?}", verified.finished);
    site.backup();
    site.assert_as_found();
    let names = fs::read_dir(&backups).unwrap().map(|entry| entry.unwrap().file_name());
    let allowed = ["FPGBackup", "FPGBackup.complete", "backup.log"];
    let left: Vec<_> = names.filter(|name| !allowed.iter().any(|allowed| name == allowed)).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn a_server_is_as_it_was_after_any_fault_at_any_act_of_its_writers() {
    let start = || {
        let site = Site::start();
        site.backup();
        site
    };
    try_all("PostgreSQL", &cases(), Case::order, start, |site, case| try_case(site, case));
}
