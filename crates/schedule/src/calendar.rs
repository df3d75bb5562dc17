//! When on the wall clock.

use jiff::civil::DateTime;

use crate::{Cron, Expression, Window};

/// When on the wall clock of a zone, in one of three forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Calendar {
    /// A window of the day, with a latest time to begin.
    Window(Window),
    /// The times of a cron expression.
    Cron(Cron),
    /// The times of a systemd calendar expression.
    Expression(Expression),
}

impl Calendar {
    /// The first time after `after`; nothing when there is none any more.
    pub(crate) fn next(&self, after: DateTime) -> Option<DateTime> {
        match self {
            Self::Window(window) => window.next(after),
            Self::Cron(cron) => cron.next(after),
            Self::Expression(expression) => expression.next(after),
        }
    }

    /// In words, to be read after "due".
    pub fn describe(&self) -> String {
        match self {
            Self::Window(window) => window.describe(),
            Self::Cron(cron) => cron.describe(),
            Self::Expression(expression) => expression.describe(),
        }
    }
}

/// Several words as people list them: "a, b and c".
pub(crate) fn list(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
