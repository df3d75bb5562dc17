//! What the machine must be able to do, or the test fails with the remedy.

use std::path::{Path, PathBuf};

/// Fails unless the test runs as root.
pub fn require_root() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test mounts file systems and moves processes between cgroups: run it as root"
    );
}

/// The path of a program; fails with the Debian package that has it when it is not there.
pub fn require_program(name: &str, package: &str) -> PathBuf {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&folders)
        .chain(usual)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("the program {name} is missing: apt-get install {package}"))
}

/// A program that `cargo xtask prepare` fetches, by its path below `target/tools`: `promtool`, `python/bin/st` (schemathesis),
/// `python/bin/aiosmtpd`. Fails with that remedy when it is not there.
pub fn require_tool(path: &str) -> PathBuf {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(PathBuf::from).unwrap_or_default();
    let path = top.join("target/tools").join(path);
    assert!(path.is_file(), "{} is missing: run cargo xtask prepare", path.display());
    path
}

/// The folder with the programs of the PostgreSQL that the tests were told to use (`STILLPOINT_POSTGRES_BIN`).
pub fn asked_postgres() -> Option<PathBuf> {
    std::env::var_os("STILLPOINT_POSTGRES_BIN").map(PathBuf::from)
}

/// The folder with the programs of the PostgreSQL server that was asked for, else of the newest one that is installed; fails
/// with the package when there is none.
pub fn require_postgres() -> PathBuf {
    if let Some(folder) = asked_postgres() {
        return folder;
    }
    let version = |folder: &PathBuf| folder.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let versions =
        std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = versions.filter(|path| path.join("bin/initdb").is_file()).collect();
    found.sort_by_key(version);
    match found.pop() {
        Some(folder) => folder.join("bin"),
        None => panic!("a PostgreSQL server is missing: apt-get install postgresql"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_its_name() {
        assert!(require_program("sh", "dash").is_absolute());
    }

    #[test]
    #[should_panic(expected = "apt-get install some-package")]
    fn a_missing_program_names_the_package_to_install() {
        require_program("no-such-program-anywhere", "some-package");
    }

    #[test]
    fn the_postgres_found_has_its_programs() {
        assert!(require_postgres().join("pg_basebackup").is_file());
    }
}
