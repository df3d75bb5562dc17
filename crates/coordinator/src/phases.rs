//! The state machine of one epoch, pure: a state and an event give the next state and the acts to begin. No clock, no
//! I/O, no threads; the driver acts.
//!
//! What it must never do: leave a participant whose freeze was *begun* without a thaw, freeze before the guard is armed,
//! cut before all are frozen, seal what was not captured, or forget to release a writer. The tests walk through every
//! reachable state of small sites and check exactly this. An event that cannot happen in a state is an error: a mistake
//! of the driver, told and never passed over.

use stillpoint_model::{Level, Phase, Step};

/// One thing to be done. Numbers are places in the list of participants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Act {
    /// The site's own checks.
    Preflight,
    /// The site looks at the descriptions.
    Identified,
    /// The guard's window is opened.
    Arm,
    /// A writer's turn.
    Call(Step, usize),
    /// The thaw of a participant failed or its writer hangs: its registered undos are executed.
    Undo(usize),
    /// The guard's window is closed.
    Disarm,
    /// The set is published.
    Seal,
    /// The release of a participant failed or its writer hangs: what it registered is taken back.
    Clean(usize),
    /// What the site's own acts left is taken back, or settled when the set was published.
    Tidy,
}

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    /// An act was done. Not for [`Step::Identify`].
    Done(Act),
    /// A participant was described; its level is known from now on.
    Described(usize, Level),
    /// An act failed.
    Failed(Act),
    /// An act was not done in time, and what it waits for cannot be told: it hangs. Not for [`Act::Arm`] and
    /// [`Act::Disarm`].
    Late(Act),
    /// The window passed.
    Overrun,
    /// The guard does not live or does not answer. May be told more than once.
    GuardLost,
    /// Somebody wants the run to end. May be told more than once.
    Cancelled,
}

/// An event that cannot happen in the state it came in: a mistake of our own.
#[derive(Debug, thiserror::Error)]
#[error("{event:?} cannot happen in {place:?}")]
pub(crate) struct Impossible {
    event: Event,
    place: Place,
}

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Preflight,
    Identify,
    Identified,
    Prepare,
    Poise,
    Arm,
    Freeze(Level),
    Cut,
    Thaw(Level),
    Disarm,
    Capture,
    Seal,
    Release,
    Tidy,
    Ended,
}

/// Whether a participant is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Held {
    /// Its freeze was never begun.
    Never,
    /// Its freeze was begun, whatever came of it.
    Begun,
    /// It goes on.
    Thawed,
    /// Neither its thaw nor its undos worked.
    Stuck,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Member {
    level: Level,
    busy: Option<Act>,
    /// Its writer did not come back from a call: no further call can be made.
    hung: bool,
    held: Held,
    released: bool,
}

/// The state of one run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Machine {
    place: Place,
    members: Vec<Member>,
    /// The act of the site's own that is under way.
    own: Option<Act>,
    failed: bool,
}

impl Machine {
    /// A run with `count` participants, and the first acts.
    pub(crate) fn start(count: usize) -> (Self, Vec<Act>) {
        // The level counts from `Described` on; nothing asks for it before.
        let member =
            Member { level: Level::System, busy: None, hung: false, held: Held::Never, released: false };
        let machine = Self {
            place: Place::Preflight,
            members: vec![member; count],
            own: Some(Act::Preflight),
            failed: false,
        };
        (machine, vec![Act::Preflight])
    }

    /// Whether the run was given up.
    pub(crate) fn failed(&self) -> bool {
        self.failed
    }

    /// Whether nothing is left to do.
    pub(crate) fn ended(&self) -> bool {
        self.place == Place::Ended
    }

    /// Whether the window is open: a participant may be held.
    pub(crate) fn in_window(&self) -> bool {
        matches!(self.place, Place::Freeze(_) | Place::Cut | Place::Thaw(_))
    }

    /// The phase that the run is in; none while everything is released.
    pub(crate) fn phase(&self) -> Option<Phase> {
        Some(match self.place {
            Place::Preflight => Phase::Preflight,
            Place::Identify | Place::Identified => Phase::Identify,
            Place::Prepare | Place::Poise | Place::Arm => Phase::Prepare,
            Place::Freeze(_) => Phase::Freeze,
            Place::Cut => Phase::Snapshot,
            Place::Thaw(_) | Place::Disarm => Phase::Thaw,
            Place::Capture => Phase::Capture,
            Place::Seal => Phase::Seal,
            Place::Release | Place::Tidy | Place::Ended => return None,
        })
    }

