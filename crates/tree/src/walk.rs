//! A walk through a tree in canonical order.
//!
//! It keeps in memory the names of the folders that it is in and, for files with several names, the first of them.
//! Nothing recurses and no descriptor is kept for a folder that it is not in, so that depth has no limit.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::collections::hash_map::Entry as Slot;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{RawDir, Statx, StatxAttributes};
use rustix::io::Errno;

use crate::filter::Verdict;
use crate::metadata::{AttributeReader, entry_of, is_file, kind_of};
use crate::place::{Place, is_gone, look};
use crate::{Entry, FileProblem, Filter, RelPath, TreeError};

/// How much of a folder is asked of the kernel at once.
const NAMES_BUFFER_BYTES: usize = 64 * 1024;

/// A folder of btrfs with this inode number stands in a snapshot where a subvolume was, which is not part of it
/// (`BTRFS_EMPTY_SUBVOL_DIR_OBJECTID`). Linux 6.18 gives it another device number as well, which tells already; what would
/// be lost in silence is worth asking twice.
const BTRFS_PLACEHOLDER_INODE: u64 = 2;

/// `BTRFS_SUPER_MAGIC` of `linux/magic.h`.
const BTRFS_MAGIC: u64 = 0x9123_683e;

/// Reads one entry (without hash, hard link and settledness) from the file system; nothing when it is not there.
pub fn read_entry(root: &Path, path: &RelPath) -> Result<Option<Entry>, TreeError> {
    let mut place = Place::open(root)?;
    match read_at(&mut place, path, &mut AttributeReader::new()) {
        Ok(entry) => Ok(Some(entry)),
        Err(error) if is_gone(error) => Ok(None),
        Err(error) => Err(place.failed("read the metadata of", path, error)),
    }
}

fn read_at(place: &mut Place, path: &RelPath, attributes: &mut AttributeReader) -> rustix::io::Result<Entry> {
    let (parent, name) = place.parent_of(path)?;
    let stat = look(parent, name)?;
    let mut entry = entry_of(path.clone(), kind_of(parent, name, &stat)?, &stat);
    entry.xattrs = attributes.of_name(parent, name)?;
    Ok(entry)
}

/// Walks a tree: the top itself first, then in canonical order. Never follows symbolic links; enters no other file system
/// (a mount point is listed as an empty folder and told as a problem). An entry that vanishes under the walk is passed
/// over; one that cannot be read is a problem, not an error. Of a file with several names, all but the first have
/// [`Entry::hard_link`].
#[derive(Debug)]
pub struct Walk {
    walker: Walker,
    has_more_names: bool,
}

impl Walk {
    /// Begins at `root`, which must be a folder.
    pub fn new(root: &Path, filter: Filter) -> Result<Self, TreeError> {
        Ok(Self { walker: Walker::new(root, filter, Attributes::OfAll)?, has_more_names: false })
    }

    /// The same without extended attributes: for who asks for names, kinds and sizes, this is half of the work.
    pub fn without_attributes(root: &Path, filter: Filter) -> Result<Self, TreeError> {
        Ok(Self { walker: Walker::new(root, filter, Attributes::OfNone)?, has_more_names: false })
    }

    /// Whether the entry that was told last is a file with several names, and this the first of them.
    #[must_use]
    pub fn has_more_names(&self) -> bool {
        self.has_more_names
    }
}

impl Iterator for Walk {
    type Item = Result<Entry, FileProblem>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.walker.next()? {
                Step::Entry(found) => {
                    self.has_more_names = found.has_more_names;
                    return Some(Ok(found.entry));
                }
                Step::Problem(problem) => return Some(Err(problem)),
                Step::Leave(_) => {}
            }
        }
    }
}

/// Whose extended attributes a walk reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attributes {
    /// Of every entry.
    OfAll,
    /// Of all but regular files without a hard link: who copies them reads theirs.
    NotOfFiles,
    /// None.
    OfNone,
}

/// What a walk comes upon.
#[derive(Debug)]
pub(crate) enum Step {
    /// An entry.
    Entry(Found),
    /// Something that cannot be read.
    Problem(FileProblem),
    /// All that is in this folder was told.
    Leave(Entry),
}

/// An entry, and what of its metadata is not part of it.
#[derive(Debug)]
pub(crate) struct Found {
    pub entry: Entry,
    /// Whether it is a file with several names, and this the first.
    pub has_more_names: bool,
}

/// The walk with all its steps.
#[derive(Debug)]
pub(crate) struct Walker {
    place: Place,
    filter: Filter,
    attributes: Attributes,
    reader: AttributeReader,
    device: (u32, u32),
    is_btrfs: bool,
    keep_out: Option<(u32, u32, u64)>,
    begun: bool,
    levels: Vec<Level>,
    waiting: VecDeque<Step>,
    /// For a file with several names: the first, and how many are still to come (some may lie outside of the tree).
    links: HashMap<(u32, u32, u64), (RelPath, u32)>,
    several_names: u64,
}

