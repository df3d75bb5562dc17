//! Drives writers through the phases of one epoch, and takes everything back when something goes wrong.
//!
//! `phases` is the pure state machine, `driver` acts it out, `journal` is the durable record, `guard` the process that
//! survives us, `intents` the undos that are open, `undo` carries them out, `reconcile` heals what a dead run left, `lock`
//! says whose turn it is, `grade` how good the result may be called, `quiet` keeps still while the site stands still.

mod api;
mod driver;
mod grade;
mod guard;
mod intents;
mod journal;
mod lock;
mod phases;
mod quiet;
mod reconcile;
mod undo;

pub use api::{ActHook, Component, NoHook, Participant, RunReport, RunSettings, Stage, StageError};
pub use driver::run;
pub use guard::guard_main;
pub use lock::{StateFolder, StateLock};
pub use reconcile::{ReconcileReport, ThawedByGuard, reconcile, reconcile_forgetting};
