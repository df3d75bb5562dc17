//! When is a task due? Calendars, windows and time zones. Pure: no file, no clock; what time it is, is an argument.
//!
//! A [`Calendar`] says when on the wall clock: a [`Window`] of the night, a [`Cron`] expression or a systemd [`Expression`].
//! A [`Zone`] says whose wall clock. A [`Schedule`] puts them together and answers: when is the next time, and is one due now?
//!
//! All three forms meet the days on which clocks change by the same rule (in `zone.rs`): a time that does not exist is the first
//! instant after the gap, one that exists twice is the first of the two.

mod calendar;
mod cron;
mod expression;
mod nearest;
mod schedule;
mod window;
mod wrong;
mod zone;

pub use calendar::Calendar;
pub use cron::Cron;
pub use expression::Expression;
pub use nearest::nearest;
pub use schedule::{Decision, Due, Missed, Schedule};
pub use window::{ClockTime, Day, Window};
pub use wrong::WrongSchedule;
pub use zone::Zone;
