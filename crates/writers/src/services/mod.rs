//! Services: applications that are brought to rest, or held, for the cut. They add no data to the set.
//!
//! The state found is the state put back: what was found at rest is left at rest, what somebody else froze stays frozen.
//! The order is what keeps the site safe. A service is looked at while it works ([`Writer::poise`]) and its undos are
//! registered there, right before the freeze: not earlier, so that a run that dies hours before its freeze does not start
//! what a person stopped meanwhile. In the freeze it is looked at again, and only what has an undo is touched. An undo is
//! settled only once it was seen that the service goes on.
//!
//! Rest is only worth something when it lasts until the thaw. systemd starts units for many reasons (a call, a timer,
//! another unit), so what should be at rest is asked afterwards whether it was; if not, the run fails.
//!
//! Services of one level act in parallel, as all components do; where one must be quiet before another, the site file
//! gives them different levels.

mod cgroup;
mod command;
mod freeze;
mod own_unit;
mod restore;
mod stop;
mod systemctl;

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use stillpoint_model::site_file::{Quiet, ServiceSettings};
use stillpoint_model::status::{MessageId, StatusMessage, id};
use stillpoint_model::{
    CaptureSink, Captured, Context, Deadline, Description, Event, Grade, Level, Quieting, Ticket, Undo,
    Writer, WriterError,
};

pub use cgroup::{Cgroup, Hold};
pub use own_unit::own_unit;
pub use restore::ServiceRestorer;
pub use systemctl::{Systemctl, UnitState};

/// How a service was found.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    /// It works; these undos let it go on after it was held.
    Working(Vec<Undo>),
    /// Nothing of it runs.
    AtRest,
    /// Somebody else holds it; the text says how.
    HeldByOthers(String),
}

/// How long a question may take that is asked before the service is let go.
const QUESTION: Duration = Duration::from_secs(2);

/// The time in which a service should be at rest, in microseconds of the monotonic clock, as systemd tells times.
#[derive(Debug, Clone, Copy)]
struct Span {
    since_us: u64,
    until_us: u64,
}

impl Span {
    fn holds(self, time_us: u64) -> bool {
        (self.since_us..=self.until_us).contains(&time_us)
    }
}

/// One way to bring an application to rest.
trait Way: Send {
    /// Looks how the service is. Changes nothing.
    fn look(&mut self, deadline: Deadline) -> Result<Found, WriterError>;

    /// Brings it to rest, or holds it. Only after a look that found it working.
    fn hold(&mut self, context: &Context, deadline: Deadline) -> Result<(), WriterError>;

    /// What of a service that should be at rest in this time left its rest in it, as far as it can be known.
    fn woke(&mut self, _span: Span, _deadline: Deadline) -> Result<Option<String>, WriterError> {
        Ok(None)
    }

    /// Lets it go on, as far as it can. Gives the undos that are verified to be no longer needed, and what failed.
    fn let_go(&mut self, deadline: Deadline) -> (Vec<Undo>, Result<(), WriterError>);

    /// What is worth keeping.
    fn facts(&self) -> Value;

    /// What it does to the service.
    fn quieting(&self) -> Quieting;

    /// How its status messages are numbered and filled.
    fn messages(&self) -> &'static Messages {
        &SERVICE_MESSAGES
    }

    /// What holds the service, for messages: the unit, the control group, or the program.
    fn name(&self) -> String;

    /// What lets it go on, for messages.
    fn thaw_name(&self) -> String {
        self.name()
    }
}

/// The status messages of a way.
struct Messages {
    /// Whether the texts tell of a program and an application, or of a service and a host.
    of_application: bool,
    held: MessageId,
    not_held: MessageId,
    let_go: MessageId,
    not_let_go: MessageId,
    at_rest: MessageId,
}

/// For what systemd or the kernel holds.
const SERVICE_MESSAGES: Messages = Messages {
    of_application: false,
    held: id::SERVICE_STOPPED,
    not_held: id::SERVICE_NOT_STOPPED,
    let_go: id::SERVICE_STARTED,
    not_let_go: id::SERVICE_NOT_STARTED,
    at_rest: id::SERVICE_ALREADY_STOPPED,
};

/// Brings one service to rest.
pub struct ServiceWriter {
    way: Box<dyn Way>,
    found: Option<Found>,
    undos: Vec<(Undo, Ticket)>,
    /// Whether the service may be held because of us.
    acted: bool,
    /// Whether it was brought to rest as asked.
    held: bool,
    /// Whether the freeze came to its turn: then undos that are left belong to the guard.
    froze: bool,
    /// In which time it should be at rest.
    rest: Option<Span>,
    /// Why it was not at rest though it should have been.
    disturbed: Option<String>,
    times: Times,
}

