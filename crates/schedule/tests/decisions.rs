//! What is to be done now: what is due, what was missed, what was served.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use jiff::Timestamp;
use stillpoint_schedule::{Calendar, Day, Decision, Due, Missed};
use support::{Machine, Random, at, minutes, schedule};

const OLD: &str = "2025-01-01T00:00:00Z";

fn window(day: u8) -> Due {
    Due {
        begin: at(&format!("2025-06-{day:02}T02:00:00Z")),
        latest: Some(at(&format!("2025-06-{day:02}T05:00:00Z"))),
    }
}

fn decision(missed: Missed, now: &str, started: Option<&str>) -> Decision {
    schedule("UTC", "window 02:00 05:00", missed).due(at(now), started.map(at), at(OLD))
}

#[test]
fn a_window_is_open_from_its_begin_to_its_latest_begin_and_then_missed() {
    let last = Some("2025-06-09T02:00:00Z");
    for missed in [Missed::CatchUp, Missed::Wait] {
        assert_eq!(decision(missed, "2025-06-10T01:59:59Z", last), Decision::Wait(Some(window(10))));
        assert_eq!(decision(missed, "2025-06-10T02:00:00Z", last), Decision::Run(window(10)));
        assert_eq!(decision(missed, "2025-06-10T05:00:00Z", last), Decision::Run(window(10)));
    }
    let late = "2025-06-10T05:00:01Z";
    assert_eq!(decision(Missed::CatchUp, late, last), Decision::CatchUp(window(10)));
    let waits = Decision::Missed { missed: window(10), next: Some(window(11)) };
    assert_eq!(decision(Missed::Wait, late, last), waits);
}

#[test]
fn a_window_of_some_days_begins_on_these_and_ends_on_the_next_morning() {
    let mut schedule = schedule("UTC", "window 22:00 05:00", Missed::CatchUp);
    let Calendar::Window(window) = &mut schedule.calendar else { panic!("{schedule:?}") };
    window.days = vec![Day::Sun];
    let mut now = at("2025-06-06T00:00:00Z");
    for (begin, latest) in [
        ("2025-06-08T22:00:00Z", "2025-06-09T05:00:00Z"),
        ("2025-06-15T22:00:00Z", "2025-06-16T05:00:00Z"),
        ("2025-06-22T22:00:00Z", "2025-06-23T05:00:00Z"),
    ] {
        let due = schedule.next(now).unwrap();
        assert_eq!((due.begin, due.latest), (at(begin), Some(at(latest))));
        now = due.begin;
    }
}

#[test]
fn a_time_without_a_window_is_missed_after_a_quarter_of_an_hour() {
    let schedule = schedule("UTC", "calendar 02:00", Missed::CatchUp);
    let due = Due { begin: at("2025-06-10T02:00:00Z"), latest: None };
    let started = Some(at("2025-06-09T02:00:00Z"));
    assert_eq!(schedule.due(at("2025-06-10T02:15:00Z"), started, at(OLD)), Decision::Run(due));
    assert_eq!(schedule.due(at("2025-06-10T02:15:01Z"), started, at(OLD)), Decision::CatchUp(due));
}

#[test]
fn a_time_is_served_by_a_run_that_began_at_it_or_later_and_by_none_before() {
    for (started, wanted) in [
        ("2025-06-10T01:59:59Z", Decision::Run(window(10))),
        ("2025-06-10T02:00:00Z", Decision::Wait(Some(window(11)))),
        ("2025-06-10T03:30:00Z", Decision::Wait(Some(window(11)))),
    ] {
        assert_eq!(decision(Missed::CatchUp, "2025-06-10T04:00:00Z", Some(started)), wanted, "{started}");
    }
}

