//! What a restore of a base backup needs to know, as it is stored with the component.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::postgres::cluster::Tablespace;

/// The facts of a captured cluster ([`stillpoint_model::Captured::facts`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseBackupFacts {
    /// Always `base-backup`: tells the two methods apart.
    pub method: String,
    /// The server's version, such as `15.20 (Debian 15.20-0+deb12u1)`.
    pub version: String,
    /// Its major version, which the server of a restore must have.
    pub major: u32,
    /// The number that tells clusters apart.
    pub system_identifier: String,
    /// The name of the restore point at the epoch (`recovery_target_name`).
    pub restore_point: String,
    /// Its position in the write-ahead log.
    pub lsn: String,
    /// The timeline of the base backup and of the restore point.
    pub timeline: u32,
    /// When the restore point was made, UTC, by our clock.
    pub made_at: jiff::Timestamp,
    /// The data folder that the server had.
    pub data: PathBuf,
    /// The operating-system user that owned it; `postgres` where that could not be seen.
    pub owner: String,
    /// The tablespaces; the content of each is in `tablespaces/<oid>`.
    pub tablespaces: Vec<Tablespace>,
    /// Settings files that were outside the data folder.
    pub settings_files: Vec<SettingsFile>,
    /// The settings that a recovery needs, by name.
    pub limits: Vec<(String, String)>,
    /// The first and the last segment in `wal/`.
    pub segments: (String, String),
    /// The role that a restore checks the cluster as.
    pub user: String,
}

/// A settings file that was outside the data folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsFile {
    /// Which setting names it: `config_file`, `hba_file` or `ident_file`; `include` for one that another includes.
    pub role: String,
    /// Where it was.
    pub path: PathBuf,
    /// Its path in the component, below `config/`.
    pub stored: String,
}
