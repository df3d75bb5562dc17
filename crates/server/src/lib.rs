//! The service: schedule, queue, alerts, console and API over the same facts.

pub mod console;
pub mod launcher;
pub mod live;
pub mod queue;
mod scheduler;
mod serve;
pub mod service;
pub mod timetable;

pub use scheduler::steps;
pub use serve::{ServeOptions, history_of, serve};
