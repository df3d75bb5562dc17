//! SQLite databases.
//!
//! With a write-ahead log, a read transaction that begins in the freeze keeps its view for as long as it is open: it is
//! begun in [`Writer::cut`] and copied with the backup interface *on the same connection* after the thaw.
//!
//! With a rollback journal there is no such view: who reads keeps everybody from committing. The shared lock is taken, the
//! file copied under it (most of it was copied before, see `raw.rs`), and the lock let go with the thaw. An application
//! that is held in the middle of a transaction may hold its own lock, for as long as the hold lasts; so the lock is taken
//! *before* applications are held ([`Level::Lock`]). One that comes to rest by itself ends its transactions, and would wait
//! for our lock; so the lock is taken *after* it. [`LockOrder`] says which.

mod header;
mod raw;
mod restore;
mod session;
mod worker;

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stillpoint_model::site_file::SqliteSettings;
use stillpoint_model::{
    CaptureSink, Captured, Context, Deadline, Description, Event, Grade, Level, TreeSource, Writer,
    WriterError,
};
use stillpoint_tree::{Entry, FileFacts, IndexAppender, Kind, RelPath, read_entry};

use crate::tree_work::tree_error;
use header::{Header, Journal};
use session::{companion, wal_bytes};
use worker::{Session, Worker};

pub use restore::SqliteRestorer;

/// The files that SQLite keeps beside a database, by the endings of their names.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// How long a release waits for the database to be closed.
const CLOSE_WAIT: Duration = Duration::from_secs(10);

/// When the lock on a database with a rollback journal is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockOrder {
    /// Before applications are held: some service of the site is held by the freezer, or nobody says what the
    /// applications do.
    BeforeServices,
    /// After applications came to rest: every service of the site is stopped or quieted by its own command.
    AfterServices,
}

/// Cuts one database.
pub struct SqliteWriter {
    path: PathBuf,
    order: LockOrder,
    header: Option<Header>,
    original: Option<Entry>,
    worker: Option<Worker>,
    /// What the cut copied by itself.
    method: Option<&'static str>,
    pinned_in_us: Option<u64>,
    copied_in_us: Option<u64>,
    /// How much of the copy had to be written in the cut.
    cut_bytes: Option<u64>,
}

impl SqliteWriter {
    /// The writer for a database of the site file.
    pub fn new(settings: &SqliteSettings, order: LockOrder) -> Self {
        Self {
            path: settings.path.clone(),
            order,
            header: None,
            original: None,
            worker: None,
            method: None,
            pinned_in_us: None,
            copied_in_us: None,
            cut_bytes: None,
        }
    }

    fn journal(&self) -> Result<Journal, WriterError> {
        let header =
            self.header.ok_or_else(|| WriterError::Other("the database was not identified".into()))?;
        Ok(header.journal)
    }

    fn worker(&self) -> Result<&Worker, WriterError> {
        self.worker.as_ref().ok_or_else(|| WriterError::Other("the database was not prepared".into()))
    }

    /// The folder that the copy is made in, and the copy.
    fn copy(&self, context: &Context) -> Result<(PathBuf, PathBuf), WriterError> {
        let folder = context.workspace.join("database");
        let name = self
            .path
            .file_name()
            .ok_or_else(|| WriterError::Other(format!("{} names no file", self.path.display())))?;
        Ok((folder.clone(), folder.join(name)))
    }

    /// Pins the view, and makes sure that it is of the kind that was prepared for.
    fn pin(&mut self, context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        let started = Instant::now();
        let (path, cancel, expected) = (self.path.clone(), context.cancel.clone(), self.journal()?);
        self.worker()?.call(
            "taking the view of the database",
            deadline,
            Some(&context.cancel),
            move |session| {
                session.pin(&path, deadline, &cancel)?;
                if session.journal(&path)? == expected {
                    return Ok(());
                }
                session.unpin(&path)?;
                Err(WriterError::Other(format!(
                    "the journal mode of {} changed since the run began; run the backup again",
                    path.display()
                )))
            },
        )?;
        self.pinned_in_us = Some(microseconds(started));
        Ok(())
    }

