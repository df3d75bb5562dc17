//! The fault table over the whole program: every act of a real run fails, hangs, and is where the program, its guard, or
//! both are killed. After each fault the site works, nothing is left behind, the last good set is whole, the next run is
//! complete, and what happened was told.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at what it did not expect")]

use std::time::Duration;

use stillpoint_testkit::fault_site::{Deadlines, FaultSite};
use stillpoint_testkit::fault_table::{Point, place, points, try_all};
use stillpoint_testkit::{Backup, Filesystem};

/// How soon a site must work after whatever happened to the program; the machine may be busy.
const WORKS_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
struct Case {
    act: String,
    side: &'static str,
    fault: &'static str,
    nth: usize,
    /// Whether a run that dies here has something to take back for certain.
    leaves_something: bool,
    /// Whether `backup.log` is open by then.
    is_logged: bool,
    /// Whether the application is held by then, for certain.
    is_held: bool,
    /// Whether the site works again by then, so that a lost guard costs nothing.
    is_after_thaw: bool,
}

impl Case {
    fn order(&self) -> String {
        format!("{}:{}:{}:{}", self.act, self.side, self.fault, self.nth)
    }

    fn kills_program(&self) -> bool {
        ["kill", "kill-both"].contains(&self.fault)
            || (self.fault == "hang" && ["arm", "disarm"].contains(&self.act.as_str()))
    }

    /// Whether an act of the site's own hangs: what it had begun is left to whoever comes after the end of the program.
    fn hangs_apart(&self) -> bool {
        self.fault == "hang" && !self.act.contains('/') && !self.kills_program()
    }
}

/// Every fault that makes sense at every act of a run, in the order of the run.
fn cases(acts: &[String]) -> Vec<Case> {
    let place = |name: &str| place(acts, name);
    let (guard, preflight, seal) = (place("guard"), place("preflight"), place("seal"));
    let (freeze, thaw, disarm) = (place("freeze/app"), place("thaw/app"), place("disarm"));
    let mut cases = Vec::new();
    for Point { act, nth, at } in points(acts) {
        for side in ["before", "after"] {
            for fault in ["fail", "hang", "kill", "kill-guard", "kill-both"] {
                let makes_sense = match fault {
                    // A hang of one of the site's own acts, or of the driver's (which the guard ends), takes seconds, so here
                    // it is one side of each; the coordinator's own table has both.
                    "hang" if act == "disarm" => true,
                    "hang" if ["journal", "guard"].contains(&act.as_str()) => false,
                    "hang" => act.contains('/') || (side == "before" || act == "arm"),
                    "kill-guard" | "kill-both" => at > guard || (at == guard && side == "after"),
                    _ => true,
                };
                // Right after a line of the journal is right before the act that it announces.
                let is_new = act != "journal" || (side == "before" && ["fail", "kill"].contains(&fault));
                if makes_sense && is_new {
                    cases.push(Case {
                        act: act.clone(),
                        side,
                        fault,
                        nth,
                        leaves_something: at > preflight && at < seal,
                        is_logged: at > preflight,
                        is_held: (at > freeze || (at == freeze && side == "after"))
                            && (at < thaw || (at == thaw && side == "before")),
                        is_after_thaw: at >= disarm,
                    });
                }
            }
        }
    }
    cases
}

