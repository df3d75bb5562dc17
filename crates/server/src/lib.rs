//! The service: schedule, queue, alerts, console and API over the same facts.

pub mod access;
mod blocking;
pub mod launcher;
pub mod live;
pub mod queue;
pub mod service;

pub use blocking::blocking;
