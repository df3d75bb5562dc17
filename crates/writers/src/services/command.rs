//! `quiet = "command"` (and `quiet = "stop"` without a unit): the application's own commands.

use serde_json::{Value, json};
use stillpoint_model::site_file::{Quiet, ServiceSettings};
use stillpoint_model::status::id;
use stillpoint_model::{Context, Deadline, Quieting, Undo, WriterError};

use super::{Found, Messages, Way};
use crate::process::{Program, start_ticks};

/// How long the guard waits for the command that lets the application go on, in milliseconds.
const THAW_TIMEOUT_MS: u64 = 60_000;

/// Runs the application's own commands.
pub struct Commands {
    quiet: Quiet,
    freeze: Vec<String>,
    thaw: Vec<String>,
    running: Option<Vec<String>>,
}

impl Commands {
    pub fn new(settings: &ServiceSettings) -> Result<Self, WriterError> {
        let command = |argv: &Option<Vec<String>>, name: &str| match argv {
            Some(argv) if argv.first().is_some_and(|program| program.starts_with('/')) => Ok(argv.clone()),
            Some(_) => {
                Err(WriterError::Other(format!("{name} must begin with an absolute path to a program")))
            }
            None => Err(WriterError::Other(format!(
                "a service that is quieted by its own commands needs {name} in the site file"
            ))),
        };
        let running = match &settings.running_command {
            Some(_) => Some(command(&settings.running_command, "running_command")?),
            None => None,
        };
        Ok(Self {
            quiet: settings.quiet,
            freeze: command(&settings.freeze_command, "freeze_command")?,
            thaw: command(&settings.thaw_command, "thaw_command")?,
            running,
        })
    }

    fn undo(&self) -> Undo {
        Undo::RunCommand { argv: self.thaw.clone(), timeout_ms: THAW_TIMEOUT_MS }
    }

    /// Whether the application runs. Without a command that tells, it is taken to.
    pub fn is_running(&self, deadline: Deadline) -> Result<bool, WriterError> {
        match &self.running {
            Some(argv) => Ok(Program::from_argv(argv)?.run(deadline)?.success()),
            None => Ok(true),
        }
    }

    /// Brings it to rest before a restore.
    pub fn run_freeze(&self, context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        Program::from_argv(&self.freeze)?.cancelled_by(&context.cancel).run(deadline)?.check().map(drop)
    }

    /// Lets it go on.
    pub fn run_thaw(&self, deadline: Deadline) -> Result<(), WriterError> {
        Program::from_argv(&self.thaw)?.run(deadline)?.check().map(drop)
    }
}

impl Way for Commands {
    fn look(&mut self, deadline: Deadline) -> Result<Found, WriterError> {
        Ok(if self.is_running(deadline)? { Found::Working(vec![self.undo()]) } else { Found::AtRest })
    }

    fn hold(&mut self, context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        let mut ticket = None;
        let announce = &mut |leader| {
            let undo = Undo::EndGroup { leader, start_ticks: start_ticks(leader)? };
            ticket = Some(context.undos.intend(undo)?);
            Ok(())
        };
        let program = Program::from_argv(&self.freeze)?.cancelled_by(&context.cancel);
        let ended = program.run_announced(deadline, announce);
        // Now either its whole group was killed, or it ended by itself: then what it left running is the application's.
        if let Some(ticket) = ticket {
            context.undos.settle(ticket);
        }
        ended?.check().map(drop)
    }

    fn let_go(&mut self, deadline: Deadline) -> (Vec<Undo>, Result<(), WriterError>) {
        match self.run_thaw(deadline) {
            Ok(()) => (vec![self.undo()], Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        }
    }

    fn facts(&self) -> Value {
        json!({ "quiet": self.quiet, "freeze_program": self.name(), "thaw_program": self.thaw_name() })
    }

    fn quieting(&self) -> Quieting {
        Quieting::Rest
    }

    fn messages(&self) -> &'static Messages {
        &Messages {
            of_application: true,
            held: id::APPLICATION_QUIET,
            not_held: id::APPLICATION_NOT_QUIET,
            let_go: id::APPLICATION_GOES_ON,
            not_let_go: id::APPLICATION_DOES_NOT_GO_ON,
            at_rest: id::APPLICATION_ALREADY_QUIET,
        }
    }

    fn name(&self) -> String {
        // Without its arguments, which may hold what is not for everybody's eyes.
        self.freeze.first().cloned().unwrap_or_default()
    }

    fn thaw_name(&self) -> String {
        self.thaw.first().cloned().unwrap_or_default()
    }
}
