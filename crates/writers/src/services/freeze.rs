//! `quiet = "freeze"`: the kernel holds the processes of a control group where they are.

use std::path::PathBuf;

use serde_json::{Value, json};
use stillpoint_model::site_file::ServiceSettings;
use stillpoint_model::{Context, Deadline, Quieting, Undo, WriterError};

use super::cgroup::Cgroup;
use super::systemctl::Systemctl;
use super::{Found, Span, Way};

/// Holds the control group of a service.
pub struct Freeze {
    unit: Option<String>,
    systemctl: Systemctl,
    /// The group: given by the site file, or found at each look from the unit.
    cgroup: Option<Cgroup>,
    given: Option<PathBuf>,
    /// How many processes were found.
    processes: usize,
}

impl Freeze {
    pub fn new(settings: &ServiceSettings, systemctl: Systemctl) -> Result<Self, WriterError> {
        if settings.unit.is_none() && settings.cgroup.is_none() {
            return Err(WriterError::Other(
                "a service with quiet = \"freeze\" needs `unit` or `cgroup` in the site file".into(),
            ));
        }
        let (unit, given) = (settings.unit.clone(), settings.cgroup.clone());
        Ok(Self { unit, systemctl, cgroup: None, given, processes: 0 })
    }

    /// The group as it is now. Nothing when the unit does not run.
    fn find(&self, deadline: Deadline) -> Result<Option<Cgroup>, WriterError> {
        match (&self.given, &self.unit) {
            (Some(folder), _) => Cgroup::open(folder).map(Some),
            (None, Some(unit)) => {
                let state = self.systemctl.state(unit, deadline)?;
                let cgroup = Cgroup::find(&state.control_group)?;
                if cgroup.is_none() && state.is_active() && !state.control_group.is_empty() {
                    return Err(WriterError::Other(format!(
                        "{unit} is {} but has no processes in a control group with a freezer ({}); use quiet = \"stop\"",
                        state.active_state, state.control_group
                    )));
                }
                Ok(cgroup)
            }
            (None, None) => Ok(None),
        }
    }
}

impl Way for Freeze {
    fn look(&mut self, deadline: Deadline) -> Result<Found, WriterError> {
        // Asking systemd takes longer than a freeze: once found, a group is only looked at.
        if self.cgroup.as_ref().is_none_or(|cgroup| !cgroup.folder.exists()) {
            self.cgroup = self.find(deadline)?;
        }
        let Some(cgroup) = &self.cgroup else { return Ok(Found::AtRest) };
        cgroup.refuse_if_it_holds_us()?;
        let Some(hold) = cgroup.hold()? else { return Ok(Found::AtRest) };
        self.processes = cgroup.processes()?.len();
        let folder = cgroup.folder.display();
        if hold.own {
            return Ok(Found::HeldByOthers(format!("the control group {folder} was found frozen")));
        }
        if hold.above {
            return Ok(Found::HeldByOthers(format!("a control group above {folder} was found frozen")));
        }
        if self.processes == 0 {
            return Ok(Found::AtRest);
        }
        Ok(Found::Working(vec![Undo::ThawCgroup { cgroup: cgroup.folder.clone(), version: cgroup.version }]))
    }

    fn hold(&mut self, _context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        self.cgroup.as_ref().map_or(Ok(()), |cgroup| cgroup.freeze(deadline))
    }

    fn woke(&mut self, span: Span, deadline: Deadline) -> Result<Option<String>, WriterError> {
        let Some(unit) = &self.unit else { return Ok(None) };
        let state = self.systemctl.state(unit, deadline)?;
        Ok(span.holds(state.left_rest_us).then_some(state.name))
    }

    fn let_go(&mut self, deadline: Deadline) -> (Vec<Undo>, Result<(), WriterError>) {
        let Some(cgroup) = &self.cgroup else { return (Vec::new(), Ok(())) };
        match cgroup.thaw(deadline) {
            Ok(()) => {
                let undo = Undo::ThawCgroup { cgroup: cgroup.folder.clone(), version: cgroup.version };
                (vec![undo], Ok(()))
            }
            Err(error) => (Vec::new(), Err(error)),
        }
    }

    fn facts(&self) -> Value {
        json!({
            "quiet": "freeze",
            "unit": self.unit,
            "cgroup": self.cgroup.as_ref().map(|cgroup| cgroup.folder.display().to_string()),
            "freezer": self.cgroup.as_ref().map(|cgroup| cgroup.version),
            "processes": self.processes,
        })
    }

    fn quieting(&self) -> Quieting {
        Quieting::Hold
    }

    fn name(&self) -> String {
        let cgroup = || self.given.as_ref().map(|folder| folder.display().to_string());
        self.unit.clone().or_else(cgroup).unwrap_or_default()
    }
}
