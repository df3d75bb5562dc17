//! A year of nights under a fake clock, in zones with odd rules: each night has exactly one run, at the right instant.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use jiff::civil::{Date, date};
use stillpoint_schedule::{Decision, Missed};
use support::{Machine, Random, at, minutes, schedule};

/// A year in a zone: when the task is due, and the nights in which that is not what the clock shows: when it begins instead, or
/// nothing where there was no night. From the tz database (`zdump -v`).
struct Year {
    zone: &'static str,
    year: i16,
    due: &'static str,
    special: &'static [(&'static str, Option<&'static str>)],
}

const YEARS: &[Year] = &[
    Year {
        zone: "Europe/Berlin",
        year: 2025,
        due: "02:30",
        special: &[
            // 02:00 to 03:00 is left out.
            ("2025-03-30", Some("2025-03-30T03:00:00+02:00")),
            // 02:00 to 03:00 comes twice.
            ("2025-10-26", Some("2025-10-26T02:30:00+02:00")),
        ],
    },
    Year {
        zone: "America/New_York",
        year: 2025,
        due: "01:30",
        special: &[("2025-11-02", Some("2025-11-02T01:30:00-04:00"))],
    },
    Year {
        zone: "America/New_York",
        year: 2025,
        due: "02:00",
        special: &[("2025-03-09", Some("2025-03-09T03:00:00-04:00"))],
    },
    // Half an hour.
    Year {
        zone: "Australia/Lord_Howe",
        year: 2025,
        due: "02:15",
        special: &[("2025-10-05", Some("2025-10-05T02:30:00+11:00"))],
    },
    Year {
        zone: "Australia/Lord_Howe",
        year: 2025,
        due: "01:45",
        special: &[("2025-04-06", Some("2025-04-06T01:45:00+11:00"))],
    },
    // Goes back for Ramadan.
    Year {
        zone: "Africa/Casablanca",
        year: 2025,
        due: "02:30",
        special: &[
            ("2025-02-23", Some("2025-02-23T02:30:00+01:00")),
            ("2025-04-06", Some("2025-04-06T03:00:00+01:00")),
        ],
    },
    Year { zone: "Asia/Kathmandu", year: 2025, due: "00:15", special: &[] },
    // The island moved to the other side of the date line, and left a day out.
    Year {
        zone: "Pacific/Apia",
        year: 2011,
        due: "03:30",
        special: &[
            ("2011-04-02", Some("2011-04-02T03:30:00-10:00")),
            ("2011-09-24", Some("2011-09-24T04:00:00-10:00")),
            ("2011-12-30", None),
        ],
    },
    // The day began at one o'clock.
    Year {
        zone: "America/Sao_Paulo",
        year: 2018,
        due: "00:00",
        special: &[("2018-11-04", Some("2018-11-04T01:00:00-02:00"))],
    },
    Year {
        zone: "America/Sao_Paulo",
        year: 2018,
        due: "23:30",
        special: &[("2018-02-17", Some("2018-02-17T23:30:00-02:00"))],
    },
    // From 23:30 to 00:30 of the next day: the night before is not lost.
    Year {
        zone: "America/Toronto",
        year: 1919,
        due: "23:45",
        special: &[("1919-03-30", Some("1919-03-31T00:30:00-04:00"))],
    },
];

/// The three forms in which a time of day can be written.
fn forms(due: &str) -> [String; 3] {
    let (hour, minute) = due.split_once(':').unwrap();
    let latest = format!("{:02}:{minute}", (hour.parse::<u8>().unwrap() + 2) % 24);
    [format!("cron {minute} {hour} * * *"), format!("calendar *-*-* {due}"), format!("window {due} {latest}")]
}

