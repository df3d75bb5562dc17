//! The control socket: how an application is asked to rest, to go on, how it does, and to end. One JSON object a line.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::Scope;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::LedgerError;
use crate::app::Progress;
use crate::gate::Gate;
use crate::signal::StopSignals;

/// What is asked.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
enum Request {
    Quiesce { timeout_ms: u64 },
    Resume,
    Status,
    TakeStall,
    Stop,
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
enum Answer {
    Done,
    Status(Status),
    Stall { stall_us: u64 },
    Refused { reason: String },
}

/// How the application does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its process id.
    pub process: u32,
    /// Whether it was asked to rest, and every worker rests.
    pub quiesced: bool,
    /// The number of the last whole operation, by worker.
    pub numbers: Vec<u64>,
    /// Operations since the start of the process, by worker.
    pub operations: Vec<u64>,
    /// Failures that workers met and got over, or still try to.
    pub errors: u64,
    /// The last of them.
    pub last_error: Option<String>,
}

/// Brings the application to rest: when this returns, each worker has finished its operation and waits. Idempotent. When
/// they do not finish within `timeout`, they go on.
pub fn quiesce(socket: &Path, timeout: Duration) -> Result<(), LedgerError> {
    let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    // A little longer than the application itself waits, so that its own reason arrives.
    ask(socket, "quiesce", Request::Quiesce { timeout_ms }, timeout + Duration::from_millis(500)).map(drop)
}

/// Lets the application go on; no harm when it never rested.
pub fn resume(socket: &Path, timeout: Duration) -> Result<(), LedgerError> {
    ask(socket, "resume", Request::Resume, timeout).map(drop)
}

/// How the application does.
pub fn status(socket: &Path, timeout: Duration) -> Result<Status, LedgerError> {
    match ask(socket, "tell its status", Request::Status, timeout)? {
        (Answer::Status(status), _) => Ok(status),
        (other, _) => Err(refused(socket, "tell its status", format!("it answered {other:?}"))),
    }
}

/// The longest time that any worker needed from being ready for an operation to its end since this was last asked (or
/// since the start), in microseconds.
pub fn take_stall_us(socket: &Path, timeout: Duration) -> Result<u64, LedgerError> {
    match ask(socket, "tell its stall", Request::TakeStall, timeout)? {
        (Answer::Stall { stall_us }, _) => Ok(stall_us),
        (other, _) => Err(refused(socket, "tell its stall", format!("it answered {other:?}"))),
    }
}

/// Ends the application: when this returns, each worker has finished its operation and the process has closed all that it
/// had open. No harm when it does not run.
pub fn stop(socket: &Path, timeout: Duration) -> Result<(), LedgerError> {
    if !is_served(socket) {
        return Ok(());
    }
    let (_, mut stream) = ask(socket, "stop", Request::Stop, timeout)?;
    // The process keeps the connection until its very end.
    let mut rest = [0; 16];
    loop {
        match stream.read(&mut rest) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(refused(socket, "stop", error.to_string())),
        }
    }
}

/// Whether a process listens at the socket. Says nothing about how it does: a frozen one listens as well.
pub fn is_served(socket: &Path) -> bool {
    UnixStream::connect(socket).is_ok()
}

