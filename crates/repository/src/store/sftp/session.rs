//! One running `ssh` with the file transfer subsystem behind it. Many requests may be under way at once, of many threads.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::wire::{Fields, LONGEST_PACKET, Request, kind};

/// The version has no number of its own in the protocol.
const VERSION_NUMBER: u32 = u32::MAX;

/// How much of what `ssh` says is kept.
const LONGEST_COMPLAINT: u64 = 4096;

/// How long what `ssh` has to say is waited for, once it has ended.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The connection is gone: why, in the words of `ssh` where it said something.
#[derive(Debug, Clone)]
pub struct Broken(pub String);

/// A packet that came: its kind and its fields, after the number of the request.
pub struct Reply {
    pub kind: u8,
    pub fields: Vec<u8>,
}

/// A request that was sent.
pub struct Pending(Receiver<Reply>);

/// Where the replies go. Nothing after the connection ended.
type Waiting = Arc<Mutex<Option<HashMap<u32, Sender<Reply>>>>>;

pub struct Session {
    child: Mutex<Child>,
    input: Mutex<Option<ChildStdin>>,
    waiting: Waiting,
    next: AtomicU64,
    /// Counts the bytes that came and went, so that it can be told whether the line lives.
    moved: Arc<AtomicU64>,
    last_words: Mutex<Receiver<String>>,
    idle: Duration,
    /// The names of the extensions that the server offered.
    extensions: Vec<String>,
}

