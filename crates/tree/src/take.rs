//! Taking one file of a tree: shared with an earlier copy, cloned, copied, or only hashed.
//!
//! The file is a stranger's and may change, vanish or become something else at any moment. What is opened is looked at
//! before it is read, and again after.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, Statx};
use rustix::io::Errno;

use crate::content::{BUFFER_BYTES, Content, ContentError, Meter, Moved, is_volume_failure};
use crate::metadata::{AttributeReader, Care, apply, apply_to_name, entry_of, is_file};
use crate::place::{Place, is_gone, look, look_at};
use crate::walk::{Found, reason};
use crate::{Entry, FileFacts, FileProblem, Kind, RelPath, Timestamp, Transfer, TreeError};

/// How files are taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    pub transfer: Transfer,
    pub hash: bool,
    pub live: bool,
    /// Files with a change time at or after this are not settled.
    pub settled_before: Option<Timestamp>,
}

/// What became of an entry.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// To be listed; nothing when it was gone or cannot be read.
    pub entry: Option<Entry>,
    pub problem: Option<FileProblem>,
    pub copied_bytes: u64,
    pub shared_bytes: u64,
    /// The first name of a file with several that is not listed.
    pub lost: Option<RelPath>,
}

/// Takes files, one after the other. Each thread has its own.
pub(crate) struct Taker<'a> {
    source: Place,
    /// Nothing when files are only hashed.
    target: Option<Place>,
    earlier: Option<Place>,
    manner: Manner,
    attributes: AttributeReader,
    buffer: Vec<u8>,
    /// Cleared by the first file that cannot be cloned.
    cloning: bool,
    meter: &'a Meter<'a>,
}

/// Why a file is not taken.
enum Refusal {
    /// It is not there any more.
    Gone,
    /// It cannot be read.
    Unreadable(String),
    /// The whole work ends.
    Failed(TreeError),
}

/// A file open for reading.
struct Opened {
    file: OwnedFd,
    stat: Statx,
    entry: Entry,
    /// Its extended attributes could not be read.
    unread: Option<String>,
}

impl<'a> Taker<'a> {
    pub fn new(
        source: Place,
        target: Option<Place>,
        earlier: Option<Place>,
        manner: Manner,
        meter: &'a Meter<'a>,
    ) -> Self {
        Self {
            source,
            target,
            earlier,
            manner,
            attributes: AttributeReader::new(),
            buffer: vec![0; BUFFER_BYTES],
            cloning: manner.transfer != Transfer::Copy,
            meter,
        }
    }

    /// Takes a file or symbolic link. `earlier` is the entry of the same path in the earlier copy.
    pub fn take(&mut self, found: Found, earlier: Option<Entry>) -> Result<Taken, TreeError> {
        let path = found.entry.path.clone();
        let taken = match found.entry.kind {
            Kind::Symlink(_) => self.take_link(found.entry),
            _ => self.take_file(found.entry, earlier),
        };
        let problem = match taken {
            Ok(taken) => return Ok(taken),
            Err(Refusal::Failed(error)) => return Err(error),
            Err(Refusal::Unreadable(text)) => Some(text),
            Err(Refusal::Gone) if self.manner.live => None,
            Err(Refusal::Gone) => {
                Some("it was gone, or another kind of thing, when it was to be read".to_owned())
            }
        };
        let problem = problem.map(|text| FileProblem { path: path.clone(), text });
        Ok(Taken { problem, lost: found.has_more_names.then_some(path), ..Taken::default() })
    }

    fn take_link(&mut self, mut entry: Entry) -> Result<Taken, Refusal> {
        if let (Some(target), Kind::Symlink(text)) = (&mut self.target, &entry.kind) {
            let created = target.parent_of(&entry.path).and_then(|(parent, name)| {
                rustix::fs::symlinkat(text.as_slice(), parent, name)?;
                apply_to_name(parent, name, &entry, Care::Copy, &mut |_, _| {});
                Ok(())
            });
            created.map_err(|e| Refusal::Failed(cannot_create(target, &entry.path, e)))?;
        }
        self.settle(&mut entry, false);
        Ok(Taken { entry: Some(entry), ..Taken::default() })
    }

