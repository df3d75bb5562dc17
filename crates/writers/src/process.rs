//! Running other people's programs, so that none of them outlives us, hangs us, or fills our memory.
//!
//! Each program gets a process group of its own, no standard input, and a deadline. At the deadline, when the run is
//! cancelled, and when the handle is dropped, the whole group is killed. When we die, the kernel kills the program
//! (`PR_SET_PDEATHSIG`): that signal comes when the *thread* that started it ends, not the process, so each program has
//! a keeper thread that starts it, outlives it and reaps it. A program that ended by itself may leave a service running
//! that it started: its group is then left alone.

mod gate;
mod keeper;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal};
use stillpoint_model::{Cancel, Deadline, WriterError};

use self::gate::Gate;
use self::keeper::keep;

/// How much of the end of standard error is kept, in bytes.
const TAIL_BYTES: usize = 4096;
/// How often a cancellation is looked for while a program runs.
const CANCEL_INTERVAL: Duration = Duration::from_millis(100);
/// How long a killed program may take to be gone before we stop waiting for it (its keeper goes on).
const KILL_WAIT: Duration = Duration::from_secs(5);

/// A program that is about to be run.
#[derive(Debug, Clone)]
pub struct Program {
    argv: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    user: Option<(u32, u32)>,
    cancel: Option<Cancel>,
}

/// How a program ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The program, as it was called.
    pub program: String,
    /// Its status.
    pub status: ExitStatus,
    /// The end of what it wrote to standard error (at most 4 KiB; for [`Program::run`] to standard output too).
    pub output: String,
}

impl Ended {
    /// Whether it ended with status 0.
    pub fn success(&self) -> bool {
        self.status.success()
    }

    /// Its status in words, such as `exit status 1` or `signal 9`.
    pub fn status_text(&self) -> String {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => self.status.to_string(),
        }
    }

    /// Turns any other end than status 0 into [`WriterError::Program`].
    pub fn check(self) -> Result<Self, WriterError> {
        if self.success() {
            return Ok(self);
        }
        let status = self.status_text();
        Err(WriterError::Program { program: self.program, status, output: self.output })
    }
}

impl Program {
    /// The program at `path`; without a `/` in it, it is looked for in `PATH`. It runs in the folder `/`.
    pub fn new(path: impl AsRef<OsStr>) -> Self {
        Self { argv: vec![path.as_ref().to_owned()], environment: Vec::new(), user: None, cancel: None }
    }