impl Session {
    /// Starts the program and agrees on the protocol.
    pub fn open(mut command: Command, connect: Duration, idle: Duration) -> Result<Self, Broken> {
        let program = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Out of reach of Ctrl-C, which is for us: the archive is left tidy through this connection.
        command.process_group(0);
        let failed = |error: io::Error| Broken(format!("{program} could not be started: {error}"));
        let mut child = command.spawn().map_err(failed)?;
        let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(input), Some(output), Some(errors)) = (input, output, errors) else {
            return Err(Broken(format!("{program} has no standard streams")));
        };
        let (waiting, moved) = (Waiting::default(), Arc::new(AtomicU64::new(0)));
        *lock(&waiting) = Some(HashMap::new());
        let (said, last_words) = channel();
        let mut session = Self {
            child: Mutex::new(child),
            input: Mutex::new(Some(input)),
            waiting: Arc::clone(&waiting),
            next: AtomicU64::new(0),
            moved: Arc::clone(&moved),
            last_words: Mutex::new(last_words),
            idle,
            extensions: Vec::new(),
        };
        session.start_threads(output, errors, said).map_err(failed)?;
        session.agree(connect)?;
        Ok(session)
    }

    fn start_threads(
        &self,
        output: ChildStdout,
        errors: ChildStderr,
        said: Sender<String>,
    ) -> io::Result<()> {
        rustix::io::ioctl_fionbio(lock(&self.input).as_ref().ok_or(io::ErrorKind::BrokenPipe)?, true)?;
        let (waiting, moved) = (Arc::clone(&self.waiting), Arc::clone(&self.moved));
        thread::Builder::new().name("sftp-replies".to_owned()).spawn(move || {
            // Whatever ends it, those who wait learn it by the end of their channels.
            let _ = hand_out_replies(output, &waiting, &moved);
            lock(&waiting).take();
        })?;
        thread::Builder::new().name("sftp-errors".to_owned()).spawn(move || {
            let mut text = Vec::new();
            let mut errors = errors;
            let _ = errors.by_ref().take(LONGEST_COMPLAINT).read_to_end(&mut text);
            let _ = said.send(String::from_utf8_lossy(&text).into_owned());
            let _ = io::copy(&mut errors, &mut io::sink());
        })?;
        Ok(())
    }

    fn agree(&mut self, connect: Duration) -> Result<(), Broken> {
        let pending = self.expect_reply(VERSION_NUMBER)?;
        self.put(&Request::new(kind::INIT).u32(3).finish())?;
        let reply = self.wait_within(&pending, connect)?;
        let mut fields = Fields(&reply.fields);
        while let (Some(name), Some(_)) = (fields.bytes(), fields.bytes()) {
            self.extensions.push(String::from_utf8_lossy(name).into_owned());
        }
        Ok(())
    }

    /// Whether the server offered this extension.
    pub fn offers(&self, extension: &str) -> bool {
        self.extensions.iter().any(|offered| offered == extension)
    }

    /// Whether the connection has ended.
    pub fn is_over(&self) -> bool {
        lock(&self.waiting).is_none()
    }

    /// Sends a request. Its fields come after its number.
    pub fn send(&self, kind: u8, fields: impl FnOnce(Request) -> Request) -> Result<Pending, Broken> {
        // Never the number that stands for the version, and in use again only after four thousand million others.
        let number = self.next.fetch_add(1, Ordering::Relaxed) % u64::from(VERSION_NUMBER);
        let number = u32::try_from(number).unwrap_or_default();
        let pending = self.expect_reply(number)?;
        self.put(&fields(Request::new(kind).u32(number)).finish())?;
        Ok(pending)
    }

    /// The reply to a request.
    pub fn wait(&self, pending: &Pending) -> Result<Reply, Broken> {
        self.wait_within(pending, self.idle)
    }

    /// Sends a request and waits for its reply.
    pub fn ask(&self, kind: u8, fields: impl FnOnce(Request) -> Request) -> Result<Reply, Broken> {
        self.wait(&self.send(kind, fields)?)
    }

    fn wait_within(&self, pending: &Pending, limit: Duration) -> Result<Reply, Broken> {
        loop {
            let moved = self.moved.load(Ordering::Relaxed);
            match pending.0.recv_timeout(limit) {
                Ok(reply) => return Ok(reply),
                Err(RecvTimeoutError::Timeout) if self.moved.load(Ordering::Relaxed) != moved => {}
                Err(RecvTimeoutError::Timeout) => return Err(self.give_up(limit)),
                Err(RecvTimeoutError::Disconnected) => return Err(self.post_mortem()),
            }
        }
    }

    fn expect_reply(&self, number: u32) -> Result<Pending, Broken> {
        let (sender, receiver) = channel();
        let lives = lock(&self.waiting).as_mut().map(|waiting| waiting.insert(number, sender)).is_some();
        // Not in the same sentence: this takes the same lock.
        if lives { Ok(Pending(receiver)) } else { Err(self.post_mortem()) }
    }

    /// Writes a packet. The pipe does not block, so that a dead line can be noticed.
    fn put(&self, mut packet: &[u8]) -> Result<(), Broken> {
        let mut guard = lock(&self.input);
        let Some(input) = guard.as_mut() else { return Err(self.post_mortem()) };
        while !packet.is_empty() {
            match input.write(packet) {
                Ok(written) => {
                    self.moved.fetch_add(written as u64, Ordering::Relaxed);
                    packet = &packet[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !can_be_written(input, self.idle) {
                        guard.take();
                        return Err(self.give_up(self.idle));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    guard.take();
                    return Err(self.post_mortem());
                }
            }
        }
        Ok(())
    }

    fn give_up(&self, limit: Duration) -> Broken {
        self.end();
        Broken(format!("no byte came or went for {} s", limit.as_secs_f64()))
    }

    /// Why the connection ended.
    fn post_mortem(&self) -> Broken {
        self.end();
        let last_words = lock(&self.last_words).recv_timeout(LAST_WORDS).unwrap_or_default();
        let lines = last_words.lines().map(|line| line.trim().trim_matches('@').trim());
        let text = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
        Broken(if text.is_empty() { "the connection ended".to_owned() } else { format!("ssh: {text}") })
    }

    fn end(&self) {
        lock(&self.waiting).take();
        let mut child = lock(&self.child);
        // One that has ended already cannot be killed, and then it is only waited for.
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Nothing is under way any more: each act waited for its replies.
        self.end();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn can_be_written(input: &ChildStdin, limit: Duration) -> bool {
    let Ok(limit) = Timespec::try_from(limit) else { return false };
    let mut wanted = [PollFd::from_borrowed_fd(input.as_fd(), PollFlags::OUT)];
    match poll(&mut wanted, Some(&limit)) {
        Ok(ready) => ready > 0,
        Err(error) => error == rustix::io::Errno::INTR,
    }
}

fn hand_out_replies(mut output: ChildStdout, waiting: &Waiting, moved: &AtomicU64) -> io::Result<()> {
    loop {
        let mut head = [0; 9];
        output.read_exact(&mut head)?;
        let [l0, l1, l2, l3, kind, n0, n1, n2, n3] = head;
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        if !(5..=LONGEST_PACKET).contains(&length) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut fields = vec![0; length - 5];
        output.read_exact(&mut fields)?;
        moved.fetch_add(length as u64, Ordering::Relaxed);
        let number = match kind {
            kind::VERSION => VERSION_NUMBER,
            _ => u32::from_be_bytes([n0, n1, n2, n3]),
        };
        let Some(sender) = lock(waiting).as_mut().map(|waiting| waiting.remove(&number)) else {
            return Ok(());
        };
        if let Some(sender) = sender {
            // Who gave up no longer wants it.
            let _ = sender.send(Reply { kind, fields });
        }
    }
}
