//! Taking the entries that a pass found: their metadata always, their content into the shadow, or, in the freeze, to where
//! it gets fastest: into memory while there is room, else into a file of its own.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use stillpoint_model::{Context, Deadline, ProviderError};
use stillpoint_tree::{Entry, EntryCopier, RelPath, Timestamp, Transfer, TreeError};

use super::budget::HeldBytes;
use super::clock::Mark;
use super::delta::{Content, Fact, Here};
use super::reader::{Reader, Stat, is_absence, stat_of};
use super::shadow::Shadow;
use super::suspects::Item;

/// Larger files are not held in memory, so that one does not take the room of many.
const HELD_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Below this, a hole is not worth keeping.
const BLOCK_BYTES: u64 = 4096;
const THREADS: usize = 2;

/// Where content goes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Manner<'a> {
    /// To its place in the shadow: the tree is alive, and another pass will follow.
    Live,
    /// Into memory, or into this folder: the site stands still.
    Hold(&'a Path),
}

/// How entries are taken.
pub(super) struct Taking<'a> {
    /// The top of the tree.
    pub(super) source: &'a Path,
    /// Where the copies are.
    pub(super) shadow: &'a Path,
    /// How content is moved.
    pub(super) transfer: Transfer,
    /// When this pass began.
    pub(super) pass: Mark,
    /// Files that changed at or after this are not settled.
    pub(super) settled_before: Timestamp,
    /// Where content goes.
    pub(super) manner: Manner<'a>,
    /// When it must be done.
    pub(super) deadline: Deadline,
    /// Whom to ask whether to go on.
    pub(super) context: &'a Context,
}

/// What was taken.
#[derive(Debug)]
pub(super) struct Taken {
    /// Where.
    pub(super) path: RelPath,
    /// What is true of it.
    pub(super) fact: Fact,
    /// Whether it changed while it was taken.
    pub(super) stirred: bool,
}

impl Taking<'_> {
    /// Takes all items, which come in canonical order and whose results come in the same.
    pub(super) fn take(&self, reader: &Reader, items: &[Item]) -> Result<Vec<Taken>, ProviderError> {
        if matches!(self.manner, Manner::Live) {
            self.make_folders(items)?;
        }
        let content_of = first_names(items);
        let next = AtomicUsize::new(0);
        let failure = Mutex::new(None);
        let mut taken: Vec<(usize, Taken)> = Vec::with_capacity(items.len());
        let work = || {
            let mut hands = Hands { reader: reader.another(), copier: None };
            let mut done = Vec::new();
            while let Some((at, item)) = {
                let at = next.fetch_add(1, Ordering::Relaxed);
                items.get(at).map(|item| (at, item))
            } {
                let has_content = item.stat.is_none_or(|stat| {
                    stat.links < 2 || content_of.get(&stat.inode).is_none_or(|&a| a == at)
                });
                match self.check().and_then(|()| self.take_one(&mut hands, item, has_content)) {
                    Ok(one) => done.push((at, one)),
                    Err(error) => {
                        next.store(items.len(), Ordering::Relaxed);
                        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    }
                }
            }
            done
        };
        // A thread costs more than a few small files.
        let threads = if items.len() < 16 { 1 } else { THREADS };
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            taken.extend(work());
            for other in others {
                match other.join() {
                    Ok(done) => taken.extend(done),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        });
        if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        taken.sort_unstable_by_key(|(at, _)| *at);
        Ok(taken.into_iter().map(|(_, one)| one).collect())
    }

    fn check(&self) -> Result<(), ProviderError> {
        if self.context.cancel.is_cancelled() {
            Err(ProviderError::Cancelled)
        } else if self.deadline.passed() {
            Err(ProviderError::Late { act: "copy of what changed", path: self.source.to_path_buf() })
        } else {
            Ok(())
        }
    }

    /// Makes the folders that files will be put into, so that threads need not.
    fn make_folders(&self, items: &[Item]) -> Result<(), ProviderError> {
        let mut shadow = Shadow::open(self.shadow)?;
        for item in items {
            let Some(stat) = item.stat else { continue };
            if stat.is_folder() {
                shadow.make_folder(&item.path)?;
            }
        }
        Ok(())
    }

    fn take_one(&self, hands: &mut Hands, item: &Item, has_content: bool) -> Result<Taken, ProviderError> {
        let path = item.path.clone();
        let gone = |stirred| Taken { path: item.path.clone(), fact: Fact::Gone, stirred };
        let Some(stat) = item.stat else { return Ok(gone(false)) };
        let entry = match hands.reader.entry(&path, &stat, self.settled_before) {
            Ok(entry) => entry,
            Err(error) if is_absence(&error) => return Ok(gone(true)),
            Err(error) => {
                return Ok(self.taken(
                    item,
                    &stat,
                    bare_entry(&path),
                    Content::Lost(error.to_string()),
                    true,
                ));
            }
        };
        if !stat.is_file() {
            let content = Content::None;
            return Ok(self.taken(item, &stat, entry, content, false));
        }
        if !has_content {
            return Ok(self.taken(item, &stat, entry, Content::Elsewhere, false));
        }
        let content = match self.content(hands, &entry, &stat)? {
            Some(content) => content,
            None => return Ok(gone(true)),
        };
        let after = hands.reader.stat(&path).ok().flatten();
        let stirred = after.is_none_or(|after| !after.same(&stat));
        Ok(self.taken(item, &stat, entry, content, stirred))
    }

    fn taken(&self, item: &Item, stat: &Stat, entry: Entry, content: Content, stirred: bool) -> Taken {
        let (whole, names) = (item.whole, item.names.clone());
        let here = Here { entry, links: stat.links, whole, names, content, pass: self.pass };
        Taken { path: item.path.clone(), fact: Fact::Here(Box::new(here)), stirred }
    }

    /// Takes the content of a regular file; nothing when it is gone.
    fn content(
        &self,
        hands: &mut Hands,
        entry: &Entry,
        stat: &Stat,
    ) -> Result<Option<Content>, ProviderError> {
        let Manner::Hold(held) = self.manner else {
            return self.copy(hands, entry, self.shadow, Content::Shadow);
        };
        let is_dense = stat.allocated >= stat.size || stat.size <= BLOCK_BYTES;
        if is_dense
            && stat.size <= HELD_FILE_BYTES_MAX
            && let Some(share) = HeldBytes::take(stat.size)
        {
            return match read_all(&mut hands.reader, &entry.path, stat) {
                Ok(bytes) => Ok(Some(Content::Memory { bytes, _share: share })),
                Err(error) if is_absence(&error) => Ok(None),
                Err(error) => Ok(Some(Content::Lost(error.to_string()))),
            };
        }
        let place = Content::Held(entry.path.under(held));
        self.copy(hands, entry, held, place)
    }

    /// Copies to the same place below `target`.
    fn copy(
        &self,
        hands: &mut Hands,
        entry: &Entry,
        target: &Path,
        content: Content,
    ) -> Result<Option<Content>, ProviderError> {
        let copier = match &mut hands.copier {
            Some(copier) => copier,
            none => none.insert(EntryCopier::new(self.source, target, self.transfer).map_err(tree_error)?),
        };
        match copier.copy(&entry.path) {
            Ok(_) => Ok(Some(content)),
            Err(TreeError::Io { act, path, source }) if path.starts_with(target) => {
                Err(ProviderError::Io { act, path, source })
            }
            Err(TreeError::Io { source, .. })
                if is_absence(&source) || source.kind() == io::ErrorKind::InvalidInput =>
            {
                Ok(None)
            }
            Err(error) => Ok(Some(Content::Lost(with_causes(&error)))),
        }
    }
}

