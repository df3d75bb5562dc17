//! Looking at single entries of the source: what they are, their metadata, their content.
//!
//! Folders are opened below the descriptor of the top, through no symbolic link and no mount, so that a look never leaves
//! the tree, whatever is swapped meanwhile. Entries that are looked at in canonical order mostly share their folder, so
//! the last one is kept open.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags};
use rustix::io::Errno;
use stillpoint_tree::{Entry, FileFacts, Kind, Origin, RelPath, Timestamp, Xattr};

/// The kernel takes no longer path in one call (`PATH_MAX`, 4,096 with the final NUL).
const PIECE_BYTES_MAX: usize = 4000;
/// The kernel's limit for the value of an extended attribute and for the list of their names.
const XATTR_BYTES_MAX: usize = 65_536;

/// What `statx` says of one entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stat {
    /// What it is.
    pub(super) kind: FileType,
    /// How many names it has.
    pub(super) links: u32,
    /// Inode number.
    pub(super) inode: u64,
    /// Change time.
    pub(super) ctime: Timestamp,
    /// Size in bytes.
    pub(super) size: u64,
    /// Bytes that it takes on disk.
    pub(super) allocated: u64,
    /// The device it is on.
    pub(super) device: (u32, u32),
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: Timestamp,
    special: (u32, u32),
}

impl Stat {
    pub(super) fn is_folder(&self) -> bool {
        self.kind == FileType::Directory
    }

    pub(super) fn is_file(&self) -> bool {
        self.kind == FileType::RegularFile
    }

    /// Whether nothing moved between two looks.
    pub(super) fn same(&self, other: &Stat) -> bool {
        let facts = |s: &Stat| (s.device, s.inode, s.ctime, s.size, s.mtime);
        facts(self) == facts(other)
    }

    fn of(stat: &Statx) -> Self {
        let time = |t: &rustix::fs::StatxTimestamp| Timestamp { seconds: t.tv_sec, nanoseconds: t.tv_nsec };
        Self {
            kind: FileType::from_raw_mode(u32::from(stat.stx_mode)),
            links: stat.stx_nlink,
            inode: stat.stx_ino,
            ctime: time(&stat.stx_ctime),
            size: stat.stx_size,
            allocated: stat.stx_blocks * 512,
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            mode: u32::from(stat.stx_mode) & 0o7777,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            mtime: time(&stat.stx_mtime),
            special: (stat.stx_rdev_major, stat.stx_rdev_minor),
        }
    }
}

/// Looks at the name in an open folder, not through a symbolic link.
pub(super) fn stat_at(folder: impl AsFd, name: &[u8]) -> io::Result<Stat> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    Ok(Stat::of(&rustix::fs::statx(folder, name, flags, StatxFlags::BASIC_STATS)?))
}

/// Looks at what is open.
pub(super) fn stat_of(file: impl AsFd) -> io::Result<Stat> {
    Ok(Stat::of(&rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?))
}

/// Looks at entries below one top. One for each thread ([`Reader::another`]).
#[derive(Debug)]
pub(super) struct Reader {
    top: Arc<OwnedFd>,
    path: PathBuf,
    device: (u32, u32),
    folder: Vec<u8>,
    opened: Option<OwnedFd>,
    names: Vec<u8>,
    value: Vec<u8>,
}