    fn take_file(&mut self, mut entry: Entry, earlier: Option<Entry>) -> Result<Taken, Refusal> {
        if let Some(earlier) = earlier
            && self.share(&mut entry, &earlier).map_err(Refusal::Failed)?
        {
            self.settle(&mut entry, false);
            let shared_bytes = size_of(&entry);
            self.advance(0)?;
            return Ok(Taken { entry: Some(entry), shared_bytes, ..Taken::default() });
        }
        let mut opened = self.open(&entry.path)?;
        let replaced = !self.manner.live && opened.entry.origin != entry.origin;
        let moved = self.move_content(&mut opened)?;
        let after = look_at(opened.file.as_fd()).map_err(|e| unreadable("read its metadata again", e))?;
        let changed = replaced || is_changed(&opened.stat, &after);
        let mut entry = opened.entry;
        // What is not known of it is to be asked again by the next run.
        self.settle(&mut entry, changed || opened.unread.is_some());
        let known = !(changed && self.manner.live);
        entry.kind = Kind::File(FileFacts { size: moved.length, sha256: moved.sha256.filter(|_| known) });
        let problem = match opened.unread {
            None if changed && !self.manner.live => Some("it changed while it was read".to_owned()),
            unread => unread,
        };
        let problem = problem.map(|text| FileProblem { path: entry.path.clone(), text });
        self.advance(moved.untold)?;
        Ok(Taken { entry: Some(entry), problem, copied_bytes: moved.data, ..Taken::default() })
    }

    /// Links the file of the earlier copy into the target when the original did not change since; whether it did.
    fn share(&mut self, entry: &mut Entry, earlier: &Entry) -> Result<bool, TreeError> {
        let (Some(target), Some(stored)) = (&mut self.target, &mut self.earlier) else { return Ok(false) };
        let (Kind::File(facts), Kind::File(known)) = (&mut entry.kind, &earlier.kind) else {
            return Ok(false);
        };
        let unchanged = matches!((entry.origin, earlier.origin), (Some(now), Some(then))
            if then.settled && now.inode == then.inode && now.ctime == then.ctime)
            && facts.size == known.size
            && (known.sha256.is_some() || !self.manner.hash)
            && earlier.hard_link.is_none()
            && (entry.mode, entry.uid, entry.gid, entry.mtime)
                == (earlier.mode, earlier.uid, earlier.gid, earlier.mtime);
        if !unchanged {
            return Ok(false);
        }
        match link(stored, target, &entry.path, facts.size) {
            Ok(true) => {}
            Err(Errno::EXIST) => return Err(TreeError::Exists { path: target.path_of(&entry.path) }),
            // Too many links, another file system, not there any more: then it is copied.
            Ok(false) | Err(_) => return Ok(false),
        }
        facts.sha256 = known.sha256;
        // Every change of an attribute moves the change time.
        entry.xattrs.clone_from(&earlier.xattrs);
        Ok(true)
    }

    /// Opens a regular file, and nothing else: no pipe is waited for, no link followed.
    fn open(&mut self, path: &RelPath) -> Result<Opened, Refusal> {
        let refuse = |e: Errno| {
            // A socket in its place answers with ENXIO, some devices with ENODEV.
            if is_gone(e) || matches!(e, Errno::NXIO | Errno::NODEV) {
                Refusal::Gone
            } else {
                unreadable("open it", e)
            }
        };
        let (parent, name) = self.source.parent_of(path).map_err(refuse)?;
        let file = open_source(parent, name).map_err(refuse)?;
        let stat = look_at(file.as_fd()).map_err(|e| unreadable("read its metadata", e))?;
        if !is_file(&stat) {
            return Err(Refusal::Gone);
        }
        let kind = Kind::File(FileFacts { size: stat.stx_size, sha256: None });
        let mut entry = entry_of(path.clone(), kind, &stat);
        let mut unread = None;
        match self.attributes.of_file(file.as_fd()) {
            Ok(xattrs) => entry.xattrs = xattrs,
            Err(error) => unread = Some(format!("cannot read its extended attributes: {}", reason(error))),
        }
        Ok(Opened { file, stat, entry, unread })
    }

