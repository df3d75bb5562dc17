//! The coordinator's end of the link to its guard.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use stillpoint_model::{RunId, Ticket, Undo};

use super::{Answer, PACKET, Packet, Request};
use crate::undo::{has_ended, pidfd_of, timespec};

/// How long the guard may take to answer. One that takes longer is lost: it would not thaw in time either.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// How long it may take to start.
const START_LIMIT: Duration = Duration::from_secs(10);

/// A running guard.
#[derive(Debug)]
pub(crate) struct Guard {
    child: Mutex<Child>,
    handle: OwnedFd,
    socket: OwnedFd,
    /// Held from a request to its answer.
    turn: Mutex<()>,
    number: AtomicU64,
    lost: AtomicBool,
}

impl Guard {
    /// Starts the guard and waits until it watches. `argv` is the program with its arguments; the number of the
    /// descriptor of the link is added behind them.
    pub(crate) fn start(argv: &[OsString], run: &RunId, folder: &Path) -> Result<Self, String> {
        let (program, arguments) = argv.split_first().ok_or("no program is given that starts the guard")?;
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(|error| format!("no link to the guard can be made: {error}"))?;
        let mut command = Command::new(program);
        // The link is its standard input: descriptor 0 needs no inheritance by hand.
        command.args(arguments).arg("0").current_dir("/");
        command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child =
            command.spawn().map_err(|error| format!("{} cannot be started: {error}", program.display()))?;
        // Dropped, it would keep the other end of the link open here.
        drop(command);
        let handle = match pidfd_of(child.id(), None) {
            Ok(Some(handle)) => handle,
            answer => {
                // It has no undo yet, so ending it costs nothing.
                let _ = child.kill().and_then(|()| child.wait());
                return Err(answer.err().unwrap_or_else(|| "it ended at once".to_owned()));
            }
        };
        let guard = Self {
            child: Mutex::new(child),
            handle,
            socket: ours,
            turn: Mutex::new(()),
            number: AtomicU64::new(1),
            lost: AtomicBool::new(false),
        };
        let hello =
            Request::Hello { coordinator: std::process::id(), run: run.clone(), folder: folder.to_owned() };
        guard.ask(hello, START_LIMIT).inspect_err(|_| guard.end())?;
        Ok(guard)
    }

    /// Registers an undo; when this returns, the guard has it.
    pub(crate) fn arm(&self, ticket: Ticket, undo: &Undo) -> Result<(), String> {
        self.ask(Request::Arm { ticket: ticket.0, undo: undo.clone() }, ANSWER_LIMIT)
    }

    /// Takes an undo off. Not waited for: that it is lost costs an undo done in vain.
    pub(crate) fn settle(&self, ticket: Ticket) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.lost.load(Ordering::SeqCst) {
            let _ = self.send(Request::Settle { ticket: ticket.0 });
        }
    }

    /// From now on the site may be held for `wait`; then the guard ends us and thaws.
    pub(crate) fn open_window(&self, wait: Duration) -> Result<(), String> {
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.ask(Request::OpenWindow { wait_ms }, ANSWER_LIMIT)
    }

    /// The site works. A guard that does not take this in would end us later, so it is ended.
    pub(crate) fn close_window(&self) -> Result<(), String> {
        let closed = self.ask(Request::CloseWindow, ANSWER_LIMIT);
        if closed.is_err() {
            self.end();
        }
        closed
    }

    /// Everything was taken back: lets it go. One that does not answer is ended.
    pub(crate) fn goodbye(&self) {
        if self.ask(Request::Goodbye, ANSWER_LIMIT).is_err() || !has_ended(&self.handle, ANSWER_LIMIT) {
            self.end();
        }
        self.reap();
    }

    /// Whether it lives and answered every request so far.
    pub(crate) fn lives(&self) -> bool {
        !self.lost.load(Ordering::SeqCst) && !has_ended(&self.handle, Duration::ZERO)
    }

    fn end(&self) {
        self.lost.store(true, Ordering::SeqCst);
        // It may have ended in this moment.
        let _ = rustix::process::pidfd_send_signal(&self.handle, rustix::process::Signal::KILL);
        if has_ended(&self.handle, ANSWER_LIMIT) {
            self.reap();
        }
    }

    fn reap(&self) {
        // Nobody else waits for it; an error means that it was reaped before.
        let _ = self.child.lock().unwrap_or_else(PoisonError::into_inner).try_wait();
    }

    fn send(&self, request: Request) -> Result<u64, String> {
        let number = self.number.fetch_add(1, Ordering::SeqCst);
        let packet = serde_json::to_vec(&Packet { number, request }).map_err(|error| error.to_string())?;
        if packet.len() > PACKET {
            return Err(format!("the undo is too long for the guard ({} bytes)", packet.len()));
        }
        match send(&self.socket, &packet, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(_) => Ok(number),
            Err(error) => {
                self.lost.store(true, Ordering::SeqCst);
                Err(format!("the guard does not take requests: {error}"))
            }
        }
    }

    fn ask(&self, request: Request, limit: Duration) -> Result<(), String> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.lost.load(Ordering::SeqCst) {
            return Err("the guard was lost".to_owned());
        }
        let number = self.send(request)?;
        let answered = self.wait_for(number, Instant::now() + limit);
        if answered.is_err() {
            self.lost.store(true, Ordering::SeqCst);
        }
        answered
    }

    fn wait_for(&self, number: u64, until: Instant) -> Result<(), String> {
        let mut buffer = [0_u8; 256];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let mut watched =
                [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(&self.handle, PollFlags::IN)];
            match poll(&mut watched, Some(&timespec(left))) {
                Ok(0) => return Err("the guard does not answer".to_owned()),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.to_string()),
                Ok(_) => {}
            }
            if watched[0].revents().is_empty() {
                return Err("the guard died".to_owned());
            }
            let (length, _) = recv(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT)
                .map_err(|error| format!("the guard does not answer: {error}"))?;
            match serde_json::from_slice::<Answer>(&buffer[..length]) {
                Ok(answer) if answer.number == number => return Ok(()),
                Ok(_) => {}
                Err(_) => return Err("the guard died".to_owned()),
            }
        }
    }
}