#[derive(Debug, Default)]
struct Times {
    held_at: Option<jiff::Timestamp>,
    held_in_us: Option<u64>,
    let_go_at: Option<jiff::Timestamp>,
    let_go_in_us: Option<u64>,
}

impl ServiceWriter {
    /// The writer for a service of the site file. An error when the settings do not say how it is to be done.
    pub fn new(settings: &ServiceSettings) -> Result<Self, WriterError> {
        Self::with_systemctl(settings, Systemctl::default())
    }

    /// As [`ServiceWriter::new`], with another program to speak with systemd.
    pub fn with_systemctl(settings: &ServiceSettings, systemctl: Systemctl) -> Result<Self, WriterError> {
        let way: Box<dyn Way> = match (settings.quiet, &settings.unit) {
            (Quiet::Freeze, _) => Box::new(freeze::Freeze::new(settings, systemctl)?),
            (Quiet::Stop, Some(unit)) => Box::new(stop::Stop::new(unit, systemctl)),
            (Quiet::Stop, None) | (Quiet::Command, _) => Box::new(command::Commands::new(settings)?),
        };
        Ok(Self {
            way,
            found: None,
            undos: Vec::new(),
            acted: false,
            held: false,
            froze: false,
            rest: None,
            disturbed: None,
            times: Times::default(),
        })
    }

    /// Makes the registered undos those that are `wanted`.
    fn register(&mut self, context: &Context, wanted: Vec<Undo>) -> Result<(), WriterError> {
        self.settle(context, |undo| !wanted.contains(undo));
        for undo in wanted {
            if !self.undos.iter().any(|(registered, _)| *registered == undo) {
                let ticket = context.undos.intend(undo.clone())?;
                self.undos.push((undo, ticket));
            }
        }
        Ok(())
    }

    fn settle(&mut self, context: &Context, done: impl Fn(&Undo) -> bool) {
        self.undos.retain(|(undo, ticket)| {
            let settled = done(undo);
            if settled {
                context.undos.settle(*ticket);
            }
            !settled
        });
    }

    /// Remembers whether the service woke in the time of rest that ends now.
    fn ask_whether_it_woke(&mut self, span: Span, deadline: Deadline) {
        let limit = Deadline::at(deadline.instant().min(Deadline::after(QUESTION).instant()));
        self.disturbed = match self.way.woke(span, limit) {
            Ok(None) => None,
            Ok(Some(name)) => Some(format!(
                "{name} was started while it should be at rest, so the cut is of no one instant; find out what started \
                 it, quiet that as well, and run the backup again"
            )),
            Err(error) => Some(format!("whether {} stayed at rest is not known: {error}", self.way.name())),
        };
    }

    fn tell(&self, context: &Context, id: MessageId, reason: Option<&WriterError>) {
        let messages = self.way.messages();
        let name = if id == messages.let_go || id == messages.not_let_go {
            self.way.thaw_name()
        } else {
            self.way.name()
        };
        let component = &context.component;
        let mut inserts = match messages.of_application {
            true if id == messages.at_rest => vec![component.to_string()],
            true => vec![name, component.to_string()],
            false => vec![name, rustix::system::uname().nodename().to_string_lossy().into_owned()],
        };
        inserts.extend(reason.map(ToString::to_string));
        let now = jiff::Timestamp::now();
        context.monitor.emit(Event::Status(StatusMessage::new(id, Some(component.clone()), inserts, now)));
    }

    fn found_text(&self) -> &'static str {
        match &self.found {
            Some(Found::Working(_)) => "working",
            Some(Found::AtRest) => "at-rest",
            Some(Found::HeldByOthers(_)) => "held-by-others",
            None => "unknown",
        }
    }
}

impl Writer for ServiceWriter {
    fn identify(&mut self, _context: &Context, deadline: Deadline) -> Result<Description, WriterError> {
        self.found = Some(self.way.look(deadline)?);
        Ok(Description {
            writer: "service".into(),
            level: Level::FrontEnd,
            quieting: Some(self.way.quieting()),
            estimate_bytes: Some(0),
            sources: Vec::new(),
            facts: json!({ "found": self.found_text(), "way": self.way.facts() }),
        })
    }

    fn prepare(&mut self, _context: &Context, _deadline: Deadline) -> Result<(), WriterError> {
        Ok(())
    }

