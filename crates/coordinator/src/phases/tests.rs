//! Walks through every reachable state of small sites.

use std::collections::{BTreeSet, HashSet};

use super::*;

/// A machine with what happened to it, as far as the invariants need it.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Walked {
    machine: Machine,
    under_way: BTreeSet<Act>,
    armed: bool,
    disarmed: bool,
    /// Frozen and not yet thawed, whatever came of it.
    begun: BTreeSet<usize>,
    frozen: BTreeSet<usize>,
    hung: BTreeSet<usize>,
    stuck: BTreeSet<usize>,
    cut: BTreeSet<usize>,
    captured: BTreeSet<usize>,
    released: BTreeSet<usize>,
    sealed: bool,
    tidied: bool,
}

fn begin(walked: &mut Walked, acts: Vec<Act>, levels: &[Level]) {
    let everybody: BTreeSet<usize> = (0..levels.len()).collect();
    for act in acts {
        assert!(walked.under_way.insert(act), "{act:?} was begun twice");
        assert!(!walked.tidied, "{act:?} after the end");
        if let Act::Call(step, who) = act {
            assert!(!walked.hung.contains(&who), "{step} of a writer that hangs");
        }
        match act {
            Act::Call(Step::Freeze, who) => {
                assert!(walked.armed && !walked.disarmed, "frozen without a guard");
                assert!(!walked.machine.failed, "frozen after the run was given up");
                let lower: BTreeSet<_> = (0..levels.len()).filter(|&it| levels[it] < levels[who]).collect();
                assert!(lower.is_subset(&walked.frozen), "frozen before the levels below");
                assert!(walked.begun.insert(who), "frozen twice");
            }
            Act::Call(Step::Cut, _) => {
                assert_eq!(walked.frozen, everybody, "cut before all were frozen");
                assert!(!walked.machine.failed);
            }
            Act::Call(Step::Thaw, who) | Act::Undo(who) => {
                assert!(walked.begun.contains(&who), "thawed without a freeze");
                let above = walked.begun.iter().any(|&it| levels[it] > levels[who]);
                assert!(!above, "thawed before a higher level");
            }
            Act::Disarm => assert!(walked.begun.is_empty() && walked.armed, "disarmed with somebody held"),
            Act::Call(Step::Capture, _) => {
                assert!(walked.begun.is_empty() && walked.cut == everybody && walked.disarmed);
                assert!(!walked.machine.failed);
            }
            Act::Seal => {
                assert_eq!(walked.captured, everybody, "sealed without all captured");
                assert!(!walked.machine.failed && walked.stuck.is_empty());
                walked.sealed = true;
            }
            Act::Call(Step::Release, who) | Act::Clean(who) => {
                assert!(walked.begun.is_empty(), "released while somebody is held");
                assert!(!walked.released.contains(&who), "released twice");
            }
            Act::Tidy => assert_eq!(walked.released, everybody, "tidied before all were released"),
            _ => {}
        }
        if act == Act::Arm {
            walked.armed = true;
        }
    }
}

fn take(walked: &mut Walked, event: Event) {
    let (Event::Done(act) | Event::Failed(act) | Event::Late(act)) = event else {
        if let Event::Described(who, _) = event {
            walked.under_way.remove(&Act::Call(Step::Identify, who));
        }
        return;
    };
    walked.under_way.remove(&act);
    let done = matches!(event, Event::Done(_));
    if let (Event::Late(_), Act::Call(_, who)) = (event, act) {
        walked.hung.insert(who);
    }
    match act {
        Act::Call(Step::Freeze, who) if done => drop(walked.frozen.insert(who)),
        Act::Call(Step::Cut, who) if done => drop(walked.cut.insert(who)),
        Act::Call(Step::Capture, who) if done => drop(walked.captured.insert(who)),
        Act::Call(Step::Thaw, who) if done => drop(walked.begun.remove(&who)),
        Act::Undo(who) => {
            walked.begun.remove(&who);
            if !done {
                walked.stuck.insert(who);
            }
        }
        Act::Call(Step::Release, who) if done => drop(walked.released.insert(who)),
        Act::Clean(who) => drop(walked.released.insert(who)),
        Act::Disarm => walked.disarmed = true,
        Act::Tidy => walked.tidied = true,
        _ => {}
    }
}

fn acts(count: usize) -> Vec<Act> {
    use Step::*;
    let mut acts = vec![Act::Preflight, Act::Identified, Act::Arm, Act::Disarm, Act::Seal, Act::Tidy];
    for who in 0..=count {
        let steps = [Identify, Prepare, Poise, Freeze, Cut, Thaw, Capture, Release];
        acts.extend(steps.map(|step| Act::Call(step, who)));
        acts.extend([Act::Undo(who), Act::Clean(who)]);
    }
    acts
}

fn alphabet(levels: &[Level]) -> Vec<Event> {
    let mut events = vec![Event::Overrun, Event::GuardLost, Event::Cancelled];
    for act in acts(levels.len()) {
        events.extend([Event::Done(act), Event::Failed(act), Event::Late(act)]);
        if let Act::Call(Step::Identify, who) = act {
            events.push(Event::Described(who, *levels.get(who).unwrap_or(&Level::System)));
        }
    }
    events
}