#[derive(Debug)]
struct Level {
    folder: Entry,
    verdict: Verdict,
    names: Names,
}

impl Walker {
    pub fn new(root: &Path, filter: Filter, attributes: Attributes) -> Result<Self, TreeError> {
        Self::at(Place::open(root)?, filter, attributes)
    }

    /// Begins at the top of `place`.
    pub fn at(place: Place, filter: Filter, attributes: Attributes) -> Result<Self, TreeError> {
        let failed = |act, e: Errno| place.failed(act, &RelPath::top(), e);
        let stat = look(place.top(), b".").map_err(|e| failed("read the metadata of", e))?;
        let file_system =
            rustix::fs::fstatfs(place.top()).map_err(|e| failed("find the file system of", e))?;
        if !Path::new("/proc/self/fd").exists() {
            return Err(failed("read (is /proc mounted?)", Errno::NOENT));
        }
        Ok(Self {
            filter,
            attributes,
            reader: AttributeReader::new(),
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            // The type of the magic number differs between platforms; its bits do not.
            is_btrfs: file_system.f_type as u64 & 0xffff_ffff == BTRFS_MAGIC,
            keep_out: None,
            begun: false,
            levels: Vec::new(),
            waiting: VecDeque::new(),
            links: HashMap::new(),
            several_names: 0,
            place,
        })
    }

    /// The place that is walked through.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// How many of the entries so far, folders apart, have other names, in the tree or outside.
    pub fn several_names(&self) -> u64 {
        self.several_names
    }

    /// Leaves out the folder that is the top of `place`: a copy must not run into itself.
    pub fn keep_out_of(&mut self, place: &Place) -> Result<(), TreeError> {
        let stat =
            look(place.top(), b".").map_err(|e| place.failed("read the metadata of", &RelPath::top(), e))?;
        self.keep_out = Some((stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino));
        Ok(())
    }

    /// Passes over what is left of the folder that was told last.
    pub fn skip_folder(&mut self) {
        if let Some(level) = self.levels.last_mut() {
            level.names = Names::default();
        }
    }

    fn visit(&mut self, path: RelPath, folder: Verdict) {
        if let Err(error) = self.try_visit(&path, folder)
            && !is_gone(error)
        {
            self.problem(&path, "cannot read its metadata", error);
        }
    }

    fn try_visit(&mut self, path: &RelPath, folder: Verdict) -> rustix::io::Result<()> {
        let (parent, name) = self.place.parent_of(path)?;
        let stat = look(parent, name)?;
        let is_directory = rustix::fs::FileType::from_raw_mode(u32::from(stat.stx_mode)).is_dir();
        let verdict =
            if path.is_top() { folder } else { self.filter.judge(path.as_bytes(), is_directory, folder) };
        if verdict == Verdict::Out {
            return Ok(());
        }
        let mut entry = entry_of(path.clone(), kind_of(parent, name, &stat)?, &stat);
        let is_file = is_file(&stat);
        self.several_names += u64::from(!is_directory && stat.stx_nlink > 1);
        let has_names = is_file && stat.stx_nlink > 1;
        if has_names {
            entry.hard_link = first_name(&mut self.links, path, &stat);
        }
        let wanted = match self.attributes {
            Attributes::OfAll => true,
            Attributes::NotOfFiles => !is_file || entry.hard_link.is_some(),
            Attributes::OfNone => false,
        };
        let mut unread = None;
        if wanted {
            match self.reader.of_name(parent, name) {
                Ok(xattrs) => entry.xattrs = xattrs,
                Err(error) if is_gone(error) => return Ok(()),
                Err(error) => unread = Some(error),
            }
        }
        if is_directory {
            self.enter(entry, &stat, verdict)?;
        } else {
            self.waiting.push_back(Step::Entry(Found {
                has_more_names: has_names && entry.hard_link.is_none(),
                entry,
            }));
        }
        if let Some(error) = unread {
            self.problem(path, "cannot read its extended attributes", error);
        }
        Ok(())
    }

