//! Asking systemd, through its own program.

use std::collections::BTreeMap;
use std::path::PathBuf;

use stillpoint_model::{Deadline, WriterError};

use crate::process::Program;

/// How much `systemctl show` may write, in bytes.
const SHOW_LIMIT: u64 = 4 << 20;
/// How many units are asked about in all: a bound, so that a strange answer cannot keep us busy for ever.
const UNIT_LIMIT: usize = 256;
/// What is asked of a unit besides its relations.
const STATE: [&str; 5] =
    ["LoadState", "ActiveState", "ControlGroup", "CanStart", "InactiveExitTimestampMonotonic"];
/// The relations along which systemd passes a stop on to other units (systemd.unit(5): the reverse of Requires=,
/// Requisite=, BindsTo= and PartOf=, and PropagatesStopTo=).
const STOP_PASSES_TO: [&str; 5] = ["RequiredBy", "RequisiteOf", "BoundBy", "ConsistsOf", "PropagatesStopTo"];
/// Kinds of units that start another one as soon as somebody calls: a stop of the other must take them along. Timers are
/// left alone: one that counts from the boot would run at once when it is started again.
const CALLERS: [&str; 2] = [".socket", ".path"];

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
    /// Whether systemd would start it when told to: not when it is masked, broken, or refuses to be started by hand.
    pub can_start: bool,
    /// When it last left the state of rest, in microseconds of the monotonic clock.
    pub left_rest_us: u64,
    passes_stop_to: Vec<String>,
    called_by: Vec<String>,
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

    /// Whether it starts another unit when somebody calls.
    pub(super) fn is_caller(&self) -> bool {
        is_caller(&self.name)
    }
}

impl Systemctl {
    /// The program at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { program: path.into() }
    }

    /// How `units` stand, in the same order.
    pub fn states(&self, units: &[String], deadline: Deadline) -> Result<Vec<UnitState>, WriterError> {
        let properties = format!("--property={},TriggeredBy,{}", STATE.join(","), STOP_PASSES_TO.join(","));
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

    /// What a stop of the unit must take along to last, the unit included, as far as it is active: what would start it
    /// again when called, the unit, and all that systemd stops with it. In the order in which they must be started: a
    /// socket cannot be after the service behind it.
    pub fn active_with_others(&self, unit: &str, deadline: Deadline) -> Result<Vec<UnitState>, WriterError> {
        let mut found = vec![self.state(unit, deadline)?];
        let mut asked = vec![unit.to_owned()];
        let mut at = 0;
        // What is at rest is not stopped, and so nothing is with it.
        while at < found.len() && found[0].is_active() {
            let next: Vec<String> =
                found[at..].iter().flat_map(|state| state.passes_stop_to.clone()).collect();
            at = found.len();
            found.extend(self.active_of(&next, &mut asked, deadline)?);
        }
        let callers: Vec<String> = found.iter().flat_map(|state| state.called_by.clone()).collect();
        let mut all = self.active_of(&callers, &mut asked, deadline)?;
        all.extend(found.into_iter().filter(|state| !state.is_at_rest()));
        let (callers, others): (Vec<_>, Vec<_>) = all.into_iter().partition(UnitState::is_caller);
        Ok(callers.into_iter().chain(others).collect())
    }

    /// Those of the units that are active and were not asked about yet.
    fn active_of(
        &self,
        units: &[String],
        asked: &mut Vec<String>,
        deadline: Deadline,
    ) -> Result<Vec<UnitState>, WriterError> {
        let before = asked.len();
        for unit in units {
            if !asked.contains(unit) && asked.len() < UNIT_LIMIT {
                asked.push(unit.clone());
            }
        }
        let new = &asked[before..];
        let states = if new.is_empty() { Vec::new() } else { self.states(new, deadline)? };
        Ok(states.into_iter().filter(UnitState::is_active).collect())
    }

    /// Stops units; returns once they are at rest.
    pub fn stop(&self, units: &[UnitState], deadline: Deadline) -> Result<(), WriterError> {
        let names = units.iter().map(|state| &state.name);
        self.call("stop").arg("--").args(names).run(deadline)?.check().map(drop)
    }

    /// Starts units; returns once systemd took them for started.
    pub fn start(&self, units: &[String], deadline: Deadline) -> Result<(), WriterError> {
        self.call("start").arg("--").args(units).run(deadline)?.check().map(drop)
    }

    /// What systemd does with the other processes of a unit when its main process ends (systemd.kill(5), `KillMode=`).
    pub fn kill_mode(&self, unit: &str, deadline: Deadline) -> Result<String, WriterError> {
        let program = self.call("show").args(["--property=KillMode", "--value", "--"]).arg(unit);
        let (ended, bytes) = program.output(SHOW_LIMIT, deadline)?;
        ended.check()?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    fn call(&self, verb: &str) -> Program {
        Program::new(&self.program).arg("--no-ask-password").arg("--no-pager").arg(verb)
    }
}

/// Refuses to stop units of which systemd would not start one again; `instead` is what else can be done.
pub(super) fn refuse_without_return(units: &[UnitState], instead: &str) -> Result<(), WriterError> {
    let Some(state) = units.iter().find(|state| !state.can_start) else { return Ok(()) };
    Err(WriterError::Other(format!(
        "{} would have to be stopped and systemd would not start it again: it is masked, its file is broken, or it has \
         RefuseManualStart=yes; mend that, or {instead}",
        state.name
    )))
}

fn is_caller(name: &str) -> bool {
    CALLERS.iter().any(|kind| name.ends_with(kind))
}

fn state(unit: &str, block: &str) -> UnitState {
    let properties: BTreeMap<&str, &str> = block.lines().filter_map(|line| line.split_once('=')).collect();
    let get = |name: &str| properties.get(name).copied().unwrap_or_default();
    let names = |property: &str| get(property).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    UnitState {
        name: unit.to_owned(),
        known: !matches!(get("LoadState"), "" | "not-found"),
        active_state: get("ActiveState").to_owned(),
        control_group: get("ControlGroup").to_owned(),
        can_start: get("CanStart") != "no",
        left_rest_us: get("InactiveExitTimestampMonotonic").parse().unwrap_or(0),
        passes_stop_to: STOP_PASSES_TO.iter().flat_map(|property| names(property)).collect(),
        called_by: names("TriggeredBy").into_iter().filter(|name| is_caller(name)).collect(),
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
             ConsistsOf=x.service\nBoundBy=\nCanStart=no\nInactiveExitTimestampMonotonic=17\n\
             TriggeredBy=db.timer db.socket",
        );
        assert!(!state.can_start && state.left_rest_us == 17);
        assert_eq!(state.called_by, ["db.socket"]);
        assert!(state.known && state.is_active() && !state.is_at_rest());
        assert_eq!(state.control_group, "/system.slice/db.service");
        assert_eq!(state.passes_stop_to, ["app.service", "b.service", "x.service"]);
    }
}
