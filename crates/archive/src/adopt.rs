//! Taking trees into the set: moving what is ours, copying what is not, sharing what did not change.

use std::fs;
use std::io;
use std::iter::Peekable;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, Timespec, Timestamps};
use stillpoint_model::{Context, Event, Problem, StoredPrevious};
use stillpoint_tree::{
    Baseline, Entry, EntryCopier, FileFacts, Filter, IndexAppender, IndexReader, Kind, Look, MirrorOptions,
    MirrorReport, RelPath, Transfer, TreeError, Verifier, index_tree, mirror,
};

use crate::content::{self, HASH_THREADS};
use crate::feed::Feed;
use crate::passage::{Passed, Treatment, pass};
use crate::relpath::{join, within};
use crate::{ArchiveError, disk};

/// Where a tree comes to lie.
pub(crate) struct Berth<'a> {
    pub context: &'a Context,
    /// Where in the component.
    pub prefix: &'a RelPath,
    /// Its folder in the set.
    pub folder: PathBuf,
    /// The list to write.
    pub list: PathBuf,
    pub feed: &'a Feed<'a>,
}

impl Berth<'_> {
    /// Moves a tree of ours into place. Answers `false`, with nothing moved, when it lies on another file system.
    pub fn moor(&self, root: &Path) -> Result<bool, ArchiveError> {
        let failed = |error| ArchiveError::io("move into the set", root, error);
        if let Some(parent) = self.folder.parent() {
            disk::create_folder(parent)?;
        }
        // Replaces an empty folder.
        match fs::rename(root, &self.folder) {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => return Ok(false),
            Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => return Err(failed(error)),
            Err(_) => {}
        }
        for entry in fs::read_dir(root).map_err(failed)? {
            let from = entry.map_err(failed)?.path();
            let to = self.folder.join(from.file_name().unwrap_or_default());
            if fs::symlink_metadata(&to).is_ok() {
                return Err(failed(io::ErrorKind::AlreadyExists.into()));
            }
            fs::rename(&from, &to).map_err(failed)?;
        }
        Ok(true)
    }

    /// Lists a tree that was moved into place, from its own list: adds the hashes that are missing.
    pub fn list_moved(&self, list: &Path) -> Result<(), ArchiveError> {
        self.pass(list, &InPlace { berth: self, keep_origin: true, lookers: Mutex::default() })
    }

    /// Lists a tree that was moved into place and has no list.
    pub fn list_found(&self) -> Result<(), ArchiveError> {
        let found = self.list.with_extension("found");
        let mut list = IndexAppender::create(&found)?;
        let report = index_tree(&self.folder, &Filter::default(), &mut list, true, HASH_THREADS, self.feed)
            .map_err(|error| self.feed.explain(error))?;
        list.finish()?;
        self.tell(&report);
        // Where the originals were is not known: these were made for the set.
        self.pass(&found, &InPlace { berth: self, keep_origin: false, lookers: Mutex::default() })
    }

    /// Copies a tree by its list, sharing with the last set what did not change since.
    pub fn copy_listed(&self, root: &Path, list: &Path) -> Result<(), ArchiveError> {
        disk::create_folder(&self.folder)?;
        let before = self.baseline()?;
        let entries = before.as_ref().map(|before| IndexReader::open(&before.index)).transpose()?;
        let treatment = Copying {
            berth: self,
            root,
            before: before.as_ref().map(|before| before.root.as_path()),
            entries: entries.map(|entries| Mutex::new(entries.peekable())),
            copiers: Mutex::default(),
        };
        self.pass(list, &treatment)
    }

    /// Copies a tree as it is found, sharing with the last set what did not change since.
    pub fn mirror(&self, root: &Path, filter: Filter) -> Result<(), ArchiveError> {
        disk::create_folder(&self.folder)?;
        let mut list = IndexAppender::create(&self.list)?;
        let options = MirrorOptions {
            filter,
            transfer: Transfer::ReflinkOrCopy,
            baseline: self.baseline()?,
            hash: true,
            live: false,
            settled_before: None,
            threads: HASH_THREADS,
        };
        let report = mirror(root, &self.folder, &mut list, &options, self.feed)
            .map_err(|error| self.feed.explain(error))?;
        list.finish()?;
        self.tell(&report);
        Ok(())
    }

    fn tell(&self, report: &MirrorReport) {
        for problem in &report.problems {
            self.problem(&problem.path, &problem.text);
        }
        let untold = report.problem_count.saturating_sub(report.problems.len() as u64);
        if untold > 0 {
            self.context.problem(format!("there are {untold} more problems of this kind"));
        }
    }

    fn pass(&self, list: &Path, treatment: &dyn Treatment) -> Result<(), ArchiveError> {
        let mut target = IndexAppender::create(&self.list)?;
        pass(list, &mut target, treatment)?;
        target.finish()?;
        Ok(())
    }

    fn problem(&self, path: &RelPath, text: &str) {
        let path = Some(join(self.prefix, path).to_string());
        let component = Some(self.context.component.clone());
        self.context.monitor.emit(Event::Problem(Problem { component, path, text: text.to_owned() }));
    }

    /// The same tree in the last set.
    fn baseline(&self) -> Result<Option<Baseline>, ArchiveError> {
        let Some(StoredPrevious { folder, index }) = &self.context.previous else { return Ok(None) };
        let root = self.prefix.under(folder);
        if !root.is_dir() {
            return Ok(None);
        }
        if self.prefix.is_top() {
            return Ok(Some(Baseline { root, index: index.clone() }));
        }
        let part = self.list.with_extension("before");
        let mut list = IndexAppender::create(&part)?;
        let inner = |path: &RelPath| {
            let rest = path.as_bytes().get(self.prefix.as_bytes().len() + 1..).unwrap_or_default();
            RelPath::from_bytes(rest.to_vec())
        };
        for entry in IndexReader::open(index)? {
            let entry = entry?;
            // The first of several names may lie outside of this part: then the others are not in it either.
            let links_within = entry.hard_link.as_ref().is_none_or(|first| within(first, self.prefix));
            if let Some(path) = inner(&entry.path)
                && within(&entry.path, self.prefix)
                && links_within
            {
                list.append(&Entry { path, hard_link: entry.hard_link.as_ref().and_then(inner), ..entry })?;
            }
        }
        list.finish()?;
        Ok(Some(Baseline { root, index: part }))
    }
}

