//! Telling how far long work is, a few times a second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use stillpoint_model::{ComponentName, Event, Monitor};

/// At most five times a second.
const PERIOD: Duration = Duration::from_millis(200);

/// Counts and tells.
pub(crate) struct Pulse {
    monitor: Arc<dyn Monitor>,
    component: Option<ComponentName>,
    activity: &'static str,
    total_bytes: Option<u64>,
    files: AtomicU64,
    bytes: AtomicU64,
    told: Mutex<Instant>,
}

impl Pulse {
    pub fn new(
        monitor: &Arc<dyn Monitor>,
        component: Option<ComponentName>,
        activity: &'static str,
        total_bytes: Option<u64>,
    ) -> Self {
        Self {
            monitor: Arc::clone(monitor),
            component,
            activity,
            total_bytes,
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            told: Mutex::new(Instant::now()),
        }
    }

    /// Adds to what was done.
    pub fn advance(&self, files: u64, bytes: u64) {
        let files = self.files.fetch_add(files, Ordering::Relaxed) + files;
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        // Whoever finds it taken leaves the telling to the one who has it.
        let Ok(mut told) = self.told.try_lock() else { return };
        if told.elapsed() < PERIOD {
            return;
        }
        *told = Instant::now();
        drop(told);
        self.monitor.emit(Event::Progress {
            component: self.component.clone(),
            activity: self.activity.to_owned(),
            files,
            bytes,
            total_bytes: self.total_bytes,
        });
    }

    /// What was done: files and bytes.
    pub fn done(&self) -> (u64, u64) {
        (self.files.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}
