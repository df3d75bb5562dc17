//! Records a run while it goes on.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, params};
use stillpoint_model::{Event, Grade, Monitor, Outcome};

use crate::alive::Alive;
use crate::run::{PROBLEMS_KEPT_MAX, Task};
use crate::runs::count_run;
use crate::{History, HistoryError, messages};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// What the run does.
    pub task: Task,
    /// Who asked: `schedule`, `command line`, or the name of a person.
    pub by: String,
    /// Which try it is, from 1.
    pub attempt: u32,
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Ending {
    /// The verdict.
    pub outcome: Outcome,
    /// The exit code of the process.
    pub exit_code: u8,
    /// Why it failed.
    pub failure: Option<String>,
    /// How the hook failed.
    pub hook_failure: Option<String>,
    /// The lowest grade in the set.
    pub grade: Option<Grade>,
    /// How many problems there were.
    pub problems: u64,
    /// The published set.
    pub set: Option<String>,
    /// Free bytes of the destination, and its size.
    pub room: Option<(u64, u64)>,
}

/// A monitor that passes events on and keeps what matters of them. A thread of its own writes, so that the run never waits for
/// a disk; what it was told before [`Recorder::end`] is on the disk after it.
pub struct Recorder {
    next: Arc<dyn Monitor>,
    to_writer: Mutex<Option<Sender<Told>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

enum Told {
    Event(Box<Event>),
    Ended(Box<Ending>, Timestamp),
}

/// How long the writer lets events gather before it makes them durable in one go.
const GATHER: Duration = Duration::from_millis(50);

impl Recorder {
    /// Begins the record of a run with the given name in the history at `path`.
    ///
    /// # Errors
    ///
    /// When the history cannot be opened or written. A run must not fail for that: it goes on without a record, and says so.
    pub fn begin(
        path: &Path,
        name: &str,
        asked: &Asked,
        next: Arc<dyn Monitor>,
    ) -> Result<Self, HistoryError> {
        let history = History::open(path)?;
        history.settle_dead(Timestamp::now())?;
        // Held before the row is there: who finds the row must find the run alive.
        let alive =
            Alive::begin(history.path(), name).map_err(|error| HistoryError::open(history.path(), error))?;
        let run = {
            let connection = history.connection();
            connection.execute(
                "INSERT INTO runs (name, task, asked_by, attempt, started) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    name,
                    asked.task.as_str(),
                    asked.by,
                    asked.attempt,
                    Timestamp::now().as_millisecond()
                ],
            )?;
            connection.last_insert_rowid()
        };
        let (sender, receiver) = channel();
        let book = Book { history, alive, run, task: asked.task, phases: 0, steps: 0, problems: 0 };
        let thread =
            std::thread::Builder::new().name("recorder".into()).spawn(move || book.write_all(&receiver));
        let writer = thread.map_err(|error| HistoryError::open(path, error))?;
        Ok(Self { next, to_writer: Mutex::new(Some(sender)), writer: Mutex::new(Some(writer)) })
    }

    fn tell(&self, told: Told) {
        let sender = self.to_writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = &*sender {
            // A writer that is gone has said why.
            let _ = sender.send(told);
        }
    }

    /// The run ended. Returns when that is on the disk.
    pub fn end(&self, ending: Ending) {
        self.tell(Told::Ended(Box::new(ending), Timestamp::now()));
        self.to_writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            let _ = writer.join();
        }
    }
}

impl Monitor for Recorder {
    fn emit(&self, event: Event) {
        self.tell(Told::Event(Box::new(event.clone())));
        self.next.emit(event);
    }
}

/// What the writing thread has.
struct Book {
    history: History,
    alive: Alive,
    run: i64,
    task: Task,
    phases: u32,
    steps: u32,
    problems: u64,
}

impl Book {
    fn write_all(mut self, receiver: &Receiver<Told>) {
        while let Ok(first) = receiver.recv() {
            let mut batch = vec![first];
            std::thread::sleep(GATHER);
            batch.extend(receiver.try_iter());
            for told in &batch {
                if let Told::Event(event) = told {
                    self.alive.tell(event);
                }
            }
            if let Err(error) = self.write(&batch) {
                tracing::warn!("the history of this run has a gap: {error}");
            }
        }
    }

    fn write(&mut self, batch: &[Told]) -> rusqlite::Result<()> {
        let Book { history, run, task, phases, steps, problems, .. } = self;
        let connection = history.connection();
        let change = connection.unchecked_transaction()?;
        let mut pen = Pen { connection: &change, run: *run, phases, steps, problems };
        for told in batch {
            match told {
                Told::Event(event) => pen.event(event)?,
                Told::Ended(ending, at) => {
                    pen.ended(ending, *at)?;
                    count_run(&change, *task, ending.outcome)?;
                }
            }
        }
        change.commit()
    }
}

