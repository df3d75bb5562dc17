//! Acts out what the state machine says: a thread for each participant, deadlines, the window, the journal, the guard.
//!
//! What it must never do: wait without a limit while the site stands still, write a file in that time, or let a failure
//! keep a thaw from being tried. Everything that thaws or releases is done even when the journal cannot be written.

mod actor;
mod acts;
mod apart;
mod begin;
mod watch;
mod words;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use stillpoint_model::{
    Cancel, Captured, ComponentName, Context, Deadline, Description, Event, Level, Monitor, Phase, Problem,
    Step, Urgency,
};

use self::actor::{ActError, Actor, Ended, Order, Output, Part};
use crate::guard::Guard;
use crate::intents::{Intents, OwnIntents};
use crate::journal::{self, Journal, Record, Sync};
use crate::phases::{self, Act, Machine};
use crate::quiet::QuietMonitor;
use crate::undo::boot_id;
use crate::{Component, Participant, RunReport, RunSettings, Stage, StageError};

/// How often the driver looks up from waiting: for a cancel, a lost guard, a passed window.
const TICK: Duration = Duration::from_millis(10);

/// How long after the end of the window the guard thaws by force. Until then the driver does it in good order.
const GUARD_GRACE: Duration = Duration::from_millis(500);

/// How much earlier than the driver's own deadline a writer is told to be done, at most: so that one that keeps to its
/// deadline can say what was the matter, and is not taken for one that hangs.
const MARGIN_MAX: Duration = Duration::from_millis(100);

/// Runs one epoch: all phases but `after`, which is the caller's. Returns when the site works again and every writer that
/// was called was released, whatever happened; only what hangs is left behind: a writer, which takes itself back when it
/// can, or an act of the site's own on a destination that does not answer. Call it holding the lock, after
/// [`crate::reconcile`].
pub fn run(settings: RunSettings, participants: Vec<Participant>, stage: Arc<dyn Stage>) -> RunReport {
    let names = participants.iter().map(|it| it.component.clone()).collect();
    match Driver::begin(settings, participants, names, stage) {
        Ok(driver) => driver.drive(),
        Err(refused) => {
            let (failure, names) = *refused;
            let component = |name| Component { name, description: None, captured: None };
            RunReport {
                window: None,
                cut_at: None,
                components: names.into_iter().map(component).collect(),
                phases: Vec::new(),
                failure: Some(failure),
                not_undone: Vec::new(),
            }
        }
    }
}

type Refused = Box<(StageError, Vec<ComponentName>)>;

/// An act under way on another thread.
struct Pending {
    act: Act,
    deadline: Instant,
    wait: Duration,
    cancel: Cancel,
    /// Whether undos of what holds the site are still to be carried out by it.
    held: Arc<AtomicBool>,
}

/// The time in which the site stands still.
#[derive(Debug, Clone, Copy)]
struct Window {
    begun: Instant,
    end: Instant,
    /// Set once it was overrun: until then everything must go on, however.
    force: Option<Instant>,
}

/// What is known of a participant.
struct Known {
    name: ComponentName,
    level: Option<Level>,
    description: Option<Description>,
    captured: Option<Captured>,
}

struct Driver {
    settings: RunSettings,
    stage: Arc<dyn Stage>,
    apart: apart::Apart,
    names: Vec<ComponentName>,
    known: Vec<Known>,
    workspaces: Vec<std::path::PathBuf>,
    actors: Vec<Actor>,
    machine: Machine,
    intents: Arc<Intents>,
    journal: Arc<Journal>,
    monitor: Arc<QuietMonitor>,
    tell: Sender<Ended>,
    told: Receiver<Ended>,
    pending: Vec<Pending>,
    queue: VecDeque<(phases::Event, Option<StageError>)>,
    phase: Option<(Phase, Instant)>,
    phases: Vec<(Phase, Duration)>,
    window: Option<Window>,
    window_length: Option<Duration>,
    extend: bool,
    cut_at: Option<jiff::Timestamp>,
    guard_lost: bool,
    cancelled: bool,
    failure: Option<StageError>,
    not_undone: Vec<String>,
}

