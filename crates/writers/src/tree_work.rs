//! What the writers share that put file trees back: progress, the deadline and errors.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use stillpoint_model::{Context, Deadline, Event, WriterError};
use stillpoint_tree::{Progress, TreeError};

/// How often progress is told.
const TELL_INTERVAL: Duration = Duration::from_millis(300);

/// Tells the monitor how work on a tree goes on, and ends it at the deadline or when the run is cancelled.
pub struct Advance<'a> {
    context: &'a Context,
    deadline: Deadline,
    activity: &'static str,
    files: AtomicU64,
    bytes: AtomicU64,
    told: Mutex<Instant>,
}

impl<'a> Advance<'a> {
    /// For work that is called `activity`, such as `put back`.
    pub fn new(context: &'a Context, deadline: Deadline, activity: &'static str) -> Self {
        let (files, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { context, deadline, activity, files, bytes, told: Mutex::new(Instant::now()) }
    }

    /// What an error of the work means: a work that we ended was late, if it was not cancelled.
    pub fn error(&self, error: TreeError) -> WriterError {
        match error {
            TreeError::Cancelled if !self.context.cancel.is_cancelled() => {
                WriterError::Late { act: self.activity.to_owned() }
            }
            other => tree_error(other),
        }
    }
}

impl Progress for Advance<'_> {
    fn advance(&self, files: u64, bytes: u64) -> bool {
        let files = self.files.fetch_add(files, Ordering::Relaxed) + files;
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        // Whoever finds it taken leaves the telling to the other.
        if let Ok(mut told) = self.told.try_lock()
            && told.elapsed() >= TELL_INTERVAL
        {
            *told = Instant::now();
            self.context.monitor.emit(Event::Progress {
                component: Some(self.context.component.clone()),
                activity: self.activity.to_owned(),
                files,
                bytes,
                total_bytes: None,
            });
        }
        !self.deadline.passed() && !self.context.cancel.is_cancelled()
    }
}

/// An error of a tree as one of a writer.
pub fn tree_error(error: TreeError) -> WriterError {
    match error {
        TreeError::Io { act, path, source } => WriterError::Io { act, path, source },
        TreeError::Cancelled => WriterError::Cancelled,
        damage @ (TreeError::Damaged { .. } | TreeError::Index { .. }) => {
            WriterError::Damaged(damage.to_string())
        }
        other => WriterError::Other(other.to_string()),
    }
}
