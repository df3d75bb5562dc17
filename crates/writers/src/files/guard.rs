//! Is the tree what the site file means? A folder whose file system is not mounted looks like a tree that became empty,
//! and a backup of it would replace the last good one.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use stillpoint_model::{Context, WriterError};
use stillpoint_tree::{IndexReader, Kind};

use crate::tree_work::tree_error;

/// Which folder it was, to notice when another one is at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
}

/// One line of `/etc/fstab` or `/proc/self/mounts`; both have the form of fstab(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where.
    pub point: PathBuf,
    /// The type of the file system, such as `ext4`.
    pub kind: String,
    options: String,
}

/// Refuses what is not there, or not a folder.
pub fn identity(source: &Path) -> Result<Identity, WriterError> {
    let found = fs::symlink_metadata(source).map_err(|error| WriterError::Io {
        act: "find the file tree",
        path: source.to_owned(),
        source: error,
    })?;
    if found.is_symlink() {
        let target = fs::canonicalize(source).unwrap_or_default();
        return Err(WriterError::Other(format!(
            "{} is a symbolic link to {}; name the folder itself in the site file",
            source.display(),
            target.display()
        )));
    }
    if !found.is_dir() {
        return Err(WriterError::Other(format!(
            "{} is not a folder; name the top of a file tree",
            source.display()
        )));
    }
    Ok(Identity { device: found.dev(), inode: found.ino() })
}

/// Refuses a tree that is no longer the one that was looked at: unmounted, mounted over, or replaced.
pub fn still(source: &Path, expected: Option<Identity>) -> Result<(), WriterError> {
    if Some(identity(source)?) == expected {
        return Ok(());
    }
    Err(WriterError::Other(format!(
        "{} is not the folder that it was when the run began: something was mounted, unmounted or moved",
        source.display()
    )))
}

/// The mount that serves `source`. Refuses one that `fstab` (its text) wants mounted and that is not.
pub fn mounted(source: &Path, fstab: &[u8]) -> Result<Option<Mount>, WriterError> {
    let path = Path::new("/proc/self/mounts");
    let failed = |error: io::Error| WriterError::Io { act: "read", path: path.to_owned(), source: error };
    let mounts = parse(&fs::read(path).map_err(failed)?);
    let source = fs::canonicalize(source).unwrap_or_else(|_| source.to_owned());
    if let Some(missing) = not_mounted(&source, &parse(fstab), &mounts) {
        return Err(WriterError::Other(format!(
            "{} is not mounted, though /etc/fstab says that it should be; {} would be backed up without its files. \
             Mount it, or take it out of /etc/fstab",
            missing.display(),
            source.display()
        )));
    }
    // Of several at one place the last hides the others.
    let serving = mounts.into_iter().filter(|mount| source.starts_with(&mount.point));
    Ok(serving.max_by_key(|mount| mount.point.components().count()))
}

fn not_mounted(source: &Path, wanted: &[Mount], mounts: &[Mount]) -> Option<PathBuf> {
    let is_mounted = |point: &Path| mounts.iter().any(|mount| mount.point == point);
    wanted
        .iter()
        .filter(|mount| mount.point.is_absolute() && source.starts_with(&mount.point))
        .filter(|mount| mount.options.split(',').all(|option| option != "noauto"))
        .map(|mount| fs::canonicalize(&mount.point).unwrap_or_else(|_| mount.point.clone()))
        .find(|point| !is_mounted(point))
}

fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|&byte| byte == b'\n').filter_map(line).collect()
}

fn line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|field| !field.is_empty());
    let device = fields.next()?;
    if device.starts_with(b"#") {
        return None;
    }
    let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
    let point = PathBuf::from(OsString::from_vec(unescape(fields.next()?)));
    Some(Mount { point, kind: text(fields.next()?), options: fields.next().map(text).unwrap_or_default() })
}

/// Space, tab, newline and backslash are written as three octal digits behind a backslash (getmntent(3)).
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| first == b'\\');
        let code = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match code {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    bytes
}

/// Refuses a tree without any file of which the last good set has some.
pub fn not_suddenly_empty(source: &Path, context: &Context) -> Result<(), WriterError> {
    let Some(previous) = &context.previous else { return Ok(()) };
    for entry in IndexReader::open(&previous.index).map_err(tree_error)? {
        if matches!(entry.map_err(tree_error)?.kind, Kind::File(_)) {
            return Err(WriterError::Other(format!(
                "{} holds no file, but the last good backup has files of it: is its file system mounted? If it is meant \
                 to be empty, put one file into it, or take the component out of the site file",
                source.display()
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &[u8] =
        b"/dev/vda / ext4 rw 0 0\n/dev/vdb /srv ext4 rw 0 0\n/dev/vdd /srv/with\\040space xfs rw 0 0\n";

    fn missing(source: &str, fstab: &[u8]) -> Option<PathBuf> {
        not_mounted(Path::new(source), &parse(fstab), &parse(MOUNTS))
    }

    #[test]
    fn what_fstab_wants_mounted_at_or_above_the_tree_must_be() {
        let fstab = b"# comment\nUUID=1 / ext4 defaults 0 1\n\nUUID=2\t/srv/data  xfs defaults 0 2\nUUID=3 none swap sw 0 0\n";
        assert_eq!(missing("/srv/data", fstab), Some("/srv/data".into()));
        assert_eq!(missing("/srv/data/web", fstab), Some("/srv/data".into()));
        assert_eq!(missing("/srv/database", fstab), None);
        assert_eq!(missing("/srv", fstab), None);
        assert_eq!(missing("/srv/data", b"UUID=2 /srv/data xfs rw,noauto 0 2\n"), None);
        assert_eq!(missing("/srv/with space/x", b"UUID=2 /srv/with\\040space xfs rw 0 2\n"), None);
    }

    #[test]
    fn a_line_of_the_table_of_mounts_is_read() {
        let mounts = parse(MOUNTS);
        assert_eq!(
            (mounts[2].point.as_path(), mounts[2].kind.as_str()),
            (Path::new("/srv/with space"), "xfs")
        );
        assert_eq!(unescape(b"a\\134b\\"), b"a\\b\\");
    }
}
