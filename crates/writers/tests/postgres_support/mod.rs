//! Real PostgreSQL clusters in temporary folders, an application that works on one, and a driver that takes a writer
//! through a run as the coordinator would.

#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use postgres::{Client, Config, NoTls};
use stillpoint_model::site_file::{PostgresMethod, PostgresSettings};
use stillpoint_model::*;
use stillpoint_tree::{Filter, IndexAppender, Kind, Walk};
use tempfile::TempDir;

/// The folder with the programs of the PostgreSQL to test with, when it is not the newest installed one.
const BIN_VARIABLE: &str = "STILLPOINT_POSTGRES_BIN";

pub fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(120))
}

/// The operating-system user of the clusters.
pub fn server_user() -> (u32, u32) {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd.lines().find(|line| line.starts_with("postgres:")).expect("there is no user postgres");
    let fields: Vec<&str> = line.split(':').collect();
    (fields[2].parse().unwrap(), fields[3].parse().unwrap())
}

/// The folder with the programs, when a test run asks for one.
pub fn asked_bin() -> Option<PathBuf> {
    std::env::var_os(BIN_VARIABLE).map(PathBuf::from)
}

/// The folder with PostgreSQL's programs.
pub fn bin() -> PathBuf {
    let version = |folder: &PathBuf| folder.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let installed =
        fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path());
    let newest = installed.filter(|folder| folder.join("bin/initdb").is_file()).max_by_key(version);
    asked_bin()
        .or_else(|| Some(newest?.join("bin")))
        .expect("a PostgreSQL server is missing: install postgresql")
}

/// A program of PostgreSQL as the server's user.
pub fn as_server_user(program: &str) -> Command {
    let path = bin().join(program);
    assert!(path.is_file(), "{} is missing", path.display());
    let (uid, gid) = server_user();
    let mut command = Command::new(path);
    command.uid(uid).gid(gid).current_dir("/").env("LC_ALL", "C");
    command
}

/// A folder that the server's user owns.
pub fn server_folder(path: &Path) -> PathBuf {
    let (uid, gid) = server_user();
    fs::create_dir_all(path).unwrap();
    chown(path, Some(uid), Some(gid)).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o700)).unwrap();
    path.to_owned()
}

/// A short temporary folder that everybody can enter.
pub fn temp_folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("sp").tempdir_in("/tmp").unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    folder
}

/// A running cluster. Ends with the value.
pub struct Cluster {
    pub data: PathBuf,
    pub socket: PathBuf,
    server: Child,
    _folder: Option<TempDir>,
}

impl Cluster {
    pub fn create(settings: &str) -> Self {
        let folder = temp_folder();
        let data = folder.path().join("data");
        server_folder(&data);
        let initdb = as_server_user("initdb")
            .args(["--no-sync", "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .status();
        assert!(initdb.unwrap().success());
        let conf = data.join("postgresql.conf");
        let defaults = "fsync = off\nshared_buffers = 16MB\nmax_wal_size = 64MB\nlisten_addresses = ''\n";
        let text = format!("{}\n{defaults}{settings}\n", fs::read_to_string(&conf).unwrap());
        fs::write(conf, text).unwrap();
        Self::start(data, Some(folder))
    }

    /// Starts the server on a data folder.
    pub fn start(data: PathBuf, folder: Option<TempDir>) -> Self {
        Self::start_with(data, folder, &[])
    }

    /// Starts the server with some settings on its command line.
    pub fn start_with(data: PathBuf, folder: Option<TempDir>, settings: &[&str]) -> Self {
        let socket = server_folder(&data.with_extension("s"));
        let log = File::create(data.with_extension("log")).unwrap();
        let mut command = as_server_user("postgres");
        command.arg("-D").arg(&data).args(["-c", &format!("unix_socket_directories={}", socket.display())]);
        settings.iter().for_each(|setting| {
            command.args(["-c", setting]);
        });
        command.stdout(log.try_clone().unwrap()).stderr(log);
        // SAFETY: between fork and exec only one system call is made.
        unsafe {
            command.pre_exec(|| {
                Ok(rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::QUIT))?)
            });
        }
        let server = command.spawn().unwrap();
        let mut cluster = Self { data, socket, server, _folder: folder };
        cluster.wait_until_ready();
        cluster
    }