    /// A program with its arguments as they stand in a site file. An error when there is not even a program.
    pub fn from_argv(argv: &[String]) -> Result<Self, WriterError> {
        let (program, arguments) = argv.split_first().ok_or_else(|| {
            WriterError::Other(
                "a command in the site file is empty; it needs a program and its arguments".into(),
            )
        })?;
        Ok(Self::new(program).args(arguments))
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.argv.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.argv.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs it as another user, with no supplementary groups. We must be root.
    pub fn user(mut self, uid: u32, gid: u32) -> Self {
        self.user = Some((uid, gid));
        self
    }

    /// Ends it when the run is cancelled. Never for a program that lets the site go on.
    pub fn cancelled_by(mut self, cancel: &Cancel) -> Self {
        self.cancel = Some(cancel.clone());
        self
    }

    /// Its name for messages: without arguments, which may hold what is not for everybody's eyes.
    fn name(&self) -> String {
        self.argv[0].to_string_lossy().into_owned()
    }

    /// Runs it to its end. What it writes, to standard output or error, is only kept as [`Ended::output`]. A bad status is
    /// no error here: see [`Ended::check`]. Errors: cannot be started, [`WriterError::Late`], cancelled.
    pub fn run(&self, deadline: Deadline) -> Result<Ended, WriterError> {
        let (reader, writer) = io::pipe().map_err(|source| self.start_error(source))?;
        let both = writer.try_clone().map_err(|source| self.start_error(source))?;
        let mut running = self.spawn(both.into(), writer.into(), deadline)?;
        running.set_errors(reader.into())?;
        running.end()
    }

    /// As [`Program::run`], but before anything of the program happens its process id, which is also that of its group,
    /// is told to `announce`: what that registers holds when we die. Nothing is run when it fails.
    pub fn run_announced(
        &self,
        deadline: Deadline,
        announce: &mut dyn FnMut(u32) -> Result<(), WriterError>,
    ) -> Result<Ended, WriterError> {
        let (reader, writer) = io::pipe().map_err(|source| self.start_error(source))?;
        let both = writer.try_clone().map_err(|source| self.start_error(source))?;
        let mut running = self.spawn_announced(both.into(), writer.into(), deadline, Some(announce))?;
        running.set_errors(reader.into())?;
        running.end()
    }

    /// Runs it to its end with standard output into `file`. As [`Program::run`] otherwise.
    pub fn run_into(&self, file: File, deadline: Deadline) -> Result<Ended, WriterError> {
        self.spawn(file.into(), Stdio::piped(), deadline)?.end()
    }

    /// Runs it to its end and returns its standard output, of which more than `limit` bytes are an error.
    pub fn output(&self, limit: u64, deadline: Deadline) -> Result<(Ended, Vec<u8>), WriterError> {
        let mut running = self.start(deadline)?;
        let mut bytes = Vec::new();
        let read = (&mut running).take(limit + 1).read_to_end(&mut bytes);
        if bytes.len() as u64 > limit {
            return Err(WriterError::Other(format!("{} wrote more than {limit} bytes", self.name())));
        }
        let ended = running.end()?;
        read.map_err(|source| self.io_error("read the output of", source))?;
        Ok((ended, bytes))
    }

    /// Starts it and hands out its standard output as a stream. Dropping the handle kills it.
    pub fn start(&self, deadline: Deadline) -> Result<Running, WriterError> {
        self.spawn(Stdio::piped(), Stdio::piped(), deadline)
    }

    fn spawn(&self, stdout: Stdio, stderr: Stdio, deadline: Deadline) -> Result<Running, WriterError> {
        self.spawn_announced(stdout, stderr, deadline, None)
    }

    fn spawn_announced(
        &self,
        stdout: Stdio,
        stderr: Stdio,
        deadline: Deadline,
        announce: Option<&mut dyn FnMut(u32) -> Result<(), WriterError>>,
    ) -> Result<Running, WriterError> {
        let mut command = self.command();
        command.stdout(stdout).stderr(stderr);
        let gate = match &announce {
            Some(_) => Some(Gate::before(&mut command).map_err(|source| self.start_error(source))?),
            None => None,
        };
        let (born, birth) = bounded(1);
        let (release, released) = bounded::<()>(0);
        let (reaped, status) = bounded(1);
        thread::Builder::new()
            .name("keeper".into())
            .spawn(move || keep(command, &born, &released, &reaped))
            .map_err(|source| self.start_error(source))?;
        if let (Some(gate), Some(announce)) = (gate, announce) {
            gate.pass(deadline, announce, |source| self.start_error(source))?;
        }
        let late = |_| WriterError::Late { act: format!("the start of {}", self.name()) };
        let newborn = birth.recv_deadline(deadline.instant()).map_err(late)?;
        let newborn = newborn.map_err(|source| self.start_error(source))?;
        let mut running = Running {
            program: self.name(),
            pid: newborn.pid,
            pidfd: newborn.pidfd,
            stdout: newborn.stdout.map(OwnedFd::from).map(File::from),
            errors: None,
            tail: Vec::new(),
            deadline,
            cancel: self.cancel.clone(),
            exited: false,
            stopped_by: None,
            release: Some(release),
            status,
        };
        if let Some(stdout) = &running.stdout {
            unblock(stdout).map_err(|source| self.start_error(source))?;
        }
        if let Some(errors) = newborn.stderr {
            running.set_errors(errors.into())?;
        }
        Ok(running)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.argv[0]);
        command.args(&self.argv[1..]).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).current_dir("/").process_group(0);
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        let parent = rustix::process::getpid();
        // SAFETY: between fork and exec only system calls are made, no allocation and no lock. It runs after the change
        // of user, which would clear the signal.
        unsafe {
            command.pre_exec(move || {
                rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
                // We died before the signal was set, so that it will never come.
                if rustix::process::getppid() != Some(parent) {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                Ok(())
            });
        }
        command
    }

    fn start_error(&self, source: io::Error) -> WriterError {
        self.io_error("start", source)
    }

    fn io_error(&self, act: &'static str, source: io::Error) -> WriterError {
        WriterError::Io { act, path: Path::new(&self.argv[0]).to_owned(), source }
    }
}

fn kill_group(pid: Pid) {
    // Fails only when the group is gone.
    let _ = rustix::process::kill_process_group(pid, Signal::KILL);
}

fn unblock(file: &File) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(file, true)?)
}

#[derive(Debug, Clone, Copy)]
enum StoppedBy {
    Deadline,
    Cancel,
}

