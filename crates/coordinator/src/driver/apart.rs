//! The site's own acts, each on a thread of its own: what they touch, the destination above all, may not answer, and then
//! the run must end all the same.
//!
//! What was given up is never followed by another of its kind, registers no undo any more, and is told by its cancel that
//! it must not publish. What it registered before stays open, for reconcile: it may still put something there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicU8;

use super::*;

const BUSY: u8 = 0;
const ENDED: u8 = 1;
const ABANDONED: u8 = 2;

/// What is known of the act of the site's own that is under way.
#[derive(Default)]
pub(super) struct Apart {
    state: Arc<AtomicU8>,
    /// Set once one hangs, for good.
    hangs: Arc<AtomicBool>,
}

impl Apart {
    /// Gives up on the act that is under way; false when it ended in this moment, and its end is on the way.
    pub(super) fn abandon(&self) -> bool {
        let given_up = exchange(&self.state, ABANDONED);
        self.hangs.fetch_or(given_up, Ordering::SeqCst);
        given_up
    }
}

/// From busy to `next`; false when it was not busy any more.
fn exchange(state: &AtomicU8, next: u8) -> bool {
    state.compare_exchange(BUSY, next, Ordering::SeqCst, Ordering::SeqCst).is_ok()
}

/// What an act does; it gets its cancel.
type Work = Box<dyn FnOnce(&Cancel) -> Result<(), ActError> + Send>;

impl Driver {
    /// Begins an act of the site's own.
    pub(super) fn begin_apart(&mut self, act: Act, name: String) {
        let deadlines = &self.settings.deadlines;
        let wait = match act {
            Act::Seal => deadlines.capture,
            // What it takes back is what prepare and capture built.
            Act::Tidy => deadlines.prepare,
            _ => deadlines.identify,
        };
        let (wait, cancel, work) = (wait.duration(), Cancel::default(), self.work(act));
        self.apart.state = Arc::new(AtomicU8::new(BUSY));
        let (state, hook, tell) = (self.apart.state.clone(), self.settings.hook.clone(), self.tell.clone());
        let (deadline, held) = (Instant::now() + wait, Arc::default());
        self.pending.push(Pending { act, deadline, wait, cancel: cancel.clone(), held });
        let perform = move || {
            let begun = Instant::now();
            let done = catch_unwind(AssertUnwindSafe(|| {
                hook.before(&name).map_err(ActError::Text)?;
                work(&cancel)?;
                hook.after(&name).map_err(ActError::Text)
            }));
            let done = done.unwrap_or_else(|panic| Err(ActError::Panic(actor::panic_text(&*panic))));
            if exchange(&state, ENDED) {
                // Nobody listens when the run is over.
                let result = done.map(|()| Output::Nothing);
                let _ = tell.send(Ended { act, result, elapsed: begun.elapsed() });
            }
        };
        if let Err(error) = std::thread::Builder::new().name("site".to_owned()).spawn(perform) {
            let result = Err(ActError::Text(format!("no thread can be started: {error}")));
            let _ = self.tell.send(Ended { act, result, elapsed: Duration::ZERO });
        }
    }

    fn work(&self, act: Act) -> Work {
        let (stage, intents) = (self.stage.clone(), self.intents.clone());
        match act {
            Act::Preflight => {
                let abandoned = self.apart.hangs.clone();
                let undos = OwnIntents { intents, owner: None, component: None, abandoned };
                let workspaces = self.workspaces.clone();
                Box::new(move |_| {
                    stage.preflight(&undos).map_err(ActError::Stage)?;
                    for folder in workspaces.iter().filter(|_| !undos.abandoned.load(Ordering::SeqCst)) {
                        std::fs::create_dir_all(folder)
                            .map_err(|error| crate::lock::io_error("create the folder", folder, error))
                            .map_err(ActError::Stage)?;
                    }
                    Ok(())
                })
            }
            Act::Identified => {
                let described = |known: &Known| Some((known.name.clone(), known.description.clone()?));
                let components: Vec<_> = self.known.iter().filter_map(described).collect();
                Box::new(move |_| stage.identified(&components).map_err(ActError::Stage))
            }
            Act::Seal => {
                let report = self.report();
                Box::new(move |cancel| {
                    stage.seal(&report, cancel).map_err(ActError::Stage)?;
                    // The set is published: nothing of what led to it is to be taken back.
                    intents.settle_all(None);
                    Ok(())
                })
            }
            _ => {
                // Beside what hangs nothing is settled.
                let hangs = self.apart.hangs.load(Ordering::SeqCst);
                let settle = !hangs && !self.actors.iter().any(Actor::is_abandoned);
                Box::new(move |_| {
                    if hangs {
                        // Nor removed: a publish that goes on late must not find half of its set gone. This process
                        // is the only one that can bring it about, so whoever comes after its end may remove it.
                        return Ok(());
                    }
                    let failures = intents.carry_out(None, &[Urgency::Thaw, Urgency::Release], settle);
                    if failures.is_empty() { Ok(()) } else { Err(ActError::Text(failures.join("; "))) }
                })
            }
        }
    }
}
