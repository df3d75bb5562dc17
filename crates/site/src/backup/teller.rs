//! Tells what happens in a run: passes every event on, turns the ones that matter into numbered status messages, keeps the
//! problems, and writes `backup.log`. Nothing of a run goes to the terminal or to a file but through here.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use stillpoint_model::status::{Severity, StatusMessage, id, statmsg_line};
use stillpoint_model::{ComponentName, Event, Monitor, Phase, Problem, SiteCode, Step, plain};

use super::log::Log;

/// A monitor for one run.
pub(crate) struct Teller {
    site: SiteCode,
    host: String,
    next: Arc<dyn Monitor>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    log: Option<Log>,
    /// Lines from before the log could be opened.
    waiting: String,
    problems: Vec<Problem>,
    #[cfg(test)]
    messages: Vec<StatusMessage>,
}

/// How long the end of a run waits for the log to be written.
const FLUSH_LIMIT: Duration = Duration::from_secs(10);

impl Teller {
    pub fn new(site: SiteCode, next: Arc<dyn Monitor>) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { site, host, next, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Opens `backup.log` in the destination, if it is not open, and writes what was waiting for it.
    pub fn open_log(&self, path: &Path) -> std::io::Result<()> {
        if self.state().log.is_some() {
            return Ok(());
        }
        // Not under the lock: this may hang, and others have something to tell.
        let log = Log::open(path)?;
        let mut state = self.state();
        log.write(state.waiting.clone());
        state.log = Some(log);
        Ok(())
    }

    /// The run is over: waits until the log is written.
    pub fn flush(&self) {
        if let Some(log) = &self.state().log {
            log.flush(FLUSH_LIMIT);
        }
    }

    /// Everything that this run logged so far, for the copy in the set.
    pub fn logged(&self) -> String {
        self.state().waiting.clone()
    }

    /// The numbers of the messages so far.
    #[cfg(test)]
    pub fn numbers(&self) -> Vec<stillpoint_model::status::MessageId> {
        self.state().messages.iter().map(|message| message.id).collect()
    }

    /// The problems so far.
    pub fn problems(&self) -> Vec<Problem> {
        self.state().problems.clone()
    }

    /// Tells a status message of the run as a whole.
    pub fn status(&self, id: stillpoint_model::status::MessageId, inserts: &[&str]) {
        self.component_status(id, None, inserts);
    }

    /// Tells a status message about a component.
    pub fn component_status(
        &self,
        id: stillpoint_model::status::MessageId,
        component: Option<ComponentName>,
        inserts: &[&str],
    ) {
        let inserts = inserts.iter().map(|text| (*text).to_owned()).collect();
        let message = StatusMessage::new(id, component, inserts, jiff::Timestamp::now());
        self.emit(Event::Status(message));
    }

    /// Writes to the log only. What has more than one line is one entry: only its first line can be taken for ours.
    pub fn line(&self, text: &str) {
        let stamp = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        let mut state = self.state();
        for part in plain::marked_lines(text, "    | ") {
            let line = format!("{stamp}  {part}\n");
            if let Some(log) = &state.log {
                log.write(line.clone());
            }
            state.waiting.push_str(&line);
        }
    }

    fn messages_for(&self, event: &Event) {
        match event {
            Event::PhaseStarted { phase: Phase::Freeze } => self.status(id::SERVICES_ABOUT_TO_STOP, &[]),
            Event::PhaseStarted { phase: Phase::Capture } => self.status(id::COPY_STARTED, &[]),
            Event::PhaseEnded { phase: Phase::Snapshot, .. } => self.status(id::SNAPSHOTS_CREATED, &[]),
            Event::PhaseEnded { phase: Phase::Thaw, .. } => self.status(id::SERVICES_STARTED_AGAIN, &[]),
            Event::PhaseEnded { phase: Phase::Capture, .. } => self.status(id::COPY_FINISHED, &[]),
            Event::FreezeWindow { window_us } => {
                self.status(id::FREEZE_WINDOW, &[&milliseconds(*window_us)]);
            }
            Event::ComponentCaptured { component, grade, files, bytes } => {
                let facts = [component.to_string(), grade.to_string(), files.to_string(), bytes.to_string()];
                let inserts: Vec<&str> = facts.iter().map(String::as_str).collect();
                self.component_status(id::COMPONENT_CAPTURED, Some(component.clone()), &inserts);
            }
            Event::ProviderChosen { component, provider, reason } => {
                let inserts = [component.as_str(), &provider.to_string(), reason];
                self.component_status(id::PROVIDER_CHOSEN, Some(component.clone()), &inserts);
            }
            Event::StepEnded { component, step, error: Some(error), .. } => {
                let inserts = [component.as_str(), &step.to_string(), error];
                self.component_status(id::COMPONENT_FAILED, Some(component.clone()), &inserts);
            }
            Event::Problem(problem) => self.tell_problem(problem),
            _ => {}
        }
    }

    fn tell_problem(&self, problem: &Problem) {
        let count = {
            let mut state = self.state();
            state.problems.push(problem.clone());
            state.problems.len()
        };
        // The list in the manifest has them all; the log would drown.
        if count <= PROBLEMS_LOGGED_MAX {
            let place = problem.path.as_deref().unwrap_or("-");
            let component = problem.component.as_ref().map_or("-", ComponentName::as_str);
            self.component_status(
                id::PROBLEM_RECORDED,
                problem.component.clone(),
                &[component, place, &problem.text],
            );
        }
    }

    fn log_event(&self, event: &Event) {
        match event {
            Event::Status(message) => {
                let mark = match message.severity {
                    Severity::Info => "",
                    Severity::Warning => "Warning: ",
                    Severity::Error => "Error: ",
                };
                self.line(&format!("{mark}{}", message.text));
                self.line(&statmsg_line(message, &self.site, &self.host, std::process::id()));
                #[cfg(test)]
                self.state().messages.push(message.clone());
            }
            Event::PhaseEnded { phase, elapsed_us } => {
                self.line(&format!("Phase {phase} took {} ms.", milliseconds(*elapsed_us)));
            }
            Event::StepEnded { component, step, elapsed_us, error: None, .. } if *step != Step::Release => {
                self.line(&format!("{component}: {step} took {} ms.", milliseconds(*elapsed_us)));
            }
            _ => {}
        }
    }
}

/// How many problems are told one by one in the log.
const PROBLEMS_LOGGED_MAX: usize = 100;

/// Microseconds as milliseconds with three decimals.
pub(crate) fn milliseconds(microseconds: u64) -> String {
    format!("{}.{:03}", microseconds / 1000, microseconds % 1000)
}

impl Monitor for Teller {
    fn emit(&self, event: Event) {
        self.log_event(&event);
        self.next.emit(event.clone());
        self.messages_for(&event);
    }
}

/// Where the log of all runs lies: beside the set, so that a failed run leaves one too.
pub(crate) fn log_path(destination_folder: &Path) -> PathBuf {
    destination_folder.join("backup.log")
}

#[cfg(test)]
mod tests {
    use stillpoint_model::NoMonitor;

    use super::*;

    #[test]
    fn the_name_of_a_file_forges_no_line_of_the_log() {
        let teller = Teller::new("T01".parse().unwrap(), Arc::new(NoMonitor));
        let name = "x\x1b[2J\n2026-01-01T00:00:00.000Z  STATMSG: ID=5035 SEV=I";
        teller.emit(Event::Problem(Problem { component: None, path: Some(name.into()), text: "odd".into() }));
        let log = teller.logged();
        assert!(!log.contains('\x1b'), "{log:?}");
        let ours = |line: &&str| line.get(26..).is_some_and(|rest| rest.starts_with("STATMSG: ID="));
        let told: Vec<&str> = log.lines().filter(ours).collect();
        assert!(told.len() == 1 && told[0].contains("ID=5125"), "{log}");
    }
}
