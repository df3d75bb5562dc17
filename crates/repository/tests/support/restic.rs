//! Stock restic, the independent reader and judge of what we write.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The password of all repositories of the tests.
pub const PASSWORD: &str = "correct horse";

/// All restic programs at hand: the one of the system, and a newer one when the chores fetched it.
pub fn programs() -> Vec<PathBuf> {
    let found = Command::new("restic").arg("version").output();
    assert!(found.is_ok(), "restic is missing: apt-get install restic");
    let mut programs = vec![PathBuf::from("restic")];
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools");
    let tools = std::fs::read_dir(target).into_iter().flatten().flatten().map(|entry| entry.path());
    programs.extend(tools.filter(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("restic-")) && path.is_file()
    }));
    programs
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