    /// Tells how much of the view is copied.
    fn tell_progress(&self, context: &Context, worker: &Worker) {
        let page_size = self.header.and_then(|header| header.page_size).map_or(0, u64::from);
        context.monitor.emit(Event::Progress {
            component: Some(context.component.clone()),
            activity: "copy the database".into(),
            files: 0,
            bytes: worker.copied_pages.load(Ordering::Relaxed) * page_size,
            total_bytes: None,
        });
    }

    /// Writes the list for the set: the copy, with the metadata of the original.
    fn list(&self, context: &Context, folder: &Path, copy: &Path) -> Result<PathBuf, WriterError> {
        let size = fs::metadata(copy)
            .map_err(|source| WriterError::Io { act: "look at", path: copy.to_owned(), source })?
            .len();
        let original = self.original.clone();
        let original = original.ok_or_else(|| WriterError::Other("the database was not prepared".into()))?;
        let missing = || WriterError::Other(format!("{} is gone", folder.display()));
        let top = read_entry(folder, &RelPath::top()).map_err(tree_error)?.ok_or_else(missing)?;
        let path = context.workspace.join("database.list");
        let mut list = IndexAppender::create(&path).map_err(tree_error)?;
        list.append(&Entry { origin: None, ..top }).map_err(tree_error)?;
        let kind = Kind::File(FileFacts { size, sha256: None });
        // Not where the original was: the copy is not its bytes.
        list.append(&Entry { kind, origin: None, ..original }).map_err(tree_error)?;
        list.finish().map_err(tree_error)?;
        Ok(path)
    }

    fn facts(&self) -> Value {
        json!({
            "path": self.path.display().to_string(),
            "journal": self.header.map(|header| header.journal),
            "page_size": self.header.and_then(|header| header.page_size),
            "sqlite": rusqlite::version(),
        })
    }
}

impl Writer for SqliteWriter {
    fn identify(&mut self, _context: &Context, _deadline: Deadline) -> Result<Description, WriterError> {
        // SQLite follows symbolic links, too, and keeps its files beside the real one.
        self.path = fs::canonicalize(&self.path).map_err(|source| WriterError::Io {
            act: "find the database",
            path: self.path.clone(),
            source,
        })?;
        let found = fs::metadata(&self.path).map_err(|source| WriterError::Io {
            act: "look at",
            path: self.path.clone(),
            source,
        })?;
        if !found.is_file() {
            return Err(WriterError::Other(format!(
                "{} is not a file; name the database file",
                self.path.display()
            )));
        }
        let header = Header::read(&self.path)?;
        self.header = Some(header);
        let level = match (header.journal, self.order) {
            (Journal::Rollback, LockOrder::BeforeServices) => Level::Lock,
            _ => Level::BackEnd,
        };
        Ok(Description {
            writer: "sqlite".into(),
            level,
            quieting: None,
            estimate_bytes: Some(found.len() + wal_bytes(&self.path)),
            sources: vec![self.path.clone()],
            facts: self.facts(),
        })
    }

    fn prepare(&mut self, context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        let (folder, name) = self
            .path
            .parent()
            .zip(self.path.file_name())
            .ok_or_else(|| WriterError::Other(format!("{} names no file", self.path.display())))?;
        let name = RelPath::top().child(std::os::unix::ffi::OsStrExt::as_bytes(name));
        self.original = read_entry(folder, &name).map_err(tree_error)?;
        let (copy_folder, _) = self.copy(context)?;
        fs::DirBuilder::new().mode(0o700).create(&copy_folder).map_err(|source| WriterError::Io {
            act: "create",
            path: copy_folder,
            source,
        })?;
        self.worker = Some(Worker::start()?);
        let path = self.path.clone();
        self.worker()?.call("opening the database", deadline, Some(&context.cancel), move |session| {
            session.open(&path)
        })?;
        // Reads the schema and maps what SQLite maps, so that the freeze need not.
        if self.journal()? == Journal::Wal {
            self.pin(context, deadline)?;
            let path = self.path.clone();
            return self.worker()?.call("letting go", deadline, None, move |session| session.unpin(&path));
        }
        let (path, (_, copy)) = (self.path.clone(), self.copy(context)?);
        let cancel = context.cancel.clone();
        self.worker()?.call("copying the database ahead", deadline, Some(&context.cancel), move |session| {
            session.copy_ahead(&path, &copy, deadline, &cancel)
        })
    }

