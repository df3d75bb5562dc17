//! Method `base-backup`: a base backup taken before the freeze, one named restore point in it, and the write-ahead log
//! between the two. Recovery replays exactly to the restore point.
//!
//! What must never happen: the restore point is made while the base backup still runs. PostgreSQL cannot recover to it
//! ("requested recovery stop point is before consistent recovery point"); so the base backup ends in `prepare`. The log
//! is streamed from before the base backup began, by `pg_receivewal`; meanwhile a temporary replication slot, which ends
//! with our session, keeps the server from removing what was not streamed yet.

mod capture;
mod facts;
mod place;
mod replay;
mod restore;
mod settings_files;
mod start;

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use stillpoint_model::site_file::PostgresSettings;
use stillpoint_model::{
    CaptureSink, Captured, Context, Deadline, Description, Event, Level, Writer, WriterError,
};

use super::access::{Access, find_programs};
use super::child::Child;
use super::cluster::{Cluster, open_maintenance};
use super::session::{Session, literal};
use super::wal::{self, Lsn};

pub use facts::{BaseBackupFacts, SettingsFile};
pub use restore::BaseBackupRestorer;

/// The longest name of a restore point (`MAXFNAMELEN` in PostgreSQL's `xlog_internal.h`, less its end).
const NAME_BYTES: usize = 63;
/// How often the base backup's progress is asked for and told.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// How often a running base backup is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// The pg_* programs of a backup, the one whose version counts first.
const PROGRAMS: [&str; 2] = ["pg_basebackup", "pg_receivewal"];

/// Backs up a whole cluster. See the module for how.
pub struct BaseBackupWriter {
    settings: PostgresSettings,
    access: Option<Access>,
    session: Option<Session>,
    cluster: Option<Cluster>,
    programs: PathBuf,
    slot: Option<String>,
    receiver: Option<Child>,
    point: Option<RestorePoint>,
}

/// The restore point, once it is made.
struct RestorePoint {
    name: String,
    lsn: Lsn,
    made_at: jiff::Timestamp,
}

impl BaseBackupWriter {
    /// The writer of the cluster that `settings` describe.
    pub fn new(settings: PostgresSettings) -> Self {
        Self {
            settings,
            access: None,
            session: None,
            cluster: None,
            programs: PathBuf::new(),
            slot: None,
            receiver: None,
            point: None,
        }
    }

    fn session(&mut self) -> Result<&mut Session, WriterError> {
        self.session.as_mut().ok_or_else(|| out_of_order("a session"))
    }

    fn cluster(&self) -> Result<&Cluster, WriterError> {
        self.cluster.as_ref().ok_or_else(|| out_of_order("a description"))
    }

    fn access(&self) -> Result<&Access, WriterError> {
        self.access.as_ref().ok_or_else(|| out_of_order("a description"))
    }

    /// Keeps the server from removing log that was not streamed yet. Without a free slot it goes without: then a receiver
    /// that falls behind fails the run.
    fn reserve_log(&mut self, context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        let (limit, used) = self.cluster()?.slots;
        if used >= limit {
            tracing::debug!(limit, used, "no free replication slot, going without");
            return Ok(());
        }
        let name: String = format!("stillpoint_{}", context.run)
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
            .take(NAME_BYTES)
            .collect();
        let statement = format!("SELECT pg_create_physical_replication_slot({}, true, true)", literal(&name));
        self.session()?.query("reserve the write-ahead log", &statement, deadline)?;
        self.slot = Some(name);
        Ok(())
    }

    /// Lets the server remove what has been streamed.
    fn release_streamed_log(&mut self, folder: &Path, deadline: Deadline) -> Result<(), WriterError> {
        let Some(slot) = self.slot.clone() else { return Ok(()) };
        let segment_bytes = self.cluster()?.segment_bytes;
        let names = fs::read_dir(folder).map(|entries| {
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect::<Vec<_>>()
        });
        let whole = names.unwrap_or_default().into_iter().filter(|name| wal::is_segment(name)).max();
        let Some(end) = whole.and_then(|name| wal::segment_end(&name, segment_bytes)) else { return Ok(()) };
        let statement = format!(
            "SELECT pg_replication_slot_advance({name}, {end}) FROM pg_catalog.pg_replication_slots \
             WHERE slot_name = {name} AND restart_lsn < {end}::pg_lsn",
            name = literal(&slot),
            end = literal(&end.to_string()),
        );
        self.session()?.query("release streamed write-ahead log", &statement, deadline).map(drop)
    }

