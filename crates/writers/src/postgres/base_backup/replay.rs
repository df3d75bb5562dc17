//! Replaying the log exactly to the restore point: a server of our own, on a private socket, without network, that ends
//! when we end. It is told everything on its command line, which wins over every settings file, so that nothing of it is
//! left in the restored cluster.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use stillpoint_model::{Context, Deadline, WriterError};

use super::BaseBackupFacts;
use crate::postgres::access::Access;
use crate::postgres::cluster::{cells, open_maintenance, truth};
use crate::postgres::owner::User;
use crate::process::{Program, Running};

/// The port in the name of the private socket. Nobody listens on it.
const PORT: u16 = 5432;
/// How many of the last lines of the server's log go into an error.
const LOG_LINES: usize = 12;

/// A replay that is about to be run.
pub struct Replay<'a> {
    /// The server's programs.
    pub programs: &'a Path,
    /// The data folder, with base and log in their places and `recovery.signal`.
    pub data: &'a Path,
    /// Whose it is.
    pub owner: &'a User,
    /// What was recorded.
    pub facts: &'a BaseBackupFacts,
}

impl Replay<'_> {
    /// Runs the server until it has replayed to the restore point and has become an ordinary one, checks that, and ends it.
    pub fn run(&self, context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        let private = PrivateFolder::create(self.owner)?;
        let mut server = self.program(private.path(), context).start(deadline)?;
        let mut log = Log { lines: Vec::new() };
        let result = self.follow(&mut server, &mut log).and_then(|()| self.examine(private.path(), deadline));
        if let Err(error) = result {
            if context.cancel.is_cancelled() {
                return Err(WriterError::Cancelled);
            }
            if deadline.passed() {
                return Err(WriterError::Late { act: format!("the recovery {}", log.tail()) });
            }
            return Err(error);
        }
        // SIGINT is the fast shutdown, with a checkpoint.
        server.signal(Signal::INT)?;
        log.follow(&mut server, None);
        server.finish().map(drop)
    }

    fn program(&self, private: &Path, context: &Context) -> Program {
        let hba = private.join("pg_hba.conf");
        let mut settings: Vec<(String, String)> = [
            // Nobody but us gets in, and nothing gets out: not to the archive, not to other servers.
            ("config_file", text(&private.join("postgresql.conf"))),
            ("hba_file", text(&hba)),
            ("ident_file", text(&private.join("pg_ident.conf"))),
            ("external_pid_file", String::new()),
            ("listen_addresses", String::new()),
            ("unix_socket_directories", text(private)),
            ("port", PORT.to_string()),
            ("ssl", "off".into()),
            ("archive_mode", "off".into()),
            ("archive_command", String::new()),
            ("autovacuum", "off".into()),
            ("primary_conninfo", String::new()),
            ("shared_preload_libraries", String::new()),
            ("session_preload_libraries", String::new()),
            ("local_preload_libraries", String::new()),
            // The log is in pg_wal already; archive recovery insists on a command and then looks there.
            ("restore_command", "false".into()),
            // What an earlier recovery may have left in postgresql.auto.conf.
            ("recovery_target", String::new()),
            ("recovery_target_time", String::new()),
            ("recovery_target_xid", String::new()),
            ("recovery_target_lsn", String::new()),
            ("recovery_target_name", self.facts.restore_point.clone()),
            ("recovery_target_timeline", self.facts.timeline.to_string()),
            ("recovery_target_action", "promote".into()),
            // Connections only once it is promoted; then the limits of the original need not be met.
            ("hot_standby", "off".into()),
            ("fsync", "on".into()),
            ("full_page_writes", "on".into()),
            ("logging_collector", "off".into()),
            ("log_destination", "stderr".into()),
            ("log_min_messages", "warning".into()),
            ("log_line_prefix", String::new()),
            ("lc_messages", "C".into()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        settings.extend(self.facts.limits.iter().cloned());
        // The shell only joins the two output streams: the server logs to standard error, and the whole log is read.
        let mut program = Program::new("/bin/sh")
            .args(["-c", "exec \"$@\" 2>&1", "sh"])
            .arg(self.programs.join("postgres"))
            .arg("-D")
            .arg(self.data)
            .env("LC_ALL", "C")
            .cancelled_by(&context.cancel);
        for (name, value) in settings {
            program = program.arg("-c").arg(format!("{name}={value}"));
        }
        match self.owner.switch() {
            Some((uid, gid)) => program.user(uid, gid),
            None => program,
        }
    }

    /// Reads the server's log until it takes connections. It must have stopped at our restore point on the way.
    fn follow(&self, server: &mut Running, log: &mut Log) -> Result<(), WriterError> {
        let reached = format!("recovery stopping at restore point \"{}\"", self.facts.restore_point);
        let ready = log.follow(server, Some("database system is ready to accept connections"));
        let stopped = log.lines.iter().any(|line| line.contains(&reached));
        if ready && stopped {
            return Ok(());
        }
        Err(WriterError::Service {
            act: format!("recover {} to restore point {}", self.data.display(), self.facts.restore_point),
            reason: log.tail(),
        })
    }

    /// That it is the cluster that was backed up, and no longer in recovery.
    fn examine(&self, private: &Path, deadline: Deadline) -> Result<(), WriterError> {
        let access = Access::private(private, PORT, &self.facts.user);
        let mut session = open_maintenance(&access, deadline)?;
        let act = "examine the recovered cluster";
        let statement = "SELECT pg_is_in_recovery(), \
             (SELECT system_identifier FROM pg_catalog.pg_control_system())";
        let row = session.query(act, statement, deadline)?.into_iter().next().unwrap_or_default();
        let [in_recovery, identifier] = cells(row, act)?;
        if truth(in_recovery) || identifier.as_deref() != Some(&self.facts.system_identifier) {
            return Err(WriterError::Service {
                act: act.into(),
                reason: "it is still in recovery, or another cluster than the one that was backed up".into(),
            });
        }
        Ok(())
    }
}

/// The server's log, as far as it matters.
struct Log {
    lines: Vec<String>,
}

impl Log {
    /// Takes lines in until one contains `end`, or to the end of the log. Whether `end` came.
    fn follow(&mut self, server: &mut Running, end: Option<&str>) -> bool {
        let mut reader = BufReader::new(server);
        let mut line = Vec::new();
        // A reading error is the deadline or a cancellation, of which the caller knows.
        while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&line).trim().to_owned();
            line.clear();
            tracing::debug!(line = text, "recovery");
            let found = end.is_some_and(|end| text.contains(end));
            let keep = self.lines.len() < LOG_LINES || self.lines.iter().any(|line| is_stop(line));
            if !keep {
                self.lines.remove(0);
            }
            self.lines.push(text);
            if found {
                return true;
            }
        }
        false
    }

    fn tail(&self) -> String {
        let from = self.lines.len().saturating_sub(LOG_LINES);
        self.lines[from..].join(" | ")
    }
}

