//! Drafting a site file from what is found running: [`look`] looks at the machine, [`draft`] writes the text.
//!
//! Looking changes nothing, speaks with no database, and needs no rights: what cannot be seen is told in the draft. It is
//! bounded in time and amount; only a file system that hangs could hold it up.

mod draft;
mod look;

use std::path::PathBuf;

use serde::Serialize;

pub use draft::draft;
pub use look::look;

/// What was found on the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// The name of the host.
    pub host: String,
    /// PostgreSQL servers.
    pub postgres: Vec<PostgresFound>,
    /// SQLite databases that a running process has open.
    pub sqlite: Vec<SqliteFound>,
    /// Running services that are not a part of the system.
    pub units: Vec<UnitFound>,
    /// Running services that are better left alone, by name.
    pub other_units: Vec<String>,
    /// Folders with web content.
    pub web_roots: Vec<PathBuf>,
    /// The command that lists the installed packages, if one is there.
    pub package_list: Option<Vec<String>>,
    /// What could not be looked at, one sentence each.
    pub notes: Vec<String>,
}

/// A PostgreSQL server that listens on a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PostgresFound {
    /// The folder of the socket.
    pub socket_folder: PathBuf,
    /// The port.
    pub port: u16,
    /// The data folder, if it could be seen.
    pub data: Option<PathBuf>,
}

/// An SQLite database in use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct SqliteFound {
    /// The database file.
    pub path: PathBuf,
    /// The name of a program that has it open.
    pub program: String,
}

/// A running service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct UnitFound {
    /// The name of the unit.
    pub name: String,
    /// What it says of itself.
    pub description: String,
}
