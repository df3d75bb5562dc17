//! A machine with a clock of its own, which asks what is due and does it.

#![allow(dead_code, reason = "each test file takes what it needs")]

use jiff::{SignedDuration, Timestamp};
use stillpoint_schedule::{Calendar, Decision, Missed, Schedule};

/// A schedule, from its parts as text. The calendar is `cron ...`, `calendar ...` or `window 02:00 05:00`.
pub fn schedule(zone: &str, calendar: &str, missed: Missed) -> Schedule {
    let (form, text) = calendar.split_once(' ').unwrap();
    let calendar = match form {
        "cron" => Calendar::Cron(text.parse().unwrap()),
        "calendar" => Calendar::Expression(text.parse().unwrap()),
        "window" => {
            let (begin, latest) = text.split_once(' ').unwrap();
            let days = stillpoint_schedule::Day::all();
            let window =
                stillpoint_schedule::Window::new(days, begin.parse().unwrap(), latest.parse().unwrap());
            Calendar::Window(window.unwrap())
        }
        other => panic!("no calendar: {other}"),
    };
    Schedule { calendar, zone: zone.parse().unwrap(), missed }
}

/// An instant, from RFC 3339.
pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub fn minutes(minutes: i64) -> SignedDuration {
    SignedDuration::from_mins(minutes)
}

/// A machine that runs the task whenever it is told to, in no time.
pub struct Machine {
    pub schedule: Schedule,
    /// When it got the schedule.
    pub since: Timestamp,
    /// When runs began, by its clock, in the order in which they were recorded.
    pub runs: Vec<Timestamp>,
}

impl Machine {
    pub fn new(schedule: Schedule, since: Timestamp) -> Self {
        Self { schedule, since, runs: Vec::new() }
    }

    /// Its clock shows `now`, and it looks what is due.
    pub fn look(&mut self, now: Timestamp) -> Decision {
        let decision = self.schedule.due(now, self.runs.last().copied(), self.since);
        if matches!(decision, Decision::Run(_) | Decision::CatchUp(_)) {
            self.runs.push(now);
        }
        decision
    }

    /// It looks every `step` from `from` until before `until`.
    pub fn live(&mut self, from: Timestamp, until: Timestamp, step: SignedDuration) {
        let mut now = from;
        while now < until {
            self.look(now);
            now += step;
        }
    }
}

/// A small generator of random numbers (xorshift64*), so that a failure can be repeated by its seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit.max(1)
    }

    pub fn of<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len() as u64) as usize]
    }
}