    fn wait_until_ready(&mut self) {
        let deadline = soon();
        while self.config("template1").connect(NoTls).is_err() {
            let log = || fs::read_to_string(self.data.with_extension("log")).unwrap();
            assert!(self.server.try_wait().unwrap().is_none(), "the server ended: {}", log());
            assert!(!deadline.passed(), "the server did not start: {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn pid(&self) -> u32 {
        self.server.id()
    }

    pub fn config(&self, database: &str) -> Config {
        let mut config = Config::new();
        config.host(self.socket.to_str().unwrap()).user("postgres").dbname(database);
        config
    }

    pub fn client(&self, database: &str) -> Client {
        self.config(database).connect(NoTls).unwrap()
    }

    pub fn run(&self, database: &str, sql: &str) {
        self.client(database).batch_execute(sql).unwrap();
    }

    pub fn number(&self, database: &str, sql: &str) -> i64 {
        self.client(database).query_one(sql, &[]).unwrap().get(0)
    }

    pub fn text(&self, database: &str, sql: &str) -> String {
        self.client(database).query_one(sql, &[]).unwrap().get(0)
    }

    pub fn settings(&self, method: PostgresMethod) -> PostgresSettings {
        settings(method, &self.socket)
    }

    /// Ends the server with the fast shutdown.
    pub fn stop(&mut self) {
        signal(self.pid(), libc::SIGINT);
        self.server.wait().unwrap();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.server.try_wait().unwrap().is_none() {
            signal(self.pid(), libc::SIGCONT);
            signal(self.pid(), libc::SIGQUIT);
            self.server.wait().unwrap();
        }
    }
}

pub fn signal(pid: u32, number: i32) {
    // SAFETY: sends a signal to a process that the test started; no memory is involved.
    assert_eq!(unsafe { libc::kill(pid.cast_signed(), number) }, 0);
}

pub fn settings(method: PostgresMethod, socket: &Path) -> PostgresSettings {
    PostgresSettings {
        method,
        host: socket.to_str().unwrap().to_owned(),
        port: 5432,
        user: "postgres".into(),
        password_file: None,
        databases: Vec::new(),
        bin: asked_bin(),
        data: None,
    }
}

/// An application that commits row n to each of its databases and only then writes n down; and other work beside it that
/// nobody holds.
pub struct Application {
    gate: Arc<RwLock<()>>,
    marker: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Application {
    pub fn start(cluster: &Cluster, databases: &[&str]) -> Self {
        for database in databases {
            cluster.run(
                database,
                "CREATE TABLE ledger (n bigint PRIMARY KEY, s bigint); CREATE SEQUENCE numbers; CREATE TABLE noise (t text)",
            );
        }
        let mut application =
            Self { gate: Arc::default(), marker: Arc::default(), stop: Arc::default(), threads: Vec::new() };
        let mut clients: Vec<Client> = databases.iter().map(|database| cluster.client(database)).collect();
        let (gate, marker, stop) =
            (application.gate.clone(), application.marker.clone(), application.stop.clone());
        let ledger = std::thread::spawn(move || {
            for n in 1i64.. {
                let _open = gate.read().unwrap();
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                for client in &mut clients {
                    client.execute("INSERT INTO ledger VALUES ($1, nextval('numbers'))", &[&n]).unwrap();
                }
                marker.store(n.unsigned_abs(), Ordering::SeqCst);
            }
        });
        let mut client = cluster.client(databases[0]);
        let stop = application.stop.clone();
        let noise = std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                client
                    .batch_execute("INSERT INTO noise SELECT repeat('x', 100) FROM generate_series(1, 10)")
                    .unwrap();
                std::thread::sleep(Duration::from_millis(4));
            }
        });
        application.threads = vec![ledger, noise];
        application
    }

    pub fn marker(&self) -> i64 {
        self.marker.load(Ordering::SeqCst).cast_signed()
    }

    /// Waits until so many more rows are written.
    pub fn advance(&self, rows: i64) {
        let (goal, deadline) = (self.marker() + rows, soon());
        while self.marker() < goal {
            assert!(!deadline.passed(), "the application stands still");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The application at rest for the time of `act`; also how long that was.
    pub fn at_rest<T>(&self, act: impl FnOnce() -> T) -> (T, Duration) {
        let _closed = self.gate.write().unwrap();
        let since = Instant::now();
        (act(), since.elapsed())
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(std::thread::panicking() || ended.is_ok(), "the application failed");
        }
    }
}

/// Remembers what is intended and not settled.
#[derive(Default)]
pub struct Undos {
    open: Mutex<BTreeSet<u64>>,
    next: AtomicU64,
    pub refuse: AtomicBool,
}

impl UndoLog for Undos {
    fn intend(&self, undo: Undo) -> Result<Ticket, UndoError> {
        if self.refuse.load(Ordering::SeqCst) {
            return Err(UndoError { undo: undo.to_string(), reason: "told to refuse".into() });
        }
        let ticket = self.next.fetch_add(1, Ordering::SeqCst);
        self.open.lock().unwrap().insert(ticket);
        Ok(Ticket(ticket))
    }

