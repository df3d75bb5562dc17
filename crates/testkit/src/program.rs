//! Running programs in tests.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// How a program ended, and what it wrote.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code; nothing when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// Runs a program to its end; fails the test when it cannot be started.
pub fn finish(command: &mut Command) -> Finished {
    match command.output() {
        Ok(output) => Finished {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        },
        Err(error) => panic!("{command:?} cannot be started: {error}"),
    }
}

/// Runs a program that must succeed; returns what it wrote to standard output.
pub fn succeed(command: &mut Command) -> String {
    let finished = finish(command);
    assert!(finished.code == Some(0), "{command:?} failed: {finished:#?}");
    finished.stdout
}

/// The path of one of the workspace's own programs: beside the running test, or one folder up from it.
pub fn own(name: &str) -> PathBuf {
    let Ok(running) = std::env::current_exe() else { panic!("the path of the running test is not known") };
    let beside = running.ancestors().skip(1).take(2).map(|folder| folder.join(name));
    match beside.into_iter().find(|path| path.is_file()) {
        Some(path) => path,
        None => panic!("{name} is not built: cargo build -p stillpoint-testkit --bins (in the same profile)"),
    }
}

/// Program and arguments as one line of text each, for a site file.
pub fn as_text(program: &std::path::Path, arguments: &[OsString]) -> Vec<String> {
    std::iter::once(program.as_os_str())
        .chain(arguments.iter().map(OsString::as_os_str))
        .map(|part| part.to_string_lossy().into_owned())
        .collect()
}

/// Tries `attempt` until it gives something; fails the test with `what` after `timeout`. For states of the kernel and of
/// other processes, which tell nobody when they are reached.
pub fn wait_for<T>(what: &str, timeout: Duration, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(reached) = attempt() {
            return reached;
        }
        assert!(Instant::now() < deadline, "not reached in {timeout:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