    fn poise(&mut self, context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        let ((_, copy), cancel) = (self.copy(context)?, context.cancel.clone());
        self.worker()?.call("copying the database ahead", deadline, Some(&context.cancel), move |session| {
            session.catch_up(&copy, deadline, &cancel)
        })
    }

    fn freeze(&mut self, context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        match self.journal()? {
            Journal::Wal => Ok(()),
            Journal::Rollback => self.pin(context, deadline),
        }
    }

    fn cut(&mut self, context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        if self.journal()? == Journal::Wal {
            return self.pin(context, deadline);
        }
        let started = Instant::now();
        let (_, copy) = self.copy(context)?;
        let (worker, cancel) = (self.worker()?, context.cancel.clone());
        let done = worker.call("copying the database", deadline, Some(&context.cancel), move |session| {
            session.copy_raw(&copy, deadline, &cancel)
        })?;
        (self.method, self.cut_bytes) = (Some(done.method), Some(done.written_bytes));
        self.copied_in_us = Some(microseconds(started));
        Ok(())
    }

    fn thaw(&mut self, _context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        if self.journal()? == Journal::Wal {
            return Ok(());
        }
        let path = self.path.clone();
        // All of it is closed: the copy is made, and nothing of ours may stand in anybody's way.
        self.worker.as_ref().map_or(Ok(()), |worker| {
            worker.call("letting the database go on", deadline, None, move |session| session.close(&path))
        })
    }

    fn capture(
        &mut self,
        context: &Context,
        deadline: Deadline,
        sink: &mut dyn CaptureSink,
    ) -> Result<Captured, WriterError> {
        let (folder, copy) = self.copy(context)?;
        let mut facts = self.facts();
        if self.journal()? == Journal::Wal {
            let started = Instant::now();
            let (path, target, cancel) = (self.path.clone(), copy.clone(), context.cancel.clone());
            // The view is let go as soon as it is copied, so that the log can be taken in again.
            let worker = self.worker()?;
            let tell = || self.tell_progress(context, worker);
            let copied = move |session: &mut Session| {
                session.copy_view(&target, deadline, &cancel)?;
                session.close(&path)
            };
            worker.call_telling("copying the database", deadline, Some(&context.cancel), &tell, copied)?;
            self.method = Some("backup");
            self.copied_in_us = Some(microseconds(started));
            facts["wal_bytes_after"] = wal_bytes(&self.path).into();
        }
        let checked = copy.clone();
        self.worker()?.call(
            "checking the copy of the database",
            deadline,
            Some(&context.cancel),
            move |session| session.check(&checked),
        )?;
        let index = self.list(context, &folder, &copy)?;
        let source = TreeSource {
            root: folder,
            index: Some(index),
            owned: true,
            include: Vec::new(),
            exclude: Vec::new(),
        };
        sink.tree(context, "", source)?;
        facts["method"] = self.method.into();
        facts["pinned_in_us"] = self.pinned_in_us.into();
        facts["copied_in_us"] = self.copied_in_us.into();
        facts["cut_bytes"] = self.cut_bytes.into();
        // A transaction that was under way is not in it: what is in it is whole.
        Ok(Captured { grade: Grade::Frozen, facts })
    }

    fn release(&mut self, _context: &Context) -> Result<(), WriterError> {
        // What is not closed by then is closed by the thread, which ends when nobody sends it work any more.
        let Some(worker) = self.worker.take() else { return Ok(()) };
        let path = self.path.clone();
        worker.call("closing the database", Deadline::after(CLOSE_WAIT), None, move |session| {
            session.close(&path)
        })
    }
}

fn microseconds(since: Instant) -> u64 {
    since.elapsed().as_micros().try_into().unwrap_or(u64::MAX)
}
