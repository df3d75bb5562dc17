//! Cron expressions, read by `croner`.

use std::fmt;
use std::str::FromStr;

use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::{DateTime, date};
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::WrongSchedule;
use crate::wrong::as_text;

/// A cron expression of five fields: minute, hour, day of the month, month, day of the week. As ever, when both kinds of day are
/// named, either of them will do. `L`, `#` and `W` are known, and `@daily` and its like.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Cron {
    text: String,
    times: croner::Cron,
}

as_text!(Cron);

/// It is what is written that counts.
impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Cron {}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cron").field(&self.text).finish()
    }
}

impl Cron {
    /// The first time after `after`. The search is in the calendar alone, as if no clock ever changed (as in UTC): what happens
    /// when one does is for [`crate::Zone`], the same for all forms.
    pub(crate) fn next(&self, after: DateTime) -> Option<DateTime> {
        let after = after.to_zoned(TimeZone::UTC).ok()?;
        self.times.find_next_occurrence(&after, false).ok().map(|next| next.datetime())
    }

    /// In words, and as it is written: `at 02:30 (cron "30 2 * * *")`.
    pub(crate) fn describe(&self) -> String {
        let words = self.times.describe();
        let words = words.trim_end_matches('.');
        let mut letters = words.chars();
        let first = letters.next().map(|letter| letter.to_ascii_lowercase());
        let words: String = first.into_iter().chain(letters).collect();
        format!("{words} (cron {:?})", self.text)
    }
}

impl FromStr for Cron {
    type Err = WrongSchedule;

    fn from_str(text: &str) -> Result<Self, WrongSchedule> {
        let remedy =
            "write minute, hour, day of the month, month and day of the week, such as \"30 2 * * *\"";
        let text = text.trim();
        if text.contains(':') {
            let remedy = "write it as calendar = \"...\", which takes systemd calendar expressions";
            return Err(WrongSchedule::new(format!("is not a cron expression: {text:?}"), remedy));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let fields = text.split_whitespace().count();
        if !text.starts_with('@') && fields != 5 {
            let message = format!("has {fields} fields, and a cron expression has five: {text:?}");
            return Err(WrongSchedule::new(message, remedy));
        }
        let times = parser.parse(text).map_err(|error| {
            WrongSchedule::new(format!("is not a cron expression: {text:?} ({error})"), remedy)
        })?;
        let cron = Self { text: text.to_owned(), times };
        if cron.next(date(2000, 1, 1).at(0, 0, 0, 0)).is_none() {
            let remedy = "name a day that is in the calendar; for the last day of a month write L";
            return Err(WrongSchedule::new(format!("names a day that never comes: {text:?}"), remedy));
        }
        Ok(cron)
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
