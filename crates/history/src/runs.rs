//! Questions about runs.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, named_params, params};
use stillpoint_model::{Grade, Outcome, Problem};

use crate::alive::under_way;
use crate::run::{Run, RunComponent, RunDetails, RunPhase, RunStep, RunVersion, Task};
use crate::{History, HistoryError};

/// Which runs.
#[derive(Debug, Clone, Default)]
pub struct RunQuery {
    /// Only of this task.
    pub task: Option<Task>,
    /// Only with one of these verdicts; empty means all, also runs that are under way.
    pub outcomes: Vec<Outcome>,
    /// Only those that began before this.
    pub before: Option<Timestamp>,
    /// At most this many; 0 means 100.
    pub limit: usize,
}

const COLUMNS: &str = "name, task, asked_by, attempt, epoch, started, ended, outcome, grade, window_us, files, bytes, problems, exit_code, failure, hook_failure, set_path, free_bytes, size_bytes";

/// What a run is called in a history when its process ended before it did.
const DIED: &str = "the process that did it ended before the run did (killed, or the machine went down)";

impl History {
    /// The runs, newest first.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn runs(&self, query: &RunQuery) -> Result<Vec<Run>, HistoryError> {
        let mut conditions = vec!["started < :before".to_owned()];
        if query.task.is_some() {
            conditions.push("task = :task".into());
        }
        if !query.outcomes.is_empty() {
            let names: Vec<String> = query.outcomes.iter().map(|outcome| format!("'{outcome}'")).collect();
            conditions.push(format!("outcome IN ({})", names.join(", ")));
        }
        let text = format!(
            "SELECT {COLUMNS} FROM runs WHERE {} AND (:task IS NULL OR 1) ORDER BY started DESC, id DESC LIMIT :limit",
            conditions.join(" AND ")
        );
        let limit = if query.limit == 0 { 100 } else { query.limit };
        let connection = self.connection();
        let mut statement = connection.prepare_cached(&text)?;
        let rows = statement.query_map(
            named_params! {
                ":before": query.before.map_or(i64::MAX, Timestamp::as_millisecond),
                ":task": query.task.map(Task::as_str),
                ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
            },
            run_of,
        )?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The newest run of a task with one of these verdicts.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn last_run(&self, task: Task, outcomes: &[Outcome]) -> Result<Option<Run>, HistoryError> {
        let mut newest: Option<Run> = None;
        // One look into the index for each verdict; `IN` would read all runs of the task when none has it.
        for outcome in outcomes {
            let query =
                RunQuery { task: Some(task), outcomes: vec![*outcome], limit: 1, ..RunQuery::default() };
            let found = self.runs(&query)?.pop();
            if found.as_ref().is_some_and(|it| newest.as_ref().is_none_or(|old| it.started > old.started)) {
                newest = found;
            }
        }
        Ok(newest)
    }