impl Reader {
    /// Opens the top.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = rustix::fs::open(path, flags, Mode::empty())?;
        let device = stat_of(&top)?.device;
        Ok(Self::new(Arc::new(top), path.to_path_buf(), device))
    }

    fn new(top: Arc<OwnedFd>, path: PathBuf, device: (u32, u32)) -> Self {
        let buffer = || vec![0; XATTR_BYTES_MAX];
        Self { top, path, device, folder: Vec::new(), opened: None, names: buffer(), value: buffer() }
    }

    /// The same for another thread.
    pub(super) fn another(&self) -> Self {
        Self::new(Arc::clone(&self.top), self.path.clone(), self.device)
    }

    /// The open top.
    pub(super) fn top(&self) -> BorrowedFd<'_> {
        self.top.as_fd()
    }

    /// The path of the top.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The device of the tree.
    pub(super) fn device(&self) -> (u32, u32) {
        self.device
    }

    /// Looks at an entry; nothing when it is not there, or not in this tree.
    pub(super) fn stat(&mut self, path: &RelPath) -> io::Result<Option<Stat>> {
        let stat = if path.is_top() {
            stat_of(&self.top)
        } else {
            self.located(path).and_then(|(folder, name)| stat_at(folder, name))
        };
        match stat {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a regular file for reading, without moving its access time where that is allowed.
    pub(super) fn open_file(&mut self, path: &RelPath) -> io::Result<OwnedFd> {
        let (folder, name) = self.located(path)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::openat(folder, name, flags | OFlags::NOATIME, Mode::empty()) {
            Err(Errno::PERM) => Ok(rustix::fs::openat(folder, name, flags, Mode::empty())?),
            opened => Ok(opened?),
        }
    }

    /// Opens a folder of the tree for listing it.
    pub(super) fn open_folder(&self, path: &[u8]) -> io::Result<OwnedFd> {
        let folder = open_below(self.top(), path)?;
        if stat_of(&folder)?.device != self.device {
            return Err(Errno::XDEV.into());
        }
        Ok(folder)
    }

    /// The entry with all its metadata. `settled_before`: as [`Origin::settled`].
    pub(super) fn entry(
        &mut self,
        path: &RelPath,
        stat: &Stat,
        settled_before: Timestamp,
    ) -> io::Result<Entry> {
        let (major, minor) = stat.special;
        let kind = match stat.kind {
            FileType::RegularFile => Kind::File(FileFacts { size: stat.size, sha256: None }),
            FileType::Directory => Kind::Directory,
            FileType::Symlink => {
                let (folder, name) = self.located(path)?;
                Kind::Symlink(rustix::fs::readlinkat(folder, name, Vec::new())?.into_bytes())
            }
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => Kind::Socket,
            FileType::CharacterDevice => Kind::CharDevice { major, minor },
            FileType::BlockDevice => Kind::BlockDevice { major, minor },
            FileType::Unknown => return Err(Errno::INVAL.into()),
        };
        Ok(Entry {
            path: path.clone(),
            kind,
            mode: stat.mode,
            uid: stat.uid,
            gid: stat.gid,
            mtime: stat.mtime,
            xattrs: self.xattrs(path)?,
            hard_link: None,
            origin: Some(Origin {
                inode: stat.inode,
                ctime: stat.ctime,
                settled: stat.ctime < settled_before,
            }),
        })
    }

    fn xattrs(&mut self, path: &RelPath) -> io::Result<Vec<Xattr>> {
        // No call takes a folder's descriptor and a name for this before Linux 6.13; the link in /proc leads to the folder.
        let at = if path.is_top() {
            format!("/proc/self/fd/{}/.", self.top.as_raw_fd()).into_bytes()
        } else {
            let (folder, name) = self.located(path)?;
            let mut at = format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes();
            at.extend_from_slice(name);
            at
        };
        let length = match rustix::fs::llistxattr(at.as_slice(), self.names.as_mut_slice()) {
            Err(Errno::OPNOTSUPP) => 0,
            length => length?,
        };
        let mut xattrs = Vec::new();
        for name in self.names[..length].split(|&b| b == 0).filter(|name| !name.is_empty()) {
            match rustix::fs::lgetxattr(at.as_slice(), name, self.value.as_mut_slice()) {
                Ok(length) => {
                    xattrs.push(Xattr { name: name.to_vec(), value: self.value[..length].to_vec() })
                }
                Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                Err(error) => return Err(error.into()),
            }
        }
        xattrs.sort_unstable();
        Ok(xattrs)
    }

    /// The open folder of an entry that is not the top, and the entry's name in it.
    fn located<'a>(&'a mut self, path: &'a RelPath) -> io::Result<(BorrowedFd<'a>, &'a [u8])> {
        let bytes = path.as_bytes();
        let (folder, name) = match bytes.iter().rposition(|&b| b == b'/') {
            Some(at) => (&bytes[..at], &bytes[at + 1..]),
            None => (&bytes[..0], bytes),
        };
        if folder.is_empty() {
            return Ok((self.top.as_fd(), name));
        }
        if self.opened.is_none() || self.folder != folder {
            self.opened = None;
            let opened = self.open_folder(folder)?;
            self.folder.clear();
            self.folder.extend_from_slice(folder);
            self.opened = Some(opened);
        }
        match &self.opened {
            Some(opened) => Ok((opened.as_fd(), name)),
            None => Err(Errno::NOENT.into()),
        }
    }

    /// Forgets the folder that is kept open: its path may lead elsewhere by now.
    pub(super) fn forget(&mut self) {
        self.opened = None;
    }
}

/// Opens the folder at `path` below `top`, piece by piece when it is too long for one call.
fn open_below(top: BorrowedFd<'_>, path: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let open = |from: BorrowedFd<'_>, piece: &[u8]| match rustix::fs::openat2(
        from,
        piece,
        flags,
        Mode::empty(),
        resolve | ResolveFlags::NO_XDEV,
    ) {
        // Somebody renamed a folder at the same moment.
        Err(Errno::AGAIN) => {
            rustix::fs::openat2(from, piece, flags, Mode::empty(), resolve | ResolveFlags::NO_XDEV)
        }
        opened => opened,
    };
    let mut rest = if path.is_empty() { b".".as_slice() } else { path };
    let mut folder: Option<OwnedFd> = None;
    loop {
        let from = folder.as_ref().map_or(top, |f| f.as_fd());
        if rest.len() <= PIECE_BYTES_MAX {
            return Ok(open(from, rest)?);
        }
        let end = rest[..PIECE_BYTES_MAX].iter().rposition(|&b| b == b'/').unwrap_or(PIECE_BYTES_MAX);
        let opened = open(from, &rest[..end])?;
        folder = Some(opened);
        rest = &rest[end + 1..];
    }
}

/// Whether the error says that there is no such entry in this tree.
pub(super) fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::EXDEV | libc::ESTALE)
    )
}