    fn move_content(&mut self, opened: &mut Opened) -> Result<Moved, Refusal> {
        let path = &opened.entry.path;
        let content = Content {
            source: opened.file.as_fd(),
            size: opened.stat.stx_size,
            blocks: opened.stat.stx_blocks,
            target: None,
            hash: self.manner.hash,
        };
        let Some(target) = &mut self.target else {
            let moved = content.transfer(&mut self.buffer, self.meter);
            return moved.map_err(|e| refusal(e, None, path));
        };
        let copy = create(target, path).map_err(Refusal::Failed)?;
        let moved = if self.cloning && content.size > 0 {
            match rustix::fs::ioctl_ficlone(&copy, content.source) {
                Ok(()) => Some(hash_clone(&content, copy.as_fd(), &mut self.buffer, self.meter)),
                Err(error) if is_volume_failure(error) => Some(Err(ContentError::Target(error))),
                Err(error) if self.manner.transfer == Transfer::Reflink => {
                    remove(target, path);
                    return Err(unreadable("clone it", error));
                }
                Err(_) => {
                    self.cloning = false;
                    None
                }
            }
        } else {
            None
        };
        let moved = match moved {
            Some(moved) => moved,
            None => {
                let with_target = Content { target: Some(copy.as_fd()), ..content };
                with_target.transfer(&mut self.buffer, self.meter)
            }
        };
        let mut moved = moved.map_err(|error| {
            remove(target, path);
            refusal(error, Some(target), path)
        })?;
        if moved.sha256.is_none() && self.manner.hash && !self.manner.live {
            // It was cut off under the reading: what was stored is hashed as it is.
            let stored = hash_stored(copy.as_fd(), moved.length, &mut self.buffer, self.meter);
            moved.sha256 = stored.map_err(|error| refusal(error, Some(target), path))?;
        }
        finish(target, copy.as_fd(), &opened.entry)?;
        Ok(moved)
    }

    fn advance(&self, bytes: u64) -> Result<(), Refusal> {
        if self.meter.advance(1, bytes) { Ok(()) } else { Err(Refusal::Failed(TreeError::Cancelled)) }
    }

    /// Notes whether a later change of the original must show in its change time.
    pub fn settle(&self, entry: &mut Entry, changed: bool) {
        let before = self.manner.settled_before;
        if let Some(origin) = &mut entry.origin {
            origin.settled = !changed && before.is_none_or(|limit| origin.ctime < limit);
        }
    }
}

/// Opens for reading without moving the access time, where we may do without.
pub(crate) fn open_source(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    match rustix::fs::openat(parent, name, flags | OFlags::NOATIME, Mode::empty()) {
        // Only the owner may.
        Err(Errno::PERM) => rustix::fs::openat(parent, name, flags, Mode::empty()),
        other => other,
    }
}

fn create(target: &mut Place, path: &RelPath) -> Result<OwnedFd, TreeError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let created = target
        .parent_of(path)
        .and_then(|(parent, name)| rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR));
    created.map_err(|e| cannot_create(target, path, e))
}

fn cannot_create(target: &Place, path: &RelPath, error: Errno) -> TreeError {
    if error == Errno::EXIST {
        TreeError::Exists { path: target.path_of(path) }
    } else {
        target.failed("create", path, error)
    }
}

/// Removes what was begun. That it may fail changes nothing: the entry is not listed.
fn remove(target: &mut Place, path: &RelPath) {
    if let Ok((parent, name)) = target.parent_of(path) {
        let _ = rustix::fs::unlinkat(parent, name, AtFlags::empty());
    }
}

/// Puts the metadata on a copy; the list has the truth, so only a failing file system matters.
fn finish(target: &Place, copy: BorrowedFd<'_>, entry: &Entry) -> Result<(), Refusal> {
    let mut failed = None;
    apply(copy, entry, Care::Copy, &mut |_, error| {
        // Not ENOSPC: that an attribute finds no room is told that way, too.
        if matches!(error, Errno::IO | Errno::ROFS) {
            failed = Some(error);
        }
    });
    match failed {
        None => Ok(()),
        Some(error) => Err(Refusal::Failed(target.failed("set the metadata of", &entry.path, error))),
    }
}

/// A clone does not change under the hashing, so it is what is read.
fn hash_clone(
    content: &Content<'_>,
    clone: BorrowedFd<'_>,
    buffer: &mut [u8],
    meter: &Meter<'_>,
) -> Result<Moved, ContentError> {
    let stat = look_at(clone).map_err(ContentError::Target)?;
    let size = stat.stx_size;
    if !content.hash {
        return Ok(Moved { length: size, data: size, untold: size, sha256: None });
    }
    let own = Content { source: clone, size, blocks: stat.stx_blocks, target: None, hash: true };
    own.transfer(buffer, meter).map_err(of_target)
}

