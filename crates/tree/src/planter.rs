//! Putting one entry back: under a temporary name, whole and with all its metadata, then in place with one rename.
//!
//! The target may be full of links that others made. No name in it is ever followed: see [`crate::place`].

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::content::{BUFFER_BYTES, Content, ContentError, Meter, is_volume_failure};
use crate::metadata::{Care, apply, apply_to_name};
use crate::place::{Place, look_at};
use crate::remove::remove_folder;
use crate::verify::{check_hash, open_stored};
use crate::walk::reason;
use crate::{Entry, FileFacts, FileProblem, Kind, RelPath, TreeError};

/// Numbers the temporary names of this process.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// What may be replaced.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Permission {
    /// Files, links and the like.
    pub files: bool,
    /// Folders that stand where the list has something else, with all that is in them.
    pub folders: bool,
}

/// What was put back.
#[derive(Debug, Default)]
pub(crate) struct Planted {
    pub files: u64,
    pub bytes: u64,
    pub problems: Vec<FileProblem>,
}

/// Puts entries back. Each thread has its own.
pub(crate) struct Planter<'a> {
    folder: Place,
    target: Place,
    permission: Permission,
    buffer: Vec<u8>,
    /// Cleared by the first file that cannot be cloned.
    cloning: bool,
    meter: &'a Meter<'a>,
}

impl<'a> Planter<'a> {
    pub fn new(folder: Place, target: Place, permission: Permission, meter: &'a Meter<'a>) -> Self {
        Self { folder, target, permission, buffer: vec![0; BUFFER_BYTES], cloning: true, meter }
    }

    /// Puts back anything but a folder or the later name of a file.
    pub fn plant(&mut self, entry: &Entry) -> Result<Planted, TreeError> {
        match &entry.kind {
            Kind::File(facts) => self.plant_file(entry, &entry.path, facts),
            _ => self.plant_node(entry),
        }
    }

    /// Puts a file back whose content is stored with `stored`.
    pub fn plant_file(
        &mut self,
        entry: &Entry,
        stored: &RelPath,
        facts: &FileFacts,
    ) -> Result<Planted, TreeError> {
        let (file, temporary) = self.create(&entry.path)?;
        let filled = self.fill(file.as_fd(), entry, stored, facts);
        let mut planted = Planted { files: 1, bytes: facts.size, problems: Vec::new() };
        let placed = filled.and_then(|untold| {
            apply(file.as_fd(), entry, Care::Restore, &mut complain(entry, &mut planted.problems));
            self.put_in_place(&temporary, &entry.path)?;
            Ok(untold)
        });
        match placed {
            Ok(untold) if self.meter.advance(1, untold) => Ok(planted),
            Ok(_) => Err(TreeError::Cancelled),
            Err(error) => {
                self.discard(&temporary, &entry.path);
                Err(error)
            }
        }
    }

    /// Copies or clones the content and checks it. Returns the bytes that progress was not told of.
    fn fill(
        &mut self,
        file: BorrowedFd<'_>,
        entry: &Entry,
        stored: &RelPath,
        facts: &FileFacts,
    ) -> Result<u64, TreeError> {
        let source = open_stored(&mut self.folder, stored, facts.size)?;
        let content = Content {
            source: source.file.as_fd(),
            size: facts.size,
            blocks: source.blocks,
            target: Some(file),
            hash: facts.sha256.is_some(),
        };
        let cloned = self.cloning && facts.size > 0 && self.clone_to(file, content.source, &entry.path)?;
        let moved = if cloned {
            // What was cloned is what is checked.
            let stat =
                look_at(file).map_err(|e| self.target.failed("read the metadata of", &entry.path, e))?;
            let own = Content { source: file, blocks: stat.stx_blocks, target: None, ..content };
            own.transfer(&mut self.buffer, self.meter)
        } else {
            content.transfer(&mut self.buffer, self.meter)
        };
        let moved = moved.map_err(|error| match error {
            ContentError::Source(error) => self.folder.failed("read", stored, error),
            ContentError::Target(error) => self.target.failed("write", &entry.path, error),
            ContentError::Cancelled => TreeError::Cancelled,
        })?;
        check_hash(&self.folder, stored, facts, moved.sha256)?;
        Ok(moved.untold)
    }

    fn clone_to(
        &mut self,
        file: BorrowedFd<'_>,
        stored: BorrowedFd<'_>,
        path: &RelPath,
    ) -> Result<bool, TreeError> {
        match rustix::fs::ioctl_ficlone(file, stored) {
            Ok(()) => Ok(true),
            Err(error) if is_volume_failure(error) => Err(self.target.failed("clone to", path, error)),
            Err(_) => {
                self.cloning = false;
                Ok(false)
            }
        }
    }

