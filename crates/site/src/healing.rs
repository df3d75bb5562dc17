//! Telling what was healed of a dead run: the same at the start of a backup, of a recovery, and when a person asks for it.

use stillpoint_coordinator::ReconcileReport;
use stillpoint_model::status::{MessageId, id};

/// Tells what was healed, what was not, and what the guard had to do.
pub fn tell(report: &ReconcileReport, status: &mut dyn FnMut(MessageId, &[&str])) {
    let run = report.run.as_ref().map_or("?", |run| run.as_str());
    if let Some(thawed) = &report.thawed_by_guard {
        status(id::GUARD_THAWED, &[thawed.cause, &thawed.undos.join("; ")]);
    }
    if !report.healed.is_empty() {
        status(id::RUN_RECONCILED, &[run, &report.healed.join("; ")]);
    }
    if let Some(dismissed) = &report.forgotten {
        status(id::RUN_RECONCILED, &[run, &format!("dismissed by hand: {dismissed}")]);
    }
    for what in &report.left {
        status(id::LEFTOVERS_NOT_REMOVED, &[what, "it is tried again by the next run"]);
    }
    if !report.failed.is_empty() {
        status(id::SITE_NOT_THAWED, &[&report.failed.join("; ")]);
    }
}
