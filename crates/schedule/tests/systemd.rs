//! Calendar expressions mean here what they mean to systemd: against a table, and against `systemd-analyze calendar` itself.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::process::Command;

use jiff::Timestamp;
use stillpoint_schedule::{Calendar, Expression, Missed, Schedule, Zone};
use support::{Random, at};

const NOW: &str = "2026-11-25T09:00:00Z";

/// Expressions and their next times after [`NOW`], as `systemd-analyze calendar` of systemd 252 told them.
const TABLE: &[(&str, &[&str])] = &[
    ("minutely", &["2026-11-25T09:01:00Z", "2026-11-25T09:02:00Z"]),
    ("hourly", &["2026-11-25T10:00:00Z", "2026-11-25T11:00:00Z"]),
    ("DAILY", &["2026-11-26T00:00:00Z", "2026-11-27T00:00:00Z"]),
    ("weekly", &["2026-11-30T00:00:00Z", "2026-12-07T00:00:00Z"]),
    ("monthly", &["2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"]),
    ("quarterly", &["2027-01-01T00:00:00Z", "2027-04-01T00:00:00Z"]),
    ("semiannually", &["2027-01-01T00:00:00Z", "2027-07-01T00:00:00Z"]),
    ("yearly", &["2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z"]),
    ("Mon-Fri 02:00", &["2026-11-26T02:00:00Z", "2026-11-27T02:00:00Z", "2026-11-30T02:00:00Z"]),
    ("mon..wed,fri 1:0", &["2026-11-27T01:00:00Z", "2026-11-30T01:00:00Z"]),
    ("Monday,Tuesday 3:4", &["2026-11-30T03:04:00Z", "2026-12-01T03:04:00Z"]),
    ("Wed, 17:48", &["2026-11-25T17:48:00Z", "2026-12-02T17:48:00Z"]),
    ("*-*-1/2 03:00", &["2026-11-27T03:00:00Z", "2026-11-29T03:00:00Z"]),
    (
        "*-02~01..03",
        &["2027-02-26T00:00:00Z", "2027-02-27T00:00:00Z", "2027-02-28T00:00:00Z", "2028-02-27T00:00:00Z"],
    ),
    ("Mon *-05~07/1", &["2027-05-31T00:00:00Z", "2028-05-29T00:00:00Z"]),
    (
        "*~1",
        &["2026-11-30T00:00:00Z", "2026-12-31T00:00:00Z", "2027-01-31T00:00:00Z", "2027-02-28T00:00:00Z"],
    ),
    ("10-15", &["2027-10-15T00:00:00Z"]),
    ("*-*-* 00/6:00", &["2026-11-25T12:00:00Z", "2026-11-25T18:00:00Z", "2026-11-26T00:00:00Z"]),
    ("1/2,5..9/3:0", &["2026-11-25T11:00:00Z", "2026-11-25T13:00:00Z"]),
    ("*:0/15", &["2026-11-25T09:15:00Z", "2026-11-25T09:30:00Z"]),
    ("*-*-* *:*:0/5", &["2026-11-25T09:00:05Z", "2026-11-25T09:00:10Z"]),
    ("2020/5-1-1", &["2030-01-01T00:00:00Z", "2035-01-01T00:00:00Z"]),
    ("69-1-1", &["2069-01-01T00:00:00Z"]),
    ("2012-11-23", &[]),
    ("Mon,Fri *-01/2-01,03 *:30:45", &["2027-01-01T00:30:45Z", "2027-01-01T01:30:45Z"]),
    ("*-02-29 04:00", &["2028-02-29T04:00:00Z", "2032-02-29T04:00:00Z"]),
];

/// What is refused here and there.
const WRONG: &[&str] = &[
    "",
    ",",
    "12",
    "*",
    "*/2:00",
    "*:*/2",
    "24:00",
    "00:00:60",
    "*-*-31 12",
    "*-02~03..01",
    "*-*-00",
    "*-*-32",
    "*-13-01",
    "*-*-5..1",
    "Fri..Mon 02:00",
    "Mon..",
    "Mo",
    "mond",
    "Mon, Tue 02:00",
    "02:00 Mon",
    "0/0:00",
    "*:0/60",
    "0/24:00",
    "*-*-1/31",
    "2200-1-1",
    "1969-1-1",
    "Mon 02:00:",
    "*-1..2..3",
    "*-~1",
    "*~29",
    "*~1/1",
    "*-*-1,~1",
    "+1-1",
    "2026-11-26T02:00",
    "x",
    "1:2:3:4",
    "*:-1",
    "-1-1",
    "::",
    "Mon Tue",
    "02:00 03:00",
];

/// What systemd takes, and is refused here: a part of the answer.
const OURS: &[(&str, &str)] = &[
    ("*-02-30", "a day that never comes"),
    ("daily UTC", "write zone = \"UTC\", and the expression without it"),
    ("Mon 02:00 Europe/Berlin", "write zone = \"Europe/Berlin\""),
    ("05:40:23.42", "parts of a second"),
    ("@1795600000", "an instant is no schedule"),
];

fn read(expression: &str) -> Result<Schedule, String> {
    let calendar = expression.parse::<Expression>().map_err(|error| error.to_string())?;
    Ok(Schedule { calendar: Calendar::Expression(calendar), zone: Zone::utc(), missed: Missed::CatchUp })
}

fn next_times(schedule: &Schedule, after: Timestamp, many: usize) -> Vec<Timestamp> {
    let begin = |after: Timestamp| schedule.next(after).map(|due| due.begin);
    std::iter::successors(begin(after), |last| begin(*last)).take(many).collect()
}