    /// The run of a task that was recorded last, however it went and whatever the clock said then.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn last_attempt(&self, task: Task) -> Result<Option<Run>, HistoryError> {
        let text = format!("SELECT {COLUMNS} FROM runs WHERE task = ?1 ORDER BY id DESC LIMIT 1");
        let connection = self.connection();
        Ok(connection.prepare_cached(&text)?.query_row([task.as_str()], run_of).optional()?)
    }

    /// The run that is under way, if one is.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn under_way(&self) -> Result<Vec<Run>, HistoryError> {
        let text = format!("SELECT {COLUMNS} FROM runs WHERE ended IS NULL ORDER BY started");
        let connection = self.connection();
        let mut statement = connection.prepare_cached(&text)?;
        let rows = statement.query_map([], run_of)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// One run with its details.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn run(&self, name: &str) -> Result<Option<RunDetails>, HistoryError> {
        let connection = self.connection();
        let text = format!("SELECT {COLUMNS}, id FROM runs WHERE name = ?1");
        let found = connection
            .prepare_cached(&text)?
            .query_row([name], |row| Ok((run_of(row)?, row.get::<_, i64>("id")?)))
            .optional()?;
        let Some((run, id)) = found else { return Ok(None) };
        let mut statement = connection
            .prepare_cached("SELECT phase, elapsed_us FROM phases WHERE run = ?1 ORDER BY number")?;
        let phases = statement
            .query_map([id], |row| Ok(RunPhase { phase: row.get(0)?, elapsed_us: unsigned(row.get(1)?) }))?
            .collect::<Result<_, _>>()?;
        let mut statement = connection.prepare_cached(
            "SELECT component, step, level, elapsed_us, error FROM steps WHERE run = ?1 ORDER BY number",
        )?;
        let steps = statement
            .query_map([id], |row| {
                Ok(RunStep {
                    component: row.get(0)?,
                    step: row.get(1)?,
                    level: row.get(2)?,
                    elapsed_us: count(row.get(3)?),
                    error: row.get(4)?,
                })
            })?
            .collect::<Result<_, _>>()?;
        let mut statement = connection.prepare_cached(
            "SELECT name, grade, files, bytes, provider FROM components WHERE run = ?1 ORDER BY name",
        )?;
        let components = statement
            .query_map([id], |row| {
                Ok(RunComponent {
                    name: row.get(0)?,
                    grade: word(row.get(1)?).unwrap_or(Grade::Fuzzy),
                    files: count(row.get(2)?),
                    bytes: count(row.get(3)?),
                    provider: row.get(4)?,
                })
            })?
            .collect::<Result<_, _>>()?;
        drop(statement);
        let versions = versions_of(&connection, id)?;
        let problem_list = problems_of(&connection, id)?;
        Ok(Some(RunDetails { run, phases, steps, components, versions, problem_list }))
    }

    /// Writes down that runs have failed whose process is no more. Returns their names.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn settle_dead(&self, now: Timestamp) -> Result<Vec<String>, HistoryError> {
        let mut dead = Vec::new();
        for run in self.under_way()? {
            if under_way(self.path(), &run.name).is_some() {
                continue;
            }
            let connection = self.connection();
            let changed = connection.execute(
                "UPDATE runs SET ended = ?2, outcome = 'failed', failure = coalesce(failure, ?3) WHERE name = ?1 AND ended IS NULL",
                params![run.name, now.as_millisecond(), DIED],
            )?;
            if changed > 0 {
                count_run(&connection, run.task, Outcome::Failed)?;
                dead.push(run.name);
            }
        }
        Ok(dead)
    }

    /// How many runs of each task ended with each verdict since the history began, also those that were let go.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn run_totals(&self) -> Result<Vec<(Task, Outcome, u64)>, HistoryError> {
        let mut totals = Vec::new();
        for task in Task::ALL {
            for outcome in [Outcome::Complete, Outcome::Incomplete, Outcome::Failed] {
                let label = format!("{task}/{outcome}");
                let found: Option<i64> = self
                    .connection()
                    .prepare_cached("SELECT value FROM counters WHERE name = 'runs' AND label = ?1")?
                    .query_row([label], |row| row.get(0))
                    .optional()?;
                totals.push((task, outcome, count(found.unwrap_or(0))));
            }
        }
        Ok(totals)
    }

    /// Lets runs and messages go that are older than `before`, but never the newest good run of a task. Works in small steps,
    /// so that nobody waits long; returns whether there is more to do.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn let_go(&self, before: Timestamp) -> Result<bool, HistoryError> {
        const STEP: i64 = 2000;
        let connection = self.connection();
        let before = before.as_millisecond();
        let messages = connection.execute(
            "DELETE FROM messages WHERE id IN (SELECT id FROM messages WHERE at < ?1 ORDER BY at LIMIT ?2)",
            [before, STEP],
        )?;
        let keep: Vec<i64> = connection
            .prepare(
                "SELECT max(id) FROM runs WHERE outcome IN ('complete', 'incomplete') GROUP BY task, outcome",
            )?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let old: Vec<i64> = connection
            .prepare(
                "SELECT id FROM runs WHERE started < ?1 AND ended IS NOT NULL ORDER BY started LIMIT ?2",
            )?
            .query_map([before, STEP / 10], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let old: Vec<i64> = old.into_iter().filter(|id| !keep.contains(id)).collect();
        for table in ["phases", "steps", "components", "versions", "problems", "messages"] {
            let mut statement = connection.prepare_cached(&format!("DELETE FROM {table} WHERE run = ?1"))?;
            for id in &old {
                statement.execute([id])?;
            }
        }
        for id in &old {
            connection.execute("DELETE FROM runs WHERE id = ?1", [id])?;
        }
        Ok(messages > 0 || !old.is_empty())
    }
}

