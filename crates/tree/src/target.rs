//! Where entries are put: each under a temporary name, whole and with all its metadata, then in place with one rename.
//!
//! The target may be full of links that others made. No name in it is ever followed: see [`crate::place`].

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::metadata::{AttributeReader, Care, apply, apply_to_name, entry_of, is_file, kind_of};
use crate::place::{Place, is_gone, look, look_at};
use crate::remove::{remove_folder, remove_name};
use crate::walk::{names_in, reason};
use crate::{Entry, FileProblem, Kind, RelPath, TreeError};

/// Numbers the temporary names of this process.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// What may be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permission {
    /// Files, links and the like.
    pub files: bool,
    /// Folders that stand where something else is to be, with all that is in them.
    pub folders: bool,
}

/// What is in the target at some path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// The entry, without its extended attributes.
    pub entry: Entry,
    /// How many names it has.
    pub names: u32,
    /// Device and inode number: what two names of one file share.
    pub identity: (u32, u32, u64),
}

/// A file that has no name of its own yet. Without [`Target::place`] or [`Target::discard`] it stays beside where it would go.
#[derive(Debug)]
pub struct Temporary {
    file: OwnedFd,
    name: Vec<u8>,
}

impl Temporary {
    /// The file, open for reading and writing.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Puts entries below a folder. Each thread has its own.
#[derive(Debug)]
pub struct Target {
    place: Place,
    permission: Permission,
    attributes: Option<AttributeReader>,
}

impl Target {
    /// The folder at `path`, which is made when it is not there. The path itself may lead through symbolic links.
    pub fn open(path: &Path, permission: Permission) -> Result<Self, TreeError> {
        std::fs::create_dir_all(path).map_err(|source| TreeError::Io {
            act: "create the folder",
            path: path.to_owned(),
            source,
        })?;
        Ok(Self::at(Place::open(path)?, permission))
    }

    pub(crate) fn at(place: Place, permission: Permission) -> Self {
        Self { place, permission, attributes: None }
    }

    /// The same for another thread.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::at(self.place.another(), self.permission)
    }

