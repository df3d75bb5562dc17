//! Servers for stores on other machines: real ones, on the loopback, in temporary folders. Each is ended with its value.

mod lying_http;
mod rclone;
mod seaweed;
mod sshd;

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::program::wait_for;

pub use lying_http::{Answer, LyingHttp};
pub use rclone::RestServer;
pub use seaweed::SeaweedFs;
pub use sshd::Sshd;

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often other ports are tried when another process took one of them first.
const TRIES: u32 = 5;

/// A port of the loopback that is free now. None of those that the kernel gives to connections, so that it stays free while a
/// server is down.
pub fn free_port() -> u16 {
    let taken_by_chance = std::iter::repeat_with(|| {
        let mut bytes = [0; 2];
        assert!(getrandom::fill(&mut bytes).is_ok(), "the kernel gives no random numbers");
        12_000 + u16::from_le_bytes(bytes) % 20_000
    });
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    match taken_by_chance.take(1000).find(is_free) {
        Some(port) => port,
        None => panic!("no free port was found on the loopback"),
    }
}

/// A program out of a package that `cargo xtask prepare` fetches.
fn fetched(package: &str, program: &str) -> PathBuf {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(PathBuf::from).unwrap_or_default();
    let path = top.join("target/servers").join(package).join("bin").join(program);
    assert!(path.is_file(), "{} is missing: run cargo xtask prepare", path.display());
    path
}

/// A temporary folder for a server.
fn own_folder() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("sp-server-").tempdir_in("/tmp");
    folder.unwrap_or_else(|error| panic!("no temporary folder: {error}"))
}

/// A server process, with what it says in a file.
#[derive(Debug)]
struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    fn start(command: &mut Command, log: PathBuf) -> Self {
        let file = File::options().create(true).append(true).open(&log);
        let files = file.and_then(|file| Ok((file.try_clone()?, file)));
        let (output, errors) = files.unwrap_or_else(|error| panic!("no log at {}: {error}", log.display()));
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        match command.spawn() {
            Ok(child) => Self { child, log },
            Err(error) => panic!("{command:?} cannot be started: {error}"),
        }
    }

    /// Waits until it takes connections. Nothing when it ended before, as it does when a port is taken.
    fn ready(mut self, port: u16) -> Option<Self> {
        let listens = wait_for("the server takes connections", PATIENCE, || {
            if self.child.try_wait().ok().flatten().is_some() {
                return Some(false);
            }
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok().then_some(true)
        });
        listens.then_some(self)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        // One that has ended needs none.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts with other ports until the server listens.
fn start_with_ports(mut start: impl FnMut() -> Option<Server>) -> Server {
    let mut tries = (0..TRIES).filter_map(|_| start());
    match tries.next() {
        Some(server) => server,
        None => panic!("the server ended {TRIES} times before it took connections"),
    }
}