    /// Reads the folder at once: one that vanishes before that is not told at all.
    fn enter(&mut self, entry: Entry, stat: &Statx, verdict: Verdict) -> rustix::io::Result<()> {
        let path = entry.path.clone();
        let mut names = Names::default();
        let obstacle = match self.barrier(&path, stat) {
            Some(text) => Some(text.to_owned()),
            None => match self.place.open_folder(&path) {
                Ok(fd) => match names.read(fd.as_fd()) {
                    Ok(()) => None,
                    // Removed between opening and reading.
                    Err(error) if is_gone(error) => return Ok(()),
                    Err(error) => Some(format!("cannot read the folder: {}", reason(error))),
                },
                Err(error) if is_gone(error) => return Ok(()),
                Err(error) => Some(format!("cannot open the folder: {}", reason(error))),
            },
        };
        self.waiting.push_back(Step::Entry(Found { entry: entry.clone(), has_more_names: false }));
        if let Some(text) = obstacle {
            self.waiting.push_back(Step::Problem(FileProblem { path, text }));
        }
        self.levels.push(Level { folder: entry, verdict, names });
        Ok(())
    }

    /// Why a folder is not entered, if it is not.
    fn barrier(&self, path: &RelPath, stat: &Statx) -> Option<&'static str> {
        if path.is_top() {
            return None;
        }
        let device = (stat.stx_dev_major, stat.stx_dev_minor);
        if self.keep_out == Some((device.0, device.1, stat.stx_ino)) {
            return Some("it is where the copy goes; what is in it is not taken");
        }
        if device != self.device || stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
            return Some("another file system or subvolume begins here; what is in it is not taken");
        }
        if self.is_btrfs && stat.stx_ino == BTRFS_PLACEHOLDER_INODE {
            return Some(
                "a nested subvolume was here, which is not part of the snapshot; what is in it is not taken",
            );
        }
        None
    }

    fn problem(&mut self, path: &RelPath, what: &str, error: Errno) {
        let text = format!("{what}: {}", reason(error));
        self.waiting.push_back(Step::Problem(FileProblem { path: path.clone(), text }));
    }
}

impl Iterator for Walker {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        loop {
            if let Some(step) = self.waiting.pop_front() {
                return Some(step);
            }
            if !self.begun {
                self.begun = true;
                self.visit(RelPath::top(), self.filter.top());
                continue;
            }
            let level = self.levels.last_mut()?;
            match level.names.take() {
                Some(name) => {
                    let (path, verdict) = (level.folder.path.child(name), level.verdict);
                    self.visit(path, verdict);
                }
                None => return self.levels.pop().map(|level| Step::Leave(level.folder)),
            }
        }
    }
}

/// The first name of the file in canonical order, when this is not it.
fn first_name(
    links: &mut HashMap<(u32, u32, u64), (RelPath, u32)>,
    path: &RelPath,
    stat: &Statx,
) -> Option<RelPath> {
    match links.entry((stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino)) {
        Slot::Vacant(slot) => {
            slot.insert((path.clone(), stat.stx_nlink - 1));
            None
        }
        Slot::Occupied(mut known) => {
            known.get_mut().1 -= 1;
            let all_seen = known.get().1 == 0;
            Some(if all_seen { known.remove().0 } else { known.get().0.clone() })
        }
    }
}

/// What an error number means, for a person.
pub(crate) fn reason(error: Errno) -> std::io::Error {
    error.into()
}

/// The names in an open folder, in no order.
pub(crate) fn names_in(folder: BorrowedFd<'_>) -> rustix::io::Result<Vec<Vec<u8>>> {
    let mut names = Names::default();
    names.read(folder)?;
    Ok(std::iter::from_fn(|| names.take().map(<[u8]>::to_vec)).collect())
}

/// The names in a folder, sorted, in one piece of memory.
#[derive(Debug, Default)]
struct Names {
    bytes: Vec<u8>,
    /// Where each begins and ends; the next one last.
    spans: Vec<(usize, usize)>,
}

impl Names {
    /// Reads the names; after an error, those that came before it are there.
    fn read(&mut self, folder: BorrowedFd<'_>) -> rustix::io::Result<()> {
        let mut buffer = [MaybeUninit::<u8>::uninit(); NAMES_BUFFER_BYTES];
        let mut reader = RawDir::new(folder, &mut buffer);
        let mut result = Ok(());
        while let Some(item) = reader.next() {
            let item = match item {
                Ok(item) => item,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            };
            let name = item.file_name().to_bytes();
            if name != b"." && name != b".." {
                let begin = self.bytes.len();
                self.bytes.extend_from_slice(name);
                self.spans.push((begin, self.bytes.len()));
            }
        }
        let bytes = &self.bytes;
        self.spans.sort_unstable_by(|a, b| bytes[b.0..b.1].cmp(&bytes[a.0..a.1]));
        // A folder that changes while it is read may tell a name twice.
        self.spans.dedup_by(|a, b| bytes[a.0..a.1] == bytes[b.0..b.1]);
        result
    }

    fn take(&mut self) -> Option<&[u8]> {
        let (begin, end) = self.spans.pop()?;
        Some(&self.bytes[begin..end])
    }
}
