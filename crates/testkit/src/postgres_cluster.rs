//! A PostgreSQL cluster of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use postgres::{Client, NoTls};
use rustix::process::{Pid, Signal, kill_process};

use crate::capability::{require_postgres, require_program, require_root};
use crate::program::{finish, succeed, wait_for};

/// How long a cluster may take to start (it may have to replay its log) or to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running cluster, as user `postgres`, reachable through a Unix socket only. Ended and, where it was made here, removed
/// with its value.
#[derive(Debug)]
pub struct PostgresCluster {
    server: Option<Child>,
    data: PathBuf,
    /// Socket and log, and the data folder of a cluster that was made here.
    folder: tempfile::TempDir,
}

impl PostgresCluster {
    /// The port: it only names the socket.
    pub const PORT: u16 = 5432;

    /// Makes a new cluster in a temporary folder and starts it.
    pub fn create() -> Self {
        let folder = own_folder();
        let data = folder.path().join("data");
        Self::initialise(&data);
        Self::serve_from(folder, data)
    }

    /// Makes a new cluster in `data`, which must not exist, and starts it.
    pub fn create_at(data: &Path) -> Self {
        Self::initialise(data);
        Self::serve_from(own_folder(), data.to_owned())
    }

    /// Starts a server on a data folder that exists, such as a recovered one.
    pub fn serve(data: &Path) -> Self {
        Self::serve_from(own_folder(), data.to_owned())
    }

    fn initialise(data: &Path) {
        if let Err(error) = std::fs::create_dir(data) {
            panic!("{} cannot be made: {error}", data.display());
        }
        succeed(Command::new("chown").arg("postgres:postgres").arg(data));
        let mut initdb = as_postgres(&require_postgres().join("initdb"));
        initdb.arg("-D").arg(data).args([
            "-A",
            "trust",
            "-U",
            "postgres",
            "--no-sync",
            "--locale=C",
            "-E",
            "UTF8",
        ]);
        succeed(&mut initdb);
    }

    fn serve_from(folder: tempfile::TempDir, data: PathBuf) -> Self {
        let mut cluster = Self { server: None, data, folder };
        cluster.start();
        cluster
    }

    /// Starts the server; returns when it takes connections and writes.
    pub fn start(&mut self) {
        let path = self.folder.path().join("log");
        let log = File::options().create(true).append(true).open(&path);
        let logs = log.and_then(|log| Ok((log.try_clone()?, log)));
        let (output, errors) = logs.unwrap_or_else(|error| panic!("no log at {}: {error}", path.display()));
        let mut command = as_postgres(&require_postgres().join("postgres"));
        command.arg("-D").arg(&self.data).arg("-k").arg(self.folder.path());
        command.args(["-p", &Self::PORT.to_string(), "-c", "listen_addresses=", "-c", "max_wal_senders=10"]);
        command.stdout(output).stderr(errors);
        match command.spawn() {
            Ok(child) => self.server = Some(child),
            Err(error) => panic!("{command:?} cannot be started: {error}"),
        }
        let ready = "the PostgreSQL server takes connections and is out of recovery";
        wait_for(ready, PATIENCE, || {
            let ended = self.server.as_mut().and_then(|server| server.try_wait().ok().flatten());
            assert!(ended.is_none(), "the PostgreSQL server ended with {ended:?}:\n{}", self.log());
            let mut client = Client::connect(&self.connection("postgres"), NoTls).ok()?;
            let recovers: bool = client.query_one("SELECT pg_is_in_recovery()", &[]).ok()?.get(0);
            (!recovers).then_some(())
        });
    }

    /// Stops the server: sessions are ended, everything is written out.
    pub fn stop(&mut self) {
        self.end(Signal::INT);
    }

    /// Ends the server as a power cut would, but for what the kernel holds.
    pub fn crash(&mut self) {
        self.end(Signal::QUIT);
    }

    fn end(&mut self, signal: Signal) {
        let Some(mut server) = self.server.take() else { return };
        let pid = Pid::from_child(&server);
        if kill_process(pid, signal).is_err() {
            return;
        }
        let deadline = std::time::Instant::now() + PATIENCE;
        while matches!(server.try_wait(), Ok(None)) {
            if std::time::Instant::now() > deadline {
                let _ = server.kill();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The folder of the socket: what a site file has as `host`.
    pub fn host(&self) -> &Path {
        self.folder.path()
    }

    /// The connection string for one of its databases, as the superuser.
    pub fn connection(&self, database: &str) -> String {
        let host = self.folder.path().display();
        format!("host={host} port={} user=postgres dbname={database} connect_timeout=10", Self::PORT)
    }

    /// Does SQL that gives no rows.
    pub fn execute(&self, database: &str, sql: &str) {
        let done = Client::connect(&self.connection(database), NoTls)
            .and_then(|mut client| client.batch_execute(sql));
        if let Err(error) = done {
            panic!("{sql}: {error:?}");
        }
    }

    /// What the server wrote to its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// A program of the same version, to be run as user `postgres`.
    pub fn program(name: &str) -> Command {
        as_postgres(&require_postgres().join(name))
    }
}

/// A temporary folder that is short enough for a socket's path, owned by user `postgres`.
fn own_folder() -> tempfile::TempDir {
    require_root();
    let folder = tempfile::Builder::new().prefix("sp-pg-").tempdir_in("/tmp");
    let folder = folder.unwrap_or_else(|error| panic!("no temporary folder: {error}"));
    succeed(Command::new("chown").arg("postgres:postgres").arg(folder.path()));
    succeed(Command::new("chmod").arg("0755").arg(folder.path()));
    folder
}

/// A command that runs as user `postgres`; the process is the program itself, not something around it.
fn as_postgres(program: &Path) -> Command {
    let mut command = Command::new(require_program("setpriv", "util-linux"));
    command
        .args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"])
        .arg(program)
        .current_dir("/");
    command
}

impl Drop for PostgresCluster {
    fn drop(&mut self) {
        self.crash();
        // Its background processes end a moment after it and may still hold files on a mount that goes next.
        let pid_file = self.data.join("postmaster.pid");
        finish(Command::new("rm").arg("-f").arg(pid_file));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_serves_stops_starts_and_is_gone_with_its_value() {
        let mut cluster = PostgresCluster::create();
        cluster.execute("postgres", "CREATE TABLE t AS SELECT 42 AS a");
        cluster.stop();
        cluster.start();
        cluster.execute("postgres", "INSERT INTO t VALUES (1)");
        cluster.crash();
        cluster.start();
        let mut client = Client::connect(&cluster.connection("postgres"), NoTls).unwrap();
        let sum: i64 = client.query_one("SELECT sum(a) FROM t", &[]).unwrap().get(0);
        assert_eq!(sum, 43);
        let (folder, pid) = (cluster.host().to_owned(), cluster.server.as_ref().unwrap().id());
        drop(cluster);
        assert!(!folder.exists());
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}