    /// Takes an event; answers with the acts to begin now.
    pub(crate) fn next(&mut self, event: Event) -> Result<Vec<Act>, Impossible> {
        let impossible = Impossible { event, place: self.place };
        let mut acts = Vec::new();
        let fits = match event {
            Event::Described(who, level) => self.described(who, level),
            Event::Done(act) => self.done(act),
            Event::Failed(act) => self.not_done(act, false, &mut acts),
            Event::Late(act) => self.not_done(act, true, &mut acts),
            Event::Overrun => self.in_window() && self.give_up(),
            Event::GuardLost => self.guard_lost(),
            Event::Cancelled => self.cancelled(),
        };
        if !fits {
            return Err(impossible);
        }
        self.advance(&mut acts);
        Ok(acts)
    }

    fn give_up(&mut self) -> bool {
        self.failed = true;
        true
    }

    /// After the thaw the site does not need the guard any more.
    fn guard_lost(&mut self) -> bool {
        let needed = !matches!(
            self.place,
            Place::Disarm | Place::Capture | Place::Seal | Place::Release | Place::Tidy | Place::Ended
        );
        self.failed |= needed;
        !self.ended()
    }

    /// Once the set is being published the run ends by itself.
    fn cancelled(&mut self) -> bool {
        self.failed |= !matches!(self.place, Place::Seal | Place::Release | Place::Tidy | Place::Ended);
        !self.ended()
    }

    fn described(&mut self, who: usize, level: Level) -> bool {
        if !self.take(Act::Call(Step::Identify, who)) {
            return false;
        }
        self.members[who].level = level;
        true
    }

    fn done(&mut self, act: Act) -> bool {
        if matches!(act, Act::Call(Step::Identify, _)) || !self.take(act) {
            return false;
        }
        match act {
            Act::Call(Step::Thaw, who) | Act::Undo(who) => self.members[who].held = Held::Thawed,
            Act::Call(Step::Release, who) | Act::Clean(who) => self.members[who].released = true,
            _ => {}
        }
        true
    }

    fn not_done(&mut self, act: Act, late: bool, acts: &mut Vec<Act>) -> bool {
        // These two ask the guard, which is lost when it does not answer in a second.
        let cannot_hang = matches!(act, Act::Arm | Act::Disarm);
        if (cannot_hang && late) || !self.take(act) {
            return false;
        }
        // The set is published when a release fails, and the site works when the guard cannot be disarmed: problems.
        self.failed |= !matches!(act, Act::Disarm | Act::Tidy | Act::Clean(_) | Act::Call(Step::Release, _));
        if let Act::Call(_, who) = act {
            self.members[who].hung |= late;
        }
        match act {
            Act::Call(Step::Thaw, who) => self.call(who, Act::Undo(who), acts),
            Act::Call(Step::Release, who) => self.call(who, Act::Clean(who), acts),
            Act::Undo(who) => self.members[who].held = Held::Stuck,
            Act::Clean(who) => self.members[who].released = true,
            _ => {}
        }
        true
    }

    /// Takes an act off the list of what is under way; false when it is not on it.
    fn take(&mut self, act: Act) -> bool {
        let place = match act {
            Act::Call(_, who) | Act::Undo(who) | Act::Clean(who) => {
                self.members.get_mut(who).map(|member| &mut member.busy)
            }
            _ => Some(&mut self.own),
        };
        place.is_some_and(|under_way| under_way.take_if(|it| *it == act).is_some())
    }

    fn call(&mut self, who: usize, act: Act, acts: &mut Vec<Act>) {
        self.members[who].busy = Some(act);
        acts.push(act);
    }

    /// Goes on as far as it is possible without waiting.
    fn advance(&mut self, acts: &mut Vec<Act>) {
        while self.own.is_none() && !self.ended() {
            let Some(place) = self.onward(acts) else { return };
            self.enter(place, acts);
        }
    }

