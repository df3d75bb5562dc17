//! The thread that has the database open, with file descriptors of its own.
//!
//! SQLite locks with POSIX record locks. They belong to the table of file descriptors, and *all* of them on a file are
//! gone as soon as *any* descriptor of that file in the table is closed. A component that copies the folder of the database
//! opens and closes exactly these files (`-shm` too), on another thread of ours: with a shared table that would drop the
//! lock that holds our view, and the application would write into what we read. So this thread gets a table of its own.
//!
//! For the same reason nothing is done on this thread but SQLite and plain files that it opened: a descriptor of another
//! thread (a log file, a socket) is another file here. No events, no logging.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded, unbounded};
use rusqlite::{Connection, InterruptHandle};
use stillpoint_model::{Cancel, Deadline, WriterError};

/// How often a waiting caller looks for a cancellation, and at most tells of progress.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// How long a job may take to notice that it was interrupted.
const INTERRUPT_WAIT: Duration = Duration::from_secs(2);

/// What lives on the thread.
#[derive(Default)]
pub struct Session {
    /// The connection to the database.
    pub connection: Option<Connection>,
    /// The database as a plain file, opened for a raw copy. Closing it drops our locks, so it is closed when they may go.
    pub raw: Option<File>,
    /// The copy of it that was made ahead.
    pub copy: Option<File>,
    /// Stands for the database; dropped after the connection.
    pub claim: Option<Claim>,
    /// How many pages a copy has behind it, for those who wait.
    pub copied_pages: Arc<AtomicU64>,
    interrupt: Arc<Mutex<Option<InterruptHandle>>>,
}

/// The databases that are open, by device and inode.
static CLAIMED: Mutex<Vec<(u64, u64)>> = Mutex::new(Vec::new());

/// The right to have a database open. SQLite thinks that all connections of a process share their locks, which those of
/// two of our threads do not: a second one would read without a lock.
pub struct Claim((u64, u64));

impl Claim {
    /// Whether the file at `path` still is the one that was claimed.
    pub fn is_of(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == self.0)
    }

    /// Claims the database at `path`; an error when another thread has it.
    pub fn take(path: &Path) -> Result<Self, WriterError> {
        let found = fs::metadata(path).map_err(|source| WriterError::Io {
            act: "look at",
            path: path.to_owned(),
            source,
        })?;
        let wanted = (found.dev(), found.ino());
        let mut claimed = CLAIMED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if claimed.contains(&wanted) {
            return Err(WriterError::Other(format!(
                "{} is opened by two components at once; name it in one only",
                path.display()
            )));
        }
        claimed.push(wanted);
        Ok(Self(wanted))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claimed = CLAIMED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        claimed.retain(|other| *other != self.0);
    }
}

impl Session {
    /// Lets a caller that waits no longer interrupt what `connection` does.
    pub fn interruptible(&self, connection: &Connection) {
        set(&self.interrupt, Some(connection.get_interrupt_handle()));
    }
}

type Job = Box<dyn FnOnce(&mut Session) + Send>;

/// The handle of the thread. When it is dropped, the database is closed.
pub struct Worker {
    jobs: Sender<Job>,
    /// How many pages a copy has behind it. Told by the caller: see above, no events on the thread.
    pub copied_pages: Arc<AtomicU64>,
    interrupt: Arc<Mutex<Option<InterruptHandle>>>,
}

