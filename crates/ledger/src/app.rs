//! The application: workers, the control socket, and a clean end.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::LedgerError;
use crate::control::{self, Server};
use crate::gate::Gate;
use crate::operation::Shape;
use crate::signal::StopSignals;
use crate::store::StoreSettings;
use crate::worker::{Worker, WorkerProgress};

/// How the application works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerSettings {
    /// The stores; each operation commits its row to all of them.
    pub stores: Vec<StoreSettings>,
    /// The folder of the content files; nothing else may lie in it.
    pub content: PathBuf,
    /// The control socket. A lock file lies beside it, so not inside `content`.
    pub control: PathBuf,
    /// How many workers there are.
    pub workers: u32,
    /// How many operations of a worker are kept; older ones are retired, so that disks do not fill. Cannot change later.
    pub window: u64,
    /// At most this many operations a second, over all workers; without it, as fast as they can.
    #[serde(default)]
    pub rate: Option<u32>,
    /// Whether each worker also moves a mark in a file that is mapped into memory. Cannot change later.
    #[serde(default)]
    pub mapped: bool,
    /// The id of a process with whose end the application ends too, so that nothing works on when a test was killed.
    #[serde(default)]
    pub leader: Option<u32>,
}

impl LedgerSettings {
    /// A ledger of four workers that keeps 1,000 operations of each.
    pub fn new(stores: Vec<StoreSettings>, content: impl Into<PathBuf>, control: impl Into<PathBuf>) -> Self {
        Self {
            stores,
            content: content.into(),
            control: control.into(),
            workers: 4,
            window: 1000,
            rate: None,
            mapped: false,
            leader: None,
        }
    }

