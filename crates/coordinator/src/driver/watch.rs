//! A limit for what is done on the driver's own thread while the site works: a destination or a disk that hangs would keep
//! the run, and with it the lock, for ever. Nothing in this process can end that, so the guard does: it ends the process
//! and takes back what the run left. What was not done is told before, by a thread of its own.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use stillpoint_model::{Event, Monitor, Problem};

use super::Act;
use crate::intents::Intents;
use crate::quiet::QuietMonitor;

/// How long after the limit the guard ends the process. The site works, so there is no hurry.
const GRACE: Duration = Duration::from_secs(2);

/// Ends with its value, unless the window was opened meanwhile: that has its own limit.
pub(super) struct Watch {
    intents: Arc<Intents>,
    act: Act,
    /// What tells the thread that it is done; nothing once this has ended.
    done: Option<Sender<()>>,
}

impl Watch {
    /// Begins to watch. Without a guard nobody does: nothing depends on it.
    pub(super) fn begin(
        intents: &Arc<Intents>,
        monitor: &Arc<QuietMonitor>,
        act: Act,
        name: String,
        limit: Duration,
    ) -> Self {
        // A lost guard is noticed by whoever needs it.
        let _ = intents.guard().open_window(limit + GRACE);
        let (done, waits) = channel();
        let monitor = monitor.clone();
        let tell = move || {
            if waits.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                let text =
                    format!("{name} was not done within {limit:?}; if it hangs, the guard ends this run");
                monitor.emit(Event::Problem(Problem { component: None, path: None, text }));
            }
        };
        // Without a thread nobody tells; the guard ends the run all the same.
        let _ = std::thread::Builder::new().name("watch".to_owned()).stack_size(256 * 1024).spawn(tell);
        Self { intents: intents.clone(), act, done: Some(done) }
    }
}

impl Watch {
    /// Ends, and says whether the guard took it in. One that did not is ended, and noticed by whoever needs it.
    pub(super) fn end(&mut self) -> Result<(), String> {
        match self.done.take() {
            Some(_) if self.act != Act::Arm => self.intents.guard().close_window(),
            _ => Ok(()),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.end();
    }
}