    /// Keeps others out who ask for the same, until the file that this returns is dropped. Nothing when somebody was first.
    pub fn lock(&self) -> Result<Option<OwnedFd>, TreeError> {
        let top = RelPath::top();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(self.place.top(), ".", flags, Mode::empty());
        let folder = folder.map_err(|e| self.place.failed("open the folder", &top, e))?;
        match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(folder)),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(self.place.failed("lock the folder", &top, error)),
        }
    }

    /// An act on an entry below the target failed.
    pub fn failed(&self, act: &'static str, path: &RelPath, source: impl Into<std::io::Error>) -> TreeError {
        self.place.failed(act, path, source)
    }

    /// What is at `path`; nothing when nothing is.
    pub fn look(&mut self, path: &RelPath) -> Result<Option<Present>, TreeError> {
        let looked = self.place.parent_of(path).and_then(|(parent, name)| {
            let stat = look(parent, name)?;
            let entry = entry_of(path.clone(), kind_of(parent, name, &stat)?, &stat);
            let identity = (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino);
            Ok(Present { entry, names: stat.stx_nlink, identity })
        });
        match looked {
            Ok(present) => Ok(Some(present)),
            Err(error) if is_gone(error) => Ok(None),
            Err(error) => Err(self.place.failed("look for", path, error)),
        }
    }

    /// The names in a folder, in no order.
    pub fn names(&mut self, folder: &RelPath) -> Result<Vec<Vec<u8>>, TreeError> {
        let names = self.place.open_folder(folder).and_then(|folder| names_in(folder.as_fd()));
        names.map_err(|e| self.place.failed("read the folder", folder, e))
    }

    /// Makes a folder, or finds it there. Whether it is new.
    pub fn make_folder(&mut self, path: &RelPath) -> Result<bool, TreeError> {
        if path.is_top() {
            return Ok(false);
        }
        let make = |place: &mut Place| {
            let (parent, name) = place.parent_of(path)?;
            rustix::fs::mkdirat(parent, name, Mode::RWXU)
        };
        let made = match make(&mut self.place) {
            Err(Errno::EXIST) if self.place.folder_at(path) => return Ok(false),
            Err(Errno::EXIST) => {
                self.clear(path)?;
                make(&mut self.place)
            }
            other => other,
        };
        made.map_err(|e| self.place.failed("create the folder", path, e))?;
        Ok(true)
    }

    /// Puts the metadata on a folder once all that is in it is there. What could not be set is a problem.
    pub fn finish_folder(&mut self, entry: &Entry) -> Result<Vec<FileProblem>, TreeError> {
        let folder = self.place.open_folder(&entry.path);
        let folder = folder.map_err(|e| self.place.failed("open the folder", &entry.path, e))?;
        let mut problems = Vec::new();
        apply(folder.as_fd(), entry, Care::Restore, &mut complain(entry, &mut problems));
        Ok(problems)
    }

    /// Opens a regular file for reading.
    pub fn open_file(&mut self, path: &RelPath) -> Result<OwnedFd, TreeError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = self.place.parent_of(path).and_then(|(parent, name)| {
            let file = rustix::fs::openat(parent, name, flags, Mode::empty())?;
            if is_file(&look_at(file.as_fd())?) { Ok(file) } else { Err(Errno::INVAL) }
        });
        opened.map_err(|e| self.place.failed("open", path, e))
    }

    /// A new file beside where it will go, under a name that nobody else uses.
    pub(crate) fn create(&mut self, path: &RelPath) -> Result<Temporary, TreeError> {
        let name = unused_name();
        match self.open_temporary(path, &name, OFlags::CREATE | OFlags::EXCL) {
            Ok(file) => Ok(Temporary { file, name }),
            Err(error) => Err(self.place.failed("create a file for", path, error)),
        }
    }

    /// A new file beside where it will go, under the name that the next process will look for when this one dies:
    /// see [`resume`](Self::resume). Who uses it has the [`lock`](Self::lock).
    pub fn create_again(&mut self, path: &RelPath) -> Result<Temporary, TreeError> {
        let name = lasting_name(path);
        let mut file = self.open_temporary(path, &name, OFlags::CREATE | OFlags::EXCL);
        if matches!(file, Err(Errno::EXIST)) {
            // What a dead process left.
            let removed = self.place.parent_of(path);
            file = removed
                .and_then(|(parent, _)| rustix::fs::unlinkat(parent, name.as_slice(), AtFlags::empty()))
                .and_then(|()| self.open_temporary(path, &name, OFlags::CREATE | OFlags::EXCL));
        }
        match file {
            Ok(file) => Ok(Temporary { file, name }),
            Err(error) => Err(self.place.failed("create a file for", path, error)),
        }
    }

    /// What a dead process left of this file. It may hold anything.
    pub fn resume(&mut self, path: &RelPath) -> Option<Temporary> {
        let name = lasting_name(path);
        let file = self.open_temporary(path, &name, OFlags::NONBLOCK).ok()?;
        let stat = look_at(file.as_fd()).ok()?;
        // Nobody else can write into it.
        let ours = is_file(&stat)
            && stat.stx_uid == rustix::process::geteuid().as_raw()
            && stat.stx_mode & 0o077 == 0
            && stat.stx_nlink == 1;
        ours.then_some(Temporary { file, name })
    }

    fn open_temporary(&mut self, path: &RelPath, name: &[u8], how: OFlags) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | how;
        let (parent, _) = self.place.parent_of(path)?;
        rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)
    }

    /// Puts the metadata of `entry` on a file and gives it its name. What could not be set is a problem.
    pub fn place(&mut self, temporary: &Temporary, entry: &Entry) -> Result<Vec<FileProblem>, TreeError> {
        let mut problems = Vec::new();
        apply(temporary.file(), entry, Care::Restore, &mut complain(entry, &mut problems));
        let placed = self.put_in_place(&temporary.name, &entry.path);
        if placed.is_err() {
            self.discard(temporary, &entry.path);
        }
        placed.map(|()| problems)
    }

    /// Removes a file that will not be put in place.
    pub fn discard(&mut self, temporary: &Temporary, path: &RelPath) {
        self.discard_name(&temporary.name, path);
    }

    fn discard_name(&mut self, name: &[u8], path: &RelPath) {
        if let Ok((parent, _)) = self.place.parent_of(path) {
            // It is of no use; what counts is the error that is being told.
            let _ = rustix::fs::unlinkat(parent, name, AtFlags::empty());
        }
    }

    /// Puts the metadata of `entry` on the file that is there already, if it differs. What could not be set is a problem.
    pub fn amend(&mut self, file: BorrowedFd<'_>, entry: &Entry) -> Result<Vec<FileProblem>, TreeError> {
        let attributes = self.attributes.get_or_insert_with(AttributeReader::new);
        let as_it_is = look_at(file).and_then(|stat| {
            let mut found = entry_of(entry.path.clone(), entry.kind.clone(), &stat);
            found.xattrs = attributes.of_file(file)?;
            Ok(found)
        });
        let as_it_is = as_it_is.map_err(|e| self.place.failed("read the metadata of", &entry.path, e))?;
        let mut problems = Vec::new();
        if (Entry { origin: None, hard_link: None, ..as_it_is })
            != (Entry { origin: None, hard_link: None, ..entry.clone() })
        {
            apply(file, entry, Care::Restore, &mut complain(entry, &mut problems));
        }
        Ok(problems)
    }

    /// Puts a symbolic link, a pipe or a device at its place. That it cannot be made here is a problem, too.
    pub fn put_node(&mut self, entry: &Entry) -> Result<Vec<FileProblem>, TreeError> {
        let mut problems = Vec::new();
        let temporary = unused_name();
        let made = self.place.parent_of(&entry.path).and_then(|(parent, _)| {
            make_node(parent, &temporary, entry)?;
            apply_to_name(parent, &temporary, entry, Care::Restore, &mut complain(entry, &mut problems));
            Ok(())
        });
        match made {
            // Devices take more rights than others, and some file systems have none.
            Err(Errno::PERM | Errno::OPNOTSUPP) => {
                let text = "cannot create it: our rights or the file system do not allow it".to_owned();
                problems.push(FileProblem { path: entry.path.clone(), text });
                return Ok(problems);
            }
            other => other.map_err(|e| self.place.failed("create", &entry.path, e))?,
        }
        let placed = self.put_in_place(&temporary, &entry.path);
        if placed.is_err() {
            self.discard_name(&temporary, &entry.path);
        }
        placed.map(|()| problems)
    }

    /// Gives the file at `first` another name. `false` when this file system cannot.
    pub fn link(&mut self, first: &RelPath, path: &RelPath) -> Result<bool, TreeError> {
        let mut linked = self.try_link(first, path);
        if linked == Err(Errno::EXIST) {
            self.clear(path)?;
            linked = self.try_link(first, path);
        }
        match linked {
            Ok(()) => Ok(true),
            Err(Errno::XDEV | Errno::MLINK | Errno::PERM) => Ok(false),
            Err(error) => Err(self.place.failed("create the hard link", path, error)),
        }
    }

    fn try_link(&mut self, first: &RelPath, path: &RelPath) -> rustix::io::Result<()> {
        let mut from = self.place.another();
        let (from, first_name) = from.parent_of(first)?;
        let (to, name) = self.place.parent_of(path)?;
        rustix::fs::linkat(from, first_name, to, name, AtFlags::empty())
    }

    fn put_in_place(&mut self, temporary: &[u8], path: &RelPath) -> Result<(), TreeError> {
        match self.rename(temporary, path) {
            Err(Errno::EXIST | Errno::ISDIR | Errno::NOTEMPTY) => self.clear(path)?,
            other => return other.map_err(|e| self.place.failed("put in place", path, e)),
        }
        self.rename(temporary, path).map_err(|e| self.place.failed("put in place", path, e))
    }

    fn rename(&mut self, temporary: &[u8], path: &RelPath) -> rustix::io::Result<()> {
        let replace = self.permission.files;
        let (parent, name) = self.place.parent_of(path)?;
        if !replace {
            let kept = RenameFlags::NOREPLACE;
            match rustix::fs::renameat_with(parent, temporary, parent, name, kept) {
                // This file system does not know how; what is there was looked for before.
                Err(Errno::INVAL | Errno::NOSYS) => {}
                other => return other,
            }
        }
        rustix::fs::renameat(parent, temporary, parent, name)
    }

    /// Removes what is in the way, as far as that is permitted.
    fn clear(&mut self, path: &RelPath) -> Result<(), TreeError> {
        let is_folder = self.place.folder_at(path);
        if !self.permission.files || (is_folder && !self.permission.folders) {
            return Err(TreeError::Exists { path: self.place.path_of(path) });
        }
        self.remove_what(path, is_folder)
    }

    /// Removes what is at `path`, with all that is in it, but never what is mounted there.
    pub fn remove(&mut self, path: &RelPath) -> Result<(), TreeError> {
        let is_folder = self.place.folder_at(path);
        self.remove_what(path, is_folder)
    }

    fn remove_what(&mut self, path: &RelPath, is_folder: bool) -> Result<(), TreeError> {
        if is_folder {
            remove_folder(&mut self.place, path)
        } else {
            remove_name(&mut self.place, path, AtFlags::empty())
        }
    }
}

