//! One stock restic at one repository, with its processes.

#![allow(dead_code, reason = "not every test uses everything")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use stillpoint_repository::Repository;

use crate::support::open;
use crate::support::restic::PASSWORD;

/// One restic at one repository in a folder.
#[derive(Debug, Clone)]
pub struct Restic {
    program: PathBuf,
    pub folder: PathBuf,
}

impl Restic {
    pub fn at(folder: &Path) -> Self {
        Self::with(Path::new("restic"), folder)
    }

    pub fn with(program: &Path, folder: &Path) -> Self {
        Self { program: program.to_owned(), folder: folder.to_owned() }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(["--no-cache", "--repo"])
            .arg(&self.folder)
            .args(arguments)
            .env("RESTIC_PASSWORD", PASSWORD)
            .env("GOMAXPROCS", "2")
            .stdin(Stdio::null());
        command
    }

    pub fn output(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output();
        output.unwrap_or_else(|error| panic!("{:?}: {error} (apt-get install restic)", self.program))
    }

    /// Runs it, and it must be content. Returns what it prints.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "restic {arguments:?}: {}\n{text}{errors}", output.status);
        text
    }

    /// Runs it, and it must refuse. Returns what it says.
    pub fn refused(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(!output.status.success(), "restic {arguments:?} should have refused");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    pub fn start(&self, arguments: &[&str]) -> Running {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Running(command.spawn().unwrap())
    }

    pub fn init(&self) {
        self.run(&["init"]);
    }

    pub fn check(&self) {
        self.run(&["check", "--read-data"]);
    }

    /// Saves a folder under its own path.
    pub fn backup(&self, folder: &Path) {
        self.run(&["backup", "--host", "site", folder.to_str().unwrap()]);
    }

    pub fn open(&self) -> Repository {
        open(&self.folder)
    }
}

/// A restic at work, which is ended with the test.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
