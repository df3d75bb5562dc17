//! What a store of rows must be able to do, and how one is named.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::LedgerError;
use crate::operation::{Row, Shape};
use crate::store_postgres::PostgresStore;
use crate::store_sqlite::SqliteStore;

/// How an SQLite store keeps its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum JournalMode {
    /// Write-ahead log, `synchronous = normal`.
    #[default]
    Wal,
    /// Rollback journal that is deleted at each commit.
    Rollback,
}

/// Where rows are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreSettings {
    /// An SQLite database.
    Sqlite {
        /// The database file.
        path: PathBuf,
        /// Its journal; only the application looks at this.
        #[serde(default)]
        journal: JournalMode,
    },
    /// A PostgreSQL database.
    Postgres {
        /// Connection string as for `libpq`: `host=/run/pg user=postgres dbname=ledger`.
        connection: String,
    },
}

impl StoreSettings {
    /// Opens the store for the application, with its tables created when they are not there. Fails when the ledger in it
    /// has another shape.
    pub(crate) fn open(&self, shape: Shape) -> Result<Box<dyn Store>, LedgerError> {
        let mut store: Box<dyn Store> = match self {
            Self::Sqlite { path, journal } => Box::new(SqliteStore::create(path, *journal)?),
            Self::Postgres { connection } => Box::new(PostgresStore::create(connection)?),
        };
        let found = store.shape(Some(shape))?;
        if found != shape {
            return Err(LedgerError::Settings(format!(
                "the ledger was made with a window of {} and {} mapped mark; start it with the same, not with a window of {} and {} mapped mark",
                found.window,
                if found.mapped { "a" } else { "no" },
                shape.window,
                if shape.mapped { "a" } else { "no" },
            )));
        }
        Ok(store)
    }

    /// Opens an existing store for the check.
    pub(crate) fn open_existing(&self) -> Result<Box<dyn Store>, LedgerError> {
        Ok(match self {
            Self::Sqlite { path, .. } => Box::new(SqliteStore::open(path)?),
            Self::Postgres { connection } => Box::new(PostgresStore::open(connection)?),
        })
    }
}

/// A store of rows. Every change is committed when the call returns.
pub(crate) trait Store: Send {
    /// The shape of the ledger in it; `initial` is taken when it has none yet.
    fn shape(&mut self, initial: Option<Shape>) -> Result<Shape, LedgerError>;

    /// Commits a row; nothing happens when it is there already.
    fn insert(&mut self, worker: u32, row: &Row) -> Result<(), LedgerError>;

    /// Deletes a row, if it is there.
    fn delete(&mut self, worker: u32, number: u64) -> Result<(), LedgerError>;

    /// All rows of a worker, by number, read at one instant.
    fn rows(&mut self, worker: u32) -> Result<Vec<Row>, LedgerError>;

    /// The row with the highest number.
    fn last(&mut self, worker: u32) -> Result<Option<Row>, LedgerError>;

    /// A row.
    fn row(&mut self, worker: u32, number: u64) -> Result<Option<Row>, LedgerError>;

    /// The workers that have rows.
    fn workers(&mut self) -> Result<Vec<u32>, LedgerError>;

    /// What the store finds wrong in itself, one sentence each.
    fn self_check(&mut self) -> Result<Vec<String>, LedgerError>;
}

/// A hash of 32 bytes from what a store gave; anything else becomes one that fits nothing.
pub(crate) fn hash_of(bytes: &[u8]) -> [u8; 32] {
    bytes.try_into().unwrap_or([0xFF; 32])
}