impl Driver {
    fn drive(mut self) -> RunReport {
        self.change_phase();
        let mut acts = vec![Act::Preflight];
        loop {
            for act in acts {
                self.begin_act(act);
            }
            if self.machine.ended() {
                break;
            }
            let (event, error) = self.wait();
            match self.take(event, error) {
                Ok(next) => acts = next,
                Err(impossible) => {
                    self.emergency(impossible.to_string());
                    break;
                }
            }
        }
        self.end()
    }

    /// The next event. While the site stands still nothing here waits for longer than a tick.
    fn wait(&mut self) -> (phases::Event, Option<StageError>) {
        loop {
            if let Some(noticed) = self.notice() {
                return noticed;
            }
            if let Some(queued) = self.queue.pop_front() {
                return queued;
            }
            let now = Instant::now();
            let next = self.pending.iter().map(|it| it.deadline).min().unwrap_or(now + TICK);
            let wait = next.saturating_duration_since(now).min(TICK);
            match self.told.recv_timeout(wait) {
                // Through the queue, so that what was noticed meanwhile comes first.
                Ok(ended) => {
                    let event = self.ended(ended);
                    self.queue.extend(event);
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    // A window that passed is told as such, before the act that was cut short by it.
                    if let Some(event) = self.notice().or_else(|| self.expired()) {
                        return event;
                    }
                }
            }
        }
    }

    /// What happened beside the acts.
    fn notice(&mut self) -> Option<(phases::Event, Option<StageError>)> {
        if !self.guard_lost && !self.intents.guard().lives() {
            self.guard_lost = true;
            return Some((phases::Event::GuardLost, Some(words::guard_lost())));
        }
        if !self.cancelled && self.settings.cancel.is_cancelled() {
            self.cancelled = true;
            return Some((phases::Event::Cancelled, Some(words::cancelled_error())));
        }
        let thaw = self.settings.deadlines.thaw.duration();
        let window = self.window.as_mut()?;
        if window.force.is_none() && Instant::now() >= window.end {
            window.force = Some(window.end + thaw);
            self.extend = true;
            let length = self.settings.deadlines.window.duration();
            return Some((phases::Event::Overrun, Some(words::overrun(length))));
        }
        if std::mem::take(&mut self.extend) {
            // The thaw is under way by now. A driver that does not come to this is not one to wait for.
            let _ = self.intents.guard().open_window(thaw + GUARD_GRACE);
        }
        None
    }

    /// Takes the end of an act that was under way; nothing when it was given up before.
    fn ended(&mut self, ended: Ended) -> Option<(phases::Event, Option<StageError>)> {
        let place = self.pending.iter().position(|it| it.act == ended.act)?;
        self.pending.swap_remove(place);
        Some(self.conclude(ended))
    }

    /// Notes how an act ended, and makes the event of it.
    fn conclude(&mut self, ended: Ended) -> (phases::Event, Option<StageError>) {
        let Ended { act, result, elapsed } = ended;
        let cancelled = self.settings.cancel.is_cancelled();
        let (event, error) = match result {
            Ok(Output::Described(description)) => (self.described(act, description), None),
            Ok(Output::Captured(captured)) => {
                if let Act::Call(_, who) = act {
                    self.known[who].captured = Some(captured);
                }
                (phases::Event::Done(act), None)
            }
            Ok(Output::Nothing) => (phases::Event::Done(act), None),
            Err(why) => {
                // What a release could not undo is tried once more by its clean.
                if let (Act::Undo(_) | Act::Clean(_), ActError::Undos { held, .. }) = (act, &why) {
                    self.not_undone.extend(held.iter().cloned());
                }
                (phases::Event::Failed(act), Some(words::failure(act, why, cancelled, &self.names)))
            }
        };
        self.note_end(act, elapsed, error.as_ref());
        (event, error)
    }

