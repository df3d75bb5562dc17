//! The guard: a process of its own that knows every undo of a run and carries them out when the coordinator cannot.
//!
//! It is started before anything is registered, in a session of its own, so that a signal to the coordinator's process
//! group (Ctrl-C, a closed terminal, a supervisor that ends the group) does not reach it. It holds no file of the site
//! open, writes nothing, and has its memory locked: it works while every file system stands still. It acts on three
//! signs: the coordinator died, the link to it ended without a goodbye, or the window was overrun; in the last case it
//! ends the coordinator first, so that nothing is frozen again behind its back. What lets the site go on comes first;
//! what only lies about is removed when the coordinator is certainly dead, since until then it may still use it.
//!
//! Link and protocol: a pair of Unix sockets of type SEQPACKET, one JSON object a packet. Every request but
//! [`Request::Settle`] is answered, which is how the coordinator knows that the guard lives.

mod link;
mod serve;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stillpoint_model::{RunId, Undo};

pub(crate) use link::Guard;
pub use serve::guard_main;

/// The lock that a guard holds as long as it lives, in the state folder. Its content is a [`Holder`].
pub(crate) const LOCK: &str = "guard.lock";
/// What a guard did, in the state folder.
pub(crate) const REPORT: &str = "guard-report.json";
/// The largest packet: an undo is a path or a command line.
const PACKET: usize = 64 * 1024;

/// What the coordinator tells the guard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
enum Request {
    /// The first packet: whom to watch and where to report.
    Hello { coordinator: u32, run: RunId, folder: PathBuf },
    /// This undo is needed from now on.
    Arm { ticket: u64, undo: Undo },
    /// This undo is not needed any more. Not answered: it is sent while the site stands still.
    Settle { ticket: u64 },
    /// The site may be held, or an act of the driver's own may take, for so many milliseconds from now.
    OpenWindow { wait_ms: u64 },
    /// The site works, or the act was done.
    CloseWindow,
    /// The run is over and everything was taken back.
    Goodbye,
}

/// A request with its number.
#[derive(Debug, Serialize, Deserialize)]
struct Packet {
    number: u64,
    #[serde(flatten)]
    request: Request,
}

/// The answer to the request of this number.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    number: u64,
}

/// Who holds the guard's lock.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Holder {
    /// Process id of the guard.
    pub(crate) process: u32,
    /// Process id of the coordinator that it watches.
    pub(crate) coordinator: u32,
    /// The run.
    pub(crate) run: RunId,
}

/// Why a guard acted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Cause {
    /// The coordinator died.
    CoordinatorDied,
    /// The coordinator gave up the link without a goodbye.
    LinkEnded,
    /// The site was held for longer than the window, or an act of the driver's own passed its limit; the coordinator was
    /// ended.
    WindowOverrun,
    /// The guard itself failed.
    GuardFailed,
}

impl Cause {
    /// What was the matter with the run, as the end of a sentence that begins with "the run".
    pub(crate) fn of_the_run(self) -> &'static str {
        match self {
            Cause::CoordinatorDied => "died",
            Cause::LinkEnded => "gave up the link to it",
            Cause::WindowOverrun => "held the site for longer than the window, or hung",
            Cause::GuardFailed => "could not be watched any longer",
        }
    }
}

/// One undo as the guard carried it out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Healed {
    /// Its ticket.
    pub(crate) ticket: u64,
    /// What it is, in words.
    pub(crate) undo: String,
    /// Whether there was something to take back.
    pub(crate) acted: bool,
    /// Why it could not be done.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) error: Option<String>,
}

/// What a guard did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct GuardReport {
    /// The run that it watched.
    pub(crate) run: RunId,
    /// Why it acted.
    pub(crate) cause: Cause,
    /// When it began to.
    pub(crate) began: jiff::Timestamp,
    /// When it was done.
    pub(crate) ended: jiff::Timestamp,
    /// The undos that it carried out. What is not in it is left to reconcile.
    pub(crate) undos: Vec<Healed>,
}
