//! Holding what is stored against its entry.

use std::num::NonZeroU64;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::Advice;
use rustix::io::Errno;

use crate::content::{BUFFER_BYTES, Content, ContentError, Meter, NoProgress};
use crate::metadata::{is_file, kind_of};
use crate::place::{Place, is_gone, look, look_at};
use crate::take::open_source;
use crate::{Entry, FileFacts, Kind, Progress, RelPath, TreeError};

/// So much of a file is fetched ahead; of a longer one the kernel itself reads ahead.
const FETCHED_BYTES_MAX: u64 = 2 << 20;

/// Size and hash of the regular file at `path`, as an entry has them. Fails when it cannot be read, or is something else.
pub fn hash_file(path: &Path) -> Result<FileFacts, TreeError> {
    let failed = |act, source| TreeError::Io { act, path: path.to_owned(), source };
    let file = open_source(rustix::fs::CWD, std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()));
    let file = file.map_err(|e| failed("open", e.into()))?;
    let stat = look_at(file.as_fd()).map_err(|e| failed("read the metadata of", e.into()))?;
    if !is_file(&stat) {
        return Err(failed("hash as a regular file", std::io::ErrorKind::InvalidInput.into()));
    }
    let (size, blocks) = (stat.stx_size, stat.stx_blocks);
    let content = Content { source: file.as_fd(), size, blocks, target: None, hash: true };
    match content.transfer(&mut vec![0; BUFFER_BYTES], &Meter::new(&NoProgress)) {
        Ok(moved) if moved.sha256.is_some() => Ok(FileFacts { size, sha256: moved.sha256 }),
        Ok(_) => Err(failed("read to its end", std::io::ErrorKind::UnexpectedEof.into())),
        Err(ContentError::Cancelled) => Err(TreeError::Cancelled),
        Err(ContentError::Source(error) | ContentError::Target(error)) => Err(failed("read", error.into())),
    }
}

/// Checks that what `folder` stores of the entry is what the entry says: see [`Verifier::verify`].
pub fn verify_entry(folder: &Path, entry: &Entry) -> Result<(), TreeError> {
    Verifier::new(folder)?.verify(entry, &NoProgress).map(drop)
}

/// Checks one entry after the other. Each thread has its own.
#[derive(Debug)]
pub struct Verifier {
    folder: Place,
    buffer: Vec<u8>,
}

/// What lies at the place of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// What it is; a file without its hash.
    pub kind: Kind,
    /// Device and inode.
    pub identity: (u32, u32, u64),
    /// How many names it has.
    pub links: u32,
}

/// A stored file that is on its way from the disk to memory.
#[derive(Debug)]
pub struct Fetched(Stored);

impl Verifier {
    /// For entries that are stored in `folder`.
    pub fn new(folder: &Path) -> Result<Self, TreeError> {
        Ok(Self { folder: Place::open(folder)?, buffer: vec![0; BUFFER_BYTES] })
    }

    /// Looks at what lies at this place, without opening it.
    pub fn look(&mut self, path: &RelPath) -> std::io::Result<Look> {
        let (parent, name) = self.folder.parent_of(path)?;
        let stat = look(parent, name)?;
        let kind = kind_of(parent, name, &stat)?;
        let identity = (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino);
        Ok(Look { kind, identity, links: stat.stx_nlink })
    }

    /// Opens a stored file of `size` bytes, drops what the page cache holds of it, and has the disk read its beginning anew,
    /// without waiting for it: whoever fetches some files before [`Verifier::check`]s the first keeps the disk busy. That
    /// it is missing, or of another size, is [`TreeError::Damaged`].
    pub fn fetch(&mut self, path: &RelPath, size: u64) -> Result<Fetched, TreeError> {
        let stored = open_stored(&mut self.folder, path, size)?;
        // Only pages that are written out are dropped, and a refusal costs nothing but the certainty.
        let _ = rustix::fs::fadvise(&stored.file, 0, None, Advice::DontNeed);
        if let Some(length) = NonZeroU64::new(size.min(FETCHED_BYTES_MAX)) {
            let _ = rustix::fs::fadvise(&stored.file, 0, Some(length), Advice::WillNeed);
        }
        Ok(Fetched(stored))
    }

    /// Reads a fetched file and compares it with its entry as [`Verifier::verify`] does.
    pub fn check(
        &mut self,
        entry: &Entry,
        fetched: Fetched,
        progress: &dyn Progress,
    ) -> Result<u64, TreeError> {
        match &entry.kind {
            Kind::File(facts) => self.read(&entry.path, facts, &fetched.0, progress),
            _ => Err(self.damaged(&entry.path, "it is another kind of thing")),
        }
    }