/// What must hold after one fault.
fn try_case(site: &FaultSite, case: &Case) {
    let deadlines = if case.fault == "hang" { Deadlines::Hasty } else { Deadlines::Patient };
    let logged = site.log().len();
    let run = site.run(deadlines, Some(&case.order()), &["backup"]);
    let killed = FaultSite::was_killed(&run.finished);
    assert_eq!(killed, case.kills_program(), "{:#?}", run.finished);
    // In the window, which has its own limit, nobody is told anything.
    let in_window = ["arm:after", "disarm:before"].contains(&format!("{}:{}", case.act, case.side).as_str());
    if killed && case.fault == "hang" && !in_window {
        assert!(run.finished.stdout.contains("was not done within"), "{:#?}", run.finished);
    }
    if case.fault != "kill-both" {
        site.assert_works(WORKS_WITHIN);
    }
    // Also of a dead run that nobody healed yet.
    let verified = site.run(Deadlines::Patient, None, &["verify", &site.set().to_string_lossy()]);
    assert_eq!(verified.finished.code, Some(0), "the last good set: {:#?}", verified.finished);
    match killed {
        false => told(case, &run, &site.log()[logged..]),
        // Half of the dead runs are healed by hand, the others by the next run.
        true if case.side == "before" || case.fault == "kill-both" => {
            let healing = reconciled(site);
            let healed = healing.events.last().map(|event| event["healed"].to_string()).unwrap_or_default();
            assert!(!case.leaves_something || healed.contains("remove folder"), "{:#?}", healing.finished);
            site.assert_works(WORKS_WITHIN);
            nothing_is_left(site);
        }
        true => {}
    }
    if case.hangs_apart() {
        reconciled(site);
    }
    if !killed {
        nothing_is_left(site);
    }
    let next = site.run(Deadlines::Patient, None, &["backup"]);
    assert_eq!(next.finished.code, Some(0), "the next run: {:#?}", next.finished);
    assert_eq!(next.last("run-ended", "outcome"), "complete");
    if case.leaves_something && killed && case.side == "after" && case.fault != "kill-both" {
        assert!(next.told(5100), "nobody told of the dead run: {:#?}", next.finished);
        assert_eq!(next.told(5101), case.is_held, "the guard: {:#?}", next.finished);
    }
    nothing_is_left(site);
}

/// Heals what is left, by hand.
fn reconciled(site: &FaultSite) -> Backup {
    let healing = site.run(Deadlines::Patient, None, &["reconcile"]);
    assert_eq!(healing.finished.code, Some(0), "{:#?}", healing.finished);
    healing
}

/// What happened is told to whoever reads the events, and in the log.
fn told(case: &Case, run: &Backup, log: &str) {
    let code = run.finished.code;
    if case.fault == "kill-guard" {
        assert!(code != Some(0) || case.is_after_thaw, "nobody noticed: {:#?}", run.finished);
        assert!(code == Some(0) || run.finished.stdout.contains("guard"), "{:#?}", run.finished);
    } else {
        assert_ne!(code, Some(0), "nobody noticed: {:#?}", run.finished);
        let words = if case.fault == "hang" { "was not done within" } else { "a fault was ordered" };
        let component = case.act.split('/').nth(1).unwrap_or_default();
        for (place, text) in [("the events", run.finished.stdout.as_str()), ("backup.log", log)] {
            let expected = place == "the events" || case.is_logged;
            let named = text.lines().any(|line| line.contains(words) && line.contains(component));
            assert!(named || !expected, "{place} do not name it: {text}");
        }
    }
    let failed = !matches!(code, Some(0 | 3));
    assert_eq!(run.told(5060), failed, "{:#?}", run.finished);
    assert!(!case.is_logged || !failed || log.contains("STATMSG: ID=5060"), "{log}");
}

/// No process, half-built set, snapshot or mount is left.
fn nothing_is_left(site: &FaultSite) {
    site.assert_no_process_is_left();
    let left = site.leftovers();
    assert!(left.is_empty(), "left behind: {left:#?}");
}

fn sweep(filesystem: Filesystem, wanted: impl Fn(&Case) -> bool) {
    let mut cases = cases(&FaultSite::start(filesystem).acts());
    assert!(cases.len() > 250, "few cases: {cases:#?}");
    cases.retain(wanted);
    let start = || {
        let site = FaultSite::start(filesystem);
        site.acts();
        site
    };
    try_all(&format!("{filesystem:?}"), &cases, Case::order, start, |site, case| try_case(site, case));
}

#[test]
fn after_any_fault_at_any_act_the_site_works_and_the_next_run_is_complete() {
    sweep(Filesystem::Ext4, |_| true);
}

/// Snapshots are what differs here: everything around the component that is cut by one, and every death of the program.
#[test]
fn no_snapshot_is_left_after_any_fault() {
    sweep(Filesystem::Btrfs, |case| case.act.ends_with("/content") || case.fault.starts_with("kill"));
}