/// A name that nobody else uses, short enough for every file system.
fn unused_name() -> Vec<u8> {
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    format!(".stillpoint-{}-{serial}.part", std::process::id()).into_bytes()
}

/// A name that only depends on the name that the file will have.
fn lasting_name(path: &RelPath) -> Vec<u8> {
    let name = path.as_bytes().rsplit(|&b| b == b'/').next().unwrap_or_default();
    let hash = Sha256::digest(name);
    let number = hash[..8].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    format!(".stillpoint-{number:016x}.part").into_bytes()
}

fn make_node(parent: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> rustix::io::Result<()> {
    let mode = Mode::RUSR | Mode::WUSR;
    let (kind, device) = match &entry.kind {
        Kind::Symlink(target) => return rustix::fs::symlinkat(target.as_slice(), parent, name),
        Kind::CharDevice { major, minor } => (FileType::CharacterDevice, rustix::fs::makedev(*major, *minor)),
        Kind::BlockDevice { major, minor } => (FileType::BlockDevice, rustix::fs::makedev(*major, *minor)),
        _ => (FileType::Fifo, 0),
    };
    rustix::fs::mknodat(parent, name, kind, mode, device)
}

fn complain(entry: &Entry, problems: &mut Vec<FileProblem>) -> impl FnMut(&str, Errno) {
    |act, error| {
        let text = format!("cannot {act}: {}", reason(error));
        problems.push(FileProblem { path: entry.path.clone(), text });
    }
}