/// Waits until every worker has finished at least two more operations (one may have been under way before): the ledger
/// advances. Returns the status that showed it.
pub fn wait_for_advance(socket: &Path, timeout: Duration) -> Result<Status, LedgerError> {
    let deadline = Instant::now() + timeout;
    let first = status(socket, timeout)?;
    loop {
        let now = status(socket, deadline.saturating_duration_since(Instant::now()))?;
        let advanced = now.numbers.iter().zip(&first.numbers).all(|(now, then)| *now >= then + 2);
        if advanced {
            return Ok(now);
        }
        if Instant::now() >= deadline {
            let error = now.last_error.as_deref().unwrap_or("no error");
            let text = format!("numbers went from {:?} to {:?} only ({error})", first.numbers, now.numbers);
            return Err(refused(socket, "advance", text));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn refused(socket: &Path, request: &str, reason: String) -> LedgerError {
    LedgerError::Control { socket: socket.to_owned(), request: request.into(), reason }
}

fn ask(
    socket: &Path,
    name: &str,
    request: Request,
    timeout: Duration,
) -> Result<(Answer, BufReader<UnixStream>), LedgerError> {
    let exchange = || -> std::io::Result<(Answer, BufReader<UnixStream>)> {
        let mut stream = UnixStream::connect(socket)?;
        // A timeout of zero would mean none.
        stream.set_read_timeout(Some(timeout.max(Duration::from_millis(1))))?;
        stream.set_write_timeout(Some(timeout.max(Duration::from_millis(1))))?;
        stream.write_all(format!("{}\n", serde_json::to_string(&request)?).as_bytes())?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        Ok((serde_json::from_str(&line)?, reader))
    };
    match exchange() {
        Ok((Answer::Refused { reason }, _)) => Err(refused(socket, name, reason)),
        Ok(answered) => Ok(answered),
        Err(error) => Err(refused(socket, name, error.to_string())),
    }
}

/// The listening end.
pub(crate) struct Server {
    listener: UnixListener,
    socket: PathBuf,
}

impl Server {
    /// Listens at `socket`, in place of one that a dead process left. The caller holds the lock of the ledger.
    pub(crate) fn bind(socket: &Path) -> Result<Self, LedgerError> {
        match std::fs::remove_file(socket) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(LedgerError::io("remove", socket)(error));
            }
            _ => {}
        }
        let listener = UnixListener::bind(socket).map_err(LedgerError::io("listen at", socket))?;
        Ok(Self { listener, socket: socket.to_owned() })
    }

    /// Answers until a signal or a `stop` comes.
    pub(crate) fn serve<'scope>(
        &self,
        signals: &StopSignals,
        gate: &'scope Gate,
        progress: &'scope Progress,
        scope: &'scope Scope<'scope, '_>,
    ) -> Result<(), LedgerError> {
        let fails = |act| LedgerError::io(act, &self.socket);
        while !signals.wait_beside(&self.listener).map_err(fails("wait at"))? {
            let (stream, _) = self.listener.accept().map_err(fails("accept at"))?;
            scope.spawn(move || answer_all(stream, gate, progress));
        }
        Ok(())
    }

    /// Removes the socket.
    pub(crate) fn close(self) {
        // Its being gone already is no harm, and a dead socket is replaced by the next start.
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Answers one connection until it ends. A connection that says nothing for a while is closed, so that it cannot keep the
/// process from ending.
fn answer_all(stream: UnixStream, gate: &Gate, progress: &Progress) {
    const SILENCE: Duration = Duration::from_secs(1);
    if stream.set_read_timeout(Some(SILENCE)).is_err() {
        return;
    }
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while matches!(reader.read_line(&mut line), Ok(length) if length > 0) {
        let request = serde_json::from_str::<Request>(&line);
        let answer = match &request {
            Err(error) => Answer::Refused { reason: format!("{line:?} is no request: {error}") },
            Ok(request) => answer(*request, gate, progress),
        };
        let Ok(text) = serde_json::to_string(&answer) else { return };
        let sent = reader.get_mut().write_all(format!("{text}\n").as_bytes());
        if matches!(request, Ok(Request::Stop)) {
            // Kept open until the process is gone: its end is what the asker waits for.
            std::mem::forget(reader);
            // To ourselves, as if from outside: there is one way to end.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM);
            return;
        }
        if sent.is_err() {
            return;
        }
        line.clear();
    }
}

fn answer(request: Request, gate: &Gate, progress: &Progress) -> Answer {
    match request {
        Request::Quiesce { timeout_ms } => match gate.quiesce(Duration::from_millis(timeout_ms)) {
            Ok(()) => Answer::Done,
            Err(reason) => Answer::Refused { reason },
        },
        Request::Resume => {
            gate.resume();
            Answer::Done
        }
        Request::Status => Answer::Status(progress.status(gate)),
        Request::TakeStall => Answer::Stall { stall_us: progress.take_stall_us() },
        Request::Stop => Answer::Done,
    }
}
