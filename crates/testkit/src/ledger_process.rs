//! The ledger application as a process.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use stillpoint_ledger::app::{LedgerSettings, holder};
use stillpoint_ledger::check::{CheckReport, CheckSettings, Mode, check};
use stillpoint_ledger::control::{self, Status};
use stillpoint_ledger::{JournalMode, StoreSettings};

use crate::cgroup::Cgroup;
use crate::program::{own, wait_for};

/// How long the application may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// The arguments of `ledger-app run` and `ledger-app start` for these settings.
pub fn ledger_arguments(settings: &LedgerSettings) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = Vec::new();
    let mut add = |name: &str, value: OsString| arguments.extend([name.into(), value]);
    for store in &settings.stores {
        match store {
            StoreSettings::Sqlite { path, journal: JournalMode::Wal } => add("--sqlite", path.into()),
            StoreSettings::Sqlite { path, journal: JournalMode::Rollback } => {
                add("--sqlite-rollback", path.into())
            }
            StoreSettings::Postgres { connection } => add("--postgres", connection.into()),
        }
    }
    add("--content", settings.content.clone().into());
    add("--control", settings.control.clone().into());
    add("--workers", settings.workers.to_string().into());
    add("--window", settings.window.to_string().into());
    if let Some(rate) = settings.rate {
        add("--rate", rate.to_string().into());
    }
    if let Some(leader) = settings.leader {
        add("--leader", leader.to_string().into());
    }
    if settings.mapped {
        arguments.push("--mapped".into());
    }
    arguments
}

/// Kills whatever process runs the ledger with this control socket, and waits until it is gone.
pub(crate) fn kill_ledger(control: &Path) {
    let pid = holder(control).ok().flatten().and_then(|process| Pid::from_raw(process.cast_signed()));
    if let Some(pid) = pid {
        // It may have ended by itself meanwhile.
        let _ = kill_process(pid, Signal::KILL);
    }
    wait_for("the killed ledger application is gone", PATIENCE, || {
        matches!(holder(control), Ok(None)).then_some(())
    });
}

/// A running ledger application. Whatever process runs the ledger at the end (it may have been stopped and started anew
/// meanwhile) is ended with the value.
#[derive(Debug)]
pub struct LedgerProcess {
    settings: LedgerSettings,
    child: Child,
}

impl LedgerProcess {
    /// Starts it, in a cgroup if one is given, and waits until every worker works. It ends with this process.
    pub fn start(settings: &LedgerSettings, cgroup: Option<&Cgroup>) -> Self {
        let settings = &LedgerSettings { leader: Some(std::process::id()), ..settings.clone() };
        let mut command = Command::new(own("ledger-app"));
        command.arg("run").args(ledger_arguments(settings));
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
        let mut process = Self { settings: settings.clone(), child };
        if let Some(cgroup) = cgroup {
            cgroup.adopt(process.child.id());
        }
        wait_for("the ledger application answers", PATIENCE, || {
            let ended = process.child.try_wait().ok().flatten();
            assert!(ended.is_none(), "the ledger application ended with {ended:?}");
            control::status(&settings.control, PATIENCE).ok()
        });
        process.advance();
        process
    }

    /// How it was started.
    pub fn settings(&self) -> &LedgerSettings {
        &self.settings
    }

    /// Its control socket.
    pub fn control(&self) -> &Path {
        &self.settings.control
    }

    /// The id of the process that was started here.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until every worker has done more; fails the test when they do not.
    pub fn advance(&self) -> Status {
        match control::wait_for_advance(&self.settings.control, PATIENCE) {
            Ok(status) => status,
            Err(error) => panic!("the ledger does not advance: {}", error.chain()),
        }
    }

    /// Stops it as a service manager would: it finishes what is under way.
    pub fn stop(&mut self) {
        if let Err(error) = control::stop(&self.settings.control, PATIENCE) {
            panic!("the ledger does not stop: {}", error.chain());
        }
        let _ = self.child.wait();
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        kill_ledger(&self.settings.control);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Checks the ledger where it lives; it must not run.
    pub fn check(&self, mode: Mode) -> CheckReport {
        check_ledger(self.settings.stores.clone(), &self.settings.content, mode)
    }
}

/// Checks a ledger, or a copy of one; fails the test when it cannot be looked at.
pub fn check_ledger(stores: Vec<StoreSettings>, content: &Path, mode: Mode) -> CheckReport {
    match check(&CheckSettings { stores, content: content.to_owned(), mode }) {
        Ok(report) => report,
        Err(error) => panic!("the ledger in {} cannot be checked: {}", content.display(), error.chain()),
    }
}

impl Drop for LedgerProcess {
    fn drop(&mut self) {
        // When it is in a cgroup that is frozen (version 1), the kill works only once that is thawed: by whoever holds the
        // cgroup. So this must not wait for it without end.
        let holder = holder(&self.settings.control).ok().flatten();
        for process in holder.into_iter().chain([self.child.id()]) {
            let reaped = process == self.child.id() && matches!(self.child.try_wait(), Ok(Some(_)));
            if let Some(pid) = Pid::from_raw(process.cast_signed())
                && !reaped
            {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        let deadline = std::time::Instant::now() + Duration::from_secs(2);
        while matches!(self.child.try_wait(), Ok(None)) && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
