//! Getting at what is below a top without ever leaving it.
//!
//! Every folder is opened with `openat2` below the top's descriptor, so that a symbolic link that somebody puts in the
//! place of a folder is refused instead of followed; files are then reached by one name from their folder's descriptor.
//! It also makes paths longer than `PATH_MAX` work.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, Statx, StatxFlags};
use rustix::io::{Errno, Result};

use crate::{RelPath, TreeError};

/// The kernel takes no longer path in one call (`PATH_MAX`, 4,096 with the final NUL).
const PIECE_BYTES_MAX: usize = 4000;

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// The top of a tree, and the folder in it that was used last: entries in canonical order mostly share it.
#[derive(Debug)]
pub(crate) struct Place {
    top: Arc<OwnedFd>,
    path: PathBuf,
    folder: Vec<u8>,
    opened: Option<OwnedFd>,
}

impl Place {
    /// Opens the folder at `path`, which may be reached through symbolic links.
    pub fn open(path: &Path) -> std::result::Result<Self, TreeError> {
        let top =
            rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let top = top.map_err(|e| TreeError::Io {
            act: "open the folder",
            path: path.to_owned(),
            source: e.into(),
        })?;
        Ok(Self { top: Arc::new(top), path: path.to_owned(), folder: Vec::new(), opened: None })
    }

    /// The same top for another thread.
    pub fn another(&self) -> Self {
        Self { top: Arc::clone(&self.top), path: self.path.clone(), folder: Vec::new(), opened: None }
    }

    /// The folder at `path` as a place of its own.
    pub fn below(&mut self, path: &RelPath) -> Result<Self> {
        let top = open_below(self.top.as_fd(), path.as_bytes(), FOLDER)?;
        let top = top.map_or_else(|| Arc::clone(&self.top), Arc::new);
        Ok(Self { top, path: path.under(&self.path), folder: Vec::new(), opened: None })
    }

    /// An act on an entry below the top failed.
    pub fn failed(&self, act: &'static str, path: &RelPath, source: impl Into<std::io::Error>) -> TreeError {
        TreeError::Io { act, path: path.under(&self.path), source: source.into() }
    }

    /// Where the entry is, for messages only.
    pub fn path_of(&self, path: &RelPath) -> PathBuf {
        path.under(&self.path)
    }

    /// The top.
    pub fn top(&self) -> BorrowedFd<'_> {
        self.top.as_fd()
    }

    /// The descriptor of a folder below the top. Good for reaching names in it, not for reading it.
    pub fn folder(&mut self, folder: &[u8]) -> Result<BorrowedFd<'_>> {
        if self.folder != folder {
            let opened = match below(&self.folder, folder) {
                Some(rest) => open_below(self.current(), rest, FOLDER),
                None if folder.is_empty() => Ok(None),
                None => open_below(self.top.as_fd(), folder, FOLDER),
            };
            self.forget();
            self.opened = opened?;
            self.folder.extend_from_slice(folder);
        }
        Ok(self.current())
    }

    /// The folder of an entry, and its name in it; for the top, the top and `.`.
    pub fn parent_of<'p>(&mut self, path: &'p RelPath) -> Result<(BorrowedFd<'_>, &'p [u8])> {
        let bytes = path.as_bytes();
        let (folder, name): (&[u8], &[u8]) = match bytes.iter().rposition(|&b| b == b'/') {
            Some(at) => (&bytes[..at], &bytes[at + 1..]),
            None if bytes.is_empty() => (b"", b"."),
            None => (b"", bytes),
        };
        Ok((self.folder(folder)?, name))
    }

    /// Opens a folder for reading its names and setting its metadata.
    pub fn open_folder(&mut self, path: &RelPath) -> Result<OwnedFd> {
        let (parent, name) = self.parent_of(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::openat(parent, name, flags | OFlags::NOATIME, Mode::empty()).or_else(|e| {
            if e == Errno::PERM { rustix::fs::openat(parent, name, flags, Mode::empty()) } else { Err(e) }
        })
    }

    /// Forgets the folder used last, when it may have been replaced.
    pub fn forget(&mut self) {
        self.folder.clear();
        self.opened = None;
    }

    fn current(&self) -> BorrowedFd<'_> {
        self.opened.as_ref().map_or(self.top.as_fd(), |fd| fd.as_fd())
    }
}

