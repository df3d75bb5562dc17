//! The file: where it lies, how it is opened, and which version it has.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use stillpoint_model::SiteCode;

use crate::HistoryError;

/// The version of the tables, in `user_version`.
const VERSION: i64 = 1;

/// "Stil" in the file's header, so that `file` and we know it from any other database.
const APPLICATION: i64 = 0x5374_696c;

/// How long a writer waits for another.
const BUSY_LIMIT: Duration = Duration::from_secs(20);

/// The history of one site. Cheap to share: all of it goes through one connection; open a second one for readers that must
/// not wait for it.
pub struct History {
    connection: Mutex<Connection>,
    path: PathBuf,
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History").field("path", &self.path).finish_non_exhaustive()
    }
}

impl History {
    /// Where the history of a site lies below the folder with the state of all sites.
    pub fn path_in(state_root: &Path, site: &SiteCode) -> PathBuf {
        state_root.join("history").join(format!("{}.db", site.as_str()))
    }

    /// Opens the history at `path`, and makes it if it is not there (its folder too, private).
    ///
    /// # Errors
    ///
    /// [`HistoryError::Newer`] for the history of a newer version, [`HistoryError::Open`] when it cannot be opened, is no
    /// history, or is a symbolic link (the folder may belong to a user with fewer rights than we have).
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        if let Some(folder) = path.parent() {
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o750).create(folder);
            made.map_err(|error| HistoryError::open(path, error))?;
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let fresh = !path.exists();
        // SQLite refuses a link anywhere in the path with NOFOLLOW: what leads to the folder may be one, the file may not.
        let real = real_path(path)?;
        let mut connection =
            Connection::open_with_flags(&real, flags).map_err(|error| HistoryError::open(path, error))?;
        if fresh {
            // The rest of the family gets the mode and the owner of this file from SQLite.
            let private = std::fs::Permissions::from_mode(0o640);
            std::fs::set_permissions(&real, private).map_err(|error| HistoryError::open(path, error))?;
            give_to_owner_of_folder(&real);
        }
        prepare(&mut connection, path)?;
        Ok(Self { connection: Mutex::new(connection), path: real })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The connection, held until the guard is dropped.
    pub(crate) fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn real_path(path: &Path) -> Result<PathBuf, HistoryError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().ok_or_else(|| HistoryError::open(path, "it has no name"))?;
    Ok(folder.canonicalize().map_err(|error| HistoryError::open(path, error))?.join(name))
}

/// What root makes belongs to whom its folder belongs to. Where it may not be given away it stays ours.
pub(crate) fn give_to_owner_of_folder(path: &Path) {
    use std::os::unix::fs::MetadataExt;
    if let Some(folder) = path.parent().and_then(|folder| std::fs::metadata(folder).ok()) {
        let _ = std::os::unix::fs::lchown(path, Some(folder.uid()), Some(folder.gid()));
    }
}

fn prepare(connection: &mut Connection, path: &Path) -> Result<(), HistoryError> {
    let opened = |error: rusqlite::Error| HistoryError::open(path, error);
    connection.busy_timeout(BUSY_LIMIT).map_err(opened)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(opened)?;
    // FULL: what was told is on the disk when the transaction ends, also after a power cut.
    connection.pragma_update(None, "synchronous", "FULL").map_err(opened)?;
    connection.pragma_update(None, "cache_size", -8192).map_err(opened)?;
    let change =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(opened)?;
    let found: i64 = change.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(opened)?;
    let mark: i64 = change.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(opened)?;
    let tables: i64 =
        change.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(opened)?;
    if tables > 0 && mark != APPLICATION {
        return Err(HistoryError::open(path, "it is a database of another program"));
    }
    if found > VERSION {
        return Err(HistoryError::Newer { path: path.to_path_buf(), found, known: VERSION });
    }
    if found == 0 {
        change.execute_batch(include_str!("schema.sql")).map_err(opened)?;
        change.pragma_update(None, "application_id", APPLICATION).map_err(opened)?;
        change.pragma_update(None, "user_version", VERSION).map_err(opened)?;
    }
    change.commit().map_err(opened)
}
