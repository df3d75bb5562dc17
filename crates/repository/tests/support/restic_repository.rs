//! Stock restic, as reader, writer and judge.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use stillpoint_repository::store::LocalStore;
use stillpoint_repository::{Repository, Secret};

/// The password of all repositories of the tests.
pub const PASSWORD: &str = "correct horse";

/// The restic programs to test with: the one of the system, and newer ones that were brought for the tests
/// (`cargo xtask prepare`). What CI runs must have both.
pub fn programs() -> Vec<PathBuf> {
    let mut programs = vec![PathBuf::from("restic")];
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools");
    let brought = std::fs::read_dir(tools).into_iter().flatten().flatten().map(|entry| entry.path());
    let named = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("restic-0.18"))
    };
    programs.extend(brought.filter(named).map(|path| if path.is_dir() { path.join("restic") } else { path }));
    let needed = if std::env::var_os("STILLPOINT_CI").is_some() { 2 } else { 1 };
    assert!(programs.len() >= needed, "target/tools has no newer restic: cargo xtask prepare");
    programs
}

/// A repository in a temporary folder, used with one of the programs.
pub struct Restic {
    program: PathBuf,
    folder: tempfile::TempDir,
}

impl Restic {
    /// A new repository, made by restic.
    pub fn init(program: &Path) -> Self {
        let restic = Self { program: program.to_owned(), folder: tempfile::tempdir().unwrap() };
        restic.run(&["init", "--repository-version=2"]);
        restic
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("RESTIC_PASSWORD", PASSWORD).args(["--no-cache", "-q", "-r"]).arg(self.path());
        command
    }

    /// Runs restic. It must succeed.
    pub fn run(&self, arguments: &[&str]) -> String {
        self.run_in(Path::new("/"), arguments)
    }

    /// The same in a folder, from which relative paths are saved.
    pub fn run_in(&self, folder: &Path, arguments: &[&str]) -> String {
        let output = self.output(folder, arguments);
        assert!(
            output.status.success(),
            "restic {arguments:?}: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn output(&self, folder: &Path, arguments: &[&str]) -> Output {
        let output = self.command().args(arguments).current_dir(folder).output();
        output.unwrap_or_else(|error| {
            panic!("{} cannot be started ({error}): apt-get install restic", self.program.display())
        })
    }

    /// The repository, opened by us.
    pub fn open(&self) -> Repository {
        open(self.path())
    }
}

/// A repository in a folder, opened by us.
pub fn open(folder: &Path) -> Repository {
    Repository::open(Box::new(LocalStore::new(folder)), &Secret::new(PASSWORD.into())).unwrap()
}
