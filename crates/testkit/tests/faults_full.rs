//! A disk fills at every act of a real run: once the destination's, once the one with the state of runs. The site works
//! after each, the last good set is whole, nothing is left once there is room again, and the next run is complete.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at what it did not expect")]

use std::time::Duration;

use stillpoint_testkit::fault_site::{Deadlines, Disks, FaultForm, FaultSite, Layout};
use stillpoint_testkit::fault_table::{Point, place, points, try_all};
use stillpoint_testkit::{Filesystem, SmallDisk};

/// How soon a site must work after whatever happened to the program; the machine may be busy.
const WORKS_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Case {
    point: Point,
    side: &'static str,
    /// Whether the set is not even begun by then.
    is_early: bool,
}

impl Case {
    fn order(&self) -> String {
        self.point.order(self.side, "fill")
    }
}

fn start() -> FaultSite {
    let site =
        FaultSite::with(FaultForm { layout: Layout::SmallDisks, ..FaultForm::plain(Filesystem::Ext4) });
    site.acts();
    site
}

/// Right after an act is right before the next, so one side is enough, but for the last of them.
fn cases() -> Vec<Case> {
    let acts = start().acts();
    let prepare = place(&acts, "prepare/content");
    let case = |point: Point, side| {
        let is_early = point.at < prepare;
        Case { point, side, is_early }
    };
    let mut cases: Vec<Case> = points(&acts).into_iter().map(|point| case(point, "before")).collect();
    let last = points(&acts).pop().unwrap();
    cases.push(case(last, "after"));
    assert!(cases.len() > 40, "{cases:#?}");
    cases
}

fn try_case(site: &FaultSite, case: &Case, disk: impl Fn(&Disks) -> &SmallDisk) {
    let disk = disk(site.disks());
    let run = site.run_filling(disk, &case.order());
    assert!(disk.filler().exists(), "the disk was never filled: {:#?}", run.finished);
    site.assert_works(WORKS_WITHIN);
    // The last good one, or the new one.
    let verified = site.run(Deadlines::Patient, None, &["verify", &site.set().to_string_lossy()]);
    assert_eq!(verified.finished.code, Some(0), "the set on a full disk: {:#?}", verified.finished);
    let (code, told) = (run.finished.code, &run.finished.stdout);
    match code {
        // What was not needed any more made room for the rest, or nothing more was to be written.
        Some(0 | 3) => assert!(!case.is_early, "nobody noticed: {:#?}", run.finished),
        // There is no room, which is no fault of a component's.
        _ => {
            assert_eq!(code, Some(12), "{:#?}", run.finished);
            assert!(told.contains("No space left") && run.told(5060), "{:#?}", run.finished);
        }
    }
    disk.free();
    let healing = site.run(Deadlines::Patient, None, &["reconcile"]);
    assert_eq!(healing.finished.code, Some(0), "{:#?}", healing.finished);
    site.assert_no_process_is_left();
    let left = site.leftovers();
    assert!(left.is_empty(), "left behind: {left:#?}");
    let next = site.run(Deadlines::Patient, None, &["backup"]);
    assert_eq!(next.finished.code, Some(0), "the next run: {:#?}", next.finished);
}

#[test]
fn a_destination_that_fills_at_any_act_costs_the_run_and_nothing_else() {
    let try_case = |site: &mut FaultSite, case: &Case| try_case(site, case, |disks| &disks.destination);
    try_all("full destination", &cases(), Case::order, start, try_case);
}

#[test]
fn a_disk_with_the_state_of_runs_that_fills_at_any_act_costs_the_run_and_nothing_else() {
    let try_case = |site: &mut FaultSite, case: &Case| try_case(site, case, |disks| &disks.state);
    try_all("full state", &cases(), Case::order, start, try_case);
}
