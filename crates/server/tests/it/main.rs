//! The server over real connections on loopback.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod api;
mod client;
mod door;
mod fuzz;
mod ground;
mod pages;
mod roles;
mod strangers;
mod tls;
