//! What stands between a component's data and the disk: the watch over free space, the wish to end, and progress.

use std::sync::{Mutex, PoisonError};

use stillpoint_model::{Cancel, Context, ErrorKind};
use stillpoint_tree::{Progress, TreeError};

use crate::ArchiveError;
use crate::progress::Pulse;
use crate::space::SpaceWatch;

/// Asked before each step; refuses when the run is to end or the room is used up.
pub(crate) struct Feed<'a> {
    cancel: &'a Cancel,
    watch: &'a SpaceWatch,
    pulse: Pulse,
    refusal: Mutex<Option<ArchiveError>>,
}

impl<'a> Feed<'a> {
    pub fn new(context: &'a Context, watch: &'a SpaceWatch) -> Self {
        let pulse = Pulse::new(&context.monitor, Some(context.component.clone()), "capture", None);
        Self { cancel: &context.cancel, watch, pulse, refusal: Mutex::default() }
    }

    /// Tells that files and bytes came in, and asks whether to go on.
    pub fn take(&self, files: u64, bytes: u64) -> Result<(), ArchiveError> {
        if self.cancel.is_cancelled() {
            return Err(ArchiveError::new(ErrorKind::Cancelled, "cancelled"));
        }
        self.pulse.advance(files, bytes);
        self.watch.advance(bytes)
    }

    /// What ended the work of the tree crate: our own refusal, if it was one.
    pub fn explain(&self, error: TreeError) -> ArchiveError {
        let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take();
        refusal.unwrap_or_else(|| error.into())
    }
}

impl Progress for Feed<'_> {
    fn advance(&self, files: u64, bytes: u64) -> bool {
        match self.take(files, bytes) {
            Ok(()) => true,
            Err(error) => {
                *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                false
            }
        }
    }
}