fn hash_stored(
    copy: BorrowedFd<'_>,
    size: u64,
    buffer: &mut [u8],
    meter: &Meter<'_>,
) -> Result<Option<[u8; 32]>, ContentError> {
    let stored = Content { source: copy, size, blocks: 0, target: None, hash: true };
    Ok(stored.transfer(buffer, meter).map_err(of_target)?.sha256)
}

fn of_target(error: ContentError) -> ContentError {
    match error {
        ContentError::Source(error) => ContentError::Target(error),
        other => other,
    }
}

/// Links the stored file into the target; false when what is stored is not a file of that size.
fn link(stored: &mut Place, target: &mut Place, path: &RelPath, size: u64) -> rustix::io::Result<bool> {
    let (from, name) = stored.parent_of(path)?;
    let (to, _) = target.parent_of(path)?;
    rustix::fs::linkat(from, name, to, name, AtFlags::empty())?;
    let stat = look(to, name)?;
    let good = is_file(&stat) && stat.stx_size == size;
    if !good {
        rustix::fs::unlinkat(to, name, AtFlags::empty())?;
    }
    Ok(good)
}

/// Whether a file changed between two looks at it.
pub(crate) fn is_changed(before: &Statx, after: &Statx) -> bool {
    let state = |s: &Statx| {
        (s.stx_size, s.stx_mtime.tv_sec, s.stx_mtime.tv_nsec, s.stx_ctime.tv_sec, s.stx_ctime.tv_nsec)
    };
    state(before) != state(after)
}

fn unreadable(act: &str, error: Errno) -> Refusal {
    Refusal::Unreadable(format!("cannot {act}: {}", reason(error)))
}

fn refusal(error: ContentError, target: Option<&Place>, path: &RelPath) -> Refusal {
    match (error, target) {
        (ContentError::Target(error), Some(target)) => Refusal::Failed(target.failed("write", path, error)),
        (ContentError::Source(error) | ContentError::Target(error), _) => unreadable("read it", error),
        (ContentError::Cancelled, _) => Refusal::Failed(TreeError::Cancelled),
    }
}

/// The size of a file; 0 for anything else.
pub(crate) fn size_of(entry: &Entry) -> u64 {
    if let Kind::File(facts) = &entry.kind { facts.size } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::NoProgress;

    #[test]
    fn what_became_something_else_since_it_was_listed_is_neither_opened_nor_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::write(root.join("file"), "x").unwrap();
        let path = RelPath::from_bytes(b"file".to_vec()).unwrap();
        let entry = crate::read_entry(root, &path).unwrap().unwrap();
        std::fs::create_dir(root.join("target")).unwrap();
        let target = root.join("target");
        let meter = Meter::new(&NoProgress);
        type Become = fn(&std::path::Path);
        let others: [Become; 5] = [
            |path| drop(std::fs::create_dir(path)),
            |path| {
                rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap()
            },
            |path| drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
            |path| std::os::unix::fs::symlink("/etc/passwd", path).unwrap(),
            |_| {},
        ];
        for (number, become_other) in others.into_iter().enumerate() {
            let _ = std::fs::remove_file(root.join("file"));
            become_other(&root.join("file"));
            for live in [true, false] {
                let manner = Manner { transfer: Transfer::Copy, hash: true, live, settled_before: None };
                let (source, copies) = (Place::open(root).unwrap(), Place::open(&target).unwrap());
                let mut taker = Taker::new(source, Some(copies), None, manner, &meter);
                let found = Found { entry: entry.clone(), has_more_names: true };
                let taken = taker.take(found, None).unwrap();
                assert_eq!(taken.entry, None, "case {number}");
                assert_eq!(taken.problem.is_none(), live, "case {number}");
                assert_eq!(taken.lost.as_ref(), Some(&path));
            }
            let _ = std::fs::remove_dir(root.join("file"));
        }
        assert_eq!(std::fs::read_dir(&target).unwrap().count(), 0, "nothing was left in the target");
    }
}
