//! The `stillpoint` program.

use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    stillpoint::main_with(Arc::new(stillpoint_coordinator::NoHook))
}
