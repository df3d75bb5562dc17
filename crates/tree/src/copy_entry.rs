//! Copying single files in the freeze, while the site stands still: as few calls to the kernel as possible.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::content::{BUFFER_BYTES, Content, ContentError, Meter, NoProgress, is_volume_failure};
use crate::metadata::is_file;
use crate::place::{Place, look, look_at};
use crate::remove::{remove_folder, remove_name};
use crate::take::open_source;
use crate::{Entry, RelPath, Transfer, TreeError};

/// Copies the content of one regular file, replacing what is at its place in `target`. For passes over what changed:
/// no metadata, no hash, no fsync, as little time as possible. Returns the number of bytes. For many files in a row use
/// [`EntryCopier`].
pub fn copy_entry(source: &Path, target: &Path, entry: &Entry, transfer: Transfer) -> Result<u64, TreeError> {
    EntryCopier::new(source, target, transfer)?.copy(&entry.path)
}

/// Copies the content of one regular file after the other from one tree to another. Remembers the folders used last, so it
/// is made anew for each pass over a tree that may have changed.
#[derive(Debug)]
pub struct EntryCopier {
    source: Place,
    target: Place,
    transfer: Transfer,
    buffer: Vec<u8>,
}

impl EntryCopier {
    /// For files below `source`, to the same places below `target`; both must be there.
    pub fn new(source: &Path, target: &Path, transfer: Transfer) -> Result<Self, TreeError> {
        let (source, target) = (Place::open(source)?, Place::open(target)?);
        Ok(Self { source, target, transfer, buffer: vec![0; BUFFER_BYTES] })
    }

    /// Copies one file as [`copy_entry`] does. Never writes into an existing file: that may be shared with an earlier
    /// copy. What is at the place, be it a folder, is removed, and missing folders are made. Fails with
    /// [`std::io::ErrorKind::NotFound`] when the source is not there, with
    /// [`std::io::ErrorKind::InvalidInput`] when it is not a regular file.
    pub fn copy(&mut self, path: &RelPath) -> Result<u64, TreeError> {
        let source = &mut self.source;
        let opened = source.parent_of(path).and_then(|(parent, name)| open_source(parent, name));
        let file = opened.map_err(|e| source.failed("open", path, e))?;
        let stat = look_at(file.as_fd()).map_err(|e| source.failed("read the metadata of", path, e))?;
        if !is_file(&stat) {
            return Err(source.failed("copy as a regular file", path, std::io::ErrorKind::InvalidInput));
        }
        let copy = match replace(&mut self.target, path) {
            Ok(copy) => copy,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ISDIR) => {
                make_way(&mut self.target, path)?;
                replace(&mut self.target, path).map_err(|e| self.target.failed("create", path, e))?
            }
            Err(error) => return Err(self.target.failed("create", path, error)),
        };
        let content = Content {
            source: file.as_fd(),
            size: stat.stx_size,
            blocks: stat.stx_blocks,
            target: Some(copy.as_fd()),
            hash: false,
        };
        self.fill(&content, copy.as_fd(), path)
    }

    fn fill(
        &mut self,
        content: &Content<'_>,
        copy: BorrowedFd<'_>,
        path: &RelPath,
    ) -> Result<u64, TreeError> {
        if self.transfer != Transfer::Copy && content.size > 0 {
            match rustix::fs::ioctl_ficlone(copy, content.source) {
                Ok(()) => return Ok(content.size),
                Err(e) if self.transfer == Transfer::Reflink || is_volume_failure(e) => {
                    return Err(self.target.failed("clone to", path, e));
                }
                Err(_) => {}
            }
        }
        match content.transfer(&mut self.buffer, &Meter::new(&NoProgress)) {
            Ok(moved) => Ok(moved.length),
            Err(ContentError::Source(error)) => Err(self.source.failed("read", path, error)),
            Err(ContentError::Target(error)) => Err(self.target.failed("write", path, error)),
            Err(ContentError::Cancelled) => Err(TreeError::Cancelled),
        }
    }
}

fn replace(target: &mut Place, path: &RelPath) -> rustix::io::Result<OwnedFd> {
    let (parent, name) = target.parent_of(path)?;
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)
}

/// Makes the folders that the entry is in, in place of whatever else is there, and removes a folder at its own place.
fn make_way(target: &mut Place, path: &RelPath) -> Result<(), TreeError> {
    target.forget();
    let ends = path.as_bytes().iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
    for end in ends {
        let Some(folder) = RelPath::from_bytes(path.as_bytes()[..end].to_vec()) else { continue };
        make_folder(target, &folder)?;
    }
    let is_folder = target.folder_at(path);
    if is_folder { remove_folder(target, path) } else { Ok(()) }
}

fn make_folder(target: &mut Place, folder: &RelPath) -> Result<(), TreeError> {
    let make = |target: &mut Place| {
        let (parent, name) = target.parent_of(folder)?;
        rustix::fs::mkdirat(parent, name, Mode::RWXU)
    };
    let made = match make(target) {
        Err(Errno::EXIST) if target.folder_at(folder) => Ok(()),
        Err(Errno::EXIST) => {
            remove_name(target, folder, AtFlags::empty())?;
            make(target)
        }
        other => other,
    };
    made.map_err(|e| target.failed("create the folder", folder, e))
}

impl Place {
    /// Whether there is a folder of that path.
    pub(crate) fn folder_at(&mut self, path: &RelPath) -> bool {
        let stat = self.parent_of(path).and_then(|(parent, name)| look(parent, name));
        stat.is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(u32::from(stat.stx_mode)).is_dir())
    }
}
