//! A program of PostgreSQL that works beside us for longer than one call, and whose end is registered as an undo.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use stillpoint_model::{Context, Deadline, Ticket, Undo, UndoLog, WriterError};

use crate::process::{Program, Running, start_ticks};

/// How often a condition on the file system is looked at while we wait for a program to bring it about.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// A running program. Dropping it kills it and settles its undo.
pub struct Child {
    running: Option<Running>,
    ticket: Ticket,
    undos: Arc<dyn UndoLog>,
    name: &'static str,
}

impl Child {
    /// Starts `program` and registers its end. That comes after the start, because only then there is a process id; in
    /// between the kernel would end it with us.
    pub fn start(
        context: &Context,
        name: &'static str,
        program: &Program,
        deadline: Deadline,
    ) -> Result<Self, WriterError> {
        let running = program.start(deadline)?;
        let pid = running.id();
        let undo = Undo::KillProcess { pid, start_ticks: start_ticks(pid)? };
        let ticket = context.undos.intend(undo)?;
        Ok(Self { running: Some(running), ticket, undos: context.undos.clone(), name })
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> Result<bool, WriterError> {
        self.running.as_mut().map_or(Ok(true), Running::has_ended)
    }

    /// That it still works; if not, how it ended is the error.
    pub fn check(&mut self) -> Result<(), WriterError> {
        if !self.has_ended()? {
            return Ok(());
        }
        let Some(running) = self.running.take() else {
            return Err(WriterError::Other(format!("{} does not run any more", self.name)));
        };
        let ended = running.end()?;
        Err(WriterError::Program {
            status: format!("{} while it was still needed", ended.status_text()),
            program: ended.program,
            output: ended.output,
        })
    }

    /// Waits until `done` says so, as long as the program works.
    pub fn wait_until(
        &mut self,
        context: &Context,
        act: &str,
        deadline: Deadline,
        mut done: impl FnMut() -> bool,
    ) -> Result<(), WriterError> {
        while !done() {
            self.check()?;
            if context.cancel.is_cancelled() {
                return Err(WriterError::Cancelled);
            }
            if deadline.passed() {
                return Err(WriterError::Late { act: act.to_owned() });
            }
            thread::sleep(LOOK_INTERVAL.min(deadline.remaining()));
        }
        Ok(())
    }

    /// Waits for its end by itself, which must be a good one.
    pub fn finish(mut self) -> Result<(), WriterError> {
        match self.running.take() {
            Some(running) => running.finish().map(drop),
            None => Ok(()),
        }
    }

    /// Asks it to end (SIGINT, by which PostgreSQL's programs end in order) and kills it at the deadline.
    pub fn stop(mut self, deadline: Deadline) -> Result<(), WriterError> {
        let Some(running) = &mut self.running else { return Ok(()) };
        running.signal(Signal::INT)?;
        while !running.has_ended()? && !deadline.passed() {
            thread::sleep(LOOK_INTERVAL);
        }
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.running.take());
        self.undos.settle(self.ticket);
    }
}