/// A program that runs. Reading gives its standard output, which ends with the program; at the deadline the reading
/// fails. Then [`Running::finish`] tells how it ended.
pub struct Running {
    program: String,
    pid: Pid,
    pidfd: OwnedFd,
    stdout: Option<File>,
    errors: Option<File>,
    tail: Vec<u8>,
    deadline: Deadline,
    cancel: Option<Cancel>,
    exited: bool,
    stopped_by: Option<StoppedBy>,
    release: Option<Sender<()>>,
    status: Receiver<io::Result<ExitStatus>>,
}

impl Running {
    /// Its process id, which is also that of its group.
    pub fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Sends a signal to its group: a polite end, such as [`Signal::TERM`].
    pub fn signal(&self, signal: Signal) -> Result<(), WriterError> {
        let act = || format!("a signal to {}", self.program);
        rustix::process::kill_process_group(self.pid, signal)
            .map_err(|error| WriterError::Service { act: act(), reason: error.to_string() })
    }

    /// Whether it has ended by now. It is not reaped before [`Running::finish`].
    pub fn has_ended(&mut self) -> Result<bool, WriterError> {
        self.look(false, Duration::ZERO).map_err(|source| self.wait_error(source))?;
        Ok(self.exited)
    }

    /// Waits for the end, until the deadline, and turns a bad status into [`WriterError::Program`].
    pub fn finish(self) -> Result<Ended, WriterError> {
        self.end()?.check()
    }

    /// Waits for the end, until the deadline; any status will do.
    pub fn end(mut self) -> Result<Ended, WriterError> {
        self.stdout = None;
        while !self.exited && self.stopped_by.is_none() {
            self.step(false).map_err(|source| self.wait_error(source))?;
        }
        match self.stopped_by {
            Some(StoppedBy::Deadline) => return Err(WriterError::Late { act: self.program.clone() }),
            Some(StoppedBy::Cancel) => return Err(WriterError::Cancelled),
            None => {}
        }
        self.drain_errors();
        let status = self.reap().map_err(|source| self.wait_error(source))?;
        Ok(Ended { program: self.program.clone(), status, output: text(&self.tail) })
    }

    fn set_errors(&mut self, errors: OwnedFd) -> Result<(), WriterError> {
        let errors = File::from(errors);
        unblock(&errors).map_err(|source| self.wait_error(source))?;
        self.errors = Some(errors);
        Ok(())
    }

    fn wait_error(&self, source: io::Error) -> WriterError {
        WriterError::Io { act: "wait for", path: self.program.clone().into(), source }
    }

    /// Waits until something happens; notices the deadline and a cancellation, and kills the group for them.
    fn step(&mut self, with_stdout: bool) -> io::Result<()> {
        let left = self.deadline.remaining();
        let cancelled = self.cancel.as_ref().is_some_and(Cancel::is_cancelled);
        if left.is_zero() || cancelled {
            self.stopped_by = Some(if cancelled { StoppedBy::Cancel } else { StoppedBy::Deadline });
            kill_group(self.pid);
            return Ok(());
        }
        let wait = if self.cancel.is_some() { left.min(CANCEL_INTERVAL) } else { left };
        self.look(with_stdout, wait)
    }

    /// Waits for `wait` at most until there is output or the program ended; takes in standard error.
    fn look(&mut self, with_stdout: bool, wait: Duration) -> io::Result<()> {
        // Rounded up, so that a remainder below a millisecond does not spin.
        let wait = Timespec::try_from(wait + Duration::from_micros(999)).map_err(io::Error::other)?;
        let mut watched = vec![PollFd::new(&self.pidfd, PollFlags::IN)];
        let errors_at = self.errors.as_ref().map(|errors| {
            watched.push(PollFd::from_borrowed_fd(errors.as_fd(), PollFlags::IN));
            watched.len() - 1
        });
        if let Some(stdout) = self.stdout.as_ref().filter(|_| with_stdout) {
            watched.push(PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::IN));
        }
        match poll(&mut watched, Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let exited = !watched[0].revents().is_empty();
        let errors = errors_at.is_some_and(|at| !watched[at].revents().is_empty());
        self.exited |= exited;
        if errors {
            self.drain_errors();
        }
        Ok(())
    }