/// What was moved into place.
struct InPlace<'a> {
    berth: &'a Berth<'a>,
    keep_origin: bool,
    /// Those that no thread uses.
    lookers: Mutex<Vec<Verifier>>,
}

impl InPlace<'_> {
    /// What lies at the place of the entry.
    fn look(&self, path: &RelPath) -> Result<io::Result<Look>, ArchiveError> {
        let idle = || self.lookers.lock().unwrap_or_else(PoisonError::into_inner);
        let looker = idle().pop();
        let mut looker = looker.map_or_else(|| Verifier::new(&self.berth.folder), Ok)?;
        let found = looker.look(path);
        idle().push(looker);
        Ok(found)
    }
}

impl Treatment for InPlace<'_> {
    fn meet(&self, entry: &Entry) -> Result<Option<Entry>, ArchiveError> {
        if entry.kind == Kind::Directory {
            disk::create_folder(&entry.path.under(&self.berth.folder))?;
        }
        Ok(None)
    }

    fn entry(&self, mut entry: Entry, _along: Option<Entry>) -> Result<Passed, ArchiveError> {
        entry.origin = entry.origin.filter(|_| self.keep_origin);
        let full = || entry.path.under(&self.berth.folder);
        if entry.hard_link.is_some() || unstored(&entry.kind) {
            // Listed only; what a moved tree has under the name would be too much in the set.
            disk::remove_tree(&full())?;
            return listed(entry, None);
        }
        let found = match self.look(&entry.path)? {
            Ok(found) => found.kind,
            Err(error) => return Ok(Passed::LeftOut(format!("is listed but cannot be taken: {error}"))),
        };
        let Kind::File(file) = &mut entry.kind else { return listed(entry, None) };
        let Kind::File(FileFacts { size, .. }) = found else {
            disk::remove_tree(&full())?;
            return Ok(Passed::LeftOut("is listed as a file but is none".to_owned()));
        };
        let mut problem = None;
        if file.size != size {
            problem = Some(format!("was listed with {} bytes but has {size}", file.size));
            *file = FileFacts { size, sha256: None };
        }
        if file.sha256.is_none() {
            *file = content::hash(&entry.path.under(&self.berth.folder))?;
        }
        self.berth.feed.take(1, file.size)?;
        listed(entry, problem)
    }

    fn problem(&self, path: &RelPath, text: &str) {
        self.berth.problem(path, text);
    }
}

/// What is copied by its list.
struct Copying<'a> {
    berth: &'a Berth<'a>,
    root: &'a Path,
    /// The same tree in the last set.
    before: Option<&'a Path>,
    entries: Option<Mutex<Peekable<IndexReader>>>,
    /// Those that no thread uses.
    copiers: Mutex<Vec<EntryCopier>>,
}

