//! Runs.

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillpoint_history as history;
use stillpoint_model::{Grade, Outcome};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Asked, Named};
use super::limit_of;
use crate::web::{App, Problem};

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Task {
    /// The backup task.
    Backup,
    /// Reading stored data.
    Verify,
    /// Letting old versions go.
    Retention,
    /// Putting data back.
    Restore,
}

impl From<history::Task> for Task {
    fn from(task: history::Task) -> Self {
        match task {
            history::Task::Backup => Task::Backup,
            history::Task::Verify => Task::Verify,
            history::Task::Retention => Task::Retention,
            history::Task::Restore => Task::Restore,
        }
    }
}

impl From<Task> for history::Task {
    fn from(task: Task) -> Self {
        match task {
            Task::Backup => history::Task::Backup,
            Task::Verify => history::Task::Verify,
            Task::Retention => history::Task::Retention,
            Task::Restore => history::Task::Restore,
        }
    }
}

/// One run.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Run {
    /// Its name.
    name: String,
    /// What it did.
    task: Task,
    /// Who asked for it: `schedule`, `command line`, or the name of a person.
    asked_by: String,
    /// Which try it was, from 1.
    attempt: u32,
    /// Its epoch, for a backup.
    epoch: Option<u64>,
    /// When it began.
    started: Timestamp,
    /// When it ended; null while it is under way.
    ended: Option<Timestamp>,
    /// `complete`, `incomplete` or `failed`; null while it is under way.
    #[schema(value_type = Option<String>, example = "complete")]
    outcome: Option<Outcome>,
    /// The lowest grade in the set: `frozen`, `crash` or `fuzzy`.
    #[schema(value_type = Option<String>, example = "frozen")]
    grade: Option<Grade>,
    /// How long the site stood still, in microseconds.
    window_us: Option<u64>,
    /// Files in the set.
    files: u64,
    /// Bytes in the set.
    bytes: u64,
    /// How many problems there were.
    problems: u64,
    /// The exit code of the process that did it.
    exit_code: Option<u8>,
    /// Why it failed.
    failure: Option<String>,
    /// How the hook failed.
    hook_failure: Option<String>,
    /// The published set.
    set: Option<String>,
    /// Bytes that were free at the destination when it ended.
    free_bytes: Option<u64>,
    /// Bytes that the destination has in all.
    size_bytes: Option<u64>,
}

impl From<history::Run> for Run {
    fn from(run: history::Run) -> Self {
        Self {
            name: run.name,
            task: run.task.into(),
            asked_by: run.asked_by,
            attempt: run.attempt,
            epoch: run.epoch,
            started: run.started,
            ended: run.ended,
            outcome: run.outcome,
            grade: run.grade,
            window_us: run.window_us,
            files: run.files,
            bytes: run.bytes,
            problems: run.problems,
            exit_code: run.exit_code,
            failure: run.failure,
            hook_failure: run.hook_failure,
            set: run.set,
            free_bytes: run.free_bytes,
            size_bytes: run.size_bytes,
        }
    }
}

/// Runs, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Runs {
    runs: Vec<Run>,
}

/// A phase of a run.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RunPhase {
    /// Its name.
    phase: String,
    /// How long it took, in microseconds; null while it is under way.
    elapsed_us: Option<u64>,
}

/// A step of a component.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RunStep {
    /// The component.
    component: String,
    /// What it did.
    step: String,
    /// The level, where the step has one.
    level: Option<String>,
    /// How long it took, in microseconds.
    elapsed_us: u64,
    /// What went wrong.
    error: Option<String>,
}

/// A component in the set of a run.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RunComponent {
    /// Its name.
    name: String,
    /// Its grade.
    #[schema(value_type = String, example = "frozen")]
    grade: Grade,
    /// Files in the set.
    files: u64,
    /// Bytes in the set.
    bytes: u64,
    /// What cut it, where that was chosen.
    provider: Option<String>,
}

