//! systemd calendar expressions, as for `OnCalendar=` in systemd.time(7), to the second and without a zone.

mod parse;
mod part;
mod words;

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time, date};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::wrong::as_text;
use crate::{Day, WrongSchedule};
use part::{Part, allows};

/// A systemd calendar expression, such as `Mon..Fri *-*-* 02:30` or `weekly`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Expression {
    /// As it was written.
    text: String,
    /// In the order of the week; nothing means all.
    weekdays: Vec<Day>,
    years: Vec<Part>,
    months: Vec<Part>,
    days: Vec<Part>,
    /// Whether `days` count from the end of the month: `*-02~01` is the last day of February.
    from_end: bool,
    hours: Vec<Part>,
    minutes: Vec<Part>,
    seconds: Vec<Part>,
}

as_text!(Expression);

/// The last year that systemd knows.
const YEAR_MAX: i16 = 2199;

impl Expression {
    /// The first time after `after`; nothing when there is none until the end of the year 2199.
    pub(crate) fn next(&self, after: DateTime) -> Option<DateTime> {
        // Whole seconds only, so the next one is the first that can be.
        let earliest = after
            .date()
            .to_datetime(whole_second(after.time()))
            .checked_add(jiff::Span::new().seconds(1))
            .ok()?;
        let mut day = earliest.date();
        let mut not_before = earliest.time();
        while day.year() <= YEAR_MAX {
            let next_day = if !allows(&self.years, i32::from(day.year())) {
                Date::new(day.year().checked_add(1)?, 1, 1).ok()?
            } else if !allows(&self.months, i32::from(day.month())) {
                day.last_of_month().tomorrow().ok()?
            } else {
                if self.allows_day(day)
                    && let Some(time) = self.first_time(not_before)
                {
                    return Some(day.to_datetime(time));
                }
                day.tomorrow().ok()?
            };
            (day, not_before) = (next_day, Time::midnight());
        }
        None
    }

    fn allows_day(&self, day: Date) -> bool {
        let number = i32::from(day.day());
        let length = i32::from(day.days_in_month());
        let weekday = usize::try_from(day.weekday().to_monday_zero_offset()).unwrap_or_default();
        let on_weekday =
            self.weekdays.is_empty() || self.weekdays.iter().any(|one| usize::from(one.number()) == weekday);
        on_weekday
            && if self.from_end {
                let parts: Vec<Part> = self.days.iter().map(|part| part.counted_from_end(length)).collect();
                allows(&parts, number)
            } else {
                allows(&self.days, number)
            }
    }

    /// The first time of a day that is not before `earliest`.
    fn first_time(&self, earliest: Time) -> Option<Time> {
        for hour in (earliest.hour()..24).filter(|hour| allows(&self.hours, i32::from(*hour))) {
            let same_hour = hour == earliest.hour();
            let first_minute = if same_hour { earliest.minute() } else { 0 };
            for minute in (first_minute..60).filter(|minute| allows(&self.minutes, i32::from(*minute))) {
                let first_second =
                    if same_hour && minute == earliest.minute() { earliest.second() } else { 0 };
                let second = (first_second..60).find(|second| allows(&self.seconds, i32::from(*second)));
                if let Some(second) = second {
                    return Time::new(hour, minute, second, 0).ok();
                }
            }
        }
        None
    }
}

fn whole_second(time: Time) -> Time {
    time.with().subsec_nanosecond(0).build().unwrap_or(time)
}

impl FromStr for Expression {
    type Err = WrongSchedule;

    fn from_str(text: &str) -> Result<Self, WrongSchedule> {
        let expression = parse::parse(text)?;
        if expression.next(date(1969, 12, 31).at(0, 0, 0, 0)).is_none() {
            let remedy = "name a day that is in the calendar; `*-02~01` is the last day of February";
            return Err(WrongSchedule::new(format!("names a day that never comes: {text:?}"), remedy));
        }
        Ok(expression)
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
