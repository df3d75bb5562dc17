//! The verbs, one file each.

mod alert;
mod archive;
mod backup;
mod config;
mod init;
mod pages;
mod recover;
mod service;
mod sets;
mod status;

use std::path::PathBuf;
use std::sync::Arc;

use stillpoint_archive::BackupSet;
use stillpoint_coordinator::ActHook;
use stillpoint_model::{Cancel, ErrorKind, Monitor, NoMonitor};
use stillpoint_site::SiteError;

use crate::arguments::{Arguments, Common, Verb};
use crate::screen::{JsonLines, Screen, Style};

/// What a verb answers: the exit code, or an error that the edge prints.
type Answer = Result<u8, SiteError>;

/// Runs the verb of the command line.
pub fn dispatch(arguments: &Arguments, hook: Arc<dyn ActHook>) -> Answer {
    let common = &arguments.common;
    match &arguments.verb {
        Verb::Demo(own) => crate::demo::demo(common, own),
        Verb::Init(own) => init::init(common, own),
        Verb::Config(verb) => config::config(common, verb),
        Verb::Backup(own) => backup::backup(common, own, hook),
        Verb::Recover(own) => recover::recover(common, own),
        Verb::Verify(own) => sets::verify(common, own),
        Verb::Show(own) => sets::show(common, own),
        Verb::List(own) => sets::list(common, own),
        Verb::Archive(own) => archive::archive(common, own),
        Verb::Reconcile(own) => backup::reconcile(common, own),
        Verb::Status(own) => status::status(common, own),
        Verb::Alert(verb) => alert::alert(common, verb),
        Verb::Console(verb) => alert::console(common, verb),
        Verb::Serve(own) => service::serve(common, own),
        Verb::Launcher(own) => service::launcher(common, own),
        Verb::Completions { shell } => pages::completions(*shell),
        Verb::Man(own) => pages::man(own),
        Verb::Guard { arguments } => Ok(stillpoint_coordinator::guard_main(arguments)),
        Verb::DemoSite { folder, act, leader } => crate::demo::living_site(folder, *act, *leader),
    }
}

/// Who is told of the work, as the command line asks.
fn monitor(common: &Common) -> Arc<dyn Monitor> {
    if common.json {
        Arc::new(JsonLines)
    } else if common.quiet {
        Arc::new(NoMonitor)
    } else {
        Arc::new(Screen::new(common.verbose > 0))
    }
}

/// Tells a person that there is a complete set beside the incomplete one that was opened.
fn mention_complete(common: &Common, set: &BackupSet) {
    if let Some(kept) = set.complete_beside().filter(|_| !common.json && !common.quiet) {
        let note = format!("This set is incomplete; the complete one before it is {}.", kept.display());
        println!("{}", Style::for_stdout().yellow(&note));
    }
}

/// Set by Ctrl-C, SIGTERM and SIGHUP.
pub fn cancel_on_signal() -> Cancel {
    on_signal(|| {})
}

/// The same, and the second of them ends the process at once: what a backup holds, its guard lets go.
fn cancel_or_leave_on_signal() -> Cancel {
    on_signal(|| std::process::exit(i32::from(ErrorKind::Cancelled.exit_code())))
}

fn on_signal(second: impl Fn() + Send + 'static) -> Cancel {
    let cancel = Cancel::default();
    let asked = cancel.clone();
    let handler = move || {
        if asked.is_cancelled() {
            second();
        }
        asked.cancel();
    };
    // Fails only when a handler is there already, which nobody else sets.
    let _ = ctrlc::set_handler(handler);
    cancel
}

/// Where the state of runs is kept.
pub fn state_root(common: &Common) -> Result<PathBuf, SiteError> {
    if let Some(folder) = &common.state_dir {
        return std::path::absolute(folder).map_err(|error| {
            SiteError::new(ErrorKind::Usage, format!("--state-dir {} is not a path", folder.display()))
                .because(error)
        });
    }
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/stillpoint"));
    }
    let base = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    base.or_else(home).map(|folder| folder.join("stillpoint")).ok_or_else(|| {
        SiteError::new(
            ErrorKind::Usage,
            "there is no place for the state of runs: neither HOME nor XDG_STATE_HOME is set",
        )
        .hint("name a folder with --state-dir")
    })
}

/// The path of the running program.
pub fn own_program() -> Result<PathBuf, SiteError> {
    std::env::current_exe().map_err(|error| {
        SiteError::new(ErrorKind::Environment, "the path of this program cannot be told").because(error)
    })
}