    /// Symbolic links, pipes and devices.
    fn plant_node(&mut self, entry: &Entry) -> Result<Planted, TreeError> {
        let mut planted = Planted::default();
        let temporary = temporary_name();
        let made = self.target.parent_of(&entry.path).and_then(|(parent, _)| {
            make_node(parent, &temporary, entry)?;
            apply_to_name(
                parent,
                &temporary,
                entry,
                Care::Restore,
                &mut complain(entry, &mut planted.problems),
            );
            Ok(())
        });
        match made {
            // Devices take more rights than others, and some file systems have none.
            Err(Errno::PERM | Errno::OPNOTSUPP) => {
                let text = "cannot create it: our rights or the file system do not allow it".to_owned();
                planted.problems.push(FileProblem { path: entry.path.clone(), text });
                return Ok(planted);
            }
            other => other.map_err(|e| self.target.failed("create", &entry.path, e))?,
        }
        let placed = self.put_in_place(&temporary, &entry.path);
        if placed.is_err() {
            self.discard(&temporary, &entry.path);
        }
        placed.map(|()| planted)
    }

    /// Gives a file its later name.
    pub fn plant_link(&mut self, entry: &Entry, first: &RelPath) -> Result<Planted, TreeError> {
        let Kind::File(facts) = &entry.kind else { return Ok(Planted::default()) };
        let mut linked = self.link(first, &entry.path);
        if linked == Err(Errno::EXIST) {
            self.clear(&entry.path)?;
            linked = self.link(first, &entry.path);
        }
        match linked {
            Ok(()) if self.meter.advance(1, 0) => Ok(Planted { files: 1, ..Planted::default() }),
            Ok(()) => Err(TreeError::Cancelled),
            Err(Errno::XDEV | Errno::MLINK | Errno::PERM) => {
                let mut planted = self.plant_file(entry, first, facts)?;
                let text = format!("cannot be another name of {first} here: it is a file of its own now");
                planted.problems.push(FileProblem { path: entry.path.clone(), text });
                Ok(planted)
            }
            Err(error) => Err(self.target.failed("create the hard link", &entry.path, error)),
        }
    }

    fn link(&mut self, first: &RelPath, path: &RelPath) -> rustix::io::Result<()> {
        let mut from = self.target.another();
        let (from, first_name) = from.parent_of(first)?;
        let (to, name) = self.target.parent_of(path)?;
        rustix::fs::linkat(from, first_name, to, name, AtFlags::empty())
    }

    /// Makes a folder, or finds it there.
    pub fn make_folder(&mut self, path: &RelPath) -> Result<(), TreeError> {
        let make = |target: &mut Place| {
            let (parent, name) = target.parent_of(path)?;
            rustix::fs::mkdirat(parent, name, Mode::RWXU)
        };
        let made = match make(&mut self.target) {
            Err(Errno::EXIST) if self.target.folder_at(path) => Ok(()),
            Err(Errno::EXIST) => {
                self.clear(path)?;
                make(&mut self.target)
            }
            other => other,
        };
        made.map_err(|e| self.target.failed("create the folder", path, e))
    }

    /// Puts the metadata on a folder once all that is in it is there.
    pub fn finish_folder(&mut self, entry: &Entry) -> Result<Vec<FileProblem>, TreeError> {
        let folder = self.target.open_folder(&entry.path);
        let folder = folder.map_err(|e| self.target.failed("open the folder", &entry.path, e))?;
        let mut problems = Vec::new();
        apply(folder.as_fd(), entry, Care::Restore, &mut complain(entry, &mut problems));
        Ok(problems)
    }

    /// A new file beside where it will go, and its name.
    fn create(&mut self, path: &RelPath) -> Result<(OwnedFd, Vec<u8>), TreeError> {
        let temporary = temporary_name();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let created = self
            .target
            .parent_of(path)
            .and_then(|(parent, _)| rustix::fs::openat(parent, temporary.as_slice(), flags, mode));
        match created {
            Ok(file) => Ok((file, temporary)),
            Err(error) => Err(self.target.failed("create a file for", path, error)),
        }
    }

    fn put_in_place(&mut self, temporary: &[u8], path: &RelPath) -> Result<(), TreeError> {
        match self.rename(temporary, path) {
            Err(Errno::EXIST | Errno::ISDIR | Errno::NOTEMPTY) => self.clear(path)?,
            other => return other.map_err(|e| self.target.failed("put in place", path, e)),
        }
        self.rename(temporary, path).map_err(|e| self.target.failed("put in place", path, e))
    }

    fn rename(&mut self, temporary: &[u8], path: &RelPath) -> rustix::io::Result<()> {
        let replace = self.permission.files;
        let (parent, name) = self.target.parent_of(path)?;
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
        let is_folder = self.target.folder_at(path);
        if !self.permission.files || (is_folder && !self.permission.folders) {
            return Err(TreeError::Exists { path: self.target.path_of(path) });
        }
        if is_folder {
            return remove_folder(&mut self.target, path);
        }
        crate::remove::remove_name(&mut self.target, path, AtFlags::empty())
    }

    fn discard(&mut self, temporary: &[u8], path: &RelPath) {
        if let Ok((parent, _)) = self.target.parent_of(path) {
            // It is of no use; what counts is the error that is being told.
            let _ = rustix::fs::unlinkat(parent, temporary, AtFlags::empty());
        }
    }
}

/// A name that nobody else uses, short enough for every file system.
fn temporary_name() -> Vec<u8> {
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    format!(".stillpoint-{}-{serial}.part", std::process::id()).into_bytes()
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