#[test]
fn an_expression_has_the_next_times_that_systemd_told() {
    for (expression, wanted) in TABLE {
        let found = next_times(&read(expression).unwrap(), at(NOW), wanted.len().max(1));
        let wanted: Vec<Timestamp> = wanted.iter().map(|time| at(time)).collect();
        assert_eq!(found, wanted, "{expression}");
    }
}

#[test]
fn what_is_no_expression_is_answered_with_what_it_is_and_how_to_mend_it() {
    for expression in WRONG {
        let error = expression.parse::<Expression>().expect_err(expression);
        assert!(error.message.contains("expression") || error.message == "is empty", "{expression}: {error}");
        assert!(!error.remedy.is_empty());
    }
    for (expression, wanted) in OURS {
        let error = expression.parse::<Expression>().expect_err(expression).to_string();
        assert!(error.contains(wanted), "{expression}: {error}");
    }
}

/// The next times that systemd tells, or nothing when it takes the expression for wrong. Nothing at all when it is not on this machine,
/// which is an error in CI.
fn systemd(expression: &str, after: Timestamp, many: usize) -> Option<Option<Vec<Timestamp>>> {
    let base = after.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    let output = Command::new("systemd-analyze")
        .args(["calendar", "--base-time", &base, &format!("--iterations={many}"), "--", expression])
        .env("TZ", "UTC")
        .env("LC_ALL", "C.UTF-8")
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error)
            if error.kind() == std::io::ErrorKind::NotFound
                && std::env::var_os("STILLPOINT_CI").is_none() =>
        {
            return None;
        }
        Err(error) => panic!("systemd-analyze (Debian package systemd) cannot be run: {error}"),
    };
    if !output.status.success() {
        return Some(None);
    }
    let text = String::from_utf8(output.stdout).unwrap();
    let times = text.lines().filter_map(|line| {
        let (head, time) = line.trim().split_once(": ")?;
        let is_time = (head == "Next elapse" && time != "never") || head.starts_with("Iter. #");
        is_time.then(|| {
            let time = time.split_once(' ').unwrap().1;
            jiff::fmt::strtime::parse("%Y-%m-%d %H:%M:%S UTC", time)
                .and_then(|parsed| parsed.to_datetime())
                .and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC))
                .unwrap_or_else(|error| panic!("{line:?}: {error}"))
                .timestamp()
        })
    });
    Some(Some(times.collect()))
}

/// Compares with systemd from `after` on. Whether systemd is there.
fn assert_same(expression: &str, after: Timestamp) -> bool {
    let Some(told) = systemd(expression, after, 5) else { return false };
    let ours = read(expression);
    match (told, &ours) {
        (None, Err(_)) => {}
        // Never, for a day that is in no calendar.
        (Some(told), Err(error)) if told.is_empty() && error.contains("never comes") => {}
        (Some(told), Ok(schedule)) => {
            assert_eq!(next_times(schedule, after, 5), told, "{expression:?} after {after}");
        }
        (told, ours) => panic!("{expression:?} after {after}: systemd told {told:?}, and we {ours:?}"),
    }
    true
}

/// A list of numbers, ranges and steps from `low` to `high`, or `*`.
fn list(random: &mut Random, low: u64, high: u64) -> String {
    if random.below(3) == 0 {
        return "*".to_owned();
    }
    let one = |random: &mut Random| {
        let number = |random: &mut Random| low + random.below(high - low + 1);
        let (first, last) = (number(random), number(random));
        // Sometimes backwards or too far, which both must refuse.
        match random.below(5) {
            // A range of one second is refused by systemd, and of everything else is not.
            0 if first != last => format!("{first}..{last}"),
            1 => format!("{first}/{}", 1 + random.below(7)),
            2 => format!("{first}..{last}/{}", 1 + random.below(4)),
            _ => format!("{first:02}"),
        }
    };
    let items: Vec<String> = (0..=random.below(2)).map(|_| one(random)).collect();
    items.join(",")
}

fn random_expression(random: &mut Random) -> String {
    let mut words = Vec::new();
    if random.below(3) == 0 {
        words.push(random.of(&["Mon", "tue..Fri", "Sat,Sun", "wednesday", "Mon,Thu..Sat"]).to_owned());
    }
    if random.below(4) != 0 {
        let year =
            if random.below(3) == 0 { format!("{}-", list(random, 2024, 2032)) } else { String::new() };
        let (sign, last) = if random.below(4) == 0 { ("~", 28) } else { ("-", 31) };
        let month = list(random, 1, 12);
        let mut day = list(random, 1, last);
        if sign == "~" {
            // Of lists that count from the end systemd takes some and not others; here they are taken.
            day.truncate(day.find(',').unwrap_or(day.len()));
        }
        words.push(format!("{year}{month}{sign}{day}"));
    }
    if words.is_empty() || random.below(4) != 0 {
        let seconds = if random.below(3) == 0 { format!(":{}", list(random, 0, 59)) } else { String::new() };
        words.push(format!("{}:{}{seconds}", list(random, 0, 23), list(random, 0, 59)));
    }
    words.join(" ")
}

#[test]
fn systemd_itself_says_the_same() {
    let known = TABLE.iter().map(|(expression, _)| *expression).chain(WRONG.iter().copied());
    let mut there = known.map(|expression| assert_same(expression, at(NOW)));
    if !there.all(|there| there) {
        eprintln!(
            "NOT TESTED: systemd-analyze (Debian package systemd) is not on this machine; STILLPOINT_CI=1 makes this an error"
        );
        return;
    }
    for seed in 1..=400_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let expression = random_expression(&mut random);
        let after = at("2024-02-20T00:00:00Z")
            + jiff::SignedDuration::from_secs(random.below(4 * 366 * 86_400) as i64);
        assert!(assert_same(&expression, after), "seed {seed}");
    }
}
