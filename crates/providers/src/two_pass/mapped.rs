//! Files that a process may change through memory: that sends no event.
//!
//! Such a file is mapped (shared and writable), or open for reading and writing so that it can be mapped at any moment. Both
//! are found in `/proc`. What is opened later than this look is told by the tracker. Nothing here is proof of a change;
//! the change time is, because the first store to a clean page moves it.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use stillpoint_tree::RelPath;

use super::reader::{Reader, stat_at};
use super::tracker::Handle;

/// A file of the tree's file system that a process may change through memory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mapped {
    /// Its inode.
    pub(super) inode: u64,
    /// Its path in the tree; nothing when the process has it by a name outside.
    pub(super) path: Option<RelPath>,
}

/// Looks through all processes. Those that end meanwhile are passed over: they can change nothing any more, and a file
/// that they wrote was closed, which is told.
pub(super) fn find(reader: &Reader) -> io::Result<Vec<Mapped>> {
    let mut found = Vec::new();
    for process in fs::read_dir("/proc")? {
        let process = process?;
        if process.file_name().as_bytes().iter().all(u8::is_ascii_digit) {
            let process = process.path();
            look(reader, shared_mappings(&process), &mut found);
            look(reader, writable_files(&process), &mut found);
        }
    }
    found.extend(loop_files(reader));
    found.sort();
    found.dedup();
    Ok(found)
}

/// The links in `/proc` to what a process has mapped, shared and writable.
fn shared_mappings(process: &Path) -> Vec<PathBuf> {
    let maps = fs::read(process.join("maps")).unwrap_or_default();
    let shared = |line: &&[u8]| {
        let rights = line.split(|&b| b == b' ').nth(1).unwrap_or_default();
        rights.len() == 4 && rights[1] == b'w' && rights[3] == b's'
    };
    let range = |line: &[u8]| {
        String::from_utf8_lossy(line.split(|&b| b == b' ').next().unwrap_or_default()).into_owned()
    };
    maps.split(|&b| b == b'\n')
        .filter(shared)
        .map(|line| process.join("map_files").join(unpadded(&range(line))))
        .collect()
}

/// `maps` pads addresses with zeros to eight digits, the names in `map_files` are not padded (proc_pid_map_files(5)).
fn unpadded(range: &str) -> String {
    let strip = |address: &str| match address.trim_start_matches('0') {
        "" => "0".to_owned(),
        digits => digits.to_owned(),
    };
    range.split('-').map(strip).collect::<Vec<_>>().join("-")
}

/// The links in `/proc` to what a process has open for reading and writing.
fn writable_files(process: &Path) -> Vec<PathBuf> {
    let Ok(files) = fs::read_dir(process.join("fd")) else { return Vec::new() };
    let links = files.flatten().map(|file| file.path());
    // The mode of the link shows how the file is open (proc_pid_fd(5)).
    links
        .filter(|link| fs::symlink_metadata(link).is_ok_and(|l| l.permissions().mode() & 0o600 == 0o600))
        .collect()
}

/// Files behind loop devices: the kernel writes them without an event.
fn loop_files(reader: &Reader) -> Vec<Mapped> {
    let mut links = Vec::new();
    for device in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        if let Ok(path) = fs::read(device.path().join("loop/backing_file")) {
            let path = path.strip_suffix(b"\n").unwrap_or(&path);
            links.push(PathBuf::from(std::ffi::OsStr::from_bytes(path)));
        }
    }
    let mut found = Vec::new();
    look(reader, links, &mut found);
    found
}

/// Keeps those of the links that lead to a regular file on the tree's device.
fn look(reader: &Reader, links: Vec<PathBuf>, found: &mut Vec<Mapped>) {
    for link in links {
        let Ok(facts) = fs::metadata(&link) else { continue };
        let device = (libc::major(facts.dev()), libc::minor(facts.dev()));
        if facts.is_file() && device == reader.device() {
            let inode = facts.ino();
            found.push(Mapped { inode, path: place(reader, &link, inode) });
        }
    }
}

/// Where in the tree the file behind the link is. The text of the link is how its process sees it, which may be another
/// place than ours; the file's handle leads to our view of it.
fn place(reader: &Reader, link: &Path, inode: u64) -> Option<RelPath> {
    let inside = |path: PathBuf| {
        let inside = path.strip_prefix(reader.path()).ok()?;
        let path = RelPath::from_bytes(inside.as_os_str().as_bytes().to_vec())?;
        let stat = stat_at(rustix::fs::CWD, path.under(reader.path()).as_os_str().as_bytes()).ok()?;
        (stat.inode == inode && stat.device == reader.device()).then_some(path)
    };
    fs::read_link(link).ok().and_then(inside).or_else(|| {
        let opened = Handle::of(link, true).ok()?.open(reader.top()).ok()?;
        inside(fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd())).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_their_padding_but_not_their_last_digit() {
        assert_eq!(unpadded("00400000-00452000"), "400000-452000");
        assert_eq!(unpadded("00000000-7f0"), "0-7f0");
    }
}