#[test]
fn each_night_of_a_year_has_exactly_one_run_at_the_right_instant_in_zones_with_odd_rules() {
    for Year { zone, year, due, special } in YEARS {
        for form in forms(due) {
            let mut machine =
                Machine::new(schedule(zone, &form, Missed::CatchUp), at("1900-01-01T00:00:00Z"));
            let zone = machine.schedule.zone.clone();
            machine.since = at(&format!("{year}-01-01T00:00:00Z"));
            machine.live(machine.since, at(&format!("{}-01-10T00:00:00Z", year + 1)), minutes(15));
            let began =
                machine.runs.iter().map(|run| zone.at(*run).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string());
            let nights = date(*year, 1, 3).series(jiff::Span::new().days(1)).take(370);
            let wanted = nights.filter_map(|date| {
                let special = special.iter().find(|(night, _)| *night == date.to_string());
                match special {
                    Some((_, instead)) => instead.map(str::to_owned),
                    None => Some(format!("{date}T{due}:00")),
                }
            });
            // Whole nights, whatever the zone.
            let (first, last) = (format!("{year}-01-03T"), format!("{}-01-06T", year + 1));
            let whole = |text: &String| *text >= first && *text < last;
            let began: Vec<String> = began.filter(whole).collect();
            let wanted: Vec<String> = wanted.filter(whole).collect();
            assert!(wanted.len() > 365);
            assert_eq!(began.len(), wanted.len(), "{} {form}", zone.name());
            for (began, wanted) in began.iter().zip(wanted) {
                assert!(
                    began.starts_with(wanted.as_str()),
                    "{} {form}: {began} instead of {wanted}",
                    zone.name()
                );
            }
        }
    }
}

#[test]
fn hours_that_come_twice_or_not_at_all_disturb_no_schedule_within_them() {
    for (zone, calendar, from, wanted) in [
        // Both passed over by the hands: once, at the first instant after the gap.
        ("Europe/Berlin", "cron */30 1-3 * * *", "2025-03-30T00:00:00Z", "01:30 03:00 03:30 01:00"),
        ("Europe/Berlin", "cron */30 1-3 * * *", "2025-10-25T23:30:00Z", "02:00 02:30 03:00 03:30 01:00"),
        ("Europe/Berlin", "calendar hourly", "2025-10-25T23:30:00Z", "02:00 03:00 04:00"),
        // In the middle of the second pass, what the first had is over.
        ("Europe/Berlin", "calendar *:0/15", "2025-10-26T01:10:00Z", "03:00 03:15"),
    ] {
        let schedule = schedule(zone, calendar, Missed::CatchUp);
        let mut now = at(from);
        for wanted in wanted.split(' ') {
            let due = schedule.next(now).unwrap().begin;
            assert!(due > now, "{calendar}: {due} is not after {now}");
            now = due;
            assert_eq!(schedule.zone.at(now).strftime("%H:%M").to_string(), wanted, "{calendar} from {from}");
        }
    }
}

#[test]
fn a_window_that_the_clock_jumps_over_keeps_its_length_and_one_that_it_jumps_into_its_end() {
    for (calendar, from, begin, latest) in [
        ("window 02:00 03:00", "2025-03-30T00:00:00Z", "2025-03-30T01:00:00Z", "2025-03-30T02:00:00Z"),
        ("window 02:10 02:50", "2025-03-30T00:00:00Z", "2025-03-30T01:00:00Z", "2025-03-30T01:40:00Z"),
        ("window 02:30 05:00", "2025-03-30T00:00:00Z", "2025-03-30T01:00:00Z", "2025-03-30T03:00:00Z"),
        ("window 22:00 02:30", "2025-03-29T12:00:00Z", "2025-03-29T21:00:00Z", "2025-03-30T01:00:00Z"),
        ("window 22:00 05:00", "2025-10-25T12:00:00Z", "2025-10-25T20:00:00Z", "2025-10-26T04:00:00Z"),
        ("window 22:00 05:00", "2025-06-01T12:00:00Z", "2025-06-01T20:00:00Z", "2025-06-02T03:00:00Z"),
    ] {
        let due = schedule("Europe/Berlin", calendar, Missed::Wait).next(at(from)).unwrap();
        assert_eq!((due.begin, due.latest), (at(begin), Some(at(latest))), "{calendar}");
    }
}