    fn validate(&self) -> Result<(), LedgerError> {
        let wrong = |text: &str| Err(LedgerError::Settings(text.into()));
        match self {
            _ if self.stores.is_empty() => wrong("a ledger needs a store"),
            _ if self.workers == 0 => wrong("a ledger needs a worker"),
            _ if self.window == 0 => wrong("the window of a ledger is at least one operation"),
            _ if self.rate == Some(0) => wrong("a rate of nothing is no rate"),
            _ if self.control.starts_with(&self.content) => {
                wrong("the control socket lies in the content folder")
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn shape(&self) -> Shape {
        Shape { window: self.window, mapped: self.mapped }
    }

    /// The time between two operations of one worker.
    pub(crate) fn interval(&self) -> Option<Duration> {
        self.rate.map(|rate| Duration::from_secs(1) * self.workers / rate)
    }
}

/// What the workers tell while they work.
pub(crate) struct Progress {
    pub workers: Vec<WorkerProgress>,
    errors: AtomicU64,
    last_error: Mutex<Option<String>>,
}

impl Progress {
    fn new(workers: u32) -> Self {
        Self {
            workers: (0..workers).map(|_| WorkerProgress::default()).collect(),
            errors: AtomicU64::new(0),
            last_error: Mutex::new(None),
        }
    }

    pub(crate) fn fail(&self, error: &LedgerError) {
        self.errors.fetch_add(1, Ordering::SeqCst);
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.chain());
    }

    pub(crate) fn status(&self, gate: &Gate) -> control::Status {
        let read = |of: fn(&WorkerProgress) -> &AtomicU64| -> Vec<u64> {
            self.workers.iter().map(|worker| of(worker).load(Ordering::SeqCst)).collect()
        };
        control::Status {
            process: std::process::id(),
            quiesced: gate.is_quiesced(),
            numbers: read(|worker| &worker.number),
            operations: read(|worker| &worker.operations),
            errors: self.errors.load(Ordering::SeqCst),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// The longest stall of any worker since the last call, in microseconds.
    pub(crate) fn take_stall_us(&self) -> u64 {
        self.workers.iter().map(|worker| worker.stall_us_max.swap(0, Ordering::SeqCst)).max().unwrap_or(0)
    }
}

/// Runs the application until SIGTERM, SIGINT, the end of its leader or a `stop` over the control socket; then each worker finishes its operation.
/// Goes on from the state that it finds, also from one that a power cut left. Holds the two signals back in the calling
/// thread, so it is meant for the main thread of a process of its own. Returns the number of operations done.
pub fn run(settings: &LedgerSettings) -> Result<u64, LedgerError> {
    settings.validate()?;
    let lock = lock(&settings.control)?;
    std::fs::create_dir_all(&settings.content)
        .map_err(LedgerError::io("create the folder", &settings.content))?;
    let signals = StopSignals::hold(settings.leader)
        .map_err(LedgerError::io("wait for signals at", &settings.control))?;
    let workers = (0..settings.workers)
        .map(|id| Worker::open(settings, id))
        .collect::<Result<Vec<_>, LedgerError>>()?;
    let gate = Gate::new(settings.workers);
    let progress = Progress::new(settings.workers);
    let server = Server::bind(&settings.control)?;
    let served = std::thread::scope(|scope| {
        for worker in workers {
            let (gate, progress) = (&gate, &progress);
            scope.spawn(move || worker.work(gate, progress));
        }
        let served = server.serve(&signals, &gate, &progress, scope);
        gate.stop();
        served
    });
    server.close();
    // Before the process ends, so that whoever waited for its end over a connection finds the lock free.
    drop(lock);
    served?;
    Ok(progress.status(&gate).operations.iter().sum())
}

/// Takes the lock, and writes our process id into its file.
fn lock(control: &Path) -> Result<File, LedgerError> {
    let path = control.with_extension("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(LedgerError::io("open", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            let text = format!("{}\n", std::process::id());
            file.set_len(0)
                .and_then(|()| (&file).write_all(text.as_bytes()))
                .map_err(LedgerError::io("write", path))?;
            Ok(file)
        }
        Err(rustix::io::Errno::WOULDBLOCK) => Err(LedgerError::Running { lock: path }),
        Err(error) => Err(LedgerError::io("lock", path)(error.into())),
    }
}

/// The id of the process that runs the ledger with this control socket, however it does; nothing when none does.
pub fn holder(control: &Path) -> Result<Option<u32>, LedgerError> {
    let path = control.with_extension("lock");
    let file = match File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(LedgerError::io("open", &path))?,
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(None),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let text = std::fs::read_to_string(&path).map_err(LedgerError::io("read", path))?;
            Ok(text.trim().parse().ok())
        }
        Err(error) => Err(LedgerError::io("lock", path)(error.into())),
    }
}

/// Starts the application as a process of its own that outlives the caller and its process group, and returns when it
/// works. No harm when it works already. `command` must end up in [`run`] with the control socket `control`; what it
/// writes goes to a log beside the socket.
pub fn start(
    mut command: std::process::Command,
    control: &Path,
    timeout: Duration,
) -> Result<(), LedgerError> {
    use std::os::unix::process::CommandExt;
    let deadline = Instant::now() + timeout;
    if control::status(control, timeout).is_ok() {
        return Ok(());
    }
    let path = control.with_extension("log");
    let log =
        OpenOptions::new().create(true).append(true).open(&path).map_err(LedgerError::io("open", &path))?;
    let errors = log.try_clone().map_err(LedgerError::io("open", &path))?;
    let program = PathBuf::from(command.get_program());
    let mut child = command
        .stdin(std::process::Stdio::null())
        .stdout(log)
        .stderr(errors)
        .process_group(0)
        .spawn()
        .map_err(LedgerError::io("start", program))?;
    loop {
        let refused = match control::status(control, deadline.saturating_duration_since(Instant::now())) {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        // Ours may end because another start was faster; then that one answers soon.
        let ended = child.try_wait().ok().flatten();
        if Instant::now() >= deadline
            || ended.is_some_and(|status| status.code() != Some(RUNNING_EXIT_CODE.into()))
        {
            return Err(LedgerError::Control {
                socket: control.to_owned(),
                request: "start".into(),
                reason: format!("{refused}; its log is {}", path.display()),
            });
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The exit code with which a program around [`run`] must tell [`LedgerError::Running`].
pub const RUNNING_EXIT_CODE: u8 = 11;
