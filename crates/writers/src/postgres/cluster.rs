//! What a cluster is: version, rights, databases, folders. Only looks.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stillpoint_model::{Deadline, WriterError};

use super::access::Access;
use super::session::{Row, Session, literal};

/// The oldest server that the writers know: the first whose base backups carry a manifest and tell their progress.
const OLDEST_MAJOR: u32 = 13;

/// A database of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// Its size in bytes; nothing where we may not connect to it.
    pub bytes: Option<u64>,
    /// Whether it allows connections.
    pub connectable: bool,
    /// Whether it is a template.
    pub template: bool,
}

/// A tablespace besides the two that every cluster has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tablespace {
    /// Its object id, which is also the name of its link in the data folder.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// Its folder.
    pub location: PathBuf,
}

/// A cluster as its server describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Such as `15.20 (Debian ...)`.
    pub version: String,
    /// Such as 15.
    pub major: u32,
    /// The number that tells clusters apart (`pg_control_system`).
    pub system_identifier: String,
    /// Whether it is a standby.
    pub in_recovery: bool,
    /// `minimal`, `replica` or `logical`.
    pub wal_level: String,
    /// How many programs may stream its log at once, and how many do.
    pub wal_senders: (u32, u32),
    /// How many replication slots there may be, and how many there are.
    pub slots: (u32, u32),
    /// Whether it archives its log itself.
    pub archives: bool,
    /// Size of a segment of its log in bytes.
    pub segment_bytes: u64,
    /// Its data folder; nothing when our role may not see it.
    pub data: Option<PathBuf>,
    /// Whether our role is a superuser.
    pub superuser: bool,
    /// Whether our role has REPLICATION (a superuser always may).
    pub replication: bool,
    /// Its databases, by name.
    pub databases: Vec<Database>,
    /// Its tablespaces.
    pub tablespaces: Vec<Tablespace>,
    /// The settings that a recovery needs to be at least as great as here, by name.
    pub limits: Vec<(String, String)>,
}

impl Cluster {
    /// Asks the server.
    pub fn describe(session: &mut Session, deadline: Deadline) -> Result<Self, WriterError> {
        let act = "ask the server for its settings";
        let answer = session.query(act, SETTINGS, deadline)?;
        let mut cells = answer.into_iter().next().unwrap_or_default().into_iter();
        let mut next = || cells.next().flatten();
        let version = next().unwrap_or_default();
        let major = number::<u32>(next(), act)? / 10_000;
        if major < OLDEST_MAJOR {
            return Err(WriterError::Other(format!(
                "the server is PostgreSQL {version}; the oldest that can be backed up is {OLDEST_MAJOR}: upgrade it"
            )));
        }
        Ok(Self {
            version,
            major,
            system_identifier: next().unwrap_or_default(),
            in_recovery: truth(next()),
            wal_level: next().unwrap_or_default(),
            wal_senders: (number(next(), act)?, number(next(), act)?),
            slots: (number(next(), act)?, number(next(), act)?),
            archives: truth(next()),
            segment_bytes: number(next(), act)?,
            data: next().map(PathBuf::from),
            superuser: truth(next()),
            replication: truth(next()),
            databases: databases(session, deadline)?,
            tablespaces: tablespaces(session, deadline)?,
            limits: limits(session, deadline)?,
        })
    }

    /// The size of all databases, in bytes.
    pub fn bytes(&self) -> u64 {
        self.databases.iter().filter_map(|database| database.bytes).sum()
    }

    /// The folders of the cluster on this machine; none when the server is on another.
    pub fn folders(&self, access: &Access) -> Vec<PathBuf> {
        if !access.is_local() {
            return Vec::new();
        }
        let tablespaces = self.tablespaces.iter().map(|tablespace| tablespace.location.clone());
        self.data.iter().cloned().chain(tablespaces).collect()
    }
}

/// Opens a session with a database that is always there.
pub fn open_maintenance(access: &Access, deadline: Deadline) -> Result<Session, WriterError> {
    match Session::open(access, "postgres", deadline) {
        Err(WriterError::Service { reason, .. }) if reason.contains("does not exist") => {
            Session::open(access, "template1", deadline)
        }
        other => other,
    }
}

