//! Services in a recovery: at rest before data is put back, and working again after.

use stillpoint_model::site_file::ServiceSettings;
use stillpoint_model::{Context, Deadline, RestoreOptions, Restored, Restorer, StoredComponent, WriterError};

use super::cgroup::Cgroup;
use super::command::Commands;
use super::systemctl::{Systemctl, UnitState, refuse_without_return};

/// How long a look may take that has no deadline of its own.
const LOOK: std::time::Duration = std::time::Duration::from_secs(30);

/// Stops a service before a restore and starts it after.
pub struct ServiceRestorer {
    how: How,
    /// Whether it worked when it was to be stopped.
    was_working: bool,
    /// Whether the backup found it at rest: then it is not started, unless it worked before the restore.
    at_rest_in_backup: bool,
    /// The units that the stop took along, in the order of their start. systemd does not start them again by itself.
    stopped: Vec<String>,
    /// The units that the backup would have stopped with it: where nothing was stopped, they are started as well.
    with_it: Vec<String>,
}

enum How {
    Unit {
        unit: String,
        systemctl: Systemctl,
    },
    Commands(Commands),
    /// It can only be held, not stopped: by hand, then.
    ByHand(Option<Cgroup>),
}

impl ServiceRestorer {
    /// The restorer for a service of the site file: by its unit, else by its commands.
    pub fn new(settings: &ServiceSettings) -> Result<Self, WriterError> {
        Self::with_systemctl(settings, Systemctl::default())
    }

    /// As [`ServiceRestorer::new`], with another program to speak with systemd.
    pub fn with_systemctl(settings: &ServiceSettings, systemctl: Systemctl) -> Result<Self, WriterError> {
        let how = match (&settings.unit, &settings.cgroup) {
            (Some(unit), _) => How::Unit { unit: unit.clone(), systemctl },
            (None, _) if settings.freeze_command.is_some() => How::Commands(Commands::new(settings)?),
            (None, cgroup) => How::ByHand(cgroup.as_deref().and_then(|folder| Cgroup::open(folder).ok())),
        };
        let (stopped, with_it) = (Vec::new(), Vec::new());
        Ok(Self { how, was_working: false, at_rest_in_backup: false, stopped, with_it })
    }

    fn is_working(&self, deadline: Deadline) -> Result<bool, WriterError> {
        match &self.how {
            How::Unit { unit, systemctl } => Ok(!systemctl.state(unit, deadline)?.is_at_rest()),
            How::Commands(commands) => commands.is_running(deadline),
            How::ByHand(Some(cgroup)) => Ok(!cgroup.processes()?.is_empty()),
            How::ByHand(None) => Ok(false),
        }
    }

    fn name(&self) -> String {
        match &self.how {
            How::Unit { unit, .. } => unit.clone(),
            How::Commands(_) => "the application".into(),
            How::ByHand(Some(cgroup)) => format!("what runs in {}", cgroup.folder.display()),
            How::ByHand(None) => "the application".into(),
        }
    }

    fn stays_stopped(&self) -> bool {
        self.at_rest_in_backup && !self.was_working
    }
}

fn found_at_rest(stored: &StoredComponent) -> bool {
    stored.facts.get("found").and_then(|found| found.as_str()) == Some("at-rest")
}

/// The units that a stop in the backup took along.
fn stopped_with_it(stored: &StoredComponent) -> Vec<String> {
    let names = stored.facts.pointer("/way/stopped_with_it").and_then(|names| names.as_array());
    names.into_iter().flatten().filter_map(|name| name.as_str()).map(str::to_owned).collect()
}

