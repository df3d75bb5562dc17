//! The stock `restic`, as writer, reader and judge.

#![allow(dead_code, reason = "each test uses some of it")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use stillpoint_repository::store::LocalStore;
use stillpoint_repository::{Repository, Secret};

pub const PASSWORD: &str = "correct horse";

/// The one on the path, which must be there, and a newer one if it was fetched (`cargo xtask prepare`). What CI runs must have
/// both.
pub fn programs() -> Vec<PathBuf> {
    let mut all = vec![PathBuf::from("restic")];
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools");
    for entry in std::fs::read_dir(tools).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("restic-") && path.is_file() {
            all.push(path);
        }
    }
    let needed = if std::env::var_os("STILLPOINT_CI").is_some() { 2 } else { 1 };
    assert!(all.len() >= needed, "target/tools has no newer restic: cargo xtask prepare");
    all
}

/// One restic at one repository in a folder.
#[derive(Debug, Clone)]
pub struct Restic {
    program: PathBuf,
    pub folder: PathBuf,
}

impl Restic {
    pub fn at(folder: &Path) -> Self {
        Self { program: programs().swap_remove(0), folder: folder.to_owned() }
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
        let store = LocalStore::new(&self.folder);
        Repository::open(Box::new(store), &Secret::new(PASSWORD.into())).unwrap()
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

/// Runs restic on a repository.
pub fn restic(program: &Path, repository: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.arg("--no-cache").arg("-r").arg(repository).args(arguments);
    command.env("RESTIC_PASSWORD", PASSWORD).output().unwrap()
}

/// The same, which must succeed; returns what it said.
pub fn succeed(program: &Path, repository: &Path, arguments: &[&str]) -> String {
    let output = restic(program, repository, arguments);
    assert!(
        output.status.success(),
        "{} {arguments:?}: {}{}",
        program.display(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Every restic finds the repository good, to the last byte.
pub fn check_all_data(repository: &Path) {
    for program in programs() {
        succeed(&program, repository, &["check", "--read-data"]);
    }
}