    /// Takes what is in the pipe by now. Never waits: a service that the program started may hold the pipe open.
    fn drain_errors(&mut self) {
        let mut buffer = [0; TAIL_BYTES];
        while let Some(errors) = &mut self.errors {
            match errors.read(&mut buffer) {
                Ok(count) if count > 0 => {
                    self.tail.extend_from_slice(&buffer[..count]);
                    let surplus = self.tail.len().saturating_sub(TAIL_BYTES);
                    self.tail.drain(..surplus);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Ok(_) | Err(_) => self.errors = None,
            }
        }
    }

    /// Lets the keeper reap it. From here on its group must not be signalled.
    fn reap(&mut self) -> io::Result<ExitStatus> {
        self.release = None;
        self.status.recv_timeout(KILL_WAIT).map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}

impl Read for Running {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let exited = self.exited;
            let Some(stdout) = &mut self.stdout else { return Ok(0) };
            match stdout.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            // It ended before that look at an empty pipe: what holds the pipe open is not the program.
            if exited {
                return Ok(0);
            }
            if self.stopped_by.is_none() {
                self.step(true)?;
            }
            match self.stopped_by {
                Some(StoppedBy::Deadline) => return Err(io::ErrorKind::TimedOut.into()),
                Some(StoppedBy::Cancel) => return Err(io::Error::other("cancelled")),
                None => {}
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.release.is_some() {
            kill_group(self.pid);
            let _ = self.reap();
        }
    }
}

/// The start of a process in clock ticks since boot (field 22 of `/proc/PID/stat`, proc_pid_stat(5)).
pub fn start_ticks(pid: u32) -> Result<u64, WriterError> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).map_err(|source| WriterError::Io {
        act: "read",
        path: path.clone().into(),
        source,
    })?;
    // The name in parentheses may hold blanks and parentheses; field 3 follows the last of them.
    let field = stat.rsplit(')').next().and_then(|rest| rest.split_ascii_whitespace().nth(19));
    field
        .and_then(|ticks| ticks.parse().ok())
        .ok_or_else(|| WriterError::Other(format!("{path} does not tell when the process started")))
}

