//! A fast walk: only what `statx` tells, in canonical order. The walk of the tree crate reads extended attributes too,
//! which is too much work for a scan in the freeze.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use stillpoint_tree::RelPath;

use super::reader::{Reader, Stat, is_absence, stat_at, stat_of};

/// Folders that are kept open on the way down; those above are opened again when the walk comes back to them.
const OPEN_FOLDERS_MAX: usize = 64;

/// The sorted names in a folder.
pub(super) type Names = Arc<[Box<[u8]>]>;

/// One entry of the walk.
#[derive(Debug)]
pub(super) struct Visit {
    /// Where.
    pub(super) path: RelPath,
    /// What.
    pub(super) stat: Stat,
    /// The names in it, when it is a folder of this file system.
    pub(super) names: Option<Names>,
}

/// An entry that could not be looked at.
#[derive(Debug)]
pub(super) struct Unseen {
    pub(super) path: RelPath,
    pub(super) error: io::Error,
}

struct Level {
    path: RelPath,
    inode: u64,
    folder: Option<OwnedFd>,
    names: Names,
    next: usize,
}

/// The walk. An entry that vanishes under it is passed over.
pub(super) struct Scan<'a> {
    reader: &'a Reader,
    levels: VecDeque<Level>,
    start: Option<RelPath>,
}

impl<'a> Scan<'a> {
    /// Walks from `start`, which comes first, down.
    pub(super) fn new(reader: &'a Reader, start: RelPath) -> Self {
        Self { reader, levels: VecDeque::new(), start: Some(start) }
    }

    /// Leaves out what is in the folder that came last. Only right after it came.
    pub(super) fn leave_out(&mut self) {
        self.levels.pop_back();
    }

    /// Opens the folder that was seen, and no other that has taken its place: its entries would be taken for those of the
    /// one that is known.
    fn open(&self, path: &RelPath, inode: u64) -> io::Result<OwnedFd> {
        let folder = self.reader.open_folder(path.as_bytes())?;
        if stat_of(&folder)?.inode == inode {
            Ok(folder)
        } else {
            Err(io::Error::from_raw_os_error(libc::ESTALE))
        }
    }

    /// Opens the innermost folder again when it had to be closed.
    fn reopen(&mut self) -> Result<(), Unseen> {
        let Some(level) = self.levels.back().filter(|level| level.folder.is_none()) else { return Ok(()) };
        let opened = self.open(&level.path, level.inode);
        let opened = opened.map_err(|error| Unseen { path: level.path.clone(), error })?;
        if let Some(level) = self.levels.back_mut() {
            level.folder = Some(opened);
        }
        Ok(())
    }

    fn enter(&mut self, path: &RelPath, inode: u64) -> io::Result<Names> {
        let folder = self.open(path, inode)?;
        let names = list(&folder)?;
        self.levels.push_back(Level {
            path: path.clone(),
            inode,
            folder: Some(folder),
            names: Arc::clone(&names),
            next: 0,
        });
        if self.levels.len() > OPEN_FOLDERS_MAX {
            let far = self.levels.len() - OPEN_FOLDERS_MAX - 1;
            self.levels[far].folder = None;
        }
        Ok(names)
    }

    fn visit(&mut self, path: RelPath, stat: Stat) -> Option<Result<Visit, Unseen>> {
        let mut names = None;
        if stat.is_folder() && stat.device == self.reader.device() {
            match self.enter(&path, stat.inode) {
                Ok(listed) => names = Some(listed),
                Err(error) if error.raw_os_error() == Some(libc::EXDEV) => {}
                Err(error) if is_absence(&error) => return None,
                Err(error) => return Some(Err(Unseen { path, error })),
            }
        }
        Some(Ok(Visit { path, stat, names }))
    }

    fn first(&mut self, start: RelPath) -> Option<Result<Visit, Unseen>> {
        let mut reader = self.reader.another();
        match reader.stat(&start) {
            Ok(Some(stat)) => self.visit(start, stat),
            Ok(None) => None,
            Err(error) => Some(Err(Unseen { path: start, error })),
        }
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<Visit, Unseen>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(start) = self.start.take() {
            return self.first(start);
        }
        loop {
            let level = self.levels.back()?;
            if level.next == level.names.len() {
                self.levels.pop_back();
                continue;
            }
            if let Err(unseen) = self.reopen() {
                self.levels.pop_back();
                if is_absence(&unseen.error) {
                    continue;
                }
                return Some(Err(unseen));
            }
            let level = self.levels.back_mut()?;
            let (Some(folder), Some(name)) = (&level.folder, level.names.get(level.next)) else { continue };
            level.next += 1;
            let path = level.path.child(name);
            match stat_at(folder, name) {
                Ok(stat) => {
                    if let Some(item) = self.visit(path, stat) {
                        return Some(item);
                    }
                }
                Err(error) if is_absence(&error) => {}
                Err(error) => return Some(Err(Unseen { path, error })),
            }
        }
    }
}

/// The names in an open folder, sorted.
fn list(folder: &OwnedFd) -> io::Result<Names> {
    let mut buffer = Vec::with_capacity(32 * 1024);
    let mut entries = rustix::fs::RawDir::new(folder, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(Box::from(name));
        }
    }
    names.sort_unstable();
    Ok(names.into())
}
