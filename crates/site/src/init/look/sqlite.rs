//! SQLite databases that running processes have open.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use stillpoint_model::Deadline;

use super::{processes, text_of};
use crate::init::SqliteFound;

/// The first bytes of every SQLite database (sqlite.org/fileformat, section 1.3).
const MAGIC: [u8; 16] = *b"SQLite format 3\0";
/// More than this many would make no draft that a person reads.
const FOUND_MAX: usize = 50;
/// Where databases of the system itself, caches and passing things lie.
const NOT_OF_A_SITE: [&str; 8] =
    ["/proc", "/dev", "/sys", "/run", "/usr", "/var/cache", "/var/lib/PackageKit", "/var/lib/fwupd"];

/// The databases, by path.
pub(super) fn find(proc: &Path, deadline: Deadline, notes: &mut Vec<String>) -> Vec<SqliteFound> {
    let mut found: BTreeMap<PathBuf, Option<SqliteFound>> = BTreeMap::new();
    for process in processes(proc) {
        if deadline.passed() || found.values().flatten().count() >= FOUND_MAX {
            notes.push("some SQLite databases: there were too many open files to look at all".to_owned());
            break;
        }
        for link in std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten() {
            let Ok(path) = std::fs::read_link(link.path()) else { continue };
            if !path.is_absolute() || found.contains_key(&path) {
                continue;
            }
            let database = is_of_a_site(&path) && is_database(&link.path(), &path);
            let program = || text_of(&process.join("comm"), 64).unwrap_or_default().trim().to_owned();
            found.insert(path.clone(), database.then(|| SqliteFound { path, program: program() }));
        }
    }
    found.into_values().flatten().take(FOUND_MAX).collect()
}

/// Hidden folders hold the private matters of programs and people.
fn is_of_a_site(path: &Path) -> bool {
    !NOT_OF_A_SITE.iter().any(|folder| path.starts_with(folder))
        && !path.components().any(|part| part.as_os_str().as_encoded_bytes().starts_with(b"."))
}

/// Whether the open file is a database, and still the file at `path` as we see it: not deleted, not another mount
/// namespace's. Reading it takes no lock.
fn is_database(link: &Path, path: &Path) -> bool {
    let (Ok(open), Ok(named)) = (std::fs::metadata(link), std::fs::symlink_metadata(path)) else {
        return false;
    };
    if !named.is_file() || (open.dev(), open.ino()) != (named.dev(), named.ino()) {
        return false;
    }
    let mut start = [0; 16];
    File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == MAGIC
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_open_database_is_found_and_other_open_files_and_deleted_ones_are_not() {
        let folder = tempfile::Builder::new().prefix("open ").tempdir().unwrap();
        let create = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            File::open(path).unwrap()
        };
        let magic: Vec<u8> = MAGIC.into_iter().chain([0; 84]).collect();
        let open = [create("shop.db", &magic), create("shop.txt", b"hello"), create("gone.db", &magic)];
        std::fs::remove_file(folder.path().join("gone.db")).unwrap();
        let look = || find(Path::new("/proc"), Deadline::after(Duration::from_secs(10)), &mut Vec::new());
        let ours = |found: Vec<SqliteFound>| -> Vec<PathBuf> {
            found.into_iter().map(|one| one.path).filter(|path| path.starts_with(folder.path())).collect()
        };
        assert_eq!(ours(look()), [folder.path().join("shop.db")]);
        drop(open);
        assert!(ours(look()).is_empty());
    }
}
