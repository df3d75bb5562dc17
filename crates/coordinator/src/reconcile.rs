//! Healing what a dead run left: after a crash, a SIGKILL, a power cut. The journal says what was intended and not settled;
//! the guard's report says what the guard did about it already; the rest is carried out here. All of it is harmless when
//! done twice, so a reconcile that dies is simply done again.

use std::io::Read;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use stillpoint_model::{ErrorKind, RunId, Ticket, Undo, Urgency};

use crate::guard::{GuardReport, Holder, LOCK, REPORT};
use crate::journal::{self, Found, Journal, Record, Sync};
use crate::lock::{io_error, open_lock};
use crate::undo::{Commands, Undone, boot_id, execute_all, in_order};
use crate::{StageError, StateFolder, StateLock};

/// How long a guard that is still at work is waited for, before what only lies about is removed beside it.
const GUARD_LIMIT: Duration = Duration::from_secs(30);

/// What a reconcile found and did.
#[derive(Debug, Default)]
pub struct ReconcileReport {
    /// The run whose leftovers were found.
    pub run: Option<RunId>,
    /// What was undone, one sentence each.
    pub healed: Vec<String>,
    /// What could not be undone although the site may not work without it, one sentence each, with the ticket.
    pub failed: Vec<String>,
    /// What could not be undone and only lies about (a folder, a snapshot), one sentence each. It is tried again by the
    /// next reconcile; a run may begin.
    pub left: Vec<String>,
    /// What was tried once more, failed, and was dismissed because somebody said so.
    pub forgotten: Option<String>,
    /// What the guard did, if it had to let the site go on.
    pub thawed_by_guard: Option<ThawedByGuard>,
}

/// The guard let a site go on that the run held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThawedByGuard {
    /// What was the matter with the run, such as `died`.
    pub cause: &'static str,
    /// What the guard took back, one sentence each; never empty.
    pub undos: Vec<String>,
}

/// Heals what a dead run left, from the journal and the guard's report. Call it holding the lock. An error means that the
/// journal cannot be read or written.
pub fn reconcile(state: &StateFolder, lock: &StateLock) -> Result<ReconcileReport, StageError> {
    heal(state, lock, None)
}

/// As [`reconcile`], but the undo with this ticket, when it fails once more, counts as done: its unit or program is gone for
/// good, and a person has put the site right. Else no run could ever begin again. An error, too, when no such undo is open.
pub fn reconcile_forgetting(
    state: &StateFolder,
    lock: &StateLock,
    ticket: Ticket,
) -> Result<ReconcileReport, StageError> {
    heal(state, lock, Some(ticket))
}

fn unknown(ticket: Ticket) -> StageError {
    StageError {
        kind: ErrorKind::Usage,
        text: format!("no undo with ticket {} is open", ticket.0),
        hint: Some("`stillpoint reconcile` tells the ticket of each that fails.".to_owned()),
        source: None,
    }
}

fn heal(
    state: &StateFolder,
    lock: &StateLock,
    forget: Option<Ticket>,
) -> Result<ReconcileReport, StageError> {
    debug_assert!(lock.is_of(state), "the lock is of another state folder");
    let path = state.path().join(journal::NAME);
    let found = journal::read(state.path()).map_err(|error| io_error("read", &path, error))?;
    if let Some(ticket) = forget {
        let open = found.as_ref().map(Found::unsettled).unwrap_or_default();
        if !open.iter().any(|(found, ..)| *found == ticket) {
            return Err(unknown(ticket));
        }
    }
    let Some(found) = found else { return Ok(ReconcileReport::default()) };
    let mut healing = Healing::new(&found);
    healing.forget = forget;
    healing.take_report(state);
    if healing.open.is_empty() && healing.settled.is_empty() && found.is_closed() {
        retire_report(state);
        return Ok(ReconcileReport::default());
    }
    // At once, beside a guard that may be at it: both do no harm to each other.
    healing.carry_out(Urgency::Thaw);
    wait_for_guard(state);
    healing.take_report(state);
    healing.carry_out(Urgency::Release);
    let mut report = healing.report;
    for line in &found.damaged {
        report
            .failed
            .push(format!("line {line} of {} is damaged: what it held is not known", path.display()));
    }
    let records = healing.settled.iter().map(|ticket| Record::Settled { ticket: ticket.0 });
    let failed = report.failed.iter().chain(&report.left).cloned().collect();
    let last = Record::Reconciled { healed: report.healed.clone(), failed };
    let written = Journal::resume(state.path(), &found).and_then(|journal| {
        records.into_iter().try_for_each(|record| journal.append(record, Sync::Later))?;
        journal.append(last, Sync::Before)
    });
    written.map_err(|error| io_error("write", &path, error))?;
    retire_report(state);
    Ok(report)
}

