//! Merging what a component brought, in several calls, into its one list in canonical order.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::path::{Path, PathBuf};

use stillpoint_model::ErrorKind;
use stillpoint_tree::{
    BLOCK_RULE_SIZE, Entry, IndexAppender, IndexReader, Kind, RelPath, TreeError, read_entry,
};

use crate::ArchiveError;
use crate::disk::hex;
use crate::relpath::{join, within};
use crate::sums::SumsAppender;

/// A tree that a component brought.
#[derive(Debug)]
pub(crate) struct ListPart {
    /// Where in the component it lies.
    pub prefix: RelPath,
    /// The list of its entries, relative to its own top.
    pub list: PathBuf,
}

/// What a list holds.
#[derive(Debug, Default)]
pub(crate) struct ListTotals {
    pub entries: u64,
    pub files: u64,
    pub bytes: u64,
    pub sha256: [u8; 32],
}

type Entries = Peekable<Box<dyn Iterator<Item = Result<Entry, TreeError>>>>;

/// Writes the list at `target` from `parts` and the single files `streams`, and a line of `sums` for each stored file.
/// Folders on the way to a part that no part listed are listed as they lie in `folder`, the component's own.
pub(crate) fn merge(
    folder: &Path,
    parts: &[ListPart],
    mut streams: Vec<Entry>,
    target: &Path,
    sums: &mut SumsAppender,
    sums_folder: &[&[u8]],
) -> Result<ListTotals, ArchiveError> {
    streams.sort_by(|one, other| one.path.cmp(&other.path));
    let mut sources: Vec<Entries> = Vec::with_capacity(parts.len() + 1);
    for part in parts {
        let prefix = part.prefix.clone();
        let entries =
            IndexReader::open(&part.list)?.map(move |entry| entry.map(|entry| moved(entry, &prefix)));
        sources.push((Box::new(entries) as Box<dyn Iterator<Item = _>>).peekable());
    }
    sources.push((Box::new(streams.into_iter().map(Ok)) as Box<dyn Iterator<Item = _>>).peekable());
    let mut list = Appender {
        folder,
        list: IndexAppender::create(target)?,
        sums,
        sums_folder,
        above: Vec::new(),
        last: None,
        totals: ListTotals::default(),
    };
    while let Some(entry) = smallest(&mut sources)? {
        list.append(&entry)?;
    }
    list.append_missing(&RelPath::top())?;
    let (entries, sha256) = list.list.finish()?;
    Ok(ListTotals { entries, sha256, ..list.totals })
}

/// The entry as the component has it.
fn moved(mut entry: Entry, prefix: &RelPath) -> Entry {
    if !prefix.is_top() {
        entry.path = join(prefix, &entry.path);
        entry.hard_link = entry.hard_link.map(|first| join(prefix, &first));
    }
    entry
}

fn smallest(sources: &mut [Entries]) -> Result<Option<Entry>, ArchiveError> {
    let mut best: Option<usize> = None;
    for at in 0..sources.len() {
        let (before, after) = sources.split_at_mut(at);
        let better = match (after[0].peek(), best.and_then(|best| before[best].peek())) {
            (None, _) => false,
            (Some(Err(_)), _) | (Some(_), None) => true,
            (Some(Ok(one)), Some(Ok(other))) => one.path.cmp(&other.path) == Ordering::Less,
            (Some(_), Some(Err(_))) => false,
        };
        if better {
            best = Some(at);
        }
    }
    Ok(best.and_then(|at| sources[at].next()).transpose()?)
}

struct Appender<'a> {
    folder: &'a Path,
    list: IndexAppender,
    sums: &'a mut SumsAppender,
    sums_folder: &'a [&'a [u8]],
    /// The folders that the last entry lies in, the top first, that entry included if it is one.
    above: Vec<RelPath>,
    last: Option<(RelPath, bool)>,
    totals: ListTotals,
}

impl Appender<'_> {
    fn append(&mut self, entry: &Entry) -> Result<(), ArchiveError> {
        let is_folder = entry.kind == Kind::Directory;
        if let Some((path, was_folder)) = &self.last
            && *path == entry.path
        {
            if is_folder && *was_folder {
                return Ok(());
            }
            let text = format!("{} was brought twice for the same component", entry.path);
            return Err(ArchiveError::new(ErrorKind::Bug, text));
        }
        if let Some(parent) = entry.path.parent() {
            self.append_missing(&parent)?;
        }
        self.write(entry)
    }

    /// Lists `path` and the folders that it lies in, as far as they are not listed.
    fn append_missing(&mut self, path: &RelPath) -> Result<(), ArchiveError> {
        while self.above.last().is_some_and(|folder| !within(path, folder)) {
            self.above.pop();
        }
        if self.above.last() == Some(path) {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.append_missing(&parent)?;
        }
        let listed = read_entry(self.folder, path)?;
        let folder = listed.filter(|entry| entry.kind == Kind::Directory).ok_or_else(|| {
            ArchiveError::new(
                ErrorKind::Bug,
                format!("{} of the set being built is no folder", path.under(self.folder).display()),
            )
        })?;
        self.write(&Entry { origin: None, ..folder })
    }

    fn write(&mut self, entry: &Entry) -> Result<(), ArchiveError> {
        self.list.append(entry)?;
        let is_folder = entry.kind == Kind::Directory;
        if is_folder {
            self.above.push(entry.path.clone());
        }
        self.last = Some((entry.path.clone(), is_folder));
        let Kind::File(file) = &entry.kind else { return Ok(()) };
        if entry.hard_link.is_some() {
            return Ok(());
        }
        self.totals.files += 1;
        self.totals.bytes += file.size;
        let hash = file.sha256.ok_or_else(|| {
            ArchiveError::new(ErrorKind::Bug, format!("{} was brought without its hash", entry.path))
        })?;
        if file.size < BLOCK_RULE_SIZE {
            let mut parts = self.sums_folder.to_vec();
            parts.push(entry.path.as_bytes());
            self.sums.append(&hex(&hash), &parts)?;
        }
        Ok(())
    }
}