/// Bytes as text, without the white space at the ends.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::time::Instant;

    use super::*;

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(20))
    }

    fn shell(script: &str) -> Program {
        Program::new("/bin/sh").args(["-c", script])
    }

    fn is_alive(pid: u32) -> bool {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        state.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
    }

    fn wait_until_gone(pid: u32) {
        let deadline = soon();
        while is_alive(pid) {
            assert!(!deadline.passed(), "process {pid} still lives");
            thread::yield_now();
        }
    }

    fn number(line: &str) -> u32 {
        line.trim().parse().unwrap()
    }

    #[test]
    fn a_bad_status_is_told_with_the_end_of_what_was_written() {
        let ended = shell("seq 1 5000 >&2; echo the last words; exit 7").run(soon()).unwrap();
        assert!(!ended.success());
        assert!(ended.output.len() <= TAIL_BYTES && ended.output.ends_with("5000\nthe last words"));
        match ended.check() {
            Err(WriterError::Program { program, status, .. }) => {
                assert_eq!((program.as_str(), status.as_str()), ("/bin/sh", "exit status 7"));
            }
            other => panic!("{other:?}"),
        }
        let ended = shell("kill -9 $$").run(soon()).unwrap();
        assert_eq!(ended.status_text(), "signal 9");
    }

    #[test]
    fn a_program_that_is_not_there_cannot_be_started() {
        match Program::new("/nonexistent/program").run(soon()) {
            Err(WriterError::Io { act: "start", source, .. }) => {
                assert_eq!(source.kind(), io::ErrorKind::NotFound)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn at_the_deadline_the_whole_group_is_killed_though_the_program_will_not_end() {
        let folder = tempfile::tempdir().unwrap();
        let note = folder.path().join("pids");
        let script = format!("trap '' TERM; sleep 1000 & echo $! $$ > {}; wait; wait", note.display());
        let started = Instant::now();
        let result = shell(&script).run(Deadline::after(Duration::from_millis(500)));
        assert!(matches!(result, Err(WriterError::Late { .. })), "{result:?}");
        assert!(started.elapsed() < Duration::from_secs(5));
        for pid in std::fs::read_to_string(note).unwrap().split_whitespace() {
            wait_until_gone(number(pid));
        }
    }

    #[test]
    fn a_stream_is_read_to_its_end_and_a_bad_end_is_an_error_after_it() {
        let mut running = shell("seq 1 100000; echo broken >&2; exit 3").start(soon()).unwrap();
        let mut text = String::new();
        running.read_to_string(&mut text).unwrap();
        assert_eq!(text.lines().count(), 100_000);
        match running.finish() {
            Err(WriterError::Program { status, output, .. }) => {
                assert_eq!((status.as_str(), output.as_str()), ("exit status 3", "broken"));
            }
            other => panic!("{:?}", other.map(|ended| ended.output)),
        }
    }

    #[test]
    fn a_stream_that_stalls_fails_at_the_deadline() {
        let mut running =
            shell("echo begin; sleep 1000").start(Deadline::after(Duration::from_millis(400))).unwrap();
        let mut bytes = Vec::new();
        let error = running.read_to_end(&mut bytes).unwrap_err();
        assert_eq!((error.kind(), bytes.as_slice()), (io::ErrorKind::TimedOut, &b"begin\n"[..]));
        assert!(matches!(running.finish(), Err(WriterError::Late { .. })));
    }

    #[test]
    fn a_service_that_the_program_started_lives_on_and_is_not_waited_for() {
        let mut running = shell("sleep 1000 & echo $!").start(soon()).unwrap();
        let mut text = String::new();
        let started = Instant::now();
        running.read_to_string(&mut text).unwrap();
        running.finish().unwrap();
        assert!(started.elapsed() < Duration::from_secs(10));
        let service = number(&text);
        assert!(is_alive(service));
        let pid = Pid::from_raw(service.cast_signed()).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    }

    #[test]
    fn a_dropped_handle_leaves_no_process() {
        let mut running = shell("sleep 1000 & echo $!; wait").start(soon()).unwrap();
        let leader = running.id();
        let mut line = String::new();
        BufReader::new(&mut running).read_line(&mut line).unwrap();
        drop(running);
        assert!(!Path::new(&format!("/proc/{leader}")).exists(), "the program was not reaped");
        wait_until_gone(number(&line));
    }

    #[test]
    fn nothing_of_an_announced_program_happens_before_it_was_told() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("mark");
        let program = shell(&format!("echo $$ > {}", mark.display()));
        let mut told = 0;
        let announce = &mut |pid| {
            thread::sleep(Duration::from_millis(100));
            assert!(!mark.exists() && is_alive(pid));
            told = pid;
            Ok(())
        };
        program.run_announced(soon(), announce).unwrap().check().unwrap();
        assert_eq!(number(&std::fs::read_to_string(&mark).unwrap()), told);
        std::fs::remove_file(&mark).unwrap();
        let refuse = &mut |pid| {
            told = pid;
            Err(WriterError::Cancelled)
        };
        assert!(matches!(program.run_announced(soon(), refuse), Err(WriterError::Cancelled)));
        wait_until_gone(told);
        assert!(!mark.exists(), "it ran although it was refused");
        let missing = Program::new("/nonexistent/program").run_announced(soon(), &mut |_| Ok(()));
        assert!(matches!(missing, Err(WriterError::Io { act: "start", .. })), "{missing:?}");
    }

    #[test]
    fn a_cancelled_run_ends_the_program() {
        let cancel = Cancel::default();
        let program = shell("sleep 1000").cancelled_by(&cancel);
        let runner = thread::spawn(move || program.run(soon()));
        cancel.cancel();
        assert!(matches!(runner.join().unwrap(), Err(WriterError::Cancelled)));
    }

    #[test]
    fn a_program_outlives_the_thread_that_asked_for_it() {
        let mut running =
            thread::spawn(|| shell("sleep 0.3; echo done").start(soon()).unwrap()).join().unwrap();
        let mut text = String::new();
        running.read_to_string(&mut text).unwrap();
        assert_eq!(text, "done\n");
        running.finish().unwrap();
    }

    /// Not a test: starts a program, tells its process id and waits to be killed.
    #[test]
    #[ignore = "a part of the next test"]
    fn starts_a_program_and_waits() {
        if let Some(note) = std::env::var_os("NOTE") {
            // Without a shell above it: the kernel ends what we started, not what that started.
            let running = shell("exec sleep 1000").start(soon()).unwrap();
            std::fs::write(note, running.id().to_string()).unwrap();
            thread::sleep(Duration::from_secs(1000));
        }
    }

    #[test]
    fn our_sudden_death_takes_the_program_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let note = folder.path().join("note");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "process::tests::starts_a_program_and_waits", "--ignored"])
            .env("NOTE", &note)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = soon();
        let program = loop {
            assert!(!deadline.passed(), "no program was started");
            if let Ok(pid) = std::fs::read_to_string(&note).unwrap_or_default().parse() {
                break pid;
            }
            thread::yield_now();
        };
        assert!(is_alive(program));
        child.kill().unwrap();
        child.wait().unwrap();
        wait_until_gone(program);
    }

    #[test]
    fn output_is_bounded() {
        let (_, bytes) = shell("printf abc").output(3, soon()).unwrap();
        assert_eq!(bytes, b"abc");
        assert!(matches!(shell("printf abcd").output(3, soon()), Err(WriterError::Other(_))));
    }
}