struct Healing {
    open: Vec<(Ticket, Undo)>,
    settled: Vec<Ticket>,
    /// Of the settled those where nothing was left to do.
    idle: Vec<Ticket>,
    /// The tickets of what held the site.
    thaws: Vec<u64>,
    /// What counts as done even when it fails.
    forget: Option<Ticket>,
    report: ReconcileReport,
}

impl Healing {
    fn new(found: &Found) -> Self {
        let same_boot = found
            .lines
            .iter()
            .any(|line| matches!(&line.record, Record::RunBegun { boot, .. } if *boot == boot_id()));
        // After a restart of the machine the same process id may, with the same start time, be another process.
        let gone = |undo: &Undo| {
            let of_process = matches!(
                undo,
                Undo::KillProcess { .. } | Undo::ContinueProcess { .. } | Undo::EndGroup { .. }
            );
            !same_boot && of_process
        };
        let all = found.unsettled().into_iter().map(|(ticket, _, undo)| (ticket, undo));
        let (over, open): (Vec<_>, Vec<_>) = all.partition(|(_, undo)| gone(undo));
        let run = found.run().cloned();
        let holds = |(_, undo): &&(Ticket, Undo)| undo.urgency() == Urgency::Thaw;
        Self {
            thaws: open.iter().filter(holds).map(|(ticket, _)| ticket.0).collect(),
            open,
            settled: over.into_iter().map(|(ticket, _)| ticket).collect(),
            idle: Vec::new(),
            forget: None,
            report: ReconcileReport { run, ..ReconcileReport::default() },
        }
    }

    /// Takes off what the guard did.
    fn take_report(&mut self, state: &StateFolder) {
        let Some(guard) = read_report(state).filter(|it| Some(&it.run) == self.report.run.as_ref()) else {
            return;
        };
        for healed in guard.undos.iter().filter(|healed| healed.error.is_none()) {
            let named = |ticket: &Ticket| ticket.0 == healed.ticket;
            let (open, idle) = (self.open.len(), self.idle.len());
            self.open.retain(|(ticket, _)| !named(ticket));
            self.idle.retain(|ticket| !named(ticket));
            let (was_open, was_idle) = (open > self.open.len(), idle > self.idle.len());
            if was_open {
                self.settled.push(Ticket(healed.ticket));
            }
            if healed.acted && (was_open || was_idle) {
                self.report.healed.push(format!("{} (done by the guard at {})", healed.undo, guard.ended));
                if self.thaws.contains(&healed.ticket) {
                    let thawed = self.report.thawed_by_guard.get_or_insert_with(|| ThawedByGuard {
                        cause: guard.cause.of_the_run(),
                        undos: Vec::new(),
                    });
                    thawed.undos.push(healed.undo.clone());
                }
            }
        }
    }

    fn carry_out(&mut self, urgency: Urgency) {
        let (due, rest) =
            std::mem::take(&mut self.open).into_iter().partition(|(_, undo)| undo.urgency() == urgency);
        self.open = rest;
        let due: Vec<(Ticket, Undo)> = in_order(due);
        for ((ticket, ending), (_, undo)) in execute_all(&due, &Commands::default()).into_iter().zip(&due) {
            match ending {
                Ok(undone) => {
                    self.settled.push(ticket);
                    match undone {
                        Undone::Acted => self.report.healed.push(undo.to_string()),
                        Undone::Nothing => self.idle.push(ticket),
                    }
                }
                Err(text) if self.forget == Some(ticket) => {
                    self.settled.push(ticket);
                    self.report.forgotten = Some(text);
                }
                Err(text) if urgency == Urgency::Thaw => {
                    self.report.failed.push(format!("{text} (ticket {})", ticket.0));
                }
                Err(text) => self.report.left.push(text),
            }
        }
    }
}

fn read_report(state: &StateFolder) -> Option<GuardReport> {
    // One that cannot be read is as good as none: everything is done again.
    serde_json::from_slice(&std::fs::read(state.path().join(REPORT)).ok()?).ok()
}

/// Keeps the report of the guard for people, out of the way of the next.
fn retire_report(state: &StateFolder) {
    let path = state.path().join(REPORT);
    // There is none in most cases.
    let _ = std::fs::rename(&path, path.with_extension("previous.json"));
}