/// What is to be started of a unit that nothing was stopped of: also what the backup stopped with it, where this machine
/// has it.
fn with_those_of_the_backup(
    unit: &str,
    with_it: &[String],
    systemctl: &Systemctl,
    deadline: Deadline,
) -> Result<Vec<String>, WriterError> {
    let others = if with_it.is_empty() { Vec::new() } else { systemctl.states(with_it, deadline)? };
    let others = others.into_iter().filter(|state| state.known && state.can_start);
    // What calls it comes first.
    let (callers, others): (Vec<UnitState>, Vec<UnitState>) = others.partition(UnitState::is_caller);
    let names = |states: Vec<UnitState>| states.into_iter().map(|state| state.name);
    Ok(names(callers).chain([unit.to_owned()]).chain(names(others)).collect())
}

impl Restorer for ServiceRestorer {
    fn obstacles(&self, _stored: &StoredComponent) -> Result<Vec<String>, WriterError> {
        let by_hand = matches!(self.how, How::ByHand(_)) && self.is_working(Deadline::after(LOOK))?;
        Ok(by_hand
            .then(|| {
                format!(
                    "{} works and the site file does not say how to stop it: stop it by hand",
                    self.name()
                )
            })
            .into_iter()
            .collect())
    }

    fn plan(&self, stored: &StoredComponent) -> Result<Vec<String>, WriterError> {
        let name = self.name();
        if matches!(self.how, How::ByHand(_)) {
            return Ok(vec![format!("You start {name} by hand, once everything is back")]);
        }
        let mut steps = vec![format!("Stop {name} before anything is put back, if it works")];
        steps.push(if found_at_rest(stored) {
            format!("Start {name} again only if it worked before: the backup found it at rest")
        } else {
            format!("Start {name} once everything is back")
        });
        Ok(steps)
    }

    fn stop(&mut self, context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        self.was_working = self.is_working(deadline)?;
        match &self.how {
            How::Unit { unit, systemctl } => {
                // Also where the unit itself is at rest: a call of its socket would start it in the middle.
                let units = systemctl.active_with_others(unit, deadline)?;
                if units.is_empty() {
                    return Ok(());
                }
                refuse_without_return(&units, "stop it by hand")?;
                self.stopped = units.iter().map(|state| state.name.clone()).collect();
                systemctl.stop(&units, deadline)
            }
            _ if !self.was_working => Ok(()),
            How::Commands(commands) => commands.run_freeze(context, deadline),
            How::ByHand(_) => Err(WriterError::Other(format!(
                "{} works and the site file does not say how to stop it; stop it by hand and begin again",
                self.name()
            ))),
        }
    }

    fn was_working(&self) -> bool {
        self.was_working
    }

    fn restore(
        &mut self,
        _context: &Context,
        stored: &StoredComponent,
        _options: &RestoreOptions,
        _deadline: Deadline,
    ) -> Result<Restored, WriterError> {
        self.at_rest_in_backup = found_at_rest(stored);
        self.with_it = stopped_with_it(stored);
        let mut notes = Vec::new();
        if matches!(self.how, How::ByHand(_)) {
            notes.push(format!("Start {} by hand.", self.name()));
        } else if self.stays_stopped() {
            notes.push(format!("{} was at rest in the backup and is not started.", self.name()));
        }
        Ok(Restored { notes, ..Restored::default() })
    }

    fn start(&mut self, _context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        match &self.how {
            How::Unit { unit, systemctl } => {
                let mut units = self.stopped.clone();
                if !self.was_working && !self.at_rest_in_backup {
                    units.extend(with_those_of_the_backup(unit, &self.with_it, systemctl, deadline)?);
                }
                if units.is_empty() {
                    return Ok(());
                }
                systemctl.start(&units, deadline)?;
                let states = systemctl.states(&units, deadline)?;
                match states.iter().find(|state| !state.is_up()) {
                    None => Ok(()),
                    Some(state) => Err(WriterError::Service {
                        act: format!("starting {}", state.name),
                        reason: format!("it is {}; see `systemctl status`", state.active_state),
                    }),
                }
            }
            How::Commands(commands) if !self.stays_stopped() => commands.run_thaw(deadline),
            How::Commands(_) | How::ByHand(_) => Ok(()),
        }
    }
}
