//! A whole site around the ledger: a file system, a database, the application and a site file; backed up by the real
//! program and recovered beside itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use stillpoint_ledger::app::LedgerSettings;
use stillpoint_ledger::check::{CheckReport, Mode};
use stillpoint_ledger::control::Status;
use stillpoint_ledger::{JournalMode, StoreSettings};

use crate::capability::asked_postgres;
use crate::ledger_process::{LedgerProcess, check_ledger, ledger_arguments};
use crate::loop_mount::{Filesystem, LoopMount};
use crate::postgres_cluster::PostgresCluster;
use crate::program::{Finished, as_text, finish, own, succeed};
use crate::{Cgroup, CgroupFreezer};

/// Unmounts `$1`. A process that is just being started somewhere may hold it for a moment, so it is tried for a while.
const UNMOUNT: &str =
    "for _ in $(seq 100); do umount \"$1\" 2>/dev/null && exit 0; sleep 0.1; done; exec umount \"$1\"";

/// What keeps the rows, and how it is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// SQLite with a write-ahead log.
    SqliteWal,
    /// SQLite with a rollback journal.
    SqliteRollback,
    /// PostgreSQL, by base backup and restore point.
    PostgresBaseBackup,
    /// PostgreSQL, by an exported view.
    PostgresView,
}

/// What keeps the files, and how they are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TreeKind {
    /// A btrfs snapshot.
    Btrfs,
    /// Reflinks on XFS.
    Reflink,
    /// The two-pass copy on ext4, changes told by fanotify.
    CopyWithFanotify,
    /// The two-pass copy on ext4, changes found by scanning: an overlay over the tree makes fanotify blind there.
    CopyWithScan,
}

/// How the application is brought to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuietKind {
    /// Held by the cgroup freezer.
    Freeze,
    /// Asked to rest by its own command.
    Command,
    /// Stopped and started.
    Stop,
    /// Not at all: no set can be of one instant then, and the check must say so.
    Unheld,
}

impl QuietKind {
    /// What the ledger in the set may look like.
    pub fn mode(self) -> Mode {
        match self {
            Self::Freeze | Self::Unheld => Mode::PowerCut,
            Self::Command | Self::Stop => Mode::Strict,
        }
    }

    /// The grade that the set must have.
    pub fn grade(self) -> &'static str {
        match self {
            Self::Freeze | Self::Unheld => "crash",
            Self::Command | Self::Stop => "frozen",
        }
    }
}

/// The site. What it consists of ends in the order of the fields.
#[derive(Debug)]
pub struct LedgerSite {
    process: Option<LedgerProcess>,
    cgroup: Cgroup,
    cluster: Option<PostgresCluster>,
    /// Where PostgreSQL is recovered to when it is read from a view.
    spare: Option<PostgresCluster>,
    _overlay: Option<Overlay>,
    mount: LoopMount,
    folder: tempfile::TempDir,
    store: StoreKind,
    tree: TreeKind,
    quiet: QuietKind,
}

impl LedgerSite {
    /// Makes the site; nothing runs yet but a PostgreSQL server where there is one.
    pub fn build(store: StoreKind, tree: TreeKind) -> Self {
        let filesystem = match tree {
            TreeKind::Btrfs => Filesystem::Btrfs,
            TreeKind::Reflink => Filesystem::Xfs,
            TreeKind::CopyWithFanotify | TreeKind::CopyWithScan => Filesystem::Ext4,
        };
        let mount = LoopMount::new(filesystem, 4096);
        let site = mount.path().join("site");
        if tree == TreeKind::Btrfs {
            succeed(Command::new("btrfs").args(["subvolume", "create"]).arg(&site));
        }
        let destination = mount.path().join("backups");
        // The recovered cluster's user must get through to its data.
        let folder = tempfile::Builder::new().prefix("stillpoint-site-").tempdir();
        let folder = folder.unwrap_or_else(|error| panic!("no temporary folder: {error}"));
        succeed(Command::new("mkdir").arg("-p").arg(site.join("content")).arg(&destination));
        succeed(Command::new("chmod").arg("0755").arg(folder.path()));
        succeed(Command::new("chmod").arg("0700").arg(&destination));
        let overlay = (tree == TreeKind::CopyWithScan).then(|| Overlay::over(&site, &mount.path()));
        let is_postgres = matches!(store, StoreKind::PostgresBaseBackup | StoreKind::PostgresView);
        let cluster = is_postgres.then(PostgresCluster::create);
        if let Some(cluster) = &cluster {
            cluster.execute("postgres", "CREATE DATABASE ledger");
        }
        let spare = (store == StoreKind::PostgresView).then(PostgresCluster::create);
        // Which freezer holds it does not depend on what keeps the rows: so each serves half of the stores.
        let freezer = match store {
            StoreKind::SqliteWal | StoreKind::PostgresBaseBackup => CgroupFreezer::V2,
            StoreKind::SqliteRollback | StoreKind::PostgresView => CgroupFreezer::V1,
        };
        let cgroup = Cgroup::new(freezer);
        Self {
            process: None,
            cgroup,
            cluster,
            spare,
            _overlay: overlay,
            mount,
            folder,
            store,
            tree,
            quiet: QuietKind::Unheld,
        }
    }

