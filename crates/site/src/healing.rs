//! Telling what was healed of a dead run: the same at the start of a backup and of a recovery.

use stillpoint_coordinator::ReconcileReport;
use stillpoint_model::status::{MessageId, id};

/// Tells what was healed, what was not, and what the guard had to do.
pub(crate) fn tell(report: &ReconcileReport, status: &dyn Fn(MessageId, &[&str])) {
    let run = report.run.as_ref().map_or("?", |run| run.as_str());
    if let Some(thawed) = &report.thawed_by_guard {
        status(id::GUARD_THAWED, &[thawed.cause, &thawed.undos.join("; ")]);
    }
    if !report.healed.is_empty() {
        status(id::RUN_RECONCILED, &[run, &report.healed.join("; ")]);
    }
    for what in &report.left {
        status(id::LEFTOVERS_NOT_REMOVED, &[what, "it is tried again by the next run"]);
    }
    if !report.failed.is_empty() {
        status(id::SITE_NOT_THAWED, &[&report.failed.join("; ")]);
    }
}
