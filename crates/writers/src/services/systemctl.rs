//! Asking systemd, through its own program.

use std::collections::BTreeMap;
use std::path::PathBuf;

use stillpoint_model::{Deadline, WriterError};

use crate::process::Program;

/// How much `systemctl show` may write, in bytes.
const SHOW_LIMIT: u64 = 4 << 20;
/// How many units are asked about in all: a bound, so that a strange answer cannot keep us busy for ever.
const UNIT_LIMIT: usize = 256;
/// The relations along which systemd passes a stop on to other units (systemd.unit(5): the reverse of Requires=,
/// Requisite=, BindsTo= and PartOf=, and PropagatesStopTo=).
const STOP_PASSES_TO: [&str; 5] = ["RequiredBy", "RequisiteOf", "BoundBy", "ConsistsOf", "PropagatesStopTo"];

/// The program that speaks with systemd.
#[derive(Debug, Clone)]
pub struct Systemctl {
    program: PathBuf,
}

impl Default for Systemctl {
    fn default() -> Self {
        Self::at("systemctl")
    }
}

/// What systemd says of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitState {
    /// Its name.
    pub name: String,
    /// Whether systemd knows it (`LoadState`).
    pub known: bool,
    /// `ActiveState`: `active`, `inactive`, `failed`, ...
    pub active_state: String,
    /// `ControlGroup`, relative to the top of the hierarchy; empty when it does not run.
    pub control_group: String,
    passes_stop_to: Vec<String>,
}

impl UnitState {
    /// Whether it works, or is just about to.
    pub fn is_active(&self) -> bool {
        self.is_up() || self.active_state == "activating"
    }

    /// Whether it works. A unit that dies again and again is `activating` between two deaths.
    pub fn is_up(&self) -> bool {
        matches!(self.active_state.as_str(), "active" | "reloading" | "refreshing")
    }

    /// Whether nothing of it runs any more.
    pub fn is_at_rest(&self) -> bool {
        matches!(self.active_state.as_str(), "inactive" | "failed")
    }
}

impl Systemctl {
    /// The program at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { program: path.into() }
    }

    /// How `units` stand, in the same order.
    pub fn states(&self, units: &[String], deadline: Deadline) -> Result<Vec<UnitState>, WriterError> {
        let properties =
            format!("--property=LoadState,ActiveState,ControlGroup,{}", STOP_PASSES_TO.join(","));
        let program = self.call("show").arg(properties).arg("--").args(units);
        let (ended, bytes) = program.output(SHOW_LIMIT, deadline)?;
        ended.check()?;
        let text = String::from_utf8_lossy(&bytes);
        // One block of lines for each unit, with an empty line between two.
        let blocks: Vec<&str> = text.trim_matches('\n').split("\n\n").collect();
        if blocks.len() != units.len() {
            return Err(WriterError::Service {
                act: format!("asking systemd for {}", units.join(", ")),
                reason: format!("{} answers came back for {} units", blocks.len(), units.len()),
            });
        }
        Ok(units.iter().zip(blocks).map(|(unit, block)| state(unit, block)).collect())
    }

    /// How one unit stands. An error when systemd does not know it.
    pub fn state(&self, unit: &str, deadline: Deadline) -> Result<UnitState, WriterError> {
        let states = self.states(&[unit.to_owned()], deadline)?;
        let state = states.into_iter().next().filter(|state| state.known);
        state.ok_or_else(|| {
            WriterError::Other(format!(
                "systemd knows no unit {unit}; correct the name in the site file (`systemctl list-units` shows them)"
            ))
        })
    }

    /// The unit, and all units that are active and would be stopped with it, the unit first.
    pub fn active_with_dependants(
        &self,
        unit: &str,
        deadline: Deadline,
    ) -> Result<Vec<UnitState>, WriterError> {
        let mut found = vec![self.state(unit, deadline)?];
        let mut asked = vec![unit.to_owned()];
        let mut at = 0;
        while at < found.len() {
            let mut next = Vec::new();
            for name in found[at..].iter().flat_map(|state| &state.passes_stop_to) {
                if !asked.contains(name) && asked.len() < UNIT_LIMIT {
                    asked.push(name.clone());
                    next.push(name.clone());
                }
            }
            at = found.len();
            if !next.is_empty() {
                found.extend(self.states(&next, deadline)?.into_iter().filter(UnitState::is_active));
            }
        }
        Ok(found)
    }

    /// Stops a unit; returns once it is at rest.
    pub fn stop(&self, unit: &str, deadline: Deadline) -> Result<(), WriterError> {
        self.call("stop").arg("--").arg(unit).run(deadline)?.check().map(drop)
    }

    /// Starts units; returns once systemd took them for started.
    pub fn start(&self, units: &[String], deadline: Deadline) -> Result<(), WriterError> {
        self.call("start").arg("--").args(units).run(deadline)?.check().map(drop)
    }

    fn call(&self, verb: &str) -> Program {
        Program::new(&self.program).arg("--no-ask-password").arg("--no-pager").arg(verb)
    }
}

fn state(unit: &str, block: &str) -> UnitState {
    let properties: BTreeMap<&str, &str> = block.lines().filter_map(|line| line.split_once('=')).collect();
    let get = |name: &str| properties.get(name).copied().unwrap_or_default();
    let passes_stop_to =
        STOP_PASSES_TO.iter().flat_map(|name| get(name).split_whitespace()).map(str::to_owned).collect();
    UnitState {
        name: unit.to_owned(),
        known: !matches!(get("LoadState"), "" | "not-found"),
        active_state: get("ActiveState").to_owned(),
        control_group: get("ControlGroup").to_owned(),
        passes_stop_to,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_systemd_is_read() {
        let state = state(
            "db.service",
            "LoadState=loaded\nActiveState=active\nControlGroup=/system.slice/db.service\nRequiredBy=app.service b.service\n\
             ConsistsOf=x.service\nBoundBy=",
        );
        assert!(state.known && state.is_active() && !state.is_at_rest());
        assert_eq!(state.control_group, "/system.slice/db.service");
        assert_eq!(state.passes_stop_to, ["app.service", "b.service", "x.service"]);
    }
}