    /// Starts the application and writes the site file that brings it to rest in this way.
    pub fn start(&mut self, quiet: QuietKind) {
        self.process = None;
        self.quiet = quiet;
        let settings = self.settings();
        let service = self.service(quiet, &settings);
        let text = self.site_file(&service, &self.database(), &settings.content);
        write(&self.folder.path().join("site.toml"), &text);
        let cgroup = (quiet == QuietKind::Freeze).then_some(&self.cgroup);
        self.process = Some(LedgerProcess::start(&settings, cgroup));
    }

    /// Ends the application in order.
    pub fn stop(&mut self) {
        if let Some(process) = &mut self.process {
            process.stop();
        }
    }

    /// Waits until every worker has done more; fails the test when they do not: the site does not work.
    pub fn advance(&self) -> Status {
        match &self.process {
            Some(process) => process.advance(),
            None => panic!("the ledger was not started"),
        }
    }

    /// The cgroup of the application, when it is quieted by the freezer.
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Where the set is published.
    pub fn set(&self) -> PathBuf {
        self.mount.path().join("backups/LEDBackup")
    }

    /// The folder with the state of runs.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// The real program on this site, with JSON output; faults can be ordered in its environment.
    pub fn program(&self, arguments: &[&str]) -> Command {
        self.program_with("site.toml", arguments)
    }

    fn program_with(&self, site_file: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(own("stillpoint-faulty"));
        command.arg("--state-dir").arg(self.state()).arg("--config").arg(self.folder.path().join(site_file));
        command.arg("--json").args(arguments);
        command
    }

    /// Backs the site up; fails the test when the set is not complete.
    pub fn backup(&self) -> Backup {
        let backup = Backup::of(finish(&mut self.program(&["backup"])));
        assert!(backup.finished.code == Some(0), "the backup is not complete: {:#?}", backup.finished);
        backup
    }

    /// Verifies the set, recovers it beside the site, and checks the ledger in it.
    pub fn recover_and_check(&self, mode: Mode) -> CheckReport {
        let set = self.set();
        let set = set.to_string_lossy();
        succeed(&mut self.program(&["verify", &set]));
        let place = self.folder.path().join("recovered");
        let content = place.join("content");
        let idle =
            service_with_commands(&["/bin/true".into()], &["/bin/true".into()], &["/bin/false".into()]);
        let idle = if self.quiet == QuietKind::Unheld { String::new() } else { as_component(&idle) };
        let (database, stores) = self.recovered_database(&place);
        write(&self.folder.path().join("recovered.toml"), &self.site_file(&idle, &database, &content));
        succeed(&mut self.program_with("recovered.toml", &["recover", &set, "--with-config", "--no-start"]));
        let server = (self.store == StoreKind::PostgresBaseBackup)
            .then(|| PostgresCluster::serve(&place.join("data")));
        let stores = match &server {
            Some(server) => vec![StoreSettings::Postgres { connection: server.connection("ledger") }],
            None => stores,
        };
        let report = check_ledger(stores, &content, mode);
        drop(server);
        if let Some(spare) = &self.spare {
            spare.execute("postgres", "DROP DATABASE ledger WITH (FORCE)");
        }
        succeed(Command::new("rm").arg("-rf").arg(&place));
        report
    }

    /// How the application of this site is set.
    pub fn settings(&self) -> LedgerSettings {
        let site = self.mount.path().join("site");
        let store = match (self.store, &self.cluster) {
            (_, Some(cluster)) => StoreSettings::Postgres { connection: cluster.connection("ledger") },
            (StoreKind::SqliteRollback, _) => {
                StoreSettings::Sqlite { path: site.join("ledger.db"), journal: JournalMode::Rollback }
            }
            _ => StoreSettings::Sqlite { path: site.join("ledger.db"), journal: JournalMode::Wal },
        };
        let settings = LedgerSettings::new(vec![store], site.join("content"), site.join("control"));
        // Small enough that operations are retired also where commits are slow.
        let window = if self.store == StoreKind::SqliteRollback { 20 } else { 200 };
        // Also for the start by a command of the site file.
        LedgerSettings { window, mapped: true, leader: Some(std::process::id()), ..settings }
    }

    fn service(&self, quiet: QuietKind, settings: &LedgerSettings) -> String {
        service_component(quiet, self.cgroup.path(), settings)
    }

    fn database(&self) -> String {
        match (self.store, &self.cluster) {
            (_, Some(cluster)) => self.postgres(cluster.host(), ""),
            _ => format!("type = \"sqlite\"\npath = {}\n", quoted(&self.mount.path().join("site/ledger.db"))),
        }
    }

