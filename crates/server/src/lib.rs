//! The service: schedule, queue, alerts, console and API over the same facts.

pub mod access;
pub mod api;
mod blocking;
pub mod console;
pub mod launcher;
pub mod live;
pub mod queue;
mod scheduler;
mod serve;
pub mod service;
pub mod timetable;

pub use scheduler::steps;
pub mod web;

pub use blocking::blocking;
pub use serve::{ServeOptions, history_of, serve};