/// Whether the event may come in this state, said in other words than the machine's.
fn possible(walked: &Walked, event: Event) -> bool {
    match event {
        Event::Described(who, _) => walked.under_way.contains(&Act::Call(Step::Identify, who)),
        Event::Done(Act::Call(Step::Identify, _)) => false,
        Event::Late(Act::Arm | Act::Disarm) => false,
        Event::Late(act) => walked.under_way.contains(&act),
        Event::Done(act) | Event::Failed(act) => walked.under_way.contains(&act),
        Event::Overrun => walked.machine.in_window(),
        Event::GuardLost | Event::Cancelled => !walked.tidied,
    }
}

fn check_end(walked: &Walked, levels: &[Level]) {
    assert!(walked.begun.is_empty(), "ended with somebody held");
    assert_eq!(walked.released.len(), levels.len());
    assert_eq!(walked.armed, walked.disarmed);
    assert!(walked.under_way.is_empty() && walked.tidied);
    assert!(walked.sealed || walked.machine.failed, "neither sealed nor failed");
}

/// Every event in every reachable state; answers how many states there are.
fn explore(levels: &[Level]) -> usize {
    let (machine, first) = Machine::start(levels.len());
    let mut start = Walked {
        machine,
        under_way: BTreeSet::new(),
        armed: false,
        disarmed: false,
        begun: BTreeSet::new(),
        frozen: BTreeSet::new(),
        hung: BTreeSet::new(),
        stuck: BTreeSet::new(),
        cut: BTreeSet::new(),
        captured: BTreeSet::new(),
        released: BTreeSet::new(),
        sealed: false,
        tidied: false,
    };
    begin(&mut start, first, levels);
    let (events, mut seen, mut open) = (alphabet(levels), HashSet::new(), vec![start]);
    while let Some(walked) = open.pop() {
        if !seen.insert(walked.clone()) {
            continue;
        }
        assert_eq!(
            walked.under_way.is_empty(),
            walked.machine.ended(),
            "nothing is under way: it would wait forever"
        );
        if walked.machine.ended() {
            check_end(&walked, levels);
        }
        for &event in &events {
            // What is refused is tried on every state of the sites of two; of three there are too many.
            if levels.len() > 2 && !possible(&walked, event) {
                continue;
            }
            let mut next = walked.clone();
            match next.machine.next(event) {
                Ok(acts) => {
                    assert!(possible(&walked, event), "{event:?} was taken in {:?}", walked.machine);
                    take(&mut next, event);
                    begin(&mut next, acts, levels);
                    open.push(next);
                }
                Err(_) => assert!(!possible(&walked, event), "{event:?} was refused in {:?}", walked.machine),
            }
        }
    }
    seen.len()
}

#[test]
fn no_order_of_events_leaves_a_site_of_two_frozen() {
    use Level::*;
    for levels in [[FrontEnd, FrontEnd], [FrontEnd, System], [System, Lock], [Lock, BackEnd]] {
        let states = explore(&levels);
        assert!(states > 300, "only {states} states were reached");
    }
}

#[test]
fn no_order_of_events_leaves_a_site_of_three_frozen() {
    use Level::*;
    for levels in [[FrontEnd, BackEnd, System], [FrontEnd, FrontEnd, System]] {
        let states = explore(&levels);
        assert!(states > 3000, "only {states} states were reached");
    }
}

#[test]
fn a_site_without_components_goes_through_all_the_same() {
    assert!(explore(&[]) > 10);
}

/// Every event succeeds; answers the acts in order.
fn straight(levels: &[Level]) -> Vec<Act> {
    let (mut machine, mut acts) = Machine::start(levels.len());
    let mut told = Vec::new();
    while !acts.is_empty() {
        let act = acts.remove(0);
        told.push(act);
        let event = match act {
            Act::Call(Step::Identify, who) => Event::Described(who, levels[who]),
            act => Event::Done(act),
        };
        acts.extend(machine.next(event).unwrap());
    }
    assert!(machine.ended() && !machine.failed());
    told
}

#[test]
fn the_freeze_goes_up_the_levels_and_the_thaw_comes_down() {
    let told = straight(&[Level::System, Level::Lock, Level::FrontEnd, Level::BackEnd]);
    let of = |wanted| {
        let order = told.iter().filter_map(move |act| match act {
            Act::Call(step, who) if *step == wanted => Some(*who),
            _ => None,
        });
        order.collect::<Vec<_>>()
    };
    assert_eq!(of(Step::Freeze), [1, 2, 3, 0]);
    assert_eq!(of(Step::Thaw), [0, 3, 2, 1]);
    let place = |act| told.iter().position(|it| *it == act).unwrap();
    assert!(place(Act::Arm) < place(Act::Call(Step::Freeze, 1)));
    assert!(place(Act::Call(Step::Thaw, 1)) < place(Act::Disarm));
    assert_eq!(told.last(), Some(&Act::Tidy));
}

#[test]
fn a_lost_guard_after_the_thaw_does_not_cost_the_set() {
    let (mut machine, mut acts) = Machine::start(1);
    let mut sealed = false;
    while !acts.is_empty() {
        let act = acts.remove(0);
        sealed |= act == Act::Seal;
        if act == Act::Call(Step::Capture, 0) {
            assert!(machine.next(Event::GuardLost).unwrap().is_empty());
        }
        let event = match act {
            Act::Call(Step::Identify, who) => Event::Described(who, Level::System),
            act => Event::Done(act),
        };
        acts.extend(machine.next(event).unwrap());
    }
    assert!(sealed && !machine.failed());
}