/// The line that tells where recovery stopped; what follows it is short.
fn is_stop(line: &str) -> bool {
    line.contains("recovery stopping at")
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A folder for socket and settings that only the server's user (and root) can enter. Removed at the end. It lies in the
/// folder for temporary files because the path of a socket must be short (107 bytes, unix(7)).
struct PrivateFolder(PathBuf);

impl PrivateFolder {
    fn create(owner: &User) -> Result<Self, WriterError> {
        let process = std::process::id();
        let nanoseconds = jiff::Timestamp::now().subsec_nanosecond();
        let path = std::env::temp_dir().join(format!("stillpoint-{process}-{nanoseconds}"));
        let io = |act| {
            let path = path.clone();
            move |source| WriterError::Io { act, path, source }
        };
        fs::create_dir(&path).map_err(io("create folder"))?;
        let folder = Self(path.clone());
        fs::set_permissions(&path, Permissions::from_mode(0o700)).map_err(io("set the mode of"))?;
        for (name, content) in
            [("postgresql.conf", ""), ("pg_ident.conf", ""), ("pg_hba.conf", "local all all trust\n")]
        {
            fs::write(path.join(name), content).map_err(io("write into"))?;
            chown(path.join(name), Some(owner.uid), Some(owner.gid)).map_err(io("change the owner in"))?;
        }
        chown(&path, Some(owner.uid), Some(owner.gid)).map_err(io("change the owner of"))?;
        Ok(folder)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        // A leftover harms nobody; its place is cleaned by the system.
        let _ = fs::remove_dir_all(&self.0);
    }
}
