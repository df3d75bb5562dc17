//! A window of the day in which a task may begin.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{DateTime, Time, Weekday};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::WrongSchedule;
use crate::wrong::as_text;

/// A window of the day: the task begins in it, on the days that are named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// The days on which it begins.
    #[serde(default = "Day::all")]
    #[schemars(length(min = 1))]
    pub days: Vec<Day>,
    /// When it begins, on the wall clock.
    pub begin: ClockTime,
    /// The latest time to begin, on the wall clock. Earlier than `begin` it is of the next day.
    pub latest: ClockTime,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Day {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

impl Day {
    /// All seven, from Monday on.
    pub fn all() -> Vec<Self> {
        vec![Self::Mon, Self::Tue, Self::Wed, Self::Thu, Self::Fri, Self::Sat, Self::Sun]
    }

    /// Its number, from Monday as 0.
    pub(crate) fn number(self) -> u8 {
        self as u8
    }

    pub(crate) fn name(self) -> &'static str {
        ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
            [usize::from(self.number())]
    }

    fn is(self, weekday: Weekday) -> bool {
        weekday.to_monday_zero_offset() == self.number() as i8
    }
}

/// A time on the wall clock, to the minute, as `02:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^([01]?[0-9]|2[0-3]):[0-5][0-9]$"))]
pub struct ClockTime(Time);

as_text!(ClockTime);

impl FromStr for ClockTime {
    type Err = WrongSchedule;

    fn from_str(text: &str) -> Result<Self, WrongSchedule> {
        let number = |digits: &str, most: usize| {
            let short = !digits.is_empty()
                && digits.len() <= most
                && digits.bytes().all(|byte| byte.is_ascii_digit());
            short.then(|| digits.parse::<i8>().ok()).flatten()
        };
        let time = text.split_once(':').and_then(|(hour, minute)| {
            let minute = (minute.len() == 2).then(|| number(minute, 2)).flatten()?;
            Time::new(number(hour, 2)?, minute, 0, 0).ok()
        });
        time.map(Self).ok_or_else(|| {
            let remedy = if text == "24:00" {
                "write \"00:00\": midnight begins the day"
            } else {
                "write hours and minutes from \"00:00\" to \"23:59\""
            };
            WrongSchedule::new(format!("is not a time of day: {text:?}"), remedy)
        })
    }
}

impl fmt::Display for ClockTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0.hour(), self.0.minute())
    }
}

impl Window {
    /// A window that can be: with days, and longer than nothing.
    ///
    /// # Errors
    /// What is impossible about it.
    pub fn new(days: Vec<Day>, begin: ClockTime, latest: ClockTime) -> Result<Self, WrongSchedule> {
        if days.is_empty() {
            let remedy =
                "name days, such as days = [\"mon\", \"thu\"], or leave `days` out: then it is every day";
            return Err(WrongSchedule::new("has no days, so it never begins", remedy));
        }
        if begin == latest {
            let remedy = "write a later `latest`; one earlier than `begin` is of the next day";
            return Err(WrongSchedule::new(
                format!("begins and ends at {begin}, so nothing can begin in it"),
                remedy,
            ));
        }
        Ok(Self { days, begin, latest })
    }

    /// Its first begin after `after`.
    pub(crate) fn next(&self, after: DateTime) -> Option<DateTime> {
        let mut date = after.date();
        // The same day a week later is the last that can be the first.
        for _ in 0..=7 {
            let begin = date.to_datetime(self.begin.0);
            if begin > after && self.days.iter().any(|day| day.is(date.weekday())) {
                return Some(begin);
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    /// The latest time to begin, of the window that begins at `begin`.
    pub(crate) fn latest_of(&self, begin: DateTime) -> Option<DateTime> {
        let date = if self.latest < self.begin { begin.date().tomorrow().ok()? } else { begin.date() };
        Some(date.to_datetime(self.latest.0))
    }

    /// How long it is on a day on which no clock changes, in minutes.
    pub(crate) fn minutes(&self) -> i64 {
        let of_day = |time: ClockTime| i64::from(time.0.hour()) * 60 + i64::from(time.0.minute());
        (of_day(self.latest) - of_day(self.begin)).rem_euclid(24 * 60)
    }

    /// In words: "every day between 02:00 and 05:00".
    pub(crate) fn describe(&self) -> String {
        let mut days: Vec<Day> = self.days.clone();
        days.sort_by_key(|day| day.number());
        days.dedup();
        let next_day = if self.latest < self.begin { " of the next day" } else { "" };
        format!("{} between {} and {}{next_day}", days_in_words(&days), self.begin, self.latest)
    }
}

/// Days in words, in the order of the week: "every day", "on Monday and Thursday".
pub(crate) fn days_in_words(days: &[Day]) -> String {
    if days.len() == 7 {
        return "every day".to_owned();
    }
    let names: Vec<String> = days.iter().map(|day| day.name().to_owned()).collect();
    format!("on {}", crate::calendar::list(&names))
}