    fn start_receiver(&mut self, context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        let folder = create(&context.workspace.join("wal"))?;
        let program = self
            .access()?
            .program(&self.programs.join("pg_receivewal"))
            // It ends when it loses the server, so that we hear of a gap at once.
            .args(["--no-loop", "--no-sync", "--directory"])
            .arg(&folder)
            .cancelled_by(&context.cancel);
        // Lives until it is stopped after the cut: its own deadline is that of nothing.
        let forever = Deadline::after(Duration::from_secs(30 * 24 * 3600));
        let mut receiver = Child::start(context, "pg_receivewal", &program, forever)?;
        receiver.wait_until(context, "the start of pg_receivewal", deadline, || {
            fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some())
        })?;
        self.receiver = Some(receiver);
        Ok(())
    }

    fn receiver(&mut self) -> Result<&mut Child, WriterError> {
        self.receiver.as_mut().ok_or_else(|| out_of_order("a log receiver"))
    }

    fn take_base_backup(&mut self, context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        let base = create(&context.workspace.join("base"))?;
        let cluster = self.cluster()?;
        // With method none the server waits until its own archiving has all of the log: a broken archive would hang us.
        let method = if cluster.archives { "stream" } else { "none" };
        let mut program = self
            .access()?
            .program(&self.programs.join("pg_basebackup"))
            .args(["--format", "plain", "--wal-method", method, "--checkpoint", "fast", "--no-sync"])
            .args(["--manifest-checksums", "SHA256", "--label", &format!("stillpoint {}", context.run)])
            .arg("--pgdata")
            .arg(&base)
            .cancelled_by(&context.cancel);
        for tablespace in &cluster.tablespaces {
            let target = context.workspace.join("tablespaces").join(tablespace.oid.to_string());
            create(&target)?;
            let mapping = format!("{}={}", mapped(&tablespace.location)?, mapped(&target)?);
            program = program.args(["--tablespace-mapping", &mapping]);
        }
        let mut backup = Child::start(context, "pg_basebackup", &program, deadline)?;
        let mut told = Instant::now();
        while !backup.has_ended()? && !context.cancel.is_cancelled() && !deadline.passed() {
            self.receiver()?.check()?;
            if told.elapsed() >= PROGRESS_INTERVAL {
                self.tell_progress(context, deadline)?;
                self.release_streamed_log(&context.workspace.join("wal"), deadline)?;
                told = Instant::now();
            }
            thread::sleep(LOOK_INTERVAL);
        }
        backup.finish()
    }

    fn tell_progress(&mut self, context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        let statement = "SELECT backup_streamed, backup_total FROM pg_catalog.pg_stat_progress_basebackup";
        let rows = self.session()?.query("ask for the progress", statement, deadline)?;
        let number = |cell: &Option<String>| cell.as_deref().and_then(|text| text.parse().ok());
        if let [row, ..] = rows.as_slice() {
            context.monitor.emit(Event::Progress {
                component: Some(context.component.clone()),
                activity: "base backup".into(),
                files: 0,
                bytes: row.first().and_then(number).unwrap_or_default(),
                total_bytes: row.get(1).and_then(number),
            });
        }
        Ok(())
    }
}

impl Writer for BaseBackupWriter {
    fn identify(&mut self, context: &Context, deadline: Deadline) -> Result<Description, WriterError> {
        let access = Access::new(&self.settings)?;
        let mut session = open_maintenance(&access, deadline)?;
        let cluster = Cluster::describe(&mut session, deadline)?;
        check(&cluster, &access)?;
        restore_point_name(context)?;
        self.programs =
            find_programs(self.settings.bin.as_deref(), cluster.major, &PROGRAMS, false, deadline)?;
        let description = Description {
            writer: "postgres".into(),
            level: Level::BackEnd,
            quieting: None,
            // The databases, their growth in the meantime, and the log.
            estimate_bytes: Some(cluster.bytes() + cluster.bytes() / 8 + 8 * cluster.segment_bytes),
            sources: cluster.folders(&access),
            facts: serde_json::json!({ "method": "base-backup", "cluster": cluster }),
        };
        (self.access, self.session, self.cluster) = (Some(access), Some(session), Some(cluster));
        Ok(description)
    }