    fn described(&mut self, act: Act, description: Description) -> phases::Event {
        let Act::Call(_, who) = act else { return phases::Event::Done(act) };
        let known = &mut self.known[who];
        let level = known.level.unwrap_or(description.level);
        known.description = Some(description);
        phases::Event::Described(who, level)
    }

    fn note_end(&mut self, act: Act, elapsed: Duration, error: Option<&StageError>) {
        let text = error.map(chain);
        // The event names component and step by itself.
        let short = text.as_deref().map(|text| words::without_subject(text, act, &self.names));
        let record = Record::ActEnded { act: words::act_name(act, &self.names), error: text.clone() };
        // What ended has happened, written or not.
        let _ = self.journal.append(record, Sync::Later);
        if let Act::Call(step, who) = act {
            let known = &self.known[who];
            let level = matches!(step, Step::Freeze | Step::Thaw)
                .then(|| known.level.or(known.description.as_ref().map(|it| it.level)))
                .flatten();
            self.monitor.emit(Event::StepEnded {
                component: known.name.clone(),
                step,
                level,
                elapsed_us: u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
                error: short,
            });
        }
    }

    /// The first act whose deadline passed, given up.
    fn expired(&mut self) -> Option<(phases::Event, Option<StageError>)> {
        let now = Instant::now();
        let place = self.pending.iter().position(|it| it.deadline <= now)?;
        let given_up = match self.pending[place].act {
            Act::Call(_, who) => self.actors[who].abandon(),
            Act::Undo(_) | Act::Clean(_) => true,
            _ => self.apart.abandon(),
        };
        if !given_up {
            // It ended in this moment: its end is in the channel.
            return None;
        }
        let Pending { act, wait, cancel, held, .. } = self.pending.swap_remove(place);
        cancel.cancel();
        let error = if self.cancelled && act == Act::Seal {
            words::cancelled_seal()
        } else {
            words::late(act, wait, &self.names)
        };
        if held.load(Ordering::SeqCst) {
            self.not_undone.push(error.text.clone());
        }
        self.note_end(act, wait, Some(&error));
        Some((phases::Event::Late(act), Some(error)))
    }

    /// Gives an event to the machine and does what goes with the change.
    fn take(
        &mut self,
        event: phases::Event,
        error: Option<StageError>,
    ) -> Result<Vec<Act>, phases::Impossible> {
        let (was_failed, was_held) = (self.machine.failed(), self.machine.in_window());
        let acts = self.machine.next(event)?;
        if was_held && !self.machine.in_window() {
            self.close_window();
        }
        match error {
            Some(error) if self.machine.failed() && !was_failed => {
                self.failure = Some(error);
                self.give_up();
            }
            // A later failure of a run that is given up anyway is in the journal and was told with its step.
            Some(error) if !self.machine.failed() && event != phases::Event::Cancelled => {
                self.problem(chain(&error));
            }
            _ => {}
        }
        if event == phases::Event::Cancelled {
            // Also what does not fail by it: a seal that has not come to its exchange yet ends without it.
            self.give_up();
        }
        if let Some(force) = self.window.and_then(|window| window.force) {
            let thaws = |act: Act| matches!(act, Act::Call(Step::Thaw, _) | Act::Undo(_));
            self.pending
                .iter_mut()
                .filter(|it| thaws(it.act))
                .for_each(|it| it.deadline = it.deadline.min(force));
        }
        if !was_held && self.machine.in_window() {
            self.open_window();
        }
        self.change_phase();
        Ok(acts)
    }

    /// Tells what is under way to end. What holds the site keeps its deadline; long work gets that of a thaw.
    fn give_up(&mut self) {
        let soon = Instant::now() + self.settings.deadlines.thaw.duration();
        for pending in &mut self.pending {
            let takes_back = matches!(pending.act, Act::Call(Step::Thaw | Step::Release, _))
                || matches!(pending.act, Act::Undo(_) | Act::Clean(_) | Act::Tidy);
            if !takes_back {
                pending.cancel.cancel();
                pending.deadline = pending.deadline.min(soon);
            }
        }
    }

