//! Drives writers through the phases of one epoch, and takes everything back when something goes wrong: the pure state
//! machine (`phases`), the journal, the guard, the driver, and reconcile.

mod api;
mod phases;
mod undo;

pub use api::{
    ActHook, Component, NoHook, Participant, ReconcileReport, RunReport, RunSettings, Stage, StageError, StateFolder,
    StateLock, guard_main, reconcile, run,
};
