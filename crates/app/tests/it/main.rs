//! The program as a user runs it: the real binary, real files, real exit codes. One test binary for all.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at what it did not expect")]

mod archive;
mod backup;
mod cli_reference;
mod config;
mod demo;
mod documents;
mod recover;
mod service;
mod site;
