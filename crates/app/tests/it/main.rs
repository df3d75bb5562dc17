//! The program as a user runs it: the real binary, real files, real exit codes. One test binary for all.

mod backup;
mod cli_reference;
mod config;
mod demo;
mod documents;
mod recover;
mod site;
