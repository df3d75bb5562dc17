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
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

pub use arguments::Arguments;

/// The whole program. `hook` is called around every act of a run; the shipped program passes one that does nothing.
pub fn main_with(hook: Arc<dyn ActHook>) -> ExitCode {
    restore_default_sigpipe();
    let arguments = match Arguments::read() {
        Ok(arguments) => arguments,
        Err(error) => return edge::usage(&error),
    };
    // What runs for months says what it does.
    let serves = matches!(arguments.verb, arguments::Verb::Serve(_) | arguments::Verb::Launcher(_));
    install_log(arguments.common.verbose.saturating_add(u8::from(serves)));
    match verbs::dispatch(&arguments, hook) {
        Ok(code) => ExitCode::from(code),
        Err(error) => edge::report(&error, arguments.common.json),
    }
}

/// `stillpoint list | head` ends quietly, as other programs do, instead of failing on a closed pipe.
fn restore_default_sigpipe() {
    edge::end_quietly_on_closed_pipe();
}

/// Where the journal reads our standard error, it gets what we log with its fields, such as `STILLPOINT_MESSAGE_ID`; else a person does.
fn install_log(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("STILLPOINT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    let log = tracing_subscriber::registry().with(filter);
    let journal = is_journal().then(|| tracing_journald::layer().ok()).flatten();
    let _ = match journal {
        Some(journal) => {
            let journal = journal.with_field_prefix(Some("STILLPOINT".into()));
            log.with(journal.with_syslog_identifier("stillpoint".into())).try_init()
        }
        None => log.with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr)).try_init(),
    };
}

/// Whether standard error goes to the journal: then `JOURNAL_STREAM` has its device and inode (systemd.exec(5)).
fn is_journal() -> bool {
    let Some(stream) = std::env::var("JOURNAL_STREAM").ok() else { return false };
    let found = rustix::fs::fstat(std::io::stderr());
    found.is_ok_and(|found| stream == format!("{}:{}", found.st_dev, found.st_ino))
}