impl Worker {
    /// Starts the thread. An error when it cannot have descriptors of its own.
    pub fn start() -> Result<Self, WriterError> {
        let (jobs, todo) = unbounded::<Job>();
        let (ready, started) = bounded(1);
        let interrupt = Arc::new(Mutex::new(None));
        let copied_pages = Arc::new(AtomicU64::new(0));
        let mut session = Session {
            interrupt: interrupt.clone(),
            copied_pages: copied_pages.clone(),
            ..Session::default()
        };
        let body = move || {
            let alone = own_descriptors();
            let failed = alone.is_err();
            let _ = ready.send(alone);
            if failed {
                return;
            }
            while let Ok(job) = todo.recv() {
                job(&mut session);
            }
        };
        let failed = |source: io::Error| WriterError::Service {
            act: "giving SQLite file descriptors of its own".into(),
            reason: source.to_string(),
        };
        thread::Builder::new().name("sqlite".into()).spawn(body).map_err(failed)?;
        started.recv().map_err(|_| failed(io::ErrorKind::BrokenPipe.into()))?.map_err(failed)?;
        Ok(Self { jobs, copied_pages, interrupt })
    }

    /// Does a job there and waits for its answer, until the deadline or a cancellation. `act` names it for messages. A job
    /// that is late is interrupted; it may still be under way when this returns, and the next waits behind it.
    pub fn call<T: Send + 'static>(
        &self,
        act: &str,
        deadline: Deadline,
        cancel: Option<&Cancel>,
        job: impl FnOnce(&mut Session) -> Result<T, WriterError> + Send + 'static,
    ) -> Result<T, WriterError> {
        self.call_telling(act, deadline, cancel, &|| {}, job)
    }

    /// Like [`Worker::call`]; calls `tell` every now and then while it waits.
    pub fn call_telling<T: Send + 'static>(
        &self,
        act: &str,
        deadline: Deadline,
        cancel: Option<&Cancel>,
        tell: &dyn Fn(),
        job: impl FnOnce(&mut Session) -> Result<T, WriterError> + Send + 'static,
    ) -> Result<T, WriterError> {
        let (answer, answered) = bounded(1);
        let lost = || WriterError::Service { act: act.to_owned(), reason: "the work broke off".into() };
        let job = move |session: &mut Session| {
            let result = job(session);
            set(&session.interrupt, None);
            let _ = answer.send(result);
        };
        self.jobs.send(Box::new(job)).map_err(|_| lost())?;
        let cancelled = || cancel.is_some_and(Cancel::is_cancelled);
        loop {
            match answered.recv_timeout(deadline.remaining().min(LOOK_INTERVAL)) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Disconnected) => return Err(lost()),
                Err(RecvTimeoutError::Timeout) if deadline.passed() || cancelled() => break,
                Err(RecvTimeoutError::Timeout) => tell(),
            }
        }
        let interrupted = self.interrupt();
        match answered.recv_timeout(INTERRUPT_WAIT) {
            Ok(Ok(result)) => Ok(result),
            _ if cancelled() => Err(WriterError::Cancelled),
            // It gave up by itself, and says why.
            Ok(Err(error)) if !interrupted => Err(error),
            _ => Err(WriterError::Late { act: act.to_owned() }),
        }
    }

    /// Interrupts what SQLite does, if that is something that can be.
    fn interrupt(&self) -> bool {
        let Ok(interrupt) = self.interrupt.lock() else { return false };
        interrupt.as_ref().map(InterruptHandle::interrupt).is_some()
    }
}

fn set(slot: &Mutex<Option<InterruptHandle>>, handle: Option<InterruptHandle>) {
    if let Ok(mut slot) = slot.lock() {
        *slot = handle;
    }
}

/// Gives this thread a table of file descriptors of its own, with nothing in it but the three standard ones.
fn own_descriptors() -> io::Result<()> {
    // SAFETY: the thread has just begun and owns no descriptor; those of the other threads stay open in their table.
    let closed =
        unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_UNSHARE) };
    if closed == 0 {
        return Ok(());
    }
    // Before Linux 5.9: copy the table, then empty the copy.
    // SAFETY: as above.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FILES) }?;
    let open: Vec<i32> = fs::read_dir("/proc/thread-self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|descriptor| *descriptor > 2)
        .collect();
    for descriptor in open {
        // SAFETY: as above; nothing on this thread owns it.
        unsafe { libc::close(descriptor) };
    }
    Ok(())
}