#[test]
fn many_missed_times_are_caught_up_by_one_run() {
    let mut machine = Machine::new(schedule("UTC", "window 02:00 05:00", Missed::CatchUp), at(OLD));
    machine.live(at("2025-06-01T00:00:00Z"), at("2025-06-03T00:00:00Z"), minutes(10));
    // The machine is off for a week.
    assert_eq!(machine.look(at("2025-06-10T09:00:00Z")), Decision::CatchUp(window(10)));
    machine.live(at("2025-06-10T09:00:00Z"), at("2025-06-12T00:00:00Z"), minutes(10));
    let runs: Vec<String> = machine.runs.iter().skip(1).map(Timestamp::to_string).collect();
    assert_eq!(
        runs,
        ["2025-06-01T02:00:00Z", "2025-06-02T02:00:00Z", "2025-06-10T09:00:00Z", "2025-06-11T02:00:00Z"]
    );
}

#[test]
fn a_machine_that_is_off_over_a_window_waits_if_it_is_told_to() {
    let mut machine =
        Machine::new(schedule("UTC", "window 02:00 05:00", Missed::Wait), at("2025-06-01T00:00:00Z"));
    machine.live(at("2025-06-01T00:00:00Z"), at("2025-06-02T00:00:00Z"), minutes(10));
    let decision = machine.look(at("2025-06-02T09:00:00Z"));
    assert_eq!(decision, Decision::Missed { missed: window(2), next: Some(window(3)) });
    machine.live(at("2025-06-02T09:00:00Z"), at("2025-06-04T00:00:00Z"), minutes(10));
    let runs: Vec<String> = machine.runs.iter().map(Timestamp::to_string).collect();
    assert_eq!(runs, ["2025-06-01T02:00:00Z", "2025-06-03T02:00:00Z"]);
}

#[test]
fn restarts_at_any_time_change_nothing() {
    // The whole memory of the machine is what was recorded, so a restart is only a time in which nobody looks.
    let mut random = Random(4711);
    for _ in 0..20 {
        let mut machine =
            Machine::new(schedule("UTC", "calendar 0/3:20", Missed::CatchUp), at("2025-06-01T00:00:00Z"));
        let mut now = at("2025-06-01T00:00:00Z");
        while now < at("2025-07-01T00:00:00Z") {
            machine.look(now);
            now += minutes(1 + random.below(90) as i64);
        }
        assert_eq!(machine.runs.len(), 30 * 8);
        for (number, run) in machine.runs.iter().enumerate() {
            let due = at("2025-06-01T00:20:00Z") + minutes(180 * number as i64);
            assert!(*run >= due && *run < due + minutes(91), "{run} for {due}");
        }
    }
}

#[test]
fn what_lies_before_the_schedule_was_made_was_not_missed() {
    let schedule = schedule("UTC", "window 02:00 05:00", Missed::CatchUp);
    for (since, wanted) in [
        ("2025-06-10T01:00:00Z", Decision::CatchUp(window(10))),
        ("2025-06-10T02:00:00Z", Decision::CatchUp(window(10))),
        ("2025-06-10T02:00:01Z", Decision::Wait(Some(window(11)))),
        ("2025-06-10T09:00:00Z", Decision::Wait(Some(window(11)))),
    ] {
        assert_eq!(schedule.due(at("2025-06-10T09:00:00Z"), None, at(since)), wanted, "{since}");
    }
    // A run of the old schedule, from before, does not change that.
    let started = Some(at("2025-06-09T23:00:00Z"));
    let decision = schedule.due(at("2025-06-10T09:00:00Z"), started, at("2025-06-10T08:00:00Z"));
    assert_eq!(decision, Decision::Wait(Some(window(11))));
}

#[test]
fn a_run_in_the_near_future_has_served_the_next_time_and_one_far_ahead_nothing() {
    // The clock was set back by two hours after the run of the night.
    let served = decision(Missed::CatchUp, "2025-06-10T00:30:00Z", Some("2025-06-10T02:00:05Z"));
    assert_eq!(served, Decision::Wait(Some(window(11))));
    assert_eq!(decision(Missed::CatchUp, "2025-06-10T02:00:00Z", Some("2025-06-10T02:00:05Z")), served);
    let ahead = decision(Missed::CatchUp, "2025-06-10T00:30:00Z", Some("2025-06-11T02:00:05Z"));
    assert_eq!(ahead, Decision::CatchUp(window(9)));
}

