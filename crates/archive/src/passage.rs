//! Taking the entries of a list one by one, in order, with the heavy part of each done by several threads.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use stillpoint_tree::{Entry, IndexAppender, IndexReader, Kind, RelPath};

use crate::ArchiveError;
use crate::content::HASH_THREADS;

/// A batch ends with this many entries, or with this many bytes of content.
const BATCH_ENTRIES: usize = 512;
const BATCH_BYTES: u64 = 64 << 20;

/// What became of an entry.
pub(crate) enum Passed {
    /// It is in the set as this; with a problem to tell, if there is one.
    Listed(Box<Entry>, Option<String>),
    /// It is not in the set; why.
    LeftOut(String),
}

/// What is done with the entries.
pub(crate) trait Treatment: Sync {
    /// Any entry, in order: a folder is made before what is in it. May give something along for the other threads.
    fn meet(&self, entry: &Entry) -> Result<Option<Entry>, ArchiveError>;
    /// Anything but a folder, in no order, by several threads, with what was given along.
    fn entry(&self, entry: Entry, along: Option<Entry>) -> Result<Passed, ArchiveError>;
    /// Tells of a problem with an entry, in order.
    fn problem(&self, path: &RelPath, text: &str);
}

/// Reads the list at `list`, treats its entries, and appends what is in the set to `target`.
pub(crate) fn pass(
    list: &Path,
    target: &mut IndexAppender,
    treatment: &dyn Treatment,
) -> Result<(), ArchiveError> {
    let mut left_out = HashSet::new();
    let mut batch = Vec::with_capacity(BATCH_ENTRIES);
    let mut bytes = 0;
    for entry in IndexReader::open(list)? {
        let entry = entry?;
        if let Kind::File(file) = &entry.kind {
            bytes += file.size;
        }
        let along = treatment.meet(&entry)?;
        batch.push((entry, along));
        if batch.len() == BATCH_ENTRIES || bytes >= BATCH_BYTES {
            settle(std::mem::take(&mut batch), target, treatment, &mut left_out)?;
            bytes = 0;
        }
    }
    settle(batch, target, treatment, &mut left_out)
}

fn settle(
    batch: Batch,
    target: &mut IndexAppender,
    treatment: &dyn Treatment,
    left_out: &mut HashSet<RelPath>,
) -> Result<(), ArchiveError> {
    for (path, passed) in treat(batch, treatment)? {
        match passed {
            Passed::Listed(entry, problem) => {
                if entry.hard_link.as_ref().is_some_and(|first| left_out.contains(first)) {
                    treatment.problem(&path, "is left out, because the file that it is another name of is");
                    continue;
                }
                target.append(&entry)?;
                if let Some(text) = problem {
                    treatment.problem(&path, &text);
                }
            }
            Passed::LeftOut(text) => {
                treatment.problem(&path, &text);
                left_out.insert(path);
            }
        }
    }
    Ok(())
}

/// Treats a batch by several threads and gives it back in order.
fn treat(batch: Batch, treatment: &dyn Treatment) -> Result<Vec<(RelPath, Passed)>, ArchiveError> {
    let slots: Vec<_> = batch
        .into_iter()
        .map(|(entry, along)| (entry.path.clone(), Mutex::new(Slot::Waiting(Box::new((entry, along))))))
        .collect();
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some((_, slot)) = slots.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
            if let Slot::Waiting(waiting) = std::mem::replace(&mut *slot, Slot::Taken) {
                let (entry, along) = *waiting;
                *slot = Slot::Done(match entry.kind {
                    Kind::Directory => Ok(Passed::Listed(Box::new(entry), None)),
                    _ => treatment.entry(entry, along),
                });
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..HASH_THREADS {
            scope.spawn(work);
        }
        work();
    });
    let done = slots.into_iter().filter_map(|(path, slot)| {
        match slot.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Slot::Done(passed) => Some(passed.map(|passed| (path, passed))),
            Slot::Waiting(_) | Slot::Taken => None,
        }
    });
    done.collect()
}

type Batch = Vec<(Entry, Option<Entry>)>;

enum Slot {
    Waiting(Box<(Entry, Option<Entry>)>),
    Taken,
    Done(Result<Passed, ArchiveError>),
}