/// Waits until a guard that is still at work has ended. One that watches this very process has nothing to do yet.
fn wait_for_guard(state: &StateFolder) {
    let Ok(mut file) = open_lock(&state.path().join(LOCK)) else { return };
    let until = Instant::now() + GUARD_LIMIT;
    let mut text = String::new();
    while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() && Instant::now() < until {
        if text.is_empty() {
            // Not written yet: read again in the next round.
            let _ = file.read_to_string(&mut text);
        }
        let ours = |holder: Holder| holder.coordinator == std::process::id();
        if serde_json::from_str(&text).is_ok_and(ours) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use stillpoint_model::{EpochNumber, SiteCode};

    use super::*;

    fn begun(boot: String) -> Record {
        let (site, run): (SiteCode, RunId) = ("P01".parse().unwrap(), "r1".parse().unwrap());
        Record::RunBegun { site, run, epoch: EpochNumber(1), process: 1, boot }
    }

    fn state_with(records: Vec<Record>) -> (tempfile::TempDir, StateFolder, StateLock) {
        let root = tempfile::tempdir().unwrap();
        let state = StateFolder::open(root.path(), &"P01".parse().unwrap()).unwrap();
        let lock = state.lock(&"r2".parse().unwrap()).unwrap();
        Journal::begin(state.path(), records).unwrap();
        (root, state, lock)
    }

    fn building(root: &tempfile::TempDir) -> (std::path::PathBuf, Record) {
        let path = root.path().join("building");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join(Undo::MARKER), "r1").unwrap();
        let undo = Undo::RemoveTree { path: path.clone(), run: "r1".into() };
        (path, Record::Intent { ticket: 1, component: None, undo })
    }

    #[test]
    fn what_a_dead_run_intended_is_undone_once() {
        let (root, state, lock) = state_with(Vec::new());
        let (path, intent) = building(&root);
        Journal::begin(state.path(), vec![begun(boot_id()), intent]).unwrap();
        let report = reconcile(&state, &lock).unwrap();
        assert_eq!(report.run.unwrap().as_str(), "r1");
        assert_eq!(report.healed.len(), 1);
        assert!(!path.exists() && report.failed.is_empty());
        let again = reconcile(&state, &lock).unwrap();
        assert!(again.run.is_none() && again.healed.is_empty());
    }

    #[test]
    fn what_the_guard_did_is_told_and_not_done_again() {
        let (root, state, lock) = state_with(Vec::new());
        let (path, intent) = building(&root);
        Journal::begin(state.path(), vec![begun(boot_id()), intent]).unwrap();
        let undos =
            vec![crate::guard::Healed { ticket: 1, undo: "remove it".into(), acted: true, error: None }];
        let now = jiff::Timestamp::now();
        let cause = crate::guard::Cause::CoordinatorDied;
        let guard = GuardReport { run: "r1".parse().unwrap(), cause, began: now, ended: now, undos };
        std::fs::write(state.path().join(REPORT), serde_json::to_vec(&guard).unwrap()).unwrap();
        let report = reconcile(&state, &lock).unwrap();
        assert!(report.healed[0].contains("by the guard"), "{:?}", report.healed);
        assert!(path.exists(), "it was done again");
        assert!(reconcile(&state, &lock).unwrap().run.is_none());
    }

    #[test]
    fn a_process_of_before_the_restart_is_never_touched() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        let start_ticks =
            stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().parse().unwrap();
        let kill =
            |pid| Record::Intent { ticket: 1, component: None, undo: Undo::KillProcess { pid, start_ticks } };
        let (_root, state, lock) = state_with(vec![begun("another boot".into()), kill(child.id())]);
        reconcile(&state, &lock).unwrap();
        assert!(child.try_wait().unwrap().is_none(), "a stranger was killed");
        Journal::begin(state.path(), vec![begun(boot_id()), kill(child.id())]).unwrap();
        assert_eq!(reconcile(&state, &lock).unwrap().healed.len(), 1);
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn an_undo_that_can_never_succeed_is_dismissed_by_its_ticket_and_only_by_it() {
        let intent = |ticket, program: &str| {
            let undo = Undo::RunCommand { argv: vec![program.to_owned()], timeout_ms: 5000 };
            Record::Intent { ticket, component: None, undo }
        };
        let intents = vec![begun(boot_id()), intent(7, "/nonexistent/thaw"), intent(8, "/bin/true")];
        let (_root, state, lock) = state_with(intents);
        for _ in 0..2 {
            let failed = reconcile(&state, &lock).unwrap().failed;
            assert!(failed.len() == 1 && failed[0].ends_with("(ticket 7)"), "{failed:?}");
        }
        for wrong in [8, 9] {
            let refused = reconcile_forgetting(&state, &lock, Ticket(wrong)).unwrap_err();
            assert_eq!(refused.kind, ErrorKind::Usage);
        }
        let report = reconcile_forgetting(&state, &lock, Ticket(7)).unwrap();
        assert!(report.failed.is_empty() && report.forgotten.unwrap().contains("/nonexistent/thaw"));
        assert!(reconcile(&state, &lock).unwrap().run.is_none());
    }

    #[test]
    fn what_only_lies_about_is_left_and_tried_again() {
        let root = tempfile::tempdir().unwrap();
        let undo = Undo::DeleteSubvolume { path: root.path().to_owned() };
        let (_state_root, state, lock) =
            state_with(vec![begun(boot_id()), Record::Intent { ticket: 1, component: None, undo }]);
        for _ in 0..2 {
            let report = reconcile(&state, &lock).unwrap();
            assert!(report.failed.is_empty());
            assert_eq!(report.left.len(), 1, "{report:?}");
        }
    }
}
