//! `quiet = "stop"` with a systemd unit: it is stopped, and started again.
//!
//! systemd stops with a unit all that require it, and does not start those again with it. So the units that a stop takes
//! along are found before, each with its own undo, and are started again after it.

use serde_json::{Value, json};
use stillpoint_model::{Context, Deadline, Quieting, Undo, WriterError};

use super::systemctl::{Systemctl, UnitState};
use super::{Found, Way};

/// How long the guard waits for a start, in milliseconds: the default of systemd itself (`DefaultTimeoutStartSec`).
const START_TIMEOUT_MS: u64 = 90_000;

/// Stops and starts a unit.
pub struct Stop {
    unit: String,
    systemctl: Systemctl,
    /// The unit and those that a stop takes along, as found active at the last look: the unit first.
    active: Vec<UnitState>,
    state: String,
}

impl Stop {
    pub fn new(unit: &str, systemctl: Systemctl) -> Self {
        Self { unit: unit.to_owned(), systemctl, active: Vec::new(), state: String::new() }
    }
}

fn undo(unit: &str) -> Undo {
    Undo::StartUnit { unit: unit.to_owned(), timeout_ms: START_TIMEOUT_MS }
}

impl Way for Stop {
    fn look(&mut self, deadline: Deadline) -> Result<Found, WriterError> {
        let found = self.systemctl.active_with_dependants(&self.unit, deadline)?;
        self.state = found.first().map(|state| state.active_state.clone()).unwrap_or_default();
        let Some(own) = found.first().filter(|state| !state.is_at_rest()) else {
            return Ok(Found::AtRest);
        };
        if !own.is_active() {
            return Err(WriterError::Other(format!(
                "{} is {}; run the backup again once it is active or inactive",
                self.unit, self.state
            )));
        }
        self.active = found;
        Ok(Found::Working(self.active.iter().map(|state| undo(&state.name)).collect()))
    }

    fn hold(&mut self, _context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        self.systemctl.stop(&self.unit, deadline)?;
        let state = self.systemctl.state(&self.unit, deadline)?;
        if state.is_at_rest() {
            return Ok(());
        }
        Err(WriterError::Service {
            act: format!("stopping {}", self.unit),
            reason: format!(
                "it is {} again after it was stopped; does something start it?",
                state.active_state
            ),
        })
    }

    fn let_go(&mut self, deadline: Deadline) -> (Vec<Undo>, Result<(), WriterError>) {
        let units: Vec<String> = self.active.iter().map(|state| state.name.clone()).collect();
        let started = self.systemctl.start(&units, deadline);
        // Whatever the start said: what is seen counts.
        let states = match self.systemctl.states(&units, deadline) {
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
            act: format!("starting {}", units.join(", ")),
            reason: format!("{}; see `systemctl status`", missing.join(", ")),
        });
        (back, Err(error))
    }

    fn facts(&self) -> Value {
        let with_it: Vec<&str> = self.active.iter().skip(1).map(|state| state.name.as_str()).collect();
        json!({ "quiet": "stop", "unit": self.unit, "state": self.state, "stopped_with_it": with_it })
    }

    fn quieting(&self) -> Quieting {
        Quieting::Rest
    }

    fn name(&self) -> String {
        self.unit.clone()
    }
}
