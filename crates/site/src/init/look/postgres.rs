//! PostgreSQL servers, by the sockets that the kernel lists as listening. None of them is spoken to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use stillpoint_model::Deadline;

use super::{processes, text_of};
use crate::init::PostgresFound;

/// The flag of a listening socket in `/proc/net/unix` (`__SO_ACCEPTCON`, linux/net.h).
const LISTENING: u32 = 1 << 16;
const TEXT_MAX: u64 = 4 << 20;

/// The servers that listen on Unix sockets, with their data folders as far as those can be seen.
pub(super) fn find(proc: &Path, deadline: Deadline, notes: &mut Vec<String>) -> Vec<PostgresFound> {
    let Some(sockets) = read(&proc.join("net/unix")) else {
        notes.push("listening PostgreSQL servers (/proc/net/unix cannot be read)".to_owned());
        return Vec::new();
    };
    let data = data_folders(proc, deadline);
    let mut found: BTreeMap<(PathBuf, u16), PostgresFound> = BTreeMap::new();
    for (socket_folder, port) in listening(&sockets) {
        let real = std::fs::canonicalize(&socket_folder).unwrap_or_else(|_| socket_folder.clone());
        let at = (real.clone(), port);
        let data = data.get(&at).cloned();
        found.entry(at).or_insert(PostgresFound { socket_folder, port, data });
    }
    found.into_values().collect()
}

/// As [`text_of`], for files of `/proc`, which claim to be empty.
fn read(path: &Path) -> Option<String> {
    text_of(path, TEXT_MAX)
}

/// Socket folder and port of each listening socket with a name like `.s.PGSQL.5432`. The path is the rest of the line
/// behind seven columns: it may hold spaces.
fn listening(sockets: &str) -> Vec<(PathBuf, u16)> {
    let of_line = |line: &str| {
        let mut rest = line;
        let mut columns = Vec::with_capacity(7);
        for _ in 0..7 {
            let (column, behind) = rest.trim_start().split_once(' ')?;
            columns.push(column);
            rest = behind;
        }
        let flags = u32::from_str_radix(columns[3], 16).ok()?;
        let (folder, name) = rest.trim_start().rsplit_once('/')?;
        let port = name.strip_prefix(".s.PGSQL.")?.parse().ok()?;
        (flags & LISTENING != 0 && folder.starts_with('/')).then(|| (PathBuf::from(folder), port))
    };
    sockets.lines().filter_map(of_line).collect()
}

/// The data folder of each running server by the socket folder and port that its `postmaster.pid` names: lines 4 and 5
/// (PostgreSQL documentation, chapter "Database File Layout"). A server works in its data folder.
fn data_folders(proc: &Path, deadline: Deadline) -> BTreeMap<(PathBuf, u16), PathBuf> {
    let mut found = BTreeMap::new();
    for process in processes(proc) {
        if deadline.passed() {
            break;
        }
        let Some(name) = read(&process.join("comm")) else { continue };
        if !matches!(name.trim(), "postgres" | "postmaster") {
            continue;
        }
        let Ok(data) = std::fs::read_link(process.join("cwd")) else { continue };
        let Some(state) = read(&data.join("postmaster.pid")) else { continue };
        let lines: Vec<&str> = state.lines().collect();
        let (Some(port), Some(folder)) =
            (lines.get(3).and_then(|port| port.trim().parse().ok()), lines.get(4))
        else {
            continue;
        };
        let folder = std::fs::canonicalize(folder).unwrap_or_else(|_| PathBuf::from(folder));
        found.insert((folder, port), data);
    }
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_listening_socket_is_found_by_its_name_and_one_that_nobody_listens_on_is_not() {
        let folder = tempfile::Builder::new().prefix("a b ").tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.54399")).unwrap();
        let ours = |found: Vec<PostgresFound>| found.into_iter().find(|one| one.port == 54399);
        let look =
            || find(Path::new("/proc"), Deadline::after(std::time::Duration::from_secs(5)), &mut Vec::new());
        assert_eq!(ours(look()).unwrap().socket_folder, folder.path());
        drop(listener);
        assert_eq!(ours(look()), None);
    }

    #[test]
    fn the_data_folder_is_that_of_the_process_whose_pid_file_names_the_socket() {
        let proc = tempfile::tempdir().unwrap();
        let data = tempfile::tempdir().unwrap();
        let sockets = tempfile::tempdir().unwrap();
        let process = proc.path().join("77");
        std::fs::create_dir_all(&process).unwrap();
        std::fs::create_dir_all(proc.path().join("net")).unwrap();
        std::fs::write(process.join("comm"), "postgres\n").unwrap();
        std::os::unix::fs::symlink(data.path(), process.join("cwd")).unwrap();
        let folder = sockets.path().display();
        std::fs::write(data.path().join("postmaster.pid"), format!("77\n/x\n1\n5433\n{folder}\n*\n"))
            .unwrap();
        let line = |flags: &str, port: u16| {
            format!("0000000000000000: 00000002 00000000 {flags} 0001 01 4711 {folder}/.s.PGSQL.{port}\n")
        };
        let list = format!(
            "Num RefCount Protocol Flags Type St Inode Path\n{}{}",
            line("00010000", 5433),
            line("00000000", 5434)
        );
        std::fs::write(proc.path().join("net/unix"), list).unwrap();
        let found = find(proc.path(), Deadline::after(std::time::Duration::from_secs(5)), &mut Vec::new());
        let wanted = PostgresFound {
            socket_folder: sockets.path().to_path_buf(),
            port: 5433,
            data: Some(data.path().to_path_buf()),
        };
        assert_eq!(found, [wanted]);
    }
}
