//! Long work in an archive, told to the monitor of whoever asked for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use stillpoint_model::{Cancel, Event, Monitor};
use stillpoint_repository::{Amount, Watcher};

/// How often progress is told at most.
const INTERVAL: Duration = Duration::from_millis(200);

/// Tells the monitor of the work in one archive, and ends the work when it is cancelled.
pub struct ArchiveWatcher {
    archive: String,
    monitor: Arc<dyn Monitor>,
    cancel: Cancel,
    /// What becomes of what the engine found worth telling.
    notes: Box<dyn Fn(&str) + Send + Sync>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    stage: &'static str,
    total: Amount,
    done: Amount,
    told: Option<Instant>,
}

impl ArchiveWatcher {
    /// A watcher of the work in this archive.
    pub fn new(
        archive: &str,
        monitor: Arc<dyn Monitor>,
        cancel: &Cancel,
        notes: impl Fn(&str) + Send + Sync + 'static,
    ) -> Arc<Self> {
        let (archive, cancel, notes) = (archive.to_owned(), cancel.clone(), Box::new(notes));
        Arc::new(Self { archive, monitor, cancel, notes, state: Mutex::default() })
    }

    fn progress(&self, state: &State) -> Event {
        Event::Progress {
            component: None,
            activity: format!("archive {}: {}", self.archive, state.stage),
            files: state.done.items,
            bytes: state.done.bytes,
            total_bytes: (state.total.bytes > 0).then_some(state.total.bytes),
        }
    }
}

impl Watcher for ArchiveWatcher {
    fn stage(&self, name: &'static str, total: Amount) {
        let event = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            *state = State { stage: name, total, done: Amount::default(), told: Some(Instant::now()) };
            self.progress(&state)
        };
        self.monitor.emit(event);
    }

    fn advance(&self, done: Amount) {
        let event = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.done.items += done.items;
            state.done.bytes += done.bytes;
            if state.told.is_some_and(|told| told.elapsed() < INTERVAL) {
                return;
            }
            state.told = Some(Instant::now());
            self.progress(&state)
        };
        self.monitor.emit(event);
    }

    fn note(&self, text: &str) {
        (self.notes)(text);
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }
}
