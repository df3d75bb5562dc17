//! Rows in SQLite.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use crate::LedgerError;
use crate::operation::{Row, Shape};
use crate::store::{JournalMode, Store, hash_of};

/// How many times a worker tries to get a lock that another worker has, or a reader who holds the database still.
const TRIES: i32 = 60_000;

/// Between two tries. SQLite's own handler waits up to 100 ms, so that workers with a rollback journal starve each other.
const BETWEEN_TRIES: Duration = Duration::from_millis(1);

/// One connection.
pub(crate) struct SqliteStore {
    connection: Connection,
    path: PathBuf,
}

impl SqliteStore {
    /// Opens or creates the database for the application.
    pub(crate) fn create(path: &Path, journal: JournalMode) -> Result<Self, LedgerError> {
        let store = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        let mode = match journal {
            JournalMode::Wal => "WAL",
            JournalMode::Rollback => "DELETE",
        };
        store
            .connection
            .pragma_update(None, "journal_mode", mode)
            .map_err(store.fails("set its journal mode"))?;
        store
            .connection
            .pragma_update(None, "synchronous", "NORMAL")
            .map_err(store.fails("set synchronous"))?;
        store
            .connection
            .execute_batch(
                "BEGIN IMMEDIATE;
                 CREATE TABLE IF NOT EXISTS ledger (
                     worker INTEGER NOT NULL, number INTEGER NOT NULL, content BLOB NOT NULL, previous BLOB NOT NULL,
                     chain BLOB NOT NULL, PRIMARY KEY (worker, number)) WITHOUT ROWID;
                 CREATE TABLE IF NOT EXISTS ledger_shape (
                     one INTEGER PRIMARY KEY CHECK (one = 1), window_size INTEGER NOT NULL, mapped INTEGER NOT NULL);
                 COMMIT;",
            )
            .map_err(store.fails("create its tables"))?;
        Ok(store)
    }

    /// Opens an existing database. For writing, because after a power cut SQLite itself must put it in order.
    pub(crate) fn open(path: &Path) -> Result<Self, LedgerError> {
        Self::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
    }

    fn connect(path: &Path, flags: OpenFlags) -> Result<Self, LedgerError> {
        let fails = |source| LedgerError::Sqlite { act: "be opened", path: path.to_owned(), source };
        let mut connection =
            Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(fails)?;
        let patient = |tries| {
            std::thread::sleep(BETWEEN_TRIES);
            tries < TRIES
        };
        connection.busy_handler(Some(patient)).map_err(fails)?;
        Ok(Self { connection, path: path.to_owned() })
    }

    fn fails(&self, act: &'static str) -> impl FnOnce(rusqlite::Error) -> LedgerError {
        let path = self.path.clone();
        move |source| LedgerError::Sqlite { act, path, source }
    }

    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
        Ok(Row {
            number: row.get::<_, i64>(0)?.cast_unsigned(),
            content: hash_of(row.get_ref(1)?.as_blob()?),
            previous: hash_of(row.get_ref(2)?.as_blob()?),
            chain: hash_of(row.get_ref(3)?.as_blob()?),
        })
    }
}

impl Store for SqliteStore {
    fn shape(&mut self, initial: Option<Shape>) -> Result<Shape, LedgerError> {
        if let Some(shape) = initial {
            self.connection
                .execute(
                    "INSERT INTO ledger_shape VALUES (1, ?1, ?2) ON CONFLICT DO NOTHING",
                    params![shape.window.cast_signed(), shape.mapped],
                )
                .map_err(self.fails("keep its shape"))?;
        }
        self.connection
            .query_row("SELECT window_size, mapped FROM ledger_shape", [], |row| {
                Ok(Shape { window: row.get::<_, i64>(0)?.cast_unsigned(), mapped: row.get(1)? })
            })
            .map_err(self.fails("tell its shape"))
    }

    fn insert(&mut self, worker: u32, row: &Row) -> Result<(), LedgerError> {
        self.connection
            .prepare("INSERT INTO ledger VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING")
            .and_then(|mut statement| {
                statement.execute(params![
                    worker,
                    row.number.cast_signed(),
                    row.content,
                    row.previous,
                    row.chain
                ])
            })
            .map(drop)
            .map_err(self.fails("take a row"))
    }

    fn delete(&mut self, worker: u32, number: u64) -> Result<(), LedgerError> {
        self.connection
            .prepare("DELETE FROM ledger WHERE worker = ?1 AND number = ?2")
            .and_then(|mut statement| statement.execute(params![worker, number.cast_signed()]))
            .map(drop)
            .map_err(self.fails("delete a row"))
    }

    fn rows(&mut self, worker: u32) -> Result<Vec<Row>, LedgerError> {
        self.connection
            .prepare("SELECT number, content, previous, chain FROM ledger WHERE worker = ?1 ORDER BY number")
            .and_then(|mut statement| statement.query_map([worker], Self::read)?.collect())
            .map_err(self.fails("read its rows"))
    }

    fn last(&mut self, worker: u32) -> Result<Option<Row>, LedgerError> {
        self.connection
            .query_row(
                "SELECT number, content, previous, chain FROM ledger WHERE worker = ?1
                 ORDER BY number DESC LIMIT 1",
                [worker],
                Self::read,
            )
            .optional()
            .map_err(self.fails("read its last row"))
    }

    fn row(&mut self, worker: u32, number: u64) -> Result<Option<Row>, LedgerError> {
        self.connection
            .query_row(
                "SELECT number, content, previous, chain FROM ledger WHERE worker = ?1 AND number = ?2",
                params![worker, number.cast_signed()],
                Self::read,
            )
            .optional()
            .map_err(self.fails("read a row"))
    }

    fn workers(&mut self) -> Result<Vec<u32>, LedgerError> {
        self.connection
            .prepare("SELECT DISTINCT worker FROM ledger ORDER BY worker")
            .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
            .map_err(self.fails("list its workers"))
    }

    fn self_check(&mut self) -> Result<Vec<String>, LedgerError> {
        let lines: Vec<String> = self
            .connection
            .prepare("PRAGMA integrity_check")
            .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
            .map_err(self.fails("check itself"))?;
        Ok(lines.into_iter().filter(|line| line != "ok").map(|line| format!("SQLite says: {line}")).collect())
    }
}
