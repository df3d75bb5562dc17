//! A command whose standard output is kept: a list, an export, a dump of something that no writer knows.
//!
//! Output that cannot be trusted never reaches the set: a bad exit status, no output at all, or a missed time limit fails
//! the component. With `in_freeze` the command runs while the site is still, so that its output is of the epoch; it is then
//! kept in the workspace until the capture.

use std::fs::File;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;
use stillpoint_model::site_file::CommandSettings;
use stillpoint_model::{
    CaptureSink, Captured, Context, Deadline, Description, Grade, Level, RestoreOptions, Restored, Restorer,
    StoredComponent, Writer, WriterError,
};

use crate::process::Program;

/// Keeps the output of one command.
pub struct CommandWriter {
    settings: CommandSettings,
    /// The output of a command that ran in the freeze.
    held: Option<PathBuf>,
}

impl CommandWriter {
    /// The writer for these settings.
    pub fn new(settings: &CommandSettings) -> Self {
        Self { settings: settings.clone(), held: None }
    }

    fn program(&self, context: &Context) -> Result<Program, WriterError> {
        Ok(Program::from_argv(&self.settings.run)?.cancelled_by(&context.cancel))
    }

    /// The earlier of the deadline of the step and the limit of the site file.
    fn limit(&self, deadline: Deadline) -> Deadline {
        deadline.min(Deadline::after(self.settings.timeout.duration()))
    }

    fn empty(&self) -> WriterError {
        WriterError::Other(format!(
            "{} succeeded but wrote nothing; a command whose output is kept must write to standard output",
            self.settings.run.join(" ")
        ))
    }
}

impl Writer for CommandWriter {
    fn identify(&mut self, _context: &Context, _deadline: Deadline) -> Result<Description, WriterError> {
        let Some(program) = self.settings.run.first() else {
            return Err(WriterError::Other("the site file names no program in `run`".into()));
        };
        let found = std::fs::metadata(program).map_err(|source| WriterError::Io {
            act: "find the program",
            path: program.into(),
            source,
        })?;
        if !found.is_file() {
            return Err(WriterError::Other(format!("{program} is not a program")));
        }
        Ok(Description {
            writer: "command".into(),
            level: Level::System,
            quieting: None,
            estimate_bytes: None,
            sources: Vec::new(),
            facts: json!({ "run": self.settings.run, "in_freeze": self.settings.in_freeze }),
        })
    }

    fn prepare(&mut self, _context: &Context, _deadline: Deadline) -> Result<(), WriterError> {
        Ok(())
    }

    fn freeze(&mut self, _context: &Context, _deadline: Deadline) -> Result<(), WriterError> {
        Ok(())
    }

    fn cut(&mut self, context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        if !self.settings.in_freeze {
            return Ok(());
        }
        let path = context.workspace.join("output");
        let file = File::create(&path).map_err(|source| WriterError::Io {
            act: "create",
            path: path.clone(),
            source,
        })?;
        // Noted before it is filled, so that a failure leaves nothing behind.
        self.held = Some(path);
        self.program(context)?.run_into(file, self.limit(deadline))?.check()?;
        Ok(())
    }

    fn thaw(&mut self, _context: &Context, _deadline: Deadline) -> Result<(), WriterError> {
        Ok(())
    }

    fn capture(
        &mut self,
        context: &Context,
        deadline: Deadline,
        sink: &mut dyn CaptureSink,
    ) -> Result<Captured, WriterError> {
        let started = Instant::now();
        let bytes = match &self.held {
            Some(path) => {
                let mut file = File::open(path).map_err(|source| WriterError::Io {
                    act: "open",
                    path: path.clone(),
                    source,
                })?;
                sink.stream(context, &self.settings.output, &mut file)?
            }
            None => {
                let mut running = self.program(context)?.start(self.limit(deadline))?;
                let taken = sink.stream(context, &self.settings.output, &mut running);
                // How the program ended says more than that its stream broke.
                match (running.finish(), taken) {
                    (Ok(_), taken) => taken?,
                    (Err(WriterError::Program { .. }), Err(error)) => return Err(error.into()),
                    (Err(error), _) => return Err(error),
                }
            }
        };
        if bytes == 0 {
            return Err(self.empty());
        }
        let grade = if self.settings.in_freeze { Grade::Frozen } else { Grade::Fuzzy };
        Ok(Captured {
            grade,
            facts: json!({
                "run": self.settings.run,
                "output": self.settings.output,
                "bytes": bytes,
                "elapsed_ms": u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            }),
        })
    }

    fn release(&mut self, _context: &Context) -> Result<(), WriterError> {
        if let Some(path) = self.held.take()
            && let Err(source) = std::fs::remove_file(&path)
            && source.kind() != std::io::ErrorKind::NotFound
        {
            return Err(WriterError::Io { act: "remove", path, source });
        }
        Ok(())
    }
}

/// There is nothing to put back: the output is for people. It says where it lies.
pub struct CommandRestorer {
    settings: CommandSettings,
}

impl CommandRestorer {
    /// The restorer for these settings.
    pub fn new(settings: &CommandSettings) -> Self {
        Self { settings: settings.clone() }
    }

    fn note(&self, stored: &StoredComponent) -> String {
        let file = stored.folder.join(&self.settings.output);
        format!(
            "the output of `{}` is kept at {}; use it as you need it",
            self.settings.run.join(" "),
            file.display()
        )
    }
}

impl Restorer for CommandRestorer {
    fn obstacles(&self, _stored: &StoredComponent) -> Result<Vec<String>, WriterError> {
        Ok(Vec::new())
    }

    fn plan(&self, stored: &StoredComponent) -> Result<Vec<String>, WriterError> {
        Ok(vec![self.note(stored)])
    }

    fn restore(
        &mut self,
        _context: &Context,
        stored: &StoredComponent,
        _options: &RestoreOptions,
        _deadline: Deadline,
    ) -> Result<Restored, WriterError> {
        Ok(Restored { notes: vec![self.note(stored)], ..Restored::default() })
    }
}
