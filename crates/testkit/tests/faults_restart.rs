//! The program and its guard die at every act of a real run, and with them the machine: every process ends, of the disk with
//! destination and journal only what was synced is there, and the next boot has another id. After each the last good set is
//! whole, `reconcile` heals, the application is in the state in which it was found, and the next run is complete.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at what it did not expect")]

use std::time::Duration;

use stillpoint_testkit::fault_site::{Deadlines, FaultForm, FaultSite, Layout};
use stillpoint_testkit::fault_table::{Point, place, points, try_all};
use stillpoint_testkit::{Filesystem, QuietKind};

/// How soon a site must work after whatever happened to the program; the machine may be busy.
const WORKS_WITHIN: Duration = Duration::from_secs(20);

#[derive(Debug)]
struct Case {
    point: Point,
    side: &'static str,
    /// Whether the run has made something by then that is to be removed.
    leaves_something: bool,
    /// Whether the application is stopped by then, for certain.
    is_stopped: bool,
}

impl Case {
    fn order(&self) -> String {
        self.point.order(self.side, "kill-both")
    }
}

fn start() -> FaultSite {
    let plain = FaultForm::plain(Filesystem::Ext4);
    let site = FaultSite::with(FaultForm { quiet: QuietKind::Stop, layout: Layout::Vault, ..plain });
    site.acts();
    site
}

/// Right after an act is right before the next, so one side is enough, but for the last of them.
fn cases() -> Vec<Case> {
    let acts = start().acts();
    let (preflight, seal) = (place(&acts, "preflight"), place(&acts, "seal"));
    let (stopped, thaw) = (place(&acts, "freeze/app"), place(&acts, "thaw/app"));
    let case = |point: Point, side| Case {
        leaves_something: point.at > preflight && point.at <= seal && side == "before",
        is_stopped: point.at > stopped && point.at <= thaw,
        point,
        side,
    };
    let mut cases: Vec<Case> = points(&acts).into_iter().map(|point| case(point, "before")).collect();
    cases.push(case(points(&acts).pop().unwrap(), "after"));
    assert!(cases.len() > 40, "{cases:#?}");
    cases
}

fn try_case(site: &mut FaultSite, case: &Case) {
    let run = site.run(Deadlines::Patient, Some(&case.order()), &["backup"]);
    assert!(FaultSite::was_killed(&run.finished), "{:#?}", run.finished);
    site.restart();
    // Before anything was healed, as whoever comes in the night does.
    let verified = site.run(Deadlines::Patient, None, &["verify", &site.set().to_string_lossy()]);
    assert_eq!(verified.finished.code, Some(0), "the last good set: {:#?}", verified.finished);
    let healing = site.reconcile_after_restart();
    assert_eq!(healing.finished.code, Some(0), "{:#?}", healing.finished);
    let healed = healing.events.last().map(|event| event["healed"].to_string()).unwrap_or_default();
    assert!(!case.leaves_something || healed.contains("building"), "{:#?}", healing.finished);
    let left = site.leftovers();
    assert!(left.is_empty(), "left behind: {left:#?}");
    if case.is_stopped {
        assert!(
            site.runs(),
            "the application was found running and was not started: {:#?}",
            healing.finished
        );
        site.assert_works(WORKS_WITHIN);
    }
    // Also when it runs: a reconcile started it among mounts that nobody else can unmount.
    site.start_application();
    let next = site.run(Deadlines::Patient, None, &["backup"]);
    assert_eq!(next.finished.code, Some(0), "the next run: {:#?}", next.finished);
    assert!(!next.told(5100), "it was healed and is told again: {:#?}", next.finished);
}

#[test]
fn a_machine_that_dies_at_any_act_and_starts_again_is_healed_and_its_last_set_is_whole() {
    try_all("restart", &cases(), Case::order, start, try_case);
}
