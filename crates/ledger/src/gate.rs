//! Where workers come to rest between two operations.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The gate that each worker passes before each operation.
pub(crate) struct Gate {
    /// Whether a worker must look closer; keeps the ordinary way free of the lock.
    shut: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Clone, Copy)]
struct State {
    quiesced: bool,
    stopping: bool,
    /// How many workers wait at the gate: none of them has an operation under way.
    resting: u32,
    workers: u32,
}

impl Gate {
    /// The open gate for a number of workers.
    pub(crate) fn new(workers: u32) -> Self {
        Self {
            shut: AtomicBool::new(false),
            state: Mutex::new(State { quiesced: false, stopping: false, resting: 0, workers }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is plain numbers, whole at every moment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while the gate is shut; `false` when the worker is to end.
    pub(crate) fn pass(&self) -> bool {
        if !self.shut.load(Ordering::SeqCst) {
            return true;
        }
        let mut state = self.lock();
        state.resting += 1;
        self.changed.notify_all();
        while state.quiesced && !state.stopping {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.resting -= 1;
        !state.stopping
    }

    /// Waits until `due`, or until the gate is shut.
    pub(crate) fn pause_until(&self, due: Instant) {
        let mut state = self.lock();
        while !state.quiesced && !state.stopping {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Shuts the gate and waits until every worker rests; opens it again when that takes longer than `timeout`.
    pub(crate) fn quiesce(&self, timeout: Duration) -> Result<(), String> {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        if state.stopping {
            return Err("it is stopping".into());
        }
        state.quiesced = true;
        self.shut.store(true, Ordering::SeqCst);
        self.changed.notify_all();
        loop {
            if state.stopping || !state.quiesced {
                return Err("it was told to go on meanwhile".into());
            }
            if state.resting == state.workers {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let busy = state.workers - state.resting;
                self.open(&mut state);
                return Err(format!("{busy} workers did not finish their operation in time; it goes on"));
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Opens the gate; no harm when it is open.
    pub(crate) fn resume(&self) {
        let mut state = self.lock();
        if !state.stopping {
            self.open(&mut state);
        }
    }

    fn open(&self, state: &mut State) {
        state.quiesced = false;
        self.shut.store(false, Ordering::SeqCst);
        self.changed.notify_all();
    }

    /// Ends every worker after its operation, also those that rest.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        state.stopping = true;
        self.shut.store(true, Ordering::SeqCst);
        self.changed.notify_all();
    }

    /// Whether workers are to end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.lock().stopping
    }

    /// Waits until workers are to end, at most `timeout`. The worker does not count as resting.
    pub(crate) fn await_stop(&self, timeout: Duration) {
        let state = self.lock();
        let waited = self.changed.wait_timeout_while(state, timeout, |state| !state.stopping);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Whether every worker rests.
    pub(crate) fn is_quiesced(&self) -> bool {
        let state = self.lock();
        state.quiesced && state.resting == state.workers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    /// Lets the workers of a failing test end.
    struct StopAtEnd<'a>(&'a Gate);

    impl Drop for StopAtEnd<'_> {
        fn drop(&mut self) {
            self.0.stop();
        }
    }

    #[test]
    fn quiesce_returns_only_when_no_operation_is_under_way() {
        let (gate, under_way, done) = (Gate::new(3), AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while gate.pass() {
                        under_way.fetch_add(1, Ordering::SeqCst);
                        std::thread::yield_now();
                        under_way.fetch_sub(1, Ordering::SeqCst);
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            let _end = StopAtEnd(&gate);
            for _ in 0..200 {
                gate.quiesce(Duration::from_secs(10)).unwrap();
                gate.quiesce(Duration::from_secs(10)).unwrap();
                let before = done.load(Ordering::SeqCst);
                assert_eq!(under_way.load(Ordering::SeqCst), 0);
                std::thread::yield_now();
                assert_eq!(done.load(Ordering::SeqCst), before);
                gate.resume();
                gate.resume();
            }
        });
        assert!(gate.quiesce(Duration::ZERO).is_err());
    }

    #[test]
    fn a_quiesce_that_takes_too_long_lets_everybody_go_on() {
        let gate = Gate::new(1);
        let refused = gate.quiesce(Duration::from_millis(5)).unwrap_err();
        assert!(refused.contains("1 workers did not finish"), "{refused}");
        assert!(gate.pass(), "the gate must be open");
    }
}