/// What one thread works with.
struct Hands {
    reader: Reader,
    copier: Option<EntryCopier>,
}

/// For each inode with several names among the items: the item that brings its content.
fn first_names(items: &[Item]) -> HashMap<u64, usize> {
    let mut first = HashMap::new();
    for (at, item) in items.iter().enumerate() {
        if let Some(stat) = item.stat.filter(|stat| stat.is_file() && stat.links > 1) {
            first.entry(stat.inode).or_insert(at);
        }
    }
    first
}

/// Reads a whole file that does not change; when it turns out to be another than was seen, what is there now is as good as
/// what was, because the caller notices.
fn read_all(reader: &mut Reader, path: &RelPath, stat: &Stat) -> io::Result<Vec<u8>> {
    let file = reader.open_file(path)?;
    if !stat_of(&file)?.is_file() {
        return Err(io::Error::from_raw_os_error(libc::ESTALE));
    }
    // No larger than HELD_FILE_BYTES_MAX.
    let mut bytes = vec![0; stat.size as usize];
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::io::pread(&file, &mut bytes[filled..], filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Stands for an entry whose metadata could not be read. It is never listed.
fn bare_entry(path: &RelPath) -> Entry {
    Entry {
        path: path.clone(),
        kind: stillpoint_tree::Kind::Fifo,
        mode: 0,
        uid: 0,
        gid: 0,
        mtime: Timestamp::default(),
        xattrs: Vec::new(),
        hard_link: None,
        origin: None,
    }
}

/// An error with all its causes, in one line.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// An error of the tree crate as ours.
pub(super) fn tree_error(error: TreeError) -> ProviderError {
    match error {
        TreeError::Io { act, path, source } => ProviderError::Io { act, path, source },
        TreeError::Cancelled => ProviderError::Cancelled,
        other => ProviderError::Other(with_causes(&other)),
    }
}

/// Where the files lie that are held outside memory, beside the shadow.
pub(super) fn held_folder(shadow: &Path) -> PathBuf {
    shadow.with_extension("held")
}
