//! Beginning the acts, one kind each.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::watch::Watch;
use super::*;
use crate::undo;

impl Driver {
    /// Begins an act. It goes on on a thread of its own; only the two that ask the guard are done when this returns, and
    /// their end is in the queue.
    pub(super) fn begin_act(&mut self, act: Act) {
        let begun = Instant::now();
        let name = words::act_name(act, &self.names);
        let _watch = self.limit_of(act).map(|limit| self.watch(act, limit));
        let written = self.announce(&name);
        // A thaw is never kept from happening by a journal that cannot be written.
        let anyway = matches!(act, Act::Undo(_) | Act::Clean(_) | Act::Disarm | Act::Tidy)
            || matches!(act, Act::Call(Step::Thaw | Step::Release, _));
        match written {
            Err(reason) if anyway => {
                self.problem(format!("the journal could not be written before {name}: {reason}"));
            }
            Err(reason) => {
                let result = Err(ActError::Text(format!("the journal cannot be written: {reason}")));
                let concluded = self.conclude(Ended { act, result, elapsed: begun.elapsed() });
                self.queue.push_back(concluded);
                return;
            }
            Ok(()) => {}
        }
        match act {
            Act::Call(step, who) => self.call(step, who),
            Act::Undo(who) => self.carry_out(act, who, &[Urgency::Thaw]),
            Act::Clean(who) => self.carry_out(act, who, &[Urgency::Thaw, Urgency::Release]),
            Act::Preflight | Act::Identified | Act::Seal | Act::Tidy => self.begin_apart(act, name),
            Act::Arm | Act::Disarm => {
                let done = catch_unwind(AssertUnwindSafe(|| self.own(act, &name)));
                let result = done.unwrap_or_else(|panic| {
                    Err(own(ActError::Panic(actor::panic_text(&*panic)), act, &self.names))
                });
                let error = result.err();
                self.note_end(act, begun.elapsed(), error.as_ref());
                let event =
                    if error.is_some() { phases::Event::Failed(act) } else { phases::Event::Done(act) };
                self.queue.push_back((event, error));
            }
        }
    }

    /// How long what is done on this thread may take, before the guard ends the run; nothing where the window has its own
    /// limit.
    fn limit_of(&self, act: Act) -> Option<Duration> {
        let deadlines = &self.settings.deadlines;
        let limit = match act {
            _ if self.machine.in_window() => return None,
            // The window is open still; this act sets itself a limit once everybody was let go.
            Act::Disarm => return None,
            Act::Arm => deadlines.thaw,
            // Of these only the line in the journal is written here.
            _ => deadlines.identify,
        };
        Some(limit.duration())
    }

    fn watch(&self, act: Act, limit: Duration) -> Watch {
        Watch::begin(&self.intents, &self.monitor, act, words::described(act, &self.names), limit)
    }

    /// Writes to the journal what is to follow.
    fn announce(&self, act: &str) -> Result<(), String> {
        let record = Record::ActBegun { act: act.to_owned() };
        let write = |sync| self.journal.append(record, sync).map_err(|error| error.to_string());
        if self.machine.in_window() {
            return write(Sync::Later);
        }
        self.settings.hook.before("journal")?;
        write(Sync::Before)?;
        self.settings.hook.after("journal")
    }

    fn wait_of(&self, step: Step) -> Duration {
        let deadlines = &self.settings.deadlines;
        match step {
            Step::Identify => deadlines.identify,
            // What release takes back is what prepare built: it may take as long.
            Step::Prepare | Step::Poise | Step::Release => deadlines.prepare,
            Step::Freeze => deadlines.freeze,
            Step::Cut => deadlines.snapshot,
            Step::Thaw => deadlines.thaw,
            Step::Capture => deadlines.capture,
        }
        .duration()
    }

    fn call(&mut self, step: Step, who: usize) {
        let (now, wait) = (Instant::now(), self.wait_of(step));
        let mut deadline = now + wait;
        let forced = self.window.and_then(|window| window.force);
        match (step, self.window) {
            (Step::Freeze | Step::Cut, Some(window)) => deadline = deadline.min(window.end),
            (Step::Thaw, _) => deadline = forced.map_or(deadline, |force| deadline.min(force)),
            _ => {}
        }
        if step == Step::Cut && self.cut_at.is_none() {
            self.cut_at = Some(jiff::Timestamp::now());
        }
        let margin = (deadline.saturating_duration_since(now) / 10).min(MARGIN_MAX);
        let cancel = Cancel::default();
        let order = Order {
            step,
            deadline: Deadline::at(deadline - margin),
            cancel: cancel.clone(),
            sink: (step == Step::Capture).then(|| self.stage.sink(&self.names[who])),
        };
        let act = Act::Call(step, who);
        let wait = deadline - now;
        self.pending.push(Pending { act, deadline, wait, cancel, held: Arc::default() });
        if !self.actors[who].order(order) {
            let result = Err(ActError::Panic("its thread is gone".to_owned()));
            // To the channel and not to the queue: it is pending like any other.
            let _ = self.tell.send(Ended { act, result, elapsed: Duration::ZERO });
        }
    }