struct Pen<'a> {
    connection: &'a Connection,
    run: i64,
    phases: &'a mut u32,
    steps: &'a mut u32,
    problems: &'a mut u64,
}

impl Pen<'_> {
    fn event(&mut self, event: &Event) -> rusqlite::Result<()> {
        let run = self.run;
        let write = |text: &str, values: &[&dyn rusqlite::ToSql]| {
            self.connection.prepare_cached(text)?.execute(values).map(drop)
        };
        match event {
            Event::RunStarted { epoch, .. } => {
                write("UPDATE runs SET epoch = ?2 WHERE id = ?1", params![run, number(epoch.0)])
            }
            Event::PhaseStarted { phase } => {
                *self.phases += 1;
                write(
                    "INSERT INTO phases (run, number, phase) VALUES (?1, ?2, ?3)",
                    params![run, *self.phases, phase.to_string()],
                )
            }
            Event::PhaseEnded { phase, elapsed_us } => write(
                "UPDATE phases SET elapsed_us = ?3 WHERE run = ?1 AND phase = ?2 AND elapsed_us IS NULL",
                params![run, phase.to_string(), number(*elapsed_us)],
            ),
            Event::StepEnded { component, step, level, elapsed_us, error } => {
                *self.steps += 1;
                let level = level.map(|level| level.to_string());
                write(
                    "INSERT INTO steps (run, number, component, step, level, elapsed_us, error) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                    params![run, *self.steps, component.as_str(), step.to_string(), level, number(*elapsed_us), error],
                )
            }
            Event::ProviderChosen { component, provider, .. } => write(
                "INSERT INTO components (run, name, grade, files, bytes, provider) VALUES (?1, ?2, 'fuzzy', 0, 0, ?3)
                 ON CONFLICT (run, name) DO UPDATE SET provider = excluded.provider",
                params![run, component.as_str(), provider.to_string()],
            ),
            Event::FreezeWindow { window_us } => {
                write("UPDATE runs SET window_us = ?2 WHERE id = ?1", params![run, number(*window_us)])
            }
            Event::ComponentCaptured { component, grade, files, bytes } => {
                write(
                    "INSERT INTO components (run, name, grade, files, bytes) VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (run, name) DO UPDATE SET grade = excluded.grade, files = excluded.files, bytes = excluded.bytes",
                    params![run, component.as_str(), grade.to_string(), number(*files), number(*bytes)],
                )?;
                write(
                    "UPDATE runs SET files = files + ?2, bytes = bytes + ?3 WHERE id = ?1",
                    params![run, number(*files), number(*bytes)],
                )
            }
            Event::VersionSaved { archive, version, epoch, added_bytes, stored_bytes } => write(
                "INSERT OR REPLACE INTO versions (run, archive, version, epoch, added_bytes, stored_bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![run, archive.as_str(), version, number(epoch.0), added_bytes.map(number), stored_bytes.map(number)],
            ),
            Event::Problem(problem) => self.problem(problem),
            Event::Status(message) => messages::insert(self.connection, Some(run), message),
            Event::Progress { .. } | Event::RunEnded { .. } => Ok(()),
        }
    }

    fn problem(&mut self, problem: &stillpoint_model::Problem) -> rusqlite::Result<()> {
        *self.problems += 1;
        if *self.problems > PROBLEMS_KEPT_MAX {
            return Ok(());
        }
        let component = problem.component.as_ref().map(stillpoint_model::ComponentName::as_str);
        self.connection
            .prepare_cached(
                "INSERT INTO problems (run, number, component, path, text) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![self.run, number(*self.problems), component, problem.path, problem.text])
            .map(drop)
    }

    fn ended(&mut self, ending: &Ending, at: Timestamp) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached(
                "UPDATE runs SET ended = ?2, outcome = ?3, grade = ?4, problems = ?5, exit_code = ?6, failure = ?7,
                     hook_failure = ?8, set_path = ?9, free_bytes = ?10, size_bytes = ?11 WHERE id = ?1",
            )?
            .execute(params![
                self.run,
                at.as_millisecond(),
                ending.outcome.to_string(),
                ending.grade.map(|grade| grade.to_string()),
                number(ending.problems),
                ending.exit_code,
                ending.failure,
                ending.hook_failure,
                ending.set,
                ending.room.map(|room| number(room.0)),
                ending.room.map(|room| number(room.1)),
            ])
            .map(drop)
    }
}

/// SQLite counts with a sign.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