    fn problem(&self, text: String) {
        self.monitor.emit(Event::Problem(Problem { component: None, path: None, text }));
    }

    fn change_phase(&mut self) {
        let next = self.machine.phase();
        if self.phase.map(|(phase, _)| phase) == next {
            return;
        }
        let takes_back = |step: Step| matches!(step, Step::Thaw | Step::Release);
        let goes_on = |act: Act| matches!(act, Act::Call(step, _) if !takes_back(step));
        if next.is_none() && self.pending.iter().any(|pending| goes_on(pending.act)) {
            // The run is given up, but how the others end belongs to this phase, too.
            return;
        }
        if let Some((phase, begun)) = self.phase.take() {
            let elapsed = begun.elapsed();
            self.phases.push((phase, elapsed));
            let elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
            self.monitor.emit(Event::PhaseEnded { phase, elapsed_us });
        }
        if let Some(phase) = next {
            self.phase = Some((phase, Instant::now()));
            // Only tells where a run was; nothing depends on it.
            let _ = self.journal.append(Record::Phase { phase }, Sync::Later);
            self.monitor.emit(Event::PhaseStarted { phase });
        }
    }

    /// From here to [`Driver::close_window`] nothing is written and nobody is told.
    fn open_window(&mut self) {
        self.monitor.hold();
        self.journal.hold();
        let begun = Instant::now();
        let end = begun + self.settings.deadlines.window.duration();
        self.window = Some(Window { begun, end, force: None });
    }

    fn close_window(&mut self) {
        self.window_length = self.window.take().map(|window| window.begun.elapsed());
    }

    /// A mistake of our own: nobody knows where the run is. Everything that was registered is taken back.
    fn emergency(&mut self, what: String) {
        self.failure = Some(words::bug(what));
        for actor in &self.actors {
            actor.abandon();
        }
        for urgency in [Urgency::Thaw, Urgency::Release] {
            for owner in (0..self.actors.len()).map(Some).chain([None]) {
                let failures = self.intents.carry_out(owner, &[urgency], false);
                if urgency == Urgency::Thaw {
                    self.not_undone.extend(failures);
                }
            }
        }
        if self.window.is_some() {
            self.close_window();
        }
        self.let_go();
    }

    /// Ends the threads and makes the report.
    fn end(mut self) -> RunReport {
        if !self.not_undone.is_empty() {
            self.failure = Some(words::not_thawed(&self.not_undone, self.failure.take()));
        }
        let record = Record::RunEnded {
            failure: self.failure.as_ref().map(chain),
            not_undone: self.not_undone.clone(),
        };
        if let Err(error) = self.journal.append(record, Sync::Before) {
            self.problem(format!("the end of the run could not be written to the journal: {error}"));
        }
        let mut report = self.report();
        report.failure = self.failure.take();
        for actor in self.actors {
            actor.finish();
        }
        report
    }

    /// What is known so far, with the final grades.
    fn report(&self) -> RunReport {
        let all = || self.known.iter().filter_map(|known| known.description.as_ref());
        let component = |known: &Known| {
            let mut captured = known.captured.clone();
            if let (Some(captured), Some(description)) = (&mut captured, &known.description) {
                captured.grade = crate::grade::final_grade(captured.grade, description, all());
            }
            Component { name: known.name.clone(), description: known.description.clone(), captured }
        };
        RunReport {
            window: self.window_length,
            cut_at: self.cut_at,
            components: self.known.iter().map(component).collect(),
            phases: self.phases.clone(),
            failure: None,
            not_undone: self.not_undone.clone(),
        }
    }
}

/// An error with all that caused it.
fn chain(error: &StageError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