    fn settle(&self, ticket: Ticket) {
        self.open.lock().unwrap().remove(&ticket.0);
    }
}

/// Remembers problems.
#[derive(Default)]
pub struct Problems(Mutex<Vec<String>>);

impl Monitor for Problems {
    fn emit(&self, event: Event) {
        if let Event::Problem(problem) = event {
            self.0.lock().unwrap().push(problem.text);
        }
    }
}

/// One run: its folders and who listens.
pub struct Run {
    pub context: Context,
    pub undos: Arc<Undos>,
    problems: Arc<Problems>,
    pub folder: TempDir,
}

impl Run {
    pub fn new(name: &str) -> Self {
        let folder = temp_folder();
        let workspace = folder.path().join("workspace");
        fs::create_dir(&workspace).unwrap();
        fs::create_dir(folder.path().join("set")).unwrap();
        let (undos, problems) = (Arc::new(Undos::default()), Arc::new(Problems::default()));
        let context = Context {
            site: "P01".parse().unwrap(),
            run: name.parse().unwrap(),
            component: "db".parse().unwrap(),
            workspace,
            previous: None,
            undos: undos.clone(),
            monitor: problems.clone(),
            cancel: Cancel::default(),
        };
        Self { context, undos, problems, folder }
    }

    pub fn set(&self) -> PathBuf {
        self.folder.path().join("set")
    }

    pub fn problems(&self) -> Vec<String> {
        self.problems.0.lock().unwrap().clone()
    }

    pub fn open_undos(&self) -> usize {
        self.undos.open.lock().unwrap().len()
    }

    /// From identify to release; `in_freeze` runs between cut and thaw, `after_thaw` before the capture. Returns the
    /// component as stored.
    pub fn back_up(
        &self,
        writer: &mut dyn Writer,
        application: &Application,
        after_thaw: impl FnOnce(),
    ) -> (StoredComponent, i64, Duration) {
        let context = &self.context;
        writer.identify(context, soon()).unwrap();
        writer.prepare(context, soon()).unwrap();
        writer.poise(context, soon()).unwrap();
        application.advance(20);
        let (marker, window) = application.at_rest(|| {
            writer.freeze(context, soon()).unwrap();
            writer.cut(context, soon()).unwrap();
            let marker = application.marker();
            writer.thaw(context, soon()).unwrap();
            marker
        });
        application.advance(20);
        after_thaw();
        let stored = self.capture(writer);
        writer.release(context).unwrap();
        assert_eq!(self.open_undos(), 0, "undos were left open");
        (stored, marker, window)
    }

    pub fn capture(&self, writer: &mut dyn Writer) -> StoredComponent {
        let captured = writer.capture(&self.context, soon(), &mut self.sink()).unwrap();
        self.stored(captured)
    }

    pub fn sink(&self) -> impl CaptureSink {
        FolderSink { set: self.set() }
    }

    /// Lists what is in the set, as the archive would.
    pub fn stored(&self, captured: Captured) -> StoredComponent {
        let index = self.folder.path().join("index");
        let mut appender = IndexAppender::create(&index).unwrap();
        let hashes = hashes(&self.set());
        for entry in Walk::new(&self.set(), Filter::default()).unwrap() {
            let mut entry = entry.unwrap();
            if let Kind::File(file) = &mut entry.kind {
                file.sha256 = hashes.get(&entry.path.to_string()).copied();
            }
            appender.append(&entry).unwrap();
        }
        appender.finish().unwrap();
        StoredComponent {
            name: "db".parse().unwrap(),
            folder: self.set(),
            index,
            facts: captured.facts,
            grade: captured.grade,
            epoch: EpochNumber(1),
        }
    }
}

/// The hashes of all files below `folder`, by path relative to it, from one call of a stock tool.
fn hashes(folder: &Path) -> BTreeMap<String, [u8; 32]> {
    let script = "find . -type f -print0 | xargs -0 sha256sum";
    let output = Command::new("sh").args(["-c", script]).current_dir(folder).output().unwrap();
    let hash =
        |text: &str| std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap());
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| (line[68..].to_owned(), hash(line))).collect()
}

/// Puts what it takes into a plain folder.
struct FolderSink {
    set: PathBuf,
}

impl CaptureSink for FolderSink {
    fn tree(&mut self, _context: &Context, folder: &str, source: TreeSource) -> Result<(), SinkError> {
        assert!(source.owned && source.index.is_none());
        let target = self.set.join(folder);
        fs::rename(&source.root, target).map_err(|error| SinkError(error.to_string(), None))
    }

    fn stream(&mut self, _context: &Context, name: &str, reader: &mut dyn Read) -> Result<u64, SinkError> {
        let failed = |error: std::io::Error| SinkError(error.to_string(), None);
        let path = self.set.join(name);
        fs::create_dir_all(path.parent().unwrap()).map_err(failed)?;
        std::io::copy(reader, &mut File::create(path).map_err(failed)?).map_err(failed)
    }
}