    /// The database as it is recovered into `place`, and where its rows are then.
    fn recovered_database(&self, place: &Path) -> (String, Vec<StoreSettings>) {
        match (&self.spare, &self.cluster) {
            (Some(spare), _) => {
                let connection = spare.connection("ledger");
                (self.postgres(spare.host(), ""), vec![StoreSettings::Postgres { connection }])
            }
            (None, Some(cluster)) => {
                let data = format!("data = {}\n", quoted(&place.join("data")));
                (self.postgres(cluster.host(), &data), Vec::new())
            }
            (None, None) => {
                let path = place.join("ledger.db");
                let text = format!("type = \"sqlite\"\npath = {}\n", quoted(&path));
                (text, vec![StoreSettings::Sqlite { path, journal: JournalMode::Wal }])
            }
        }
    }

    fn postgres(&self, host: &Path, more: &str) -> String {
        let method = match self.store {
            StoreKind::PostgresView => "method = \"view\"\ndatabases = [\"ledger\"]",
            _ => "method = \"base-backup\"",
        };
        let (host, port) = (quoted(host), PostgresCluster::PORT);
        let bin = asked_postgres().map(|bin| format!("bin = {}\n", quoted(&bin))).unwrap_or_default();
        format!("type = \"postgres\"\n{method}\nhost = {host}\nport = {port}\n{bin}{more}")
    }

    fn site_file(&self, service: &str, database: &str, content: &Path) -> String {
        let provider = match self.tree {
            TreeKind::Btrfs => "btrfs",
            TreeKind::Reflink => "reflink",
            TreeKind::CopyWithFanotify | TreeKind::CopyWithScan => "copy",
        };
        let (destination, content) = (quoted(&self.mount.path().join("backups")), quoted(content));
        format!(
            "[site]\ncode = \"LED\"\nname = \"The ledger\"\n\n[destination]\nfolder = {destination}\n\n\
             {service}\n\
             [[component]]\nname = \"database\"\n{database}\n\
             [[component]]\nname = \"content\"\ntype = \"files\"\npath = {content}\nprovider = \"{provider}\"\n"
        )
    }
}

/// The component of a site file that is the application with these settings, brought to rest in this way.
pub(crate) fn service_component(quiet: QuietKind, cgroup: &Path, settings: &LedgerSettings) -> String {
    let program = own("ledger-app");
    let command = |name: &str, arguments: &[std::ffi::OsString]| {
        let mut words = as_text(&program, arguments);
        words.insert(1, name.into());
        words
    };
    let control = ["--control".into(), settings.control.clone().into_os_string()];
    let running = command("running", &control);
    let settings = match quiet {
        QuietKind::Unheld => return String::new(),
        QuietKind::Freeze => format!("quiet = \"freeze\"\ncgroup = {}\n", quoted(cgroup)),
        QuietKind::Command => {
            service_with_commands(&command("quiesce", &control), &command("resume", &control), &running)
        }
        QuietKind::Stop => {
            let start = command("start", &ledger_arguments(settings));
            let service = service_with_commands(&command("stop", &control), &start, &running);
            service.replacen("\"command\"", "\"stop\"", 1)
        }
    };
    as_component(&settings)
}

fn as_component(service: &str) -> String {
    format!("[[component]]\nname = \"app\"\ntype = \"service\"\n{service}")
}

fn service_with_commands(freeze: &[String], thaw: &[String], running: &[String]) -> String {
    format!(
        "quiet = \"command\"\nfreeze_command = {freeze:?}\nthaw_command = {thaw:?}\nrunning_command = {running:?}\n"
    )
}

/// A path as a TOML string. Paths of tests are plain ASCII.
fn quoted(path: &Path) -> String {
    format!("{:?}", path.to_string_lossy())
}

fn write(path: &Path, text: &str) {
    if let Err(error) = std::fs::write(path, text) {
        panic!("{} cannot be written: {error}", path.display());
    }
}

/// What a backup told.
#[derive(Debug)]
pub struct Backup {
    /// How the program ended.
    pub finished: Finished,
    /// Its events.
    pub events: Vec<Value>,
}

impl Backup {
    /// Reads the events of a program that ended.
    pub fn of(finished: Finished) -> Self {
        let events = finished.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        Self { finished, events }
    }

    /// A field of the last event of this name, as text; empty when there is none.
    pub fn last(&self, event: &str, field: &str) -> String {
        let found = self.events.iter().rev().find(|found| found["event"] == event);
        found.and_then(|found| found[field].as_str()).unwrap_or_default().to_owned()
    }

    /// How long the site stood still, in microseconds.
    pub fn window_us(&self) -> u64 {
        let found = self.events.iter().rev().find(|found| found["event"] == "freeze-window");
        found.and_then(|found| found["window_us"].as_u64()).unwrap_or(0)
    }
}

/// An overlay whose upper folder is the site's: writes through it would send no event for the site's own files.
#[derive(Debug)]
struct Overlay(PathBuf);

impl Overlay {
    fn over(upper: &Path, top: &Path) -> Self {
        let [lower, work, merged] = ["lower", "work", "merged"].map(|name| top.join(name));
        succeed(Command::new("mkdir").args([&lower, &work, &merged]));
        let options =
            format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
        succeed(Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(&merged));
        Self(merged)
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        finish(Command::new("sh").args(["-c", UNMOUNT, "umount"]).arg(&self.0));
    }
}
