//! The service: schedule, queue, alerts, console and API over the same facts.

pub mod access;
mod blocking;

pub use blocking::blocking;
