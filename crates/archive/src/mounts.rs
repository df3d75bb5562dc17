//! What is mounted where, read from `/proc/self/mountinfo` (proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Where.
    pub point: PathBuf,
    /// Which file system, as `major:minor`.
    pub device: String,
    /// What of the file system is mounted: `/`, or a folder of it for a bind mount.
    pub root: PathBuf,
    /// The type of the file system, such as `nfs4`.
    pub kind: String,
}

/// The mount that serves `path`, which must be canonical: the longest mount point that is a prefix of it, and of several
/// at the same place the last, which hides the others. Nothing when not even the root is listed (as in a chroot).
pub(crate) fn serving(path: &Path) -> io::Result<Option<Mount>> {
    Ok(longest(parse(&std::fs::read("/proc/self/mountinfo")?), path))
}

/// Where a canonical path is in its file system: the same for all names that bind mounts give it.
pub(crate) fn position(path: &Path) -> Option<(String, PathBuf)> {
    let mount = serving(path).ok()??;
    let rest = path.strip_prefix(&mount.point).ok()?;
    Some((mount.device, mount.root.join(rest)))
}

fn longest(mounts: Vec<Mount>, path: &Path) -> Option<Mount> {
    mounts
        .into_iter()
        .filter(|mount| path.starts_with(&mount.point))
        .max_by_key(|m| m.point.components().count())
}

fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|&b| b == b'\n').filter_map(parse_line).collect()
}

/// `36 35 98:0 /mnt1 /mnt/parent rw,noatime master:1 - ext3 /dev/root rw`: the mount point is the fifth field, the type
/// the first after the lone hyphen.
fn parse_line(line: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|&b| b == b' ').collect();
    let hyphen = fields.iter().skip(6).position(|field| *field == b"-")? + 6;
    let path = |field: &[u8]| PathBuf::from(OsString::from_vec(unescape(field)));
    Some(Mount {
        point: path(fields.get(4)?),
        device: String::from_utf8_lossy(fields.get(2)?).into_owned(),
        root: path(fields.get(3)?),
        kind: String::from_utf8_lossy(fields.get(hyphen + 1)?).into_owned(),
    })
}

/// Space, tab, newline and backslash are written as three octal digits behind a backslash.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                out.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest = after;
            }
            _ => {
                out.push(first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &[u8] = b"20 1 254:0 / / rw shared:1 - ext4 /dev/vda rw\n\
        30 20 0:40 / /mnt/my\\040share rw master:1 - nfs4 host:/x rw\n\
        31 20 0:41 / /mnt rw - tmpfs tmpfs rw\n\
        32 30 0:42 / /mnt/my\\040share rw - cifs //host/y rw\n";

    #[test]
    fn the_mount_that_serves_a_path_is_the_longest_and_of_those_the_last() {
        let serving = |path: &str| longest(parse(SAMPLE), Path::new(path)).unwrap();
        assert_eq!(serving("/mnt/my share/a").kind, "cifs");
        assert_eq!(serving("/mnt/my sharex").point, Path::new("/mnt"));
        assert_eq!(serving("/home").point, Path::new("/"));
    }

    #[test]
    fn the_real_table_has_the_mount_of_proc() {
        assert_eq!(serving(Path::new("/proc/self")).unwrap().unwrap().kind, "proc");
    }
}