    /// Carries out what a participant registered, on a thread of its own: it may take long, or hang. One that registered
    /// nothing, or settled all, holds nothing: that is the contract of a writer.
    fn carry_out(&mut self, act: Act, who: usize, urgencies: &'static [Urgency]) {
        let own = self.intents.of(Some(who), urgencies);
        let wait = match act {
            Act::Clean(_) => self.settings.deadlines.prepare.duration(),
            _ => self
                .settings
                .deadlines
                .thaw
                .duration()
                .max(own.iter().map(|(_, undo)| undo::limit(undo)).sum()),
        };
        let mut deadline = Instant::now() + wait;
        if let Some(force) = self.window.and_then(|window| window.force) {
            deadline = deadline.min(force.max(Instant::now() + TICK));
        }
        let settle = !self.actors[who].is_abandoned();
        let (intents, hook, tell) = (self.intents.clone(), self.settings.hook.clone(), self.tell.clone());
        let name = words::act_name(act, &self.names);
        let held = Arc::new(AtomicBool::new(!self.intents.of(Some(who), &[Urgency::Thaw]).is_empty()));
        let still_held = held.clone();
        let work = move || {
            let begun = Instant::now();
            let (mut held, mut left) = (Vec::new(), Vec::new());
            match hook.before(&name) {
                Ok(()) => {
                    held = intents.carry_out(Some(who), &[Urgency::Thaw], settle);
                    still_held.store(!held.is_empty(), Ordering::SeqCst);
                    if urgencies.contains(&Urgency::Release) {
                        left = intents.carry_out(Some(who), &[Urgency::Release], settle);
                    }
                    left.extend(hook.after(&name).err());
                }
                Err(reason) if still_held.load(Ordering::SeqCst) => held.push(reason),
                Err(reason) => left.push(reason),
            }
            let done = held.is_empty() && left.is_empty();
            let result = if done { Ok(Output::Nothing) } else { Err(ActError::Undos { held, left }) };
            // Nobody listens when it was given up.
            let _ = tell.send(Ended { act, result, elapsed: begun.elapsed() });
        };
        self.pending.push(Pending { act, deadline, wait, cancel: Cancel::default(), held });
        let thread = std::thread::Builder::new().name("take back".to_owned());
        if let Err(error) = thread.spawn(work) {
            let held = vec![format!("no thread can be started: {error}")];
            let result = Err(ActError::Undos { held, left: Vec::new() });
            let _ = self.tell.send(Ended { act, result, elapsed: Duration::ZERO });
        }
    }

    /// The window is opened or closed, on this thread.
    fn own(&mut self, act: Act, name: &str) -> Result<(), StageError> {
        let names = self.names.clone();
        let failed = |why| own(why, act, &names);
        let before = self.settings.hook.before(name).map_err(ActError::Text).map_err(failed);
        // The window is closed and what was held is let go whatever the hook says; it is told all the same.
        let refused = match (before, act) {
            (Err(error), Act::Disarm) => Some(error),
            (before, _) => before.map(|()| None)?,
        };
        let mut watch = None;
        if act == Act::Disarm {
            self.intents.guard_is_optional();
            watch = Some(self.watch(act, self.settings.deadlines.thaw.duration()));
            self.let_go();
        } else {
            let wait = self.settings.deadlines.window.duration() + GUARD_GRACE;
            self.intents.guard().open_window(wait).map_err(ActError::Text).map_err(failed)?;
        }
        self.settings.hook.after(name).map_err(ActError::Text).map_err(failed)?;
        watch.map_or(Ok(()), |mut watch| watch.end()).map_err(ActError::Text).map_err(failed)?;
        refused.map_or(Ok(()), Err)
    }

    /// The site works: what was kept in memory is written and told. Harmless when nothing was.
    pub(super) fn let_go(&mut self) {
        let flushed = self.journal.let_go();
        self.monitor.let_go();
        if let Some(window) = self.window_length {
            let window_us = u64::try_from(window.as_micros()).unwrap_or(u64::MAX);
            self.monitor.emit(Event::FreezeWindow { window_us });
        }
        if let Err(error) = flushed {
            // The next act that is announced will fail on it, unless it came right.
            self.problem(format!("the journal could not be written after the thaw: {error}"));
        }
    }
}

fn own(why: ActError, act: Act, names: &[ComponentName]) -> StageError {
    words::failure(act, why, false, names)
}
