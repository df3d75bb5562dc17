//! Tells how the first pass goes on, and ends it when it must end.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use stillpoint_model::{Context, Deadline, Event, ProviderError};
use stillpoint_tree::{Progress, TreeError};

use super::take::tree_error;

const TOLD_EVERY: Duration = Duration::from_millis(300);

/// The progress of one first pass.
pub(super) struct PassProgress<'a> {
    context: &'a Context,
    deadline: Deadline,
    files: AtomicU64,
    bytes: AtomicU64,
    told: Mutex<Instant>,
}

impl<'a> PassProgress<'a> {
    pub(super) fn new(context: &'a Context, deadline: Deadline) -> Self {
        let (files, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { context, deadline, files, bytes, told: Mutex::new(Instant::now()) }
    }

    /// The error of a pass: one that we ended ourselves because it was late is called so.
    pub(super) fn explain(&self, error: TreeError, source: &Path) -> ProviderError {
        match error {
            TreeError::Cancelled if !self.context.cancel.is_cancelled() => {
                ProviderError::Late { act: "first pass", path: source.to_path_buf() }
            }
            other => tree_error(other),
        }
    }
}

impl Progress for PassProgress<'_> {
    fn advance(&self, files: u64, bytes: u64) -> bool {
        let files = self.files.fetch_add(files, Ordering::Relaxed) + files;
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        // Whoever finds it taken leaves the telling to the other.
        if let Ok(mut told) = self.told.try_lock()
            && told.elapsed() >= TOLD_EVERY
        {
            *told = Instant::now();
            self.context.monitor.emit(Event::Progress {
                component: Some(self.context.component.clone()),
                activity: "first pass".to_owned(),
                files,
                bytes,
                total_bytes: None,
            });
        }
        !self.context.cancel.is_cancelled() && !self.deadline.passed()
    }
}
