//! `quiet = "stop"` with a systemd unit: it is stopped, and started again.
//!
//! systemd stops with a unit all that require it, and does not start those again with it; and it starts a unit again as
//! soon as somebody calls a socket of it. So what a stop must take along is found before, each with its own undo, and is
//! started again after it.

use serde_json::{Value, json};
use stillpoint_model::{Context, Deadline, Quieting, Undo, WriterError};

use super::cgroup::{Cgroup, Hold};
use super::own_unit::own_unit;
use super::systemctl::{Systemctl, UnitState, refuse_without_return};
use super::{Found, Span, Way};

/// How long the guard waits for a start, in milliseconds: the default of systemd itself (`DefaultTimeoutStartSec`).
const START_TIMEOUT_MS: u64 = 90_000;

/// Stops and starts a unit.
pub struct Stop {
    unit: String,
    systemctl: Systemctl,
    /// The unit and what a stop takes along, as found active at the last look, in the order of their start.
    active: Vec<UnitState>,
    state: String,
}

impl Stop {
    pub fn new(unit: &str, systemctl: Systemctl) -> Self {
        Self { unit: unit.to_owned(), systemctl, active: Vec::new(), state: String::new() }
    }

    fn names(&self) -> Vec<String> {
        self.active.iter().map(|state| state.name.clone()).collect()
    }

    fn states(&self, deadline: Deadline) -> Result<Vec<UnitState>, WriterError> {
        self.systemctl.states(&self.names(), deadline)
    }
}

fn undo(unit: &str) -> Undo {
    Undo::StartUnit { unit: unit.to_owned(), timeout_ms: START_TIMEOUT_MS }
}

/// Who holds a unit, if somebody does. Stopped and started, it would not be held any more.
fn holder(state: &UnitState) -> Result<Option<String>, WriterError> {
    let Some(cgroup) = Cgroup::find(&state.control_group)? else { return Ok(None) };
    Ok(match cgroup.hold()? {
        Some(Hold { own: false, above: false, .. }) | None => None,
        Some(_) => Some(format!("{} was found frozen", state.name)),
    })
}

impl Way for Stop {
    fn look(&mut self, deadline: Deadline) -> Result<Found, WriterError> {
        self.active.clear();
        let found = self.systemctl.active_with_others(&self.unit, deadline)?;
        let own = found.iter().find(|state| state.name == self.unit);
        self.state = own.map_or_else(|| "inactive".to_owned(), |state| state.active_state.clone());
        let Some(own) = own else { return Ok(Found::AtRest) };
        if !own.is_active() {
            return Err(WriterError::Other(format!(
                "{} is {}; run the backup again once it is active or inactive",
                self.unit, self.state
            )));
        }
        refuse_without_return(&found, "use quiet = \"freeze\"")?;
        if let Some(ours) = own_unit().filter(|ours| found.iter().any(|state| state.name == *ours)) {
            return Err(WriterError::Other(format!(
                "stopping {} would stop {ours}, which runs this backup: let {ours} have Wants= where it has Requires= or \
                 the like, or use quiet = \"freeze\"",
                self.unit
            )));
        }
        for state in &found {
            if let Some(how) = holder(state)? {
                return Ok(Found::HeldByOthers(how));
            }
        }
        self.active = found;
        // The newest undo is carried out first.
        Ok(Found::Working(self.active.iter().rev().map(|state| undo(&state.name)).collect()))
    }

    fn hold(&mut self, _context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        self.systemctl.stop(&self.active, deadline)?;
        match self.states(deadline)?.into_iter().find(|state| !state.is_at_rest()) {
            None => Ok(()),
            Some(state) => Err(WriterError::Service {
                act: format!("stopping {}", self.unit),
                reason: format!(
                    "{} is {} again after it was stopped; does something start it?",
                    state.name, state.active_state
                ),
            }),
        }
    }

    fn woke(&mut self, span: Span, deadline: Deadline) -> Result<Option<String>, WriterError> {
        let states = match self.names() {
            names if names.is_empty() => vec![self.systemctl.state(&self.unit, deadline)?],
            names => self.systemctl.states(&names, deadline)?,
        };
        Ok(states.into_iter().find(|state| span.holds(state.left_rest_us)).map(|state| state.name))
    }

    fn let_go(&mut self, deadline: Deadline) -> (Vec<Undo>, Result<(), WriterError>) {
        let started = self.systemctl.start(&self.names(), deadline);
        // Whatever the start said: what is seen counts.
        let states = match self.states(deadline) {
            Ok(states) => states,
            Err(error) => return (Vec::new(), started.and(Err(error))),
        };
        let (mut back, mut missing) = (Vec::new(), Vec::new());
        for (now, found) in states.iter().zip(&self.active) {
            if now.is_up() || now.active_state == found.active_state {
                back.push(undo(&now.name));
            } else {
                missing.push(format!("{} is {}", now.name, now.active_state));
            }
        }
        if missing.is_empty() {
            return (back, Ok(()));
        }
        let error = started.err().unwrap_or(WriterError::Service {
            act: format!("starting {}", self.names().join(", ")),
            reason: format!("{}; see `systemctl status`", missing.join(", ")),
        });
        (back, Err(error))
    }

    fn facts(&self) -> Value {
        let with_it: Vec<String> = self.names().into_iter().filter(|name| *name != self.unit).collect();
        json!({ "quiet": "stop", "unit": self.unit, "state": self.state, "stopped_with_it": with_it })
    }

    fn quieting(&self) -> Quieting {
        Quieting::Rest
    }

    fn name(&self) -> String {
        self.unit.clone()
    }
}
