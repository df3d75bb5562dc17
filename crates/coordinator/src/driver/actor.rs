//! One thread for each participant: the calls to its writer come one after the other, and one that hangs hangs alone.
//!
//! The driver cannot end a thread that hangs. It abandons it: carries out its undos, and never calls its writer again. If
//! the call comes back after all, it may just then have frozen what was thawed already. So the thread takes itself back
//! before it ends: the writer's own thaw, its undos once more, its release.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use stillpoint_model::{
    Cancel, CaptureSink, Captured, Context, Deadline, Description, Step, Urgency, Writer, WriterError,
};

use crate::intents::Intents;
use crate::phases::Act;
use crate::{ActHook, StageError};

/// What a call to a writer gave.
pub(super) enum Output {
    Nothing,
    Described(Description),
    Captured(Captured),
}

/// Why an act failed.
#[derive(Debug)]
pub(super) enum ActError {
    /// The writer said no.
    Writer(WriterError),
    /// The site's own act failed.
    Stage(StageError),
    /// The hook said no, or something of our own failed.
    Text(String),
    /// It panicked.
    Panic(String),
    /// Undos that could not be carried out: of what holds the site, and of what only lies about.
    Undos { held: Vec<String>, left: Vec<String> },
}

/// The end of an act.
pub(super) struct Ended {
    pub(super) act: Act,
    pub(super) result: Result<Output, ActError>,
    pub(super) elapsed: Duration,
}

/// One call.
pub(super) struct Order {
    pub(super) step: Step,
    pub(super) deadline: Deadline,
    pub(super) cancel: Cancel,
    pub(super) sink: Option<Box<dyn CaptureSink>>,
}

const IDLE: u8 = 0;
const BUSY: u8 = 1;
const ABANDONED: u8 = 2;

/// The driver's handle of a participant's thread.
pub(super) struct Actor {
    orders: Sender<Order>,
    state: Arc<AtomicU8>,
    abandoned: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// What a participant's thread works with.
pub(super) struct Part {
    pub(super) who: usize,
    pub(super) writer: Box<dyn Writer>,
    pub(super) context: Context,
    pub(super) intents: Arc<Intents>,
    pub(super) hook: Arc<dyn ActHook>,
    pub(super) ended: Sender<Ended>,
    /// How long the thaw of a writer that comes back late may take.
    pub(super) thaw: Duration,
}

impl Actor {
    /// Starts the thread. `abandoned` is set when the run is given up on it.
    pub(super) fn start(part: Part, abandoned: Arc<AtomicBool>) -> std::io::Result<Self> {
        let (orders, inbox) = unbounded();
        let state = Arc::new(AtomicU8::new(IDLE));
        let shared = state.clone();
        let name = part.context.component.to_string();
        let thread = std::thread::Builder::new().name(name).spawn(move || live(part, inbox, &shared))?;
        Ok(Self { orders, state, abandoned, thread })
    }

    /// Begins a call; false when the thread is gone.
    pub(super) fn order(&self, order: Order) -> bool {
        self.state.store(BUSY, Ordering::SeqCst);
        self.orders.send(order).is_ok()
    }

    /// Gives up on a call that is under way; false when it ended in this moment, and its end is on the way.
    pub(super) fn abandon(&self) -> bool {
        let given_up =
            self.state.compare_exchange(BUSY, ABANDONED, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if given_up {
            self.abandoned.store(true, Ordering::SeqCst);
        }
        given_up
    }

    /// Whether it was given up.
    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::SeqCst)
    }

    /// Ends the thread, unless it hangs: then it ends itself when it can.
    pub(super) fn finish(self) {
        let hangs = self.state.load(Ordering::SeqCst) != IDLE;
        drop(self.orders);
        if !hangs {
            // A panic in a writer was caught and told; there is nothing else to learn here.
            let _ = self.thread.join();
        }
    }
}

fn live(mut part: Part, inbox: Receiver<Order>, state: &AtomicU8) {
    let mut held = false;
    for order in inbox {
        let (step, begun) = (order.step, Instant::now());
        held |= step == Step::Freeze;
        let called = catch_unwind(AssertUnwindSafe(|| perform(&mut part, order)));
        let result = called.unwrap_or_else(|panic| Err(ActError::Panic(panic_text(&*panic))));
        held &= !(step == Step::Thaw && result.is_ok());
        if state.compare_exchange(BUSY, IDLE, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            return take_back(part, held);
        }
        let ended = Ended { act: Act::Call(step, part.who), result, elapsed: begun.elapsed() };
        if part.ended.send(ended).is_err() {
            return;
        }
    }
}

pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no reason given")
        .to_owned()
}

fn perform(part: &mut Part, order: Order) -> Result<Output, ActError> {
    let name = format!("{}/{}", order.step, part.context.component);
    part.hook.before(&name).map_err(ActError::Text)?;
    let context = Context { cancel: order.cancel, ..part.context.clone() };
    let output = call(&mut *part.writer, &context, order.step, order.deadline, order.sink)?;
    if order.step == Step::Release {
        // A writer that forgot to settle: what it registered is done now, which is harmless when it was done before.
        let held = part.intents.carry_out(Some(part.who), &[Urgency::Thaw], true);
        let left = part.intents.carry_out(Some(part.who), &[Urgency::Release], true);
        if !(held.is_empty() && left.is_empty()) {
            return Err(ActError::Undos { held, left });
        }
    }
    part.hook.after(&name).map_err(ActError::Text)?;
    Ok(output)
}

fn call(
    writer: &mut dyn Writer,
    context: &Context,
    step: Step,
    deadline: Deadline,
    sink: Option<Box<dyn CaptureSink>>,
) -> Result<Output, ActError> {
    let done = match step {
        Step::Identify => {
            return writer.identify(context, deadline).map(Output::Described).map_err(ActError::Writer);
        }
        Step::Capture => {
            let Some(mut sink) = sink else { return Err(ActError::Text("there is no sink".to_owned())) };
            let captured = writer.capture(context, deadline, &mut *sink);
            return captured.map(Output::Captured).map_err(ActError::Writer);
        }
        Step::Prepare => writer.prepare(context, deadline),
        Step::Poise => writer.poise(context, deadline),
        Step::Freeze => writer.freeze(context, deadline),
        Step::Cut => writer.cut(context, deadline),
        Step::Thaw => writer.thaw(context, deadline),
        Step::Release => writer.release(context),
    };
    done.map(|()| Output::Nothing).map_err(ActError::Writer)
}

/// The run is long given up: nobody hears what fails here. What is not settled stays with the guard and in the journal.
fn take_back(mut part: Part, held: bool) {
    let context = Context { cancel: Cancel::default(), ..part.context.clone() };
    let intents = part.intents.clone();
    let owner = Some(part.who);
    let _ = catch_unwind(AssertUnwindSafe(|| {
        if held {
            let _ = part.writer.thaw(&context, Deadline::after(part.thaw));
        }
    }));
    let thawed = intents.carry_out(owner, &[Urgency::Thaw], true);
    let released = catch_unwind(AssertUnwindSafe(|| part.writer.release(&context)));
    if thawed.is_empty() && released.is_ok() {
        intents.carry_out(owner, &[Urgency::Release], true);
    }
}