/// Whatever instant is asked from, the answer is the first due time after it.
#[test]
fn the_next_time_is_the_same_from_every_instant_before_it() {
    let zones = YEARS.iter().map(|year| (year.zone, year.year));
    for (number, (zone, year)) in zones.enumerate() {
        let mut random = Random(0x9e37_79b9_7f4a_7c15 + number as u64);
        for calendar in
            ["cron 20 */2 * * *", "calendar *:0/40", "calendar 23,0,1,2,3:5,55:30", "window 23:40 01:00"]
        {
            let schedule = schedule(zone, calendar, Missed::CatchUp);
            let mut before = at(&format!("{year}-01-01T00:00:00Z"));
            let end = at(&format!("{}-01-02T00:00:00Z", year + 1));
            while before < end {
                let due = schedule.next(before).unwrap();
                let within = due.begin.duration_since(before).as_secs();
                assert!(within > 0 && within < 3 * 24 * 3600, "{zone} {calendar}: {before} {due:?}");
                let between = before + jiff::SignedDuration::from_secs(random.below(within as u64) as i64);
                assert_eq!(schedule.next(between), Some(due), "{zone} {calendar} from {between}");
                before = due.begin;
            }
        }
    }
}

#[test]
fn a_clock_that_jumps_back_and_forth_adds_no_run_and_loses_none() {
    for seed in 1..=20_u64 {
        for form in forms("02:00") {
            let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let begin = at("2025-01-01T00:00:00Z");
            let mut machine =
                Machine::new(schedule("Europe/Berlin", &form, Missed::CatchUp), begin - minutes(600));
            let mut off = 0;
            for tick in 0..(60 * 24 * 6) {
                if random.below(40) == 0 {
                    // Up to four hours, so that whole windows are jumped over.
                    off = random.below(480) as i64 - 240;
                }
                machine.look(begin + minutes(10 * tick + off));
            }
            // Each run, by the clock of the machine, served the night before it.
            let night = |run: &jiff::Timestamp| machine.schedule.zone.at(*run - minutes(120)).date();
            let mut nights: Vec<Date> = machine.runs.iter().map(night).collect();
            nights.sort();
            let wanted: Vec<Date> =
                date(2025, 1, 1).series(jiff::Span::new().days(1)).take(nights.len()).collect();
            assert_eq!(nights, wanted, "seed {seed} {form}");
            assert!(nights.len() >= 59, "seed {seed} {form}: {}", nights.len());
        }
    }
}

#[test]
fn a_run_under_a_clock_that_was_years_ahead_stops_no_night() {
    let mut machine =
        Machine::new(schedule("UTC", "window 02:00 05:00", Missed::CatchUp), at("2025-01-01T00:00:00Z"));
    machine.live(at("2025-01-01T00:00:00Z"), at("2025-01-03T12:00:00Z"), minutes(10));
    assert_eq!(machine.runs.len(), 3);
    // The battery of the clock is empty; what it shows is caught up once.
    machine.live(at("2031-05-01T12:00:00Z"), at("2031-05-01T13:00:00Z"), minutes(10));
    assert_eq!(machine.runs.len(), 4);
    // It is set right; the run of 2031 says nothing about this night, nor about the ones that follow.
    machine.live(at("2025-01-03T13:00:00Z"), at("2025-01-06T12:00:00Z"), minutes(10));
    let since: Vec<String> = machine.runs[4..].iter().map(|run| run.to_string()).collect();
    assert_eq!(
        since,
        ["2025-01-03T13:00:00Z", "2025-01-04T02:00:00Z", "2025-01-05T02:00:00Z", "2025-01-06T02:00:00Z"]
    );
}

#[test]
fn a_schedule_that_was_set_up_under_a_clock_that_was_ahead_works_all_the_same() {
    for form in forms("02:00") {
        let mut machine = Machine::new(schedule("UTC", &form, Missed::Wait), at("2031-05-01T12:00:00Z"));
        machine.live(at("2025-01-03T13:00:00Z"), at("2025-01-05T12:00:00Z"), minutes(10));
        let runs: Vec<String> = machine.runs.iter().map(|run| run.to_string()).collect();
        assert_eq!(runs, ["2025-01-04T02:00:00Z", "2025-01-05T02:00:00Z"], "{form}");
        assert!(matches!(machine.look(at("2025-01-05T12:00:00Z")), Decision::Wait(Some(_))));
    }
}