/// What of `path` is left below `folder`, when it lies in it.
fn below<'p>(folder: &[u8], path: &'p [u8]) -> Option<&'p [u8]> {
    if folder.is_empty() {
        return None;
    }
    path.strip_prefix(folder)?.strip_prefix(b"/")
}

/// Opens `path`, not empty, below `base`, in pieces that the kernel takes; nothing stands for `base` itself.
fn open_below(base: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<Option<OwnedFd>> {
    static OPENAT2_IS_MISSING: AtomicBool = AtomicBool::new(false);
    let mut opened: Option<OwnedFd> = None;
    let mut rest = path;
    while !rest.is_empty() {
        let (piece, then) = first_piece(rest);
        let from = opened.as_ref().map_or(base, |fd| fd.as_fd());
        let by_parts = OPENAT2_IS_MISSING.load(Ordering::Relaxed);
        let next =
            if by_parts { open_by_parts(from, piece, flags) } else { open_at_once(from, piece, flags) };
        opened = Some(match next {
            Err(Errno::NOSYS) if !by_parts => {
                OPENAT2_IS_MISSING.store(true, Ordering::Relaxed);
                open_by_parts(from, piece, flags)?
            }
            other => other?,
        });
        rest = then;
    }
    Ok(opened)
}

/// As many leading parts as fit in one call (a single longer part is left to the kernel to refuse), and what follows.
fn first_piece(path: &[u8]) -> (&[u8], &[u8]) {
    if path.len() <= PIECE_BYTES_MAX {
        return (path, b"");
    }
    let cut = path[..PIECE_BYTES_MAX].iter().rposition(|&b| b == b'/');
    match cut.or_else(|| path.iter().position(|&b| b == b'/')) {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (path, b""),
    }
}

fn open_at_once(base: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(base, path, flags, Mode::empty(), inside)
}

/// For kernels before 5.6, which have no `openat2`.
fn open_by_parts(base: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let mut opened: Option<OwnedFd> = None;
    for part in path.split(|&b| b == b'/') {
        let from = opened.as_ref().map_or(base, |fd| fd.as_fd());
        opened = Some(rustix::fs::openat(from, part, flags, Mode::empty())?);
    }
    opened.ok_or(Errno::INVAL)
}

/// The metadata of a name in a folder; a symbolic link's own.
pub(crate) fn look(folder: BorrowedFd<'_>, name: &[u8]) -> Result<Statx> {
    rustix::fs::statx(
        folder,
        name,
        AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT,
        StatxFlags::BASIC_STATS,
    )
}

/// The metadata of an open file.
pub(crate) fn look_at(file: BorrowedFd<'_>) -> Result<Statx> {
    rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
}

/// Whether an error says that the entry is not there (any more), or not what it was.
pub(crate) fn is_gone(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::STALE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn relative(path: &str) -> RelPath {
        RelPath::from_bytes(path.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn a_folder_behind_a_symbolic_link_is_never_reached() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("real/deep")).unwrap();
        symlink("real", folder.path().join("link")).unwrap();
        let mut place = Place::open(folder.path()).unwrap();
        assert!(place.folder(b"real/deep").is_ok());
        assert_eq!(place.folder(b"link/deep").unwrap_err(), Errno::LOOP);
        let top = std::fs::File::open(folder.path()).unwrap();
        assert!(open_by_parts(top.as_fd(), b"real/deep", FOLDER).is_ok());
        assert!(open_by_parts(top.as_fd(), b"link/deep", FOLDER).is_err());
    }

    #[test]
    fn a_failed_folder_is_not_remembered() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
        std::fs::write(folder.path().join("a/b/file"), "x").unwrap();
        let mut place = Place::open(folder.path()).unwrap();
        place.folder(b"a").unwrap();
        assert!(place.folder(b"a/none").is_err());
        let path = relative("a/b/file");
        let (parent, name) = place.parent_of(&path).unwrap();
        assert_eq!(look(parent, name).unwrap().stx_size, 1);
        let top = RelPath::top();
        let (parent, name) = place.parent_of(&top).unwrap();
        assert_eq!(look(parent, name).unwrap().stx_ino, look(place.top(), b".").unwrap().stx_ino);
    }

    #[test]
    fn a_path_is_cut_between_parts() {
        let path = vec!["x".repeat(100); 100].join("/");
        let (piece, rest) = first_piece(path.as_bytes());
        assert!(piece.len() <= PIECE_BYTES_MAX);
        assert_eq!([piece, rest].join(&b'/'), path.as_bytes());
    }
}