    /// The next place, or nothing when something must be waited for.
    fn onward(&mut self, acts: &mut Vec<Act>) -> Option<Place> {
        let resting = self.members.iter().all(|member| member.busy.is_none());
        match self.place {
            Place::Preflight
            | Place::Identify
            | Place::Identified
            | Place::Prepare
            | Place::Poise
            | Place::Capture
                if self.failed =>
            {
                Some(Place::Release)
            }
            Place::Arm if self.failed => Some(Place::Disarm),
            Place::Freeze(_) | Place::Cut if self.failed => Some(self.highest_held()),
            Place::Thaw(level) => self.thaw(level, acts),
            Place::Release => self.release(acts),
            _ if !resting => None,
            Place::Preflight => Some(Place::Identify),
            Place::Identify => Some(Place::Identified),
            Place::Identified => Some(Place::Prepare),
            Place::Prepare => Some(Place::Poise),
            Place::Poise => Some(Place::Arm),
            Place::Arm => Some(self.freeze_above(None)),
            Place::Freeze(level) => Some(self.freeze_above(Some(level))),
            Place::Cut => Some(self.highest_held()),
            Place::Disarm if self.failed => Some(Place::Release),
            Place::Disarm => Some(Place::Capture),
            Place::Capture => Some(Place::Seal),
            Place::Seal => Some(Place::Release),
            Place::Tidy | Place::Ended => Some(Place::Ended),
        }
    }

    /// Enters a place and begins its acts. Thaw and release begin theirs one by one, as the participants come to rest.
    fn enter(&mut self, place: Place, acts: &mut Vec<Act>) {
        self.place = place;
        let own = match place {
            Place::Preflight => Some(Act::Preflight),
            Place::Identified => Some(Act::Identified),
            Place::Arm => Some(Act::Arm),
            Place::Disarm => Some(Act::Disarm),
            Place::Seal => Some(Act::Seal),
            Place::Tidy => Some(Act::Tidy),
            _ => None,
        };
        let step = match place {
            Place::Identify => Some(Step::Identify),
            Place::Prepare => Some(Step::Prepare),
            Place::Poise => Some(Step::Poise),
            Place::Freeze(_) => Some(Step::Freeze),
            Place::Cut => Some(Step::Cut),
            Place::Capture => Some(Step::Capture),
            _ => None,
        };
        self.own = own;
        acts.extend(own);
        for who in 0..self.members.len() {
            let Some(step) = step else { break };
            if matches!(place, Place::Freeze(level) if level != self.members[who].level) {
                continue;
            }
            if step == Step::Freeze {
                self.members[who].held = Held::Begun;
            }
            self.call(who, Act::Call(step, who), acts);
        }
    }

    /// The lowest level with members above `level`, or the cut when there is none.
    fn freeze_above(&self, level: Option<Level>) -> Place {
        let above = self.members.iter().map(|member| member.level).filter(|&it| Some(it) > level);
        above.min().map_or(Place::Cut, Place::Freeze)
    }

    /// The highest level at which somebody is held, or the end of the window when nobody is.
    fn highest_held(&self) -> Place {
        let held = self.members.iter().filter(|member| member.held == Held::Begun);
        held.map(|member| member.level).max().map_or(Place::Disarm, Place::Thaw)
    }

    /// Thaws who is held at `level` and at rest. A member whose freeze or cut is still under way is waited for.
    fn thaw(&mut self, level: Level, acts: &mut Vec<Act>) -> Option<Place> {
        for who in 0..self.members.len() {
            let member = &self.members[who];
            if member.level == level && member.held == Held::Begun && member.busy.is_none() {
                let act = if member.hung { Act::Undo(who) } else { Act::Call(Step::Thaw, who) };
                self.call(who, act, acts);
            }
        }
        let waits = self.members.iter().any(|member| member.level == level && member.held == Held::Begun);
        (!waits).then(|| self.highest_held())
    }

    /// Releases who is at rest.
    fn release(&mut self, acts: &mut Vec<Act>) -> Option<Place> {
        for who in 0..self.members.len() {
            let member = &self.members[who];
            if !member.released && member.busy.is_none() {
                let act = if member.hung { Act::Clean(who) } else { Act::Call(Step::Release, who) };
                self.call(who, act, acts);
            }
        }
        self.members.iter().all(|member| member.released).then_some(Place::Tidy)
    }
}

#[cfg(test)]
mod tests;