    fn poise(&mut self, context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        let found = self.way.look(deadline)?;
        if let Found::Working(undos) = &found {
            self.register(context, undos.clone())?;
        }
        self.found = Some(found);
        Ok(())
    }

    fn freeze(&mut self, context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        let (started, since_us) = (Instant::now(), now_us());
        let found = self.way.look(deadline)?;
        let wanted = match &found {
            Found::Working(undos) => undos.clone(),
            Found::AtRest | Found::HeldByOthers(_) => Vec::new(),
        };
        self.settle(context, |undo| !wanted.contains(undo));
        self.found = Some(found);
        if wanted.is_empty() {
            self.rest = Some(Span { since_us, until_us: u64::MAX });
            return Ok(());
        }
        if self.undos.len() != wanted.len() {
            return Err(WriterError::Other(format!(
                "{} was at rest a moment ago and works now; nothing was done to it. Run the backup again",
                self.way.name()
            )));
        }
        self.froze = true;
        self.acted = true;
        self.times.held_at = Some(jiff::Timestamp::now());
        let held = self.way.hold(context, deadline);
        self.times.held_in_us = Some(microseconds(started));
        self.held = held.is_ok();
        self.rest = Some(Span { since_us: now_us(), until_us: u64::MAX });
        if let Err(error) = &held {
            self.tell(context, self.way.messages().not_held, Some(error));
        }
        held
    }

    fn cut(&mut self, _context: &Context, _deadline: Deadline) -> Result<(), WriterError> {
        Ok(())
    }

    fn thaw(&mut self, context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        let started = Instant::now();
        let now_us = now_us();
        let rest = self.rest.as_mut().filter(|rest| rest.until_us == u64::MAX);
        let rest = rest.map(|rest| {
            rest.until_us = now_us;
            *rest
        });
        if !self.acted {
            return Ok(());
        }
        if let Some(rest) = rest.filter(|_| self.way.quieting() == Quieting::Rest) {
            // Before it is started by us: that would hide when it was started before.
            self.ask_whether_it_woke(rest, deadline);
        }
        let (done, result) = self.way.let_go(deadline);
        self.settle(context, |undo| done.contains(undo));
        match &result {
            Ok(()) => {
                self.acted = false;
                self.times.let_go_at = Some(jiff::Timestamp::now());
                self.times.let_go_in_us = Some(microseconds(started));
                // Told together, so that no word is said while the site stands still.
                if self.held {
                    self.tell(context, self.way.messages().held, None);
                }
                self.tell(context, self.way.messages().let_go, None);
            }
            Err(error) => self.tell(context, self.way.messages().not_let_go, Some(error)),
        }
        result
    }

    fn capture(
        &mut self,
        context: &Context,
        deadline: Deadline,
        _sink: &mut dyn CaptureSink,
    ) -> Result<Captured, WriterError> {
        if let (Some(Found::AtRest), Some(rest)) = (&self.found, self.rest) {
            // Only now: nothing of it was touched, so its times are as they were, and nobody waits.
            self.ask_whether_it_woke(rest, deadline);
        }
        if let Some(disturbed) = &self.disturbed {
            return Err(WriterError::Other(disturbed.clone()));
        }
        match &self.found {
            Some(Found::AtRest) => self.tell(context, self.way.messages().at_rest, None),
            Some(Found::HeldByOthers(how)) => {
                context.problem(format!("{}: {how}, and is left so", self.way.name()));
            }
            Some(Found::Working(_)) | None => {}
        }
        let held = match self.found {
            Some(Found::AtRest) => false,
            // Whoever holds it did not wait until it rests.
            Some(Found::HeldByOthers(_)) => true,
            Some(Found::Working(_)) | None => self.way.quieting() == Quieting::Hold,
        };
        Ok(Captured {
            grade: if held { Grade::Crash } else { Grade::Frozen },
            facts: json!({
                "found": self.found_text(),
                "way": self.way.facts(),
                "held_at": self.times.held_at,
                "held_in_us": self.times.held_in_us,
                "let_go_at": self.times.let_go_at,
                "let_go_in_us": self.times.let_go_in_us,
            }),
        })
    }

    fn release(&mut self, context: &Context) -> Result<(), WriterError> {
        // What was never held needs no undo. What could not be let go still does: that one stays with the guard.
        if !self.froze {
            self.settle(context, |_| true);
        }
        Ok(())
    }
}

/// Now, on the clock on which systemd tells times.
fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    part(now.tv_sec) * 1_000_000 + part(now.tv_nsec) / 1_000
}

fn microseconds(since: Instant) -> u64 {
    since.elapsed().as_micros().try_into().unwrap_or(u64::MAX)
}