    fn prepare(&mut self, context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        self.reserve_log(context, deadline)?;
        self.start_receiver(context, deadline)?;
        self.take_base_backup(context, deadline)
    }

    fn freeze(&mut self, _context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        // Nothing is held: the restore point needs no stillness of the server's. Only that the cut can work.
        self.receiver()?.check()?;
        self.session()?.query("see whether the server answers", "SELECT 1", deadline).map(drop)
    }

    fn cut(&mut self, context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        let name = restore_point_name(context)?;
        let statement = format!("SELECT pg_create_restore_point({})", literal(&name));
        let made_at = jiff::Timestamp::now();
        let rows = self.session()?.query("make the restore point", &statement, deadline)?;
        let lsn = rows.into_iter().next().and_then(|row| row.into_iter().next().flatten());
        self.point = Some(RestorePoint { name, lsn: wal::parse_lsn(&lsn.unwrap_or_default())?, made_at });
        Ok(())
    }

    fn thaw(&mut self, _context: &Context, _deadline: Deadline) -> Result<(), WriterError> {
        Ok(())
    }

    fn capture(
        &mut self,
        context: &Context,
        deadline: Deadline,
        sink: &mut dyn CaptureSink,
    ) -> Result<Captured, WriterError> {
        self.bring_in(context, deadline, sink)
    }

    fn release(&mut self, _context: &Context) -> Result<(), WriterError> {
        // The programs first: they use what the session keeps for them.
        self.receiver = None;
        self.session = None;
        Ok(())
    }
}

/// What makes a base backup impossible, with the remedy.
fn check(cluster: &Cluster, access: &Access) -> Result<(), WriterError> {
    let refuse = |text: String| Err(WriterError::Other(text));
    if cluster.in_recovery {
        return refuse(format!(
            "PostgreSQL at {access} is a standby, where no restore point can be made; point host and port at its \
             primary"
        ));
    }
    if cluster.wal_level == "minimal" {
        return refuse(
            "wal_level is minimal, so that no base backup can be taken; set wal_level = replica in postgresql.conf \
             and restart the server, or use method = \"view\""
                .into(),
        );
    }
    let (limit, used) = cluster.wal_senders;
    let needed = if cluster.archives { 3 } else { 2 };
    if used + needed > limit {
        return refuse(format!(
            "a base backup needs {needed} of the server's WAL senders, and {used} of {limit} are in use; set \
             max_wal_senders = {} or more in postgresql.conf and restart the server",
            used + needed
        ));
    }
    if !cluster.superuser && !cluster.replication {
        return refuse(format!(
            "role {user} may not take a base backup; run ALTER ROLE {user} REPLICATION and grant it EXECUTE on \
             pg_create_restore_point and pg_switch_wal, or connect as a superuser",
            user = access.user()
        ));
    }
    if cluster.data.is_none() {
        return refuse(format!(
            "role {user} may not see data_directory; run GRANT pg_read_all_settings TO {user}",
            user = access.user()
        ));
    }
    Ok(())
}

fn restore_point_name(context: &Context) -> Result<String, WriterError> {
    let name = format!("stillpoint-{}", context.run);
    if name.len() > NAME_BYTES {
        return Err(WriterError::Other(format!(
            "the run id {} is too long for a restore point: at most {NAME_BYTES} bytes with \"stillpoint-\"",
            context.run
        )));
    }
    Ok(name)
}

/// Creates a folder with the mode that PostgreSQL demands of its own.
fn create(folder: &Path) -> Result<PathBuf, WriterError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|source| WriterError::Io {
        act: "create folder",
        path: folder.to_owned(),
        source,
    })?;
    Ok(folder.to_owned())
}

/// A path as one side of a tablespace mapping, in which `=` is written `\=`.
fn mapped(path: &Path) -> Result<String, WriterError> {
    let text = path.to_str().ok_or_else(|| {
        WriterError::Other(format!(
            "{} is not valid UTF-8, which a tablespace needs; use another destination",
            path.display()
        ))
    })?;
    Ok(text.replace('=', "\\="))
}

fn out_of_order(missing: &str) -> WriterError {
    WriterError::Other(format!("a step of the run came before there was {missing}; this is our own mistake"))
}