impl Copying<'_> {
    /// The entry of the last set that still has the content of this one.
    fn unchanged(&self, entry: &Entry) -> Result<Option<Entry>, ArchiveError> {
        let Some(entries) = &self.entries else { return Ok(None) };
        let mut entries = entries.lock().unwrap_or_else(PoisonError::into_inner);
        while entries
            .peek()
            .is_some_and(|before| before.as_ref().is_ok_and(|before| before.path < entry.path))
        {
            entries.next();
        }
        let here =
            |before: &Result<Entry, _>| before.as_ref().map_or(true, |before| before.path == entry.path);
        let before = entries.next_if(here).transpose()?;
        Ok(before.filter(|before| is_unchanged(before, entry)))
    }

    /// Gives the file of the last set a name in this one. Answers whether it did.
    fn share(&self, before: &Entry, size: u64, target: &Path) -> bool {
        let Some(root) = self.before else { return false };
        let stored = before.path.under(root);
        // A file that was cut off or lost in the last set is copied anew.
        let whole = fs::symlink_metadata(&stored).is_ok_and(|facts| facts.is_file() && facts.len() == size);
        whole && fs::hard_link(&stored, target).is_ok()
    }

    fn copy_content(&self, path: &RelPath) -> Result<u64, TreeError> {
        let idle = || self.copiers.lock().unwrap_or_else(PoisonError::into_inner);
        let copier = idle().pop();
        let mut copier = match copier {
            Some(copier) => copier,
            None => EntryCopier::new(self.root, &self.berth.folder, Transfer::ReflinkOrCopy)?,
        };
        let copied = copier.copy(path);
        idle().push(copier);
        copied
    }

    fn copy(&self, entry: Entry, along: Option<Entry>) -> Result<Passed, ArchiveError> {
        let target = entry.path.under(&self.berth.folder);
        let Kind::File(file) = &entry.kind else { return listed(entry, None) };
        if let Some(before) = along
            && let Kind::File(stored) = &before.kind
            && self.share(&before, stored.size, &target)
        {
            self.berth.feed.take(1, 0)?;
            let kind = Kind::File(stored.clone());
            return listed(Entry { kind, ..entry }, None);
        }
        let bytes = match self.copy_content(&entry.path) {
            Ok(bytes) => bytes,
            Err(error) if out_of_room(&error) => return Err(error.into()),
            Err(error) => {
                disk::remove_tree(&target)?;
                return Ok(Passed::LeftOut(crate::publish::in_full(&error)));
            }
        };
        self.berth.feed.take(1, bytes)?;
        let read = content::hash(&target)?;
        let problem = match file {
            FileFacts { size, .. } if *size != read.size => {
                Some(format!("was listed with {size} bytes but had {}", read.size))
            }
            FileFacts { sha256: Some(_), .. } if file.sha256 != read.sha256 => {
                Some("was listed with another content than it had".to_owned())
            }
            _ => None,
        };
        let copied = Entry { kind: Kind::File(read), ..entry };
        dress(&target, &copied);
        listed(copied, problem)
    }
}

impl Treatment for Copying<'_> {
    fn meet(&self, entry: &Entry) -> Result<Option<Entry>, ArchiveError> {
        if entry.kind == Kind::Directory {
            disk::create_folder(&entry.path.under(&self.berth.folder))?;
        }
        self.unchanged(entry)
    }

    fn entry(&self, entry: Entry, along: Option<Entry>) -> Result<Passed, ArchiveError> {
        if entry.hard_link.is_some() || unstored(&entry.kind) {
            return listed(entry, None);
        }
        let Kind::Symlink(target) = &entry.kind else { return self.copy(entry, along) };
        let full = entry.path.under(&self.berth.folder);
        symlink(std::ffi::OsStr::from_bytes(target), &full)
            .map_err(|error| ArchiveError::io("create the symbolic link", &full, error))?;
        dress(&full, &entry);
        listed(entry, None)
    }

    fn problem(&self, path: &RelPath, text: &str) {
        self.berth.problem(path, text);
    }
}

/// Whether the original is the one that the last set holds, by everything that a change must move. A file that was read
/// too soon after its last change (not settled) never counts as unchanged.
fn is_unchanged(before: &Entry, now: &Entry) -> bool {
    let (Kind::File(stored), Kind::File(file)) = (&before.kind, &now.kind) else { return false };
    let (Some(then), Some(origin)) = (before.origin, now.origin) else { return false };
    before.hard_link.is_none()
        && stored.sha256.is_some()
        && stored.size == file.size
        && (before.mode, before.uid, before.gid, before.mtime) == (now.mode, now.uid, now.gid, now.mtime)
        && before.xattrs == now.xattrs
        && then.settled
        && (then.inode, then.ctime) == (origin.inode, origin.ctime)
}

/// Gives a stored file owner, mode and time of the original as far as our rights go, for whoever copies the set with
/// other tools. What counts is the list.
fn dress(path: &Path, entry: &Entry) {
    let here = rustix::fs::CWD;
    let (uid, gid) = (rustix::fs::Uid::from_raw(entry.uid), rustix::fs::Gid::from_raw(entry.gid));
    let _ = rustix::fs::chownat(here, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW);
    if !matches!(entry.kind, Kind::Symlink(_)) {
        let _ =
            rustix::fs::chmodat(here, path, rustix::fs::Mode::from_raw_mode(entry.mode), AtFlags::empty());
    }
    let time = Timespec { tv_sec: entry.mtime.seconds, tv_nsec: entry.mtime.nanoseconds.into() };
    let times = Timestamps { last_access: time, last_modification: time };
    let _ = rustix::fs::utimensat(here, path, &times, AtFlags::SYMLINK_NOFOLLOW);
}

fn out_of_room(error: &TreeError) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let TreeError::Io { source, .. } = error else { return true };
    matches!(source.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem)
}

/// Whether entries of this kind are listed only.
fn unstored(kind: &Kind) -> bool {
    !matches!(kind, Kind::File(_) | Kind::Directory | Kind::Symlink(_))
}

fn listed(entry: Entry, problem: Option<String>) -> Result<Passed, ArchiveError> {
    Ok(Passed::Listed(Box::new(entry), problem))
}
