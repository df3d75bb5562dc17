//! Every act of a real run fails, and is where the program or the program with its guard is killed, over each way to bring
//! an application to rest. After each fault the application is in the state in which it was found: it works, or it does
//! not run when it did not run before.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at what it did not expect")]

use std::time::Duration;

use stillpoint_testkit::fault_site::{Deadlines, FaultForm, FaultSite};
use stillpoint_testkit::fault_table::{Point, place, points, try_all};
use stillpoint_testkit::{Filesystem, QuietKind};

/// How soon a site must work after whatever happened to the program; the machine may be busy.
const WORKS_WITHIN: Duration = Duration::from_secs(20);

#[derive(Debug)]
struct Case {
    point: Point,
    side: &'static str,
    fault: &'static str,
}

impl Case {
    fn order(&self) -> String {
        self.point.order(self.side, self.fault)
    }
}

/// These faults at every act of the application, and the death of the program at all acts between which it may be at rest.
/// The rest of a run knows nothing of how an application is quieted; `faults.rs` has it.
fn cases(acts: &[String], own_faults: &'static [&'static str]) -> Vec<Case> {
    let (first, last) = (place(acts, "poise/app"), place(acts, "disarm"));
    let mut cases = Vec::new();
    for point in points(acts) {
        let is_own = point.act.ends_with("/app");
        let (sides, faults): (&[_], &[_]) = match is_own {
            true => (&["before", "after"], own_faults),
            // Right after an act is right before the next.
            false if (first..=last).contains(&point.at) => (&["before"], &["kill"]),
            false => continue,
        };
        let all = sides.iter().flat_map(|side| faults.iter().map(move |fault| (*side, *fault)));
        cases.extend(all.map(|(side, fault)| Case { point: point.clone(), side, fault }));
    }
    cases
}

fn try_case(site: &FaultSite, case: &Case) {
    let run = site.run(Deadlines::Patient, Some(&case.order()), &["backup"]);
    let killed = FaultSite::was_killed(&run.finished);
    assert_eq!(killed, case.fault == "kill" || case.fault == "kill-both", "{:#?}", run.finished);
    if case.fault != "kill-both" {
        site.assert_works(WORKS_WITHIN);
    }
    let next = site.run(Deadlines::Patient, None, &["backup"]);
    assert_eq!(next.finished.code, Some(0), "the next run: {:#?}", next.finished);
    site.assert_works(WORKS_WITHIN);
    site.assert_no_process_is_left();
    let left = site.leftovers();
    assert!(left.is_empty(), "left behind: {left:#?}");
}

fn sweep(quiet: QuietKind, runs: bool, own_faults: &'static [&'static str]) {
    let form = FaultForm { quiet, runs, ..FaultForm::plain(Filesystem::Ext4) };
    let start = || {
        let site = FaultSite::with(form);
        site.acts();
        site
    };
    let cases = cases(&start().acts(), own_faults);
    assert!(cases.len() > 40, "few cases: {cases:#?}");
    let table = format!("{quiet:?}, {}", if runs { "found running" } else { "found at rest" });
    try_all(&table, &cases, Case::order, start, |site, case| try_case(site, case));
}

#[test]
fn an_application_that_is_stopped_runs_again_after_any_fault() {
    sweep(QuietKind::Stop, true, &["fail", "kill", "kill-guard", "kill-both"]);
}

#[test]
fn an_application_that_rests_by_its_own_command_goes_on_after_any_fault() {
    sweep(QuietKind::Command, true, &["fail", "kill", "kill-both"]);
}

#[test]
fn an_application_that_was_found_at_rest_is_left_at_rest_after_any_fault() {
    // Nothing is held, so a guard has nothing to do.
    sweep(QuietKind::Stop, false, &["fail", "kill"]);
}
