//! The command line: arguments, set-up of logging and signals, the terminal, exit codes. One file per verb in `verbs`.

mod archive_arguments;
mod arguments;
mod demo;
mod edge;
mod qr;
mod record;
mod screen;
mod service_arguments;
mod verbs;

use std::process::ExitCode;
use std::sync::Arc;

use stillpoint_coordinator::ActHook;

pub use arguments::Arguments;

/// The whole program. `hook` is called around every act of a run; the shipped program passes one that does nothing.
pub fn main_with(hook: Arc<dyn ActHook>) -> ExitCode {
    restore_default_sigpipe();
    let arguments = match Arguments::read() {
        Ok(arguments) => arguments,
        Err(error) => return edge::usage(&error),
    };
    install_log(arguments.common.verbose);
    match verbs::dispatch(&arguments, hook) {
        Ok(code) => ExitCode::from(code),
        Err(error) => edge::report(&error, arguments.common.json),
    }
}

/// `stillpoint list | head` ends quietly, as other programs do, instead of failing on a closed pipe.
fn restore_default_sigpipe() {
    edge::end_quietly_on_closed_pipe();
}

fn install_log(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("STILLPOINT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}