#[test]
fn a_schedule_that_comes_to_an_end_has_no_next_time_and_its_last_one_can_be_caught_up() {
    let schedule = schedule("UTC", "calendar 2025-06-10,11 02:00", Missed::CatchUp);
    let last = Due { begin: at("2025-06-11T02:00:00Z"), latest: None };
    assert_eq!(schedule.next(at("2025-06-10T02:00:00Z")), Some(last));
    assert_eq!(schedule.next(at("2025-06-11T02:00:00Z")), None);
    assert_eq!(schedule.due(at("2027-01-01T00:00:00Z"), None, at(OLD)), Decision::CatchUp(last));
    assert_eq!(schedule.due(at("2027-01-01T00:00:00Z"), Some(last.begin), at(OLD)), Decision::Wait(None));
    assert_eq!(schedule.longest_gap(at(OLD)), None);
    assert_eq!(schedule.longest_gap(at("2027-01-01T00:00:00Z")), None);
}

#[test]
fn the_longest_gap_is_that_of_the_next_four_hundred_days() {
    let hours = |zone: &str, calendar: &str, now: &str| {
        let gap = schedule(zone, calendar, Missed::CatchUp).longest_gap(at(now)).unwrap();
        assert_eq!(gap.as_secs() % 60, 0);
        gap.as_secs() as f64 / 3600.0
    };
    for (zone, calendar, wanted) in [
        ("UTC", "window 02:00 05:00", 24.0),
        ("UTC", "cron 0 2 * * 1-5", 72.0),
        ("Europe/Berlin", "cron 0 2 * * 1-5", 73.0),
        ("Europe/Berlin", "cron 30 2 * * *", 25.0),
        ("UTC", "calendar monthly", 31.0 * 24.0),
        ("UTC", "calendar yearly", 365.0 * 24.0),
        // 2025 to 2028.
        ("UTC", "calendar *-02-29", (3.0 * 365.0 + 366.0) * 24.0),
        ("UTC", "calendar Sat *-*-8..14 3:0", 35.0 * 24.0),
        ("UTC", "cron 0 9-17 * * *", 16.0),
        // All the days, every ten minutes, but one night in the year.
        ("UTC", "calendar *-1..11-* *:0/10", 31.0 * 24.0 + 1.0 / 6.0),
        ("UTC", "calendar *:0/10", 1.0),
        ("UTC", "calendar *:*:*", 1.0),
    ] {
        let gap = hours(zone, calendar, OLD);
        assert!((gap - wanted).abs() < 1e-9, "{zone} {calendar}: {gap} hours instead of {wanted}");
    }
    // 2100 has no 29th of February.
    assert_eq!(hours("UTC", "calendar *-02-29", "2096-02-01T00:00:00Z"), (8.0 * 365.0 + 1.0) * 24.0);
}

#[test]
fn a_schedule_is_told_in_words() {
    for (calendar, wanted) in [
        ("window 22:00 03:00", "every day between 22:00 and 03:00 of the next day, UTC"),
        ("cron @weekly", "at 00:00, on Sunday (cron \"@weekly\"), UTC"),
        ("calendar daily", "every day at 00:00, UTC"),
        ("calendar Mon,Thu 2:30:15", "on Monday and Thursday at 02:30:15, UTC"),
        ("calendar hourly", "every day at 0 minutes past each hour, UTC"),
        ("calendar *-*~1 04:00", "at the times of the calendar expression \"*-*~1 04:00\", UTC"),
    ] {
        assert_eq!(schedule("UTC", calendar, Missed::CatchUp).describe(), wanted);
    }
}
