//! A calendar in a zone, and what is due.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Calendar, Zone};

/// What happens to a time at which the task could not begin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Missed {
    /// It is caught up at once, once for all that were missed.
    #[default]
    CatchUp,
    /// The task waits for its next time.
    Wait,
}

/// When a task is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// When on the wall clock.
    pub calendar: Calendar,
    /// Whose wall clock.
    pub zone: Zone,
    /// What happens to a time at which the task could not begin.
    pub missed: Missed,
}

/// One time at which a task is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The first instant at which it may begin. Names this time: no other has the same.
    pub begin: Timestamp,
    /// The last instant at which it may begin; only a window has one.
    pub latest: Option<Timestamp>,
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Begin: this is due.
    Run(Due),
    /// Begin: this was missed, and is caught up.
    CatchUp(Due),
    /// This was missed; begin at the next time, if there is one.
    Missed {
        /// What was missed last.
        missed: Due,
        /// When it goes on.
        next: Option<Due>,
    },
    /// Nothing is due. Begin at the next time, if there is one.
    Wait(Option<Due>),
}

impl Schedule {
    /// How late a task without a window may begin and still be on time. Covers a restart of the service and a short wait behind
    /// another task.
    pub const ON_TIME: Duration = Duration::from_secs(15 * 60);

    /// The first due time after `after`; nothing when there is none any more.
    pub fn next(&self, after: Timestamp) -> Option<Due> {
        let mut time = self.zone.at(after).datetime();
        loop {
            // The instants of later times are never earlier, so nothing before `time` can be the answer. In the second of two equal
            // hours the clock shows times that had their instant an hour ago: these are passed over.
            time = self.calendar.next(time)?;
            if let Some(begin) = self.zone.instant(time).filter(|begin| *begin > after) {
                let latest = match &self.calendar {
                    Calendar::Window(window) => {
                        let latest = window.latest_of(time).and_then(|latest| self.zone.instant(latest));
                        // Where the clock jumps over the whole window, it still has its length.
                        let length = SignedDuration::from_mins(window.minutes());
                        latest.filter(|latest| *latest > begin).or(begin.checked_add(length).ok())
                    }
                    Calendar::Cron(_) | Calendar::Expression(_) => None,
                };
                return Some(Due { begin, latest });
            }
        }
    }

    /// What is to be done at `now`. Nothing is remembered from one call to the next, so restarts and jumps of the clock change
    /// nothing.
    ///
    /// `last_started` is when the newest run began: the one that was *recorded* last, whatever its time says, because the clock
    /// may have been wrong then. `since` is when the site got this schedule (not: when the service started): times before it were
    /// not missed.
    ///
    /// A due time is served by any run that began at it or later. A start that lies in the future, since the clock was set back,
    /// serves at most the next due time: one that lies further ahead was the mistake of a clock, and so is such a `since`.
    pub fn due(&self, now: Timestamp, last_started: Option<Timestamp>, since: Timestamp) -> Decision {
        let horizon = self.horizon(now, last_started.max(Some(since)));
        let credible =
            |instant: &Timestamp| *instant <= now || horizon.is_none_or(|horizon| *instant < horizon);
        let started = last_started.filter(credible);
        let long_ago = || now.checked_sub(Self::LOOK_BACK).unwrap_or(Timestamp::MIN);
        let since = Some(since).filter(credible).unwrap_or_else(long_ago);
        // Nothing is due before this, so most looks end here.
        let first = self.next(started.map_or(just_before(since), |started| started.max(just_before(since))));
        let Some(first) = first.filter(|due| due.begin <= now) else {
            return Decision::Wait(first);
        };
        let due = self.last_until(now, first.begin).unwrap_or(first);
        let on_time = due.latest.or(due.begin.checked_add(Self::ON_TIME).ok());
        match self.missed {
            _ if on_time.is_none_or(|latest| now <= latest) => Decision::Run(due),
            Missed::CatchUp => Decision::CatchUp(due),
            Missed::Wait => Decision::Missed { missed: due, next: self.next(now) },
        }
    }

    /// Up to where an instant in the future can be believed: before the second next due time. Nothing when there is none that matters.
    fn horizon(&self, now: Timestamp, newest: Option<Timestamp>) -> Option<Timestamp> {
        newest.filter(|newest| *newest > now)?;
        let next = self.next(now)?;
        self.next(next.begin).map(|second| second.begin)
    }

    /// The last due time that is not after `now` and not before `floor`.
    fn last_until(&self, now: Timestamp, floor: Timestamp) -> Option<Due> {
        // Looks back further and further: most schedules have a time within some days.
        let mut back = SignedDuration::from_mins(1);
        loop {
            let from = now.checked_sub(back).unwrap_or(Timestamp::MIN).max(floor);
            if let Some(mut last) = self.next(just_before(from)).filter(|due| due.begin <= now) {
                while let Some(later) = self.next(last.begin).filter(|due| due.begin <= now) {
                    last = later;
                }
                return Some(last);
            }
            if from == floor || back > Self::LOOK_BACK {
                return None;
            }
            back *= 4;
        }
    }

    /// The 29th of February comes after eight years at the latest (1896 to 1904, 2096 to 2104).
    const LOOK_BACK: SignedDuration = SignedDuration::from_hours(9 * 366 * 24);

    /// The longest time between two due times, of which the first is the last one before `now` or in the 400 days after it; nothing
    /// when the schedule comes to an end. For a schedule that is never an hour without one, an hour.
    pub fn longest_gap(&self, now: Timestamp) -> Option<Duration> {
        let horizon = now.checked_add(SignedDuration::from_hours(400 * 24)).ok()?;
        let mut longest = SignedDuration::from_hours(1);
        let mut due = self.last_until(now, Timestamp::MIN).map_or(now, |last| last.begin);
        while due <= horizon {
            // All that is due within `longest` from here has gaps that are no longer: on to the last of them.
            let within = due.checked_add(longest).ok()?;
            due = self.last_until(within, due).map_or(due, |last| last.begin);
            let next = self.next(due)?.begin;
            longest = longest.max(next.duration_since(due));
            due = next;
        }
        Duration::try_from(longest).ok()
    }

    /// In words, to be read after "due": "every day between 02:00 and 05:00, Europe/Berlin".
    pub fn describe(&self) -> String {
        format!("{}, {}", self.calendar.describe(), self.zone)
    }
}

/// The instant before, since [`Schedule::next`] leaves out the one that it is given.
fn just_before(instant: Timestamp) -> Timestamp {
    instant.checked_sub(SignedDuration::from_nanos(1)).unwrap_or(instant)
}
