//! Keeps still while the site stands still: events are kept in memory and told after the thaw, in their order. Whoever
//! listens may write to a terminal, a log or a socket, and any of these may be on what is frozen.

use std::sync::{Arc, Mutex, PoisonError};

use stillpoint_model::{Event, Monitor};

/// A monitor that can be held.
pub(crate) struct QuietMonitor {
    listener: Arc<dyn Monitor>,
    held: Mutex<Option<Vec<Event>>>,
}

impl QuietMonitor {
    pub(crate) fn new(listener: Arc<dyn Monitor>) -> Self {
        Self { listener, held: Mutex::new(None) }
    }

    /// From now on nothing is told.
    pub(crate) fn hold(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Vec::new);
    }

    /// Tells what was held, and everything at once again.
    pub(crate) fn let_go(&self) {
        // Told under the lock, so that no later event overtakes one that was held.
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.take().into_iter().flatten().for_each(|event| self.listener.emit(event));
    }
}

impl Monitor for QuietMonitor {
    fn emit(&self, event: Event) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *held {
            Some(events) => events.push(event),
            None => {
                drop(held);
                self.listener.emit(event);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use stillpoint_model::Phase;

    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Monitor for Heard {
        fn emit(&self, event: Event) {
            self.0.lock().unwrap().push(format!("{event:?}"));
        }
    }

    #[test]
    fn what_happens_in_the_freeze_is_told_after_it_in_order() {
        let heard = Arc::new(Heard::default());
        let monitor = QuietMonitor::new(heard.clone());
        monitor.hold();
        monitor.emit(Event::PhaseStarted { phase: Phase::Freeze });
        monitor.emit(Event::PhaseStarted { phase: Phase::Snapshot });
        assert!(heard.0.lock().unwrap().is_empty());
        monitor.let_go();
        monitor.emit(Event::PhaseStarted { phase: Phase::Thaw });
        let told = heard.0.lock().unwrap().join(" ");
        let place = |word: &str| told.find(word).unwrap();
        assert!(place("Freeze") < place("Snapshot") && place("Snapshot") < place("Thaw"));
    }
}
