//! Metadata of an entry: reading it all, and putting it on what was created.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Statx, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::{Errno, Result};

use crate::{Entry, FileFacts, Kind, Origin, RelPath, Timestamp, Xattr};

/// The kernel's limit for a list of names and for a value (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const ATTRIBUTE_BYTES_MAX: usize = 65536;

const PERMISSIONS: u16 = 0o7777;

/// What an entry is made of at once: everything but extended attributes, hash and hard link.
pub(crate) fn entry_of(path: RelPath, kind: Kind, stat: &Statx) -> Entry {
    let ctime = Timestamp { seconds: stat.stx_ctime.tv_sec, nanoseconds: stat.stx_ctime.tv_nsec };
    Entry {
        path,
        kind,
        mode: u32::from(stat.stx_mode & PERMISSIONS),
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        mtime: Timestamp { seconds: stat.stx_mtime.tv_sec, nanoseconds: stat.stx_mtime.tv_nsec },
        xattrs: Vec::new(),
        hard_link: None,
        origin: Some(Origin { inode: stat.stx_ino, ctime, settled: false }),
    }
}

/// What the name in the folder is.
pub(crate) fn kind_of(folder: BorrowedFd<'_>, name: &[u8], stat: &Statx) -> Result<Kind> {
    let (major, minor) = (stat.stx_rdev_major, stat.stx_rdev_minor);
    Ok(match rustix::fs::FileType::from_raw_mode(u32::from(stat.stx_mode)) {
        rustix::fs::FileType::RegularFile => Kind::File(FileFacts { size: stat.stx_size, sha256: None }),
        rustix::fs::FileType::Directory => Kind::Directory,
        rustix::fs::FileType::Symlink => {
            Kind::Symlink(rustix::fs::readlinkat(folder, name, Vec::new())?.into_bytes())
        }
        rustix::fs::FileType::Fifo => Kind::Fifo,
        rustix::fs::FileType::Socket => Kind::Socket,
        rustix::fs::FileType::CharacterDevice => Kind::CharDevice { major, minor },
        rustix::fs::FileType::BlockDevice => Kind::BlockDevice { major, minor },
        rustix::fs::FileType::Unknown => return Err(Errno::INVAL),
    })
}

/// Whether it is a regular file.
pub(crate) fn is_file(stat: &Statx) -> bool {
    rustix::fs::FileType::from_raw_mode(u32::from(stat.stx_mode)).is_file()
}

/// Reads extended attributes, with buffers that serve for many entries.
#[derive(Debug)]
pub(crate) struct AttributeReader {
    names: Vec<u8>,
    value: Vec<u8>,
}

impl AttributeReader {
    pub fn new() -> Self {
        Self { names: vec![0; ATTRIBUTE_BYTES_MAX], value: vec![0; ATTRIBUTE_BYTES_MAX] }
    }

    /// Of a name in a folder, a symbolic link's own.
    pub fn of_name(&mut self, folder: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<Xattr>> {
        // There is no `llistxattrat` before Linux 6.13; the descriptor's link in /proc leads to the very folder.
        let path = in_proc(folder, name);
        let path = path.as_slice();
        let length = rustix::fs::llistxattr(path, self.names.as_mut_slice());
        self.collect(length, |name, value| rustix::fs::lgetxattr(path, name, value))
    }

    /// Of an open file or folder.
    pub fn of_file(&mut self, file: BorrowedFd<'_>) -> Result<Vec<Xattr>> {
        let length = rustix::fs::flistxattr(file, self.names.as_mut_slice());
        self.collect(length, |name, value| rustix::fs::fgetxattr(file, name, value))
    }

    fn collect(
        &mut self,
        length: Result<usize>,
        get: impl Fn(&[u8], &mut [u8]) -> Result<usize>,
    ) -> Result<Vec<Xattr>> {
        let length = match length {
            Err(Errno::OPNOTSUPP) => 0,
            other => other?,
        };
        let mut xattrs = Vec::new();
        for name in self.names[..length].split(|&b| b == 0).filter(|name| !name.is_empty()) {
            match get(name, &mut self.value) {
                Ok(length) => {
                    xattrs.push(Xattr { name: name.to_vec(), value: self.value[..length].to_vec() })
                }
                // Gone since it was listed, or listed by a file system that does not hand it out.
                Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                Err(error) => return Err(error),
            }
        }
        xattrs.sort_unstable();
        Ok(xattrs)
    }
}

/// A path for calls that take no descriptor. Whoever uses it must be sure that `name` is one part.
fn in_proc(folder: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    path
}

/// How much effort goes into making metadata equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Care {
    /// The list has the truth: what fails is passed over.
    Copy,
    /// Attributes that the entry does not have (inherited ACLs) are removed, and what fails is told.
    Restore,
}

