//! The service: schedule, queue, alerts, console and API over the same facts.

pub mod access;
pub mod alerting;
pub mod api;
mod blocking;
pub mod console;
pub mod launcher;
pub mod live;
mod metrics;
pub mod queue;
mod scheduler;
mod serve;
pub mod service;
pub mod standing;
pub mod timetable;
pub mod web;

pub use blocking::blocking;
pub use metrics::metrics;
pub use serve::{Announcement, ServeOptions, history_at, serve};
