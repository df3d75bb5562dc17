//! Services in a recovery: at rest before data is put back, and working again after.

use stillpoint_model::site_file::ServiceSettings;
use stillpoint_model::{Context, Deadline, RestoreOptions, Restored, Restorer, StoredComponent, WriterError};

use super::cgroup::Cgroup;
use super::command::Commands;
use super::systemctl::Systemctl;

/// How long a look may take that has no deadline of its own.
const LOOK: std::time::Duration = std::time::Duration::from_secs(30);

/// Stops a service before a restore and starts it after.
pub struct ServiceRestorer {
    how: How,
    /// Whether it worked when it was to be stopped.
    was_working: bool,
    /// Whether the backup found it at rest: then it is not started, unless it worked before the restore.
    at_rest_in_backup: bool,
    /// The units that the stop took along, the own one first. systemd does not start them again by itself.
    stopped: Vec<String>,
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
        Ok(Self { how, was_working: false, at_rest_in_backup: false, stopped: Vec::new() })
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
        if !self.was_working {
            return Ok(());
        }
        match &self.how {
            How::Unit { unit, systemctl } => {
                let units = systemctl.active_with_dependants(unit, deadline)?;
                self.stopped = units.into_iter().map(|state| state.name).collect();
                systemctl.stop(unit, deadline)
            }
            How::Commands(commands) => commands.run_freeze(context, deadline),
            How::ByHand(_) => Err(WriterError::Other(format!(
                "{} works and the site file does not say how to stop it; stop it by hand and begin again",
                self.name()
            ))),
        }
    }

    fn restore(
        &mut self,
        _context: &Context,
        stored: &StoredComponent,
        _options: &RestoreOptions,
        _deadline: Deadline,
    ) -> Result<Restored, WriterError> {
        self.at_rest_in_backup = found_at_rest(stored);
        let mut notes = Vec::new();
        if matches!(self.how, How::ByHand(_)) {
            notes.push(format!("Start {} by hand.", self.name()));
        } else if self.stays_stopped() {
            notes.push(format!("{} was at rest in the backup and is not started.", self.name()));
        }
        Ok(Restored { notes, ..Restored::default() })
    }

    fn start(&mut self, _context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        if self.stays_stopped() {
            return Ok(());
        }
        match &self.how {
            How::Unit { unit, systemctl } => {
                let units = if self.stopped.is_empty() { vec![unit.clone()] } else { self.stopped.clone() };
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
            How::Commands(commands) => commands.run_thaw(deadline),
            How::ByHand(_) => Ok(()),
        }
    }
}
