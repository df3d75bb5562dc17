//! A file on its way from the archive to its place.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stillpoint_tree::{Entry, Present, RelPath, Temporary};

use crate::id::Id;

/// The names of one file, or link, or device.
#[derive(Debug)]
pub(super) struct Group {
    /// The first of them, which is restored like any other; the others become names of it.
    pub first: RelPath,
    /// What its content is, to be sure.
    pub content: Id,
    /// The first could not be restored.
    pub failed: AtomicBool,
}

/// A file whose content is still to be found out about.
#[derive(Debug)]
pub(super) struct Pending {
    pub entry: Entry,
    pub blobs: Vec<Id>,
    pub group: Option<Arc<Group>>,
    /// What is in its place.
    pub present: Option<Present>,
    /// Whether nothing can be there, because we made the folder.
    pub fresh: bool,
}

/// What of the content of a file is at hand.
#[derive(Debug)]
pub(super) enum AtHand {
    /// Nothing.
    Nothing,
    /// The file is there already, and was counted.
    All,
    /// These blobs, in the temporary file; in a dry run there is none.
    Some(Option<Temporary>, Vec<bool>),
    /// The file cannot be restored, and was told.
    Failed,
}

/// A file that is written, by several threads when it has several blobs.
#[derive(Debug)]
pub(super) struct Writing {
    pub entry: Entry,
    /// How long its content is.
    pub length: u64,
    pub group: Option<Arc<Group>>,
    state: Mutex<State>,
    /// How many pieces are still to come.
    left: AtomicUsize,
    /// Whether it was new when we began, and its last byte was written: then it has its length.
    is_new: bool,
    ends_in_data: AtomicBool,
}

#[derive(Debug, Clone)]
pub(super) enum State {
    Unopened,
    Open(Arc<Temporary>),
    /// It will not be put in place.
    Failed(Option<Arc<Temporary>>),
}

impl Writing {
    pub fn new(pending: Pending, length: u64, begun: Option<Temporary>, pieces: usize) -> Self {
        let is_new = begun.is_none();
        let state = begun.map_or(State::Unopened, |temporary| State::Open(Arc::new(temporary)));
        Self {
            entry: pending.entry,
            length,
            group: pending.group,
            state: Mutex::new(state),
            left: AtomicUsize::new(pieces),
            is_new,
            ends_in_data: AtomicBool::new(false),
        }
    }

    /// These bytes are written at `at`, but for blocks of zeros.
    pub fn wrote(&self, at: u64, bytes: &[u8]) {
        let is_last = at + bytes.len() as u64 == self.length;
        if is_last && bytes.last().is_some_and(|byte| *byte != 0) {
            self.ends_in_data.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it has its length without being told.
    pub fn ends_in_data(&self) -> bool {
        self.is_new && self.ends_in_data.load(Ordering::Relaxed)
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks it as failed. Whether it was not before.
    pub fn fail(&self) -> bool {
        if let Some(group) = &self.group {
            group.failed.store(true, Ordering::Relaxed);
        }
        let mut state = self.state();
        *state = match &*state {
            State::Failed(_) => return false,
            State::Unopened => State::Failed(None),
            State::Open(temporary) => State::Failed(Some(Arc::clone(temporary))),
        };
        true
    }

    /// One piece less. Whether it was the last.
    pub fn piece_done(&self) -> bool {
        self.left.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

/// Where a blob goes.
#[derive(Debug)]
pub(super) struct Piece {
    pub file: Arc<Writing>,
    pub at: u64,
}
