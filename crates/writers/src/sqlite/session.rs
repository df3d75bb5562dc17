//! What is done on the thread that has the database open: pin a view, copy it, let it go, check a copy.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::{fs, io};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use stillpoint_model::{Cancel, Deadline, WriterError};

use super::header::Journal;
use super::raw::create;
use super::restore::user_of;
use super::worker::{Claim, Session};

/// How long to wait before the lock is tried again. Short: writers at full speed leave only gaps.
const RETRY_INTERVAL: Duration = Duration::from_micros(100);
/// How many pages the backup interface copies between two looks at the clock.
const BACKUP_STEP_PAGES: i32 = 1024;

/// A failure of SQLite in `act`. A full disk is told as one, wherever it is met: it is no fault of the database's.
fn failed(act: &str, path: &Path) -> impl Fn(rusqlite::Error) -> WriterError + use<> {
    let (act, path) = (format!("{act} {}", path.display()), path.to_owned());
    move |error| match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            let source = io::Error::from_raw_os_error(libc::ENOSPC);
            WriterError::Io { act: "write", path: path.clone(), source }
        }
        _ => WriterError::Service { act: act.clone(), reason: error.to_string() },
    }
}

/// A failure of SQLite to read the database. Where SQLite wants to write and cannot, that is what a person must know: a
/// log needs its index beside it, and what a dead writer left half done must be rolled back first.
fn unreadable(path: &Path, error: &rusqlite::Error) -> WriterError {
    let hint = match error.sqlite_error_code() {
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly) => {
            ": the database or its folder cannot be written to, and SQLite must write to read it safely; mount it \
             writable, or leave the component out"
        }
        _ => "",
    };
    WriterError::Service { act: format!("reading {}", path.display()), reason: format!("{error}{hint}") }
}

/// Who might be in the way of a lock, for a message.
fn holder(path: &Path) -> String {
    let Some(process) = user_of(path) else {
        return "another connection held it; is a long transaction under way?".to_owned();
    };
    let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
    format!("process {process} ({}) held it; is a long transaction under way?", name.trim_end())
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed)
    )
}

impl Session {
    /// Opens the database, for writing: only so can SQLite roll back what a dead writer left half done. SQLite gives the
    /// files that it makes beside it to the owner of the database.
    pub fn open(&mut self, path: &Path) -> Result<(), WriterError> {
        self.claim = Some(Claim::take(path)?);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(failed("opening", path))?;
        connection.busy_timeout(Duration::ZERO).map_err(failed("opening", path))?;
        self.connection = Some(connection);
        Ok(())
    }

    fn connection(&self) -> Result<&Connection, WriterError> {
        self.connection.as_ref().ok_or_else(|| WriterError::Other("the database is not open".into()))
    }

    /// Takes a view of the database as it is now: in rollback-journal mode this is a shared lock, which keeps everybody
    /// from committing. Tries until the deadline.
    pub fn pin(&self, path: &Path, deadline: Deadline, cancel: &Cancel) -> Result<(), WriterError> {
        let connection = self.connection()?;
        if !self.claim.as_ref().is_some_and(|claim| claim.is_of(path)) {
            return Err(WriterError::Other(format!(
                "{} was replaced by another file since the run began; run the backup again",
                path.display()
            )));
        }
        let look = || -> rusqlite::Result<i64> {
            connection.execute_batch("BEGIN")?;
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        };
        loop {
            let error = match look() {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            self.unpin(path)?;
            if !is_busy(&error) {
                return Err(unreadable(path, &error));
            }
            if cancel.is_cancelled() {
                return Err(WriterError::Cancelled);
            }
            if deadline.passed() {
                return Err(WriterError::Late {
                    act: format!("taking a shared lock on {} ({})", path.display(), holder(path)),
                });
            }
            thread::sleep(RETRY_INTERVAL);
        }
    }

    /// Lets the view go. Harmless when there is none.
    pub fn unpin(&self, path: &Path) -> Result<(), WriterError> {
        match &self.connection {
            Some(connection) if !connection.is_autocommit() => {
                connection.execute_batch("ROLLBACK").map_err(failed("letting go", path))
            }
            _ => Ok(()),
        }
    }

    /// How the database keeps its transactions whole, as the open connection sees it.
    pub fn journal(&self, path: &Path) -> Result<Journal, WriterError> {
        let query = self.connection()?.query_row("PRAGMA journal_mode", [], |row| row.get::<_, String>(0));
        let mode = query.map_err(failed("reading", path))?;
        Ok(if mode.eq_ignore_ascii_case("wal") { Journal::Wal } else { Journal::Rollback })
    }

    /// Copies what the pinned view shows with the backup interface, on the connection that has it.
    pub fn copy_view(&self, target: &Path, deadline: Deadline, cancel: &Cancel) -> Result<(), WriterError> {
        let failed = failed("copying to", target);
        create(target)?;
        let mut copy = Connection::open(target).map_err(&failed)?;
        // The set is synced as a whole; a copy that is not whole is thrown away.
        copy.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF").map_err(&failed)?;
        let backup = Backup::new(self.connection()?, &mut copy).map_err(&failed)?;
        loop {
            if cancel.is_cancelled() {
                return Err(WriterError::Cancelled);
            }
            if deadline.passed() {
                return Err(WriterError::Late { act: "copying the database".into() });
            }
            match backup.step(BACKUP_STEP_PAGES).map_err(&failed)? {
                StepResult::Done => break,
                StepResult::More => {}
                // Nobody else knows the copy; the source is ours to read.
                _ => thread::sleep(RETRY_INTERVAL),
            }
            let pages = backup.progress();
            let done = u64::try_from(pages.pagecount - pages.remaining).unwrap_or(0);
            self.copied_pages.store(done, Ordering::Relaxed);
        }
        drop(backup);
        copy.close().map_err(|(_, error)| failed(error))
    }

    /// Reads the whole copy and checks it. Changes nothing, leaves nothing beside it.
    pub fn check(&self, copy: &Path) -> Result<(), WriterError> {
        let failed = failed("checking the copy of the database at", copy);
        let flags =
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(immutable(copy), flags).map_err(&failed)?;
        self.interruptible(&connection);
        let verdict = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
        match verdict.map_err(&failed)?.as_str() {
            "ok" => Ok(()),
            damage => Err(WriterError::Service {
                act: "checking the copy of the database".into(),
                reason: format!(
                    "it is damaged: {damage}. Whether the original is, too, `PRAGMA integrity_check` tells"
                ),
            }),
        }
    }

    /// Closes everything. The view ends first; closing the plain file would drop the locks under it.
    pub fn close(&mut self, path: &Path) -> Result<(), WriterError> {
        let unpinned = self.unpin(path);
        self.raw = None;
        self.copy = None;
        let closed = match self.connection.take().map(Connection::close) {
            Some(Err((_, error))) => Err(failed("closing", path)(error)),
            _ => Ok(()),
        };
        self.claim = None;
        unpinned.and(closed)
    }
}

/// The size of the write-ahead log beside a database, in bytes.
pub fn wal_bytes(path: &Path) -> u64 {
    fs::metadata(companion(path, "-wal")).map_or(0, |facts| facts.len())
}

/// The path of a file that SQLite keeps beside a database.
pub fn companion(path: &Path, ending: &str) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// The address of a file that nobody changes (sqlite.org/uri, `immutable`): read without locks and without a log.
fn immutable(path: &Path) -> String {
    let mut uri = String::from("file:");
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => uri.push(char::from(byte)),
            // Writing to a String cannot fail.
            other => drop(write!(uri, "%{other:02X}")),
        }
    }
    uri + "?immutable=1"
}
