//! Working through a table of faults: the acts of a run as points, and several sites beside each other.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// How many sites are tried at the same time; a part of the time each waits.
const LANES: usize = 2;

/// One act of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// Its name.
    pub act: String,
    /// Which of the acts of this name, from 1.
    pub nth: usize,
    /// Its place among all acts of the run.
    pub at: usize,
}

impl Point {
    /// What `STILLPOINT_FAULT` must be for this fault here.
    pub fn order(&self, side: &str, fault: &str) -> String {
        format!("{}:{side}:{fault}:{}", self.act, self.nth)
    }
}

/// The acts of a run as points.
pub fn points(acts: &[String]) -> Vec<Point> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let numbered = acts.iter().enumerate().map(|(at, act)| {
        let nth = seen.entry(act).and_modify(|count| *count += 1).or_insert(1);
        Point { act: act.clone(), nth: *nth, at }
    });
    numbered.collect()
}

/// Where an act is, the first of its name; fails the test when the run has none.
pub fn place(acts: &[String], name: &str) -> usize {
    acts.iter().position(|act| act == name).unwrap_or_else(|| panic!("no {name} in {acts:?}"))
}

/// Tries every case, on as many sites as there are lanes. A site on which a case failed is not used again; all cases that
/// failed are told together. `STILLPOINT_FAULT_CASES` keeps the cases whose name holds that text, to look at one closely.
pub fn try_all<Case: Sync, Site>(
    table: &str,
    cases: &[Case],
    name: impl Fn(&Case) -> String + Sync,
    start: impl Fn() -> Site + Sync,
    try_case: impl Fn(&mut Site, &Case) + Sync,
) {
    let only = std::env::var("STILLPOINT_FAULT_CASES").unwrap_or_default();
    let cases: Vec<&Case> = cases.iter().filter(|case| name(case).contains(&only)).collect();
    let (begun, next, bad) = (Instant::now(), AtomicUsize::new(0), Mutex::new(Vec::new()));
    let lane = || {
        let mut site = start();
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
            if catch_unwind(AssertUnwindSafe(|| try_case(&mut site, case))).is_err() {
                println!("{table} {}: FAILED", name(case));
                bad.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(name(case));
                site = start();
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(lane);
        }
    });
    let bad = bad.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    println!("{table}: {} faults in {:.0?}", cases.len(), begun.elapsed());
    assert!(bad.is_empty(), "{} of {} faults were not survived: {bad:#?}", bad.len(), cases.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acts_of_the_same_name_are_told_apart() {
        let acts = ["journal", "guard", "journal"].map(str::to_owned);
        let orders: Vec<String> = points(&acts).iter().map(|point| point.order("before", "kill")).collect();
        assert_eq!(orders, ["journal:before:kill:1", "guard:before:kill:1", "journal:before:kill:2"]);
        assert_eq!(place(&acts, "journal"), 0);
    }

    #[test]
    fn every_case_is_tried_and_the_bad_ones_are_told_together() {
        let tried = AtomicUsize::new(0);
        let numbers = [1, 2, 3, 4];
        let all = catch_unwind(AssertUnwindSafe(|| {
            try_all(
                "numbers",
                &numbers,
                |number| number.to_string(),
                || (),
                |(), number| {
                    tried.fetch_add(1, Ordering::SeqCst);
                    assert!(number % 2 == 0, "odd");
                },
            );
        }));
        let text = *all.unwrap_err().downcast::<String>().unwrap();
        assert_eq!(tried.into_inner(), 4);
        assert!(text.starts_with("2 of 4") && text.contains("\"1\"") && text.contains("\"3\""), "{text}");
    }
}