/// Puts metadata on what was created. Calls `complain` with the act and the reason of each part that failed.
pub(crate) fn apply(file: BorrowedFd<'_>, entry: &Entry, care: Care, complain: &mut dyn FnMut(&str, Errno)) {
    let mut check = |act: &str, result: Result<()>| {
        if let Err(error) = result {
            complain(act, error);
        }
    };
    // The owner first: changing it clears set-user-id bits and file capabilities.
    let owner = rustix::fs::fchown(file, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)));
    check("set its owner", owner);
    if care == Care::Restore {
        let present = present_names(|names| rustix::fs::flistxattr(file, names));
        let removed = remove_others(present, entry, |name| rustix::fs::fremovexattr(file, name));
        check("remove its other attributes", removed);
    }
    for xattr in &entry.xattrs {
        let set = rustix::fs::fsetxattr(file, xattr.name.as_slice(), &xattr.value, XattrFlags::empty());
        check(&format!("set its attribute {}", String::from_utf8_lossy(&xattr.name)), set);
    }
    check("set its mode", rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode)));
    check("set its times", rustix::fs::futimens(file, &times(entry)));
}

/// The same for what cannot be opened (symbolic links, pipes, devices), by its name.
pub(crate) fn apply_to_name(
    folder: BorrowedFd<'_>,
    name: &[u8],
    entry: &Entry,
    care: Care,
    complain: &mut dyn FnMut(&str, Errno),
) {
    let mut check = |act: &str, result: Result<()>| {
        if let Err(error) = result {
            complain(act, error);
        }
    };
    let (uid, gid) = (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)));
    check("set its owner", rustix::fs::chownat(folder, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW));
    let path = in_proc(folder, name);
    if care == Care::Restore {
        let path = path.as_slice();
        let present = present_names(|names| rustix::fs::llistxattr(path, names));
        let removed = remove_others(present, entry, |name| rustix::fs::lremovexattr(path, name));
        check("remove its other attributes", removed);
    }
    for xattr in &entry.xattrs {
        let set =
            rustix::fs::lsetxattr(path.as_slice(), xattr.name.as_slice(), &xattr.value, XattrFlags::empty());
        check(&format!("set its attribute {}", String::from_utf8_lossy(&xattr.name)), set);
    }
    if !matches!(entry.kind, Kind::Symlink(_)) {
        check("set its mode", set_mode_of_node(folder, name, entry.mode));
    }
    check("set its times", rustix::fs::utimensat(folder, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW));
}

/// By a descriptor that neither opens the device nor follows a link put in its place.
fn set_mode_of_node(folder: BorrowedFd<'_>, name: &[u8], mode: u32) -> Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let node = rustix::fs::openat(folder, name, flags, Mode::empty())?;
    let path = format!("/proc/self/fd/{}", node.as_raw_fd());
    rustix::fs::chmod(path, Mode::from_raw_mode(mode))
}

/// The names of the attributes that are there, each with a NUL behind it.
fn present_names(list: impl Fn(&mut [u8]) -> Result<usize>) -> Result<Vec<u8>> {
    // Most entries have no attributes, and then this is all.
    let mut names = vec![0; 256];
    let mut length = list(&mut names);
    if length == Err(Errno::RANGE) {
        names.resize(ATTRIBUTE_BYTES_MAX, 0);
        length = list(&mut names);
    }
    match length {
        Err(Errno::OPNOTSUPP) => names.clear(),
        other => names.truncate(other?),
    }
    Ok(names)
}

/// Removes attributes that are not the entry's. Those of security modules stay: the system's policy set them.
fn remove_others(
    present: Result<Vec<u8>>,
    entry: &Entry,
    remove: impl Fn(&[u8]) -> Result<()>,
) -> Result<()> {
    for name in present?.split(|&b| b == 0).filter(|name| !name.is_empty()) {
        if !name.starts_with(b"security.") && !entry.xattrs.iter().any(|xattr| xattr.name == name) {
            remove(name)?;
        }
    }
    Ok(())
}

fn times(entry: &Entry) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        last_modification: Timespec {
            tv_sec: entry.mtime.seconds,
            tv_nsec: i64::from(entry.mtime.nanoseconds),
        },
    }
}