/// A version that a run saved.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RunVersion {
    /// The archive.
    archive: String,
    /// The name of the version.
    version: String,
    /// Its epoch.
    epoch: u64,
    /// Bytes that were new to the archive, before compression.
    added_bytes: Option<u64>,
    /// Bytes that they take in it.
    stored_bytes: Option<u64>,
}

/// A problem of a run.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RunProblem {
    /// The component, if it is about one.
    component: Option<String>,
    /// The path, if it is about one.
    path: Option<String>,
    /// What was found.
    text: String,
}

/// One run with its details.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RunDetails {
    run: Run,
    /// Its phases, in order.
    phases: Vec<RunPhase>,
    /// Its steps, in the order in which they ended.
    steps: Vec<RunStep>,
    /// What its set holds.
    components: Vec<RunComponent>,
    /// The versions that it saved.
    versions: Vec<RunVersion>,
    /// The first thousand of its problems; the manifest of the set has them all.
    problems: Vec<RunProblem>,
}

impl From<history::RunDetails> for RunDetails {
    fn from(details: history::RunDetails) -> Self {
        let phase = |it: history::RunPhase| RunPhase { phase: it.phase, elapsed_us: it.elapsed_us };
        let step = |it: history::RunStep| RunStep {
            component: it.component,
            step: it.step,
            level: it.level,
            elapsed_us: it.elapsed_us,
            error: it.error,
        };
        let component = |it: history::RunComponent| RunComponent {
            name: it.name,
            grade: it.grade,
            files: it.files,
            bytes: it.bytes,
            provider: it.provider,
        };
        let version = |it: history::RunVersion| RunVersion {
            archive: it.archive,
            version: it.version,
            epoch: it.epoch,
            added_bytes: it.added_bytes,
            stored_bytes: it.stored_bytes,
        };
        let problem = |it: stillpoint_model::Problem| RunProblem {
            component: it.component.map(|name| name.to_string()),
            path: it.path,
            text: it.text,
        };
        Self {
            run: details.run.into(),
            phases: details.phases.into_iter().map(phase).collect(),
            steps: details.steps.into_iter().map(step).collect(),
            components: details.components.into_iter().map(component).collect(),
            versions: details.versions.into_iter().map(version).collect(),
            problems: details.problem_list.into_iter().map(problem).collect(),
        }
    }
}

/// Which runs.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct RunsQuery {
    /// Only of this task.
    task: Option<Task>,
    /// Only those that began before this.
    before: Option<Timestamp>,
    /// At most this many; 100 without it.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u16>,
}

/// Lists runs, newest first.
#[utoipa::path(
    get, path = "/api/v1/runs", tag = "runs", params(RunsQuery),
    responses((status = 200, description = "The runs", body = Runs))
)]
pub(super) async fn list(
    State(app): State<App>,
    Asked(asked): Asked<RunsQuery>,
) -> Result<Json<Runs>, Problem> {
    let query = history::RunQuery {
        task: asked.task.map(Into::into),
        before: asked.before,
        limit: limit_of(asked.limit)?,
        ..history::RunQuery::default()
    };
    let runs = app.service.with_history(move |history| history.runs(&query)).await?;
    Ok(Json(Runs { runs: runs.into_iter().map(Into::into).collect() }))
}

/// Shows one run with its details.
#[utoipa::path(
    get, path = "/api/v1/runs/{name}", tag = "runs", params(("name" = String, Path, description = "The name of the run")),
    responses((status = 200, description = "The run", body = RunDetails), (status = 404, description = "There is no such run", body = Problem, content_type = "application/problem+json"))
)]
pub(super) async fn one(
    State(app): State<App>,
    Named(name): Named<String>,
) -> Result<Json<RunDetails>, Problem> {
    let found = app.service.with_history(move |history| history.run(&name)).await?;
    found
        .map(|details| Json(details.into()))
        .ok_or_else(|| Problem::not_found("there is no run of that name"))
}