    /// Re-reads the entry: a file's size and, when the entry has one, its hash; that a folder is there; a symbolic link's
    /// target. Of what is listed only (pipes, sockets, devices, later names of a file) there is nothing to check. Returns
    /// the number of bytes of content. Any difference is [`TreeError::Damaged`].
    pub fn verify(&mut self, entry: &Entry, progress: &dyn Progress) -> Result<u64, TreeError> {
        match &entry.kind {
            Kind::File(facts) if entry.hard_link.is_none() => self.verify_file(&entry.path, facts, progress),
            Kind::Directory | Kind::Symlink(_) => {
                let looked = self.folder.parent_of(&entry.path).and_then(|(parent, name)| {
                    let stat = look(parent, name)?;
                    kind_of(parent, name, &stat)
                });
                match looked {
                    Ok(kind) if kind == entry.kind => Ok(0),
                    Ok(Kind::Symlink(_)) => {
                        Err(self.damaged(&entry.path, "it is a symbolic link to elsewhere"))
                    }
                    Ok(_) => Err(self.damaged(&entry.path, "it is another kind of thing")),
                    Err(error) => Err(self.unreadable(&entry.path, error)),
                }
            }
            _ => Ok(0),
        }
    }

    fn verify_file(
        &mut self,
        path: &RelPath,
        facts: &FileFacts,
        progress: &dyn Progress,
    ) -> Result<u64, TreeError> {
        let opened = open_stored(&mut self.folder, path, facts.size)?;
        self.read(path, facts, &opened, progress)
    }

    fn read(
        &mut self,
        path: &RelPath,
        facts: &FileFacts,
        opened: &Stored,
        progress: &dyn Progress,
    ) -> Result<u64, TreeError> {
        let meter = Meter::new(progress);
        let untold = if facts.sha256.is_some() {
            let content = Content {
                source: opened.file.as_fd(),
                size: facts.size,
                blocks: opened.blocks,
                target: None,
                hash: true,
            };
            let moved = match content.transfer(&mut self.buffer, &meter) {
                Ok(moved) => moved,
                Err(ContentError::Cancelled) => return Err(TreeError::Cancelled),
                Err(ContentError::Source(e) | ContentError::Target(e)) => {
                    return Err(self.unreadable(path, e));
                }
            };
            check_hash(&self.folder, path, facts, moved.sha256)?;
            moved.untold
        } else {
            0
        };
        if meter.advance(1, untold) { Ok(facts.size) } else { Err(TreeError::Cancelled) }
    }

    fn damaged(&self, path: &RelPath, reason: &str) -> TreeError {
        TreeError::Damaged { path: self.folder.path_of(path), reason: reason.to_owned() }
    }

    fn unreadable(&self, path: &RelPath, error: Errno) -> TreeError {
        if is_gone(error) {
            self.damaged(path, "it is missing")
        } else {
            self.folder.failed("read", path, error)
        }
    }
}

/// Opens the files of a folder for whoever reads their content himself. Never follows a link.
#[derive(Debug)]
pub struct Opener(Place);

impl Opener {
    /// For what lies in `folder`.
    pub fn new(folder: &Path) -> Result<Self, TreeError> {
        Place::open(folder).map(Self)
    }

    /// The same folder for another thread.
    #[must_use]
    pub fn another(&self) -> Self {
        Self(self.0.another())
    }

    /// Opens a file that must have this size. That it is missing, or of another size, is [`TreeError::Damaged`].
    pub fn open(&mut self, path: &RelPath, size: u64) -> Result<std::fs::File, TreeError> {
        open_stored(&mut self.0, path, size).map(|stored| stored.file.into())
    }

    /// Where a file lies, for messages.
    #[must_use]
    pub fn path_of(&self, path: &RelPath) -> std::path::PathBuf {
        self.0.path_of(path)
    }
}

/// A stored file, open for reading, of the size that it should have.
#[derive(Debug)]
pub(crate) struct Stored {
    pub file: std::os::fd::OwnedFd,
    pub blocks: u64,
}

/// Opens a stored file. That it is missing, or of another size, is damage.
pub(crate) fn open_stored(folder: &mut Place, path: &RelPath, size: u64) -> Result<Stored, TreeError> {
    let damaged = |place: &Place, reason: String| TreeError::Damaged { path: place.path_of(path), reason };
    let opened = folder.parent_of(path).and_then(|(parent, name)| {
        let file = open_source(parent, name)?;
        let stat = look_at(file.as_fd())?;
        Ok((file, stat))
    });
    let (file, stat) = match opened {
        Ok(opened) => opened,
        Err(error) if is_gone(error) => return Err(damaged(folder, "it is missing".to_owned())),
        Err(Errno::NXIO) => return Err(damaged(folder, "it is not a file".to_owned())),
        Err(error) => return Err(folder.failed("open", path, error)),
    };
    if !is_file(&stat) {
        return Err(damaged(folder, "it is not a file".to_owned()));
    }
    if stat.stx_size != size {
        return Err(damaged(folder, format!("it has {} bytes, and had {size}", stat.stx_size)));
    }
    Ok(Stored { file, blocks: stat.stx_blocks })
}

/// Compares the hash of what was read with that of the entry, where it has one.
pub(crate) fn check_hash(
    folder: &Place,
    path: &RelPath,
    facts: &FileFacts,
    read: Option<[u8; 32]>,
) -> Result<(), TreeError> {
    if facts.sha256.is_none() || facts.sha256 == read {
        return Ok(());
    }
    let reason = match read {
        Some(_) => "its content is not what was stored (the hashes differ)",
        None => "it ended before its end",
    };
    Err(TreeError::Damaged { path: folder.path_of(path), reason: reason.to_owned() })
}