const SETTINGS: &str = "SELECT current_setting('server_version'), current_setting('server_version_num'), \
     (SELECT system_identifier FROM pg_catalog.pg_control_system()), pg_is_in_recovery(), \
     current_setting('wal_level'), current_setting('max_wal_senders'), \
     (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'walsender'), \
     current_setting('max_replication_slots'), (SELECT count(*) FROM pg_catalog.pg_replication_slots), \
     current_setting('archive_mode') <> 'off', \
     (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'wal_segment_size'), \
     (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'data_directory'), \
     r.rolsuper, r.rolreplication FROM pg_catalog.pg_roles r WHERE r.rolname = current_user";

fn databases(session: &mut Session, deadline: Deadline) -> Result<Vec<Database>, WriterError> {
    let act = "list the databases";
    let statement = "SELECT datname, datallowconn, datistemplate, \
         CASE WHEN has_database_privilege(oid, 'CONNECT') THEN pg_database_size(oid) END \
         FROM pg_catalog.pg_database ORDER BY datname";
    let database = |row: Row| {
        let [name, connectable, template, bytes] = cells(row, act)?;
        Ok(Database {
            name: name.unwrap_or_default(),
            connectable: truth(connectable),
            template: truth(template),
            bytes: bytes.and_then(|bytes| bytes.parse().ok()),
        })
    };
    session.query(act, statement, deadline)?.into_iter().map(database).collect()
}

fn tablespaces(session: &mut Session, deadline: Deadline) -> Result<Vec<Tablespace>, WriterError> {
    let act = "list the tablespaces";
    // A location that is not absolute lies in the data folder itself (allow_in_place_tablespaces).
    let statement = "SELECT oid, spcname, pg_tablespace_location(oid) FROM pg_catalog.pg_tablespace \
         WHERE pg_tablespace_location(oid) LIKE '/%' ORDER BY oid";
    let tablespace = |row: Row| {
        let [oid, name, location] = cells(row, act)?;
        Ok(Tablespace {
            oid: number(oid, act)?,
            name: name.unwrap_or_default(),
            location: location.unwrap_or_default().into(),
        })
    };
    session.query(act, statement, deadline)?.into_iter().map(tablespace).collect()
}

fn limits(session: &mut Session, deadline: Deadline) -> Result<Vec<(String, String)>, WriterError> {
    let names = [
        "max_connections",
        "max_locks_per_transaction",
        "max_prepared_transactions",
        "max_worker_processes",
        "wal_level",
    ];
    let list = names.map(literal).join(", ");
    let statement = format!("SELECT name, setting FROM pg_catalog.pg_settings WHERE name IN ({list})");
    let rows = session.query("ask the server for its limits", &statement, deadline)?;
    Ok(rows
        .into_iter()
        .filter_map(|row| match <[Option<String>; 2]>::try_from(row) {
            Ok([Some(name), Some(value)]) => Some((name, value)),
            _ => None,
        })
        .collect())
}

/// The cells of a row that has exactly so many.
pub fn cells<const COUNT: usize>(row: Row, act: &str) -> Result<[Option<String>; COUNT], WriterError> {
    row.try_into().map_err(|row: Row| WriterError::Service {
        act: act.to_owned(),
        reason: format!("the answer has {} columns, not {COUNT}", row.len()),
    })
}

/// A cell as a number.
pub fn number<T: std::str::FromStr>(cell: Option<String>, act: &str) -> Result<T, WriterError> {
    let text = cell.unwrap_or_default();
    text.parse().map_err(|_| WriterError::Service {
        act: act.to_owned(),
        reason: format!("{text:?} came back where a number belongs"),
    })
}

/// A cell as a truth value, which PostgreSQL writes as `t` or `f`.
pub fn truth(cell: Option<String>) -> bool {
    cell.as_deref() == Some("t")
}

/// Whether `folder` looks like a data folder of PostgreSQL.
pub fn is_data_folder(folder: &Path) -> bool {
    folder.join("PG_VERSION").is_file() && folder.join("global").is_dir()
}
