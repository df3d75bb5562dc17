//! What a writer or provider is handed for its work: who it is, where it may write, until when, and whom it tells.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::{ComponentName, Event, Monitor, RunId, SiteCode, Undo};

/// A point in monotonic time by which an act must be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// The deadline that lies `wait` ahead.
    pub fn after(wait: Duration) -> Self {
        Self(Instant::now() + wait)
    }

    /// The deadline at `instant`.
    pub fn at(instant: Instant) -> Self {
        Self(instant)
    }

    /// The instant itself.
    pub fn instant(self) -> Instant {
        self.0
    }

    /// What is left; zero once it has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    pub fn passed(self) -> bool {
        self.remaining().is_zero()
    }
}

/// Tells long work to end soon. Cloned freely; once set it stays set.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks all who look to end.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether somebody asked to end.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Stands for one registered undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// An undo that could not be registered; the act it belongs to must not be done.
#[derive(Debug, thiserror::Error)]
#[error("cannot register the undo \"{undo}\" before acting: {reason}")]
pub struct UndoError {
    /// What was to be registered.
    pub undo: String,
    /// Why it could not be.
    pub reason: String,
}

/// Where undos are registered: with the guard, and in the journal.
pub trait UndoLog: Send + Sync {
    /// Registers `undo`. When this returns, it will be done if we die. Until the first freeze it is also on disk; while
    /// the site stands still it is in the memory of the guard only, so what a freeze needs is registered in
    /// [`crate::Writer::prepare`] or [`crate::Writer::poise`].
    fn intend(&self, undo: Undo) -> Result<Ticket, UndoError>;

    /// Tells that the act was taken back in the ordinary way, so the undo is no longer needed.
    fn settle(&self, ticket: Ticket);
}

/// The surroundings of one component in one run.
#[derive(Clone)]
pub struct Context {
    /// The site.
    pub site: SiteCode,
    /// The run.
    pub run: RunId,
    /// The component that acts.
    pub component: ComponentName,
    /// A private, existing, empty folder on the file system of the destination, inside the set that is being built. What
    /// is left in it when the run ends is removed.
    pub workspace: PathBuf,
    /// The same component's content in the last good set, if there is one.
    pub previous: Option<StoredPrevious>,
    /// Where undos are registered.
    pub undos: Arc<dyn UndoLog>,
    /// Who is told.
    pub monitor: Arc<dyn Monitor>,
    /// Set when the run is to end early.
    pub cancel: Cancel,
}

/// Where the content of the same component lies in the last good set: unchanged files are shared with it.
#[derive(Debug, Clone)]
pub struct StoredPrevious {
    /// The folder with the files.
    pub folder: PathBuf,
    /// The list of its entries (`stillpoint_tree::IndexReader`).
    pub index: PathBuf,
}

impl Context {
    /// Tells the monitor of a problem of this component that does not stop the run.
    pub fn problem(&self, text: impl Into<String>) {
        self.monitor.emit(Event::Problem(crate::Problem {
            component: Some(self.component.clone()),
            path: None,
            text: text.into(),
        }));
    }
}
