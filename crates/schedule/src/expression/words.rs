//! An expression in words.

use super::{Expression, Part};
use crate::window::days_in_words;

impl Expression {
    /// In words: "on Monday at 02:30:00". What has no simple words is told by the expression itself.
    pub(crate) fn describe(&self) -> String {
        let day = match (self.weekdays.as_slice(), self.has_any_date()) {
            ([], true) => "every day".to_owned(),
            (days, true) => days_in_words(days),
            _ => return format!("at the times of the calendar expression {:?}", self.text),
        };
        let one = |parts: &[Part]| match parts {
            [Part { start, stop: None, step: None }] => Some(*start),
            _ => None,
        };
        match (one(&self.hours), one(&self.minutes), one(&self.seconds)) {
            (Some(hour), Some(minute), Some(0)) => format!("{day} at {hour:02}:{minute:02}"),
            (Some(hour), Some(minute), Some(second)) => format!("{day} at {hour:02}:{minute:02}:{second:02}"),
            (None, Some(minute), Some(0)) if self.hours.is_empty() => {
                format!("{day} at {minute} minutes past each hour")
            }
            _ => format!("at the times of the calendar expression {:?}", self.text),
        }
    }

    fn has_any_date(&self) -> bool {
        self.years.is_empty() && self.months.is_empty() && self.days.is_empty()
    }
}