pub(crate) fn count_run(
    connection: &rusqlite::Connection,
    task: Task,
    outcome: Outcome,
) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT INTO counters (name, label, value) VALUES ('runs', ?1, 1)
         ON CONFLICT (name, label) DO UPDATE SET value = value + 1",
        [format!("{task}/{outcome}")],
    )?;
    Ok(())
}

fn versions_of(connection: &rusqlite::Connection, run: i64) -> rusqlite::Result<Vec<RunVersion>> {
    let mut statement = connection.prepare_cached(
        "SELECT archive, version, epoch, added_bytes, stored_bytes FROM versions WHERE run = ?1 ORDER BY archive, epoch",
    )?;
    let rows = statement.query_map([run], |row| {
        Ok(RunVersion {
            archive: row.get(0)?,
            version: row.get(1)?,
            epoch: count(row.get(2)?),
            added_bytes: unsigned(row.get(3)?),
            stored_bytes: unsigned(row.get(4)?),
        })
    })?;
    rows.collect()
}

fn problems_of(connection: &rusqlite::Connection, run: i64) -> rusqlite::Result<Vec<Problem>> {
    let mut statement = connection
        .prepare_cached("SELECT component, path, text FROM problems WHERE run = ?1 ORDER BY number")?;
    let rows = statement.query_map([run], |row| {
        let component: Option<String> = row.get(0)?;
        Ok(Problem {
            component: component.and_then(|name| name.parse().ok()),
            path: row.get(1)?,
            text: row.get(2)?,
        })
    })?;
    rows.collect()
}

fn run_of(row: &Row<'_>) -> rusqlite::Result<Run> {
    let task: String = row.get("task")?;
    Ok(Run {
        name: row.get("name")?,
        task: task.parse().unwrap_or(Task::Backup),
        asked_by: row.get("asked_by")?,
        attempt: row.get("attempt")?,
        epoch: unsigned(row.get("epoch")?),
        started: instant(row.get("started")?),
        ended: row.get::<_, Option<i64>>("ended")?.map(instant),
        outcome: word(row.get("outcome")?),
        grade: word(row.get("grade")?),
        window_us: unsigned(row.get("window_us")?),
        files: count(row.get("files")?),
        bytes: count(row.get("bytes")?),
        problems: count(row.get("problems")?),
        exit_code: row.get("exit_code")?,
        failure: row.get("failure")?,
        hook_failure: row.get("hook_failure")?,
        set: row.get("set_path")?,
        free_bytes: unsigned(row.get("free_bytes")?),
        size_bytes: unsigned(row.get("size_bytes")?),
    })
}

/// A word as the type that it is a name in.
fn word<T: serde::de::DeserializeOwned>(text: Option<String>) -> Option<T> {
    text.and_then(|text| serde_json::from_value(serde_json::Value::String(text)).ok())
}

pub(crate) fn instant(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

pub(crate) fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

pub(crate) fn unsigned(value: Option<i64>) -> Option<u64> {
    value.map(count)
}
