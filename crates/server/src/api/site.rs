//! The site as a whole.

use axum::Json;
use axum::extract::State;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use stillpoint_history as history;
use stillpoint_model::Outcome;
use stillpoint_schedule::Schedule;
use utoipa::{IntoParams, ToSchema};

use super::extract::Asked;
use super::queue::Queue;
use super::runs::{Run, Task};
use crate::web::{App, Problem};

/// How the site is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Status {
    /// The site code.
    #[schema(example = "P01")]
    site: String,
    /// Its name.
    name: String,
    /// When this was looked up.
    now: Timestamp,
    /// The version of the program.
    version: &'static str,
    /// What is wrong with the site file, if something is; then the last valid one is in force.
    mistakes: Option<String>,
    /// The last backup that left nothing out.
    last_complete: Option<Run>,
    /// The last backup that published a set, with or without problems.
    last_published: Option<Run>,
    /// The last backup, however it went.
    last_attempt: Option<Run>,
    /// How old the last published backup is, in seconds.
    age_s: Option<u64>,
    /// How old it may become, in seconds; null without a schedule.
    age_max_s: Option<u64>,
    /// When the next backup is due; null without a schedule.
    next_due: Option<Timestamp>,
    /// The runs that are under way, whoever started them.
    under_way: Vec<Run>,
    /// What the service does, and what waits.
    queue: Queue,
    /// Alerts that are active.
    alerts_active: u64,
}

/// When a task is due.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Planned {
    /// The task.
    task: Task,
    /// The schedule in words.
    text: String,
    /// The next times, the nearest first.
    due: Vec<Due>,
}

/// One time at which a task is due.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Due {
    /// The first instant at which it may begin.
    begin: Timestamp,
    /// The same on the clock of the site, with its offset and zone (RFC 9557).
    #[schema(example = "2026-03-29T03:00:00+02:00[Europe/Berlin]")]
    begin_local: String,
    /// The last instant at which it may begin; null when it has no window.
    latest: Option<Timestamp>,
}

/// When tasks are due.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Plan {
    /// The time zone of the site; null without a schedule.
    zone: Option<String>,
    tasks: Vec<Planned>,
}

/// How one component stands.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Component {
    /// Its name; empty for the task as a whole.
    name: String,
    /// `ok`, `warning` or `critical`, by the number of messages.
    #[schema(example = "ok")]
    status: &'static str,
    /// Informations since then.
    infos: u64,
    /// Warnings since then.
    warnings: u64,
    /// Errors since then.
    errors: u64,
}

/// How the components stand.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Components {
    /// Since when messages are counted.
    since: Timestamp,
    components: Vec<Component>,
}

/// How many due times of each task.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanQuery {
    /// At most this many of each task; 5 without it.
    #[param(minimum = 1, maximum = 100)]
    count: Option<u8>,
}

/// Since when.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ComponentsQuery {
    /// Count the messages of so many hours; 24 without it.
    #[param(minimum = 1, maximum = 8760)]
    hours: Option<u16>,
}

/// Tells how the site is.
#[utoipa::path(
    get, path = "/api/v1/status", tag = "site", responses((status = 200, description = "How it is", body = Status))
)]
pub(super) async fn status(State(app): State<App>) -> Result<Json<Status>, Problem> {
    let view = app.service.site();
    let now = app.access.now();
    let facts = app
        .service
        .with_history(|history| {
            let backup = history::Task::Backup;
            Ok((
                history.last_run(backup, &[Outcome::Complete])?,
                history.last_run(backup, &[Outcome::Complete, Outcome::Incomplete])?,
                history.last_attempt(backup)?,
                history.under_way()?,
                active(history)?,
            ))
        })
        .await?;
    let (complete, published, attempt, under_way, alerts_active) = facts;
    let schedule = view.site.file.schedule.as_ref();
    let age = published.as_ref().map(|run| now.duration_since(run.started).as_secs());
    let due = schedule.and_then(|it| it.backup()).and_then(|it| it.next(now));
    Ok(Json(Status {
        site: app.service.code().to_string(),
        name: view.site.file.site.name.clone(),
        now,
        version: env!("CARGO_PKG_VERSION"),
        mistakes: view.mistakes,
        last_complete: complete.map(Into::into),
        last_published: published.map(Into::into),
        last_attempt: attempt.map(Into::into),
        age_s: age.map(|seconds| u64::try_from(seconds).unwrap_or(0)),
        age_max_s: schedule.map(|schedule| schedule.change_retention.duration().as_secs()),
        next_due: due.map(|due| due.begin),
        under_way: under_way.into_iter().map(Into::into).collect(),
        queue: app.service.queue.view().into(),
        alerts_active,
    }))
}

/// How many alerts are active.
pub(crate) fn active(history: &history::History) -> Result<u64, history::HistoryError> {
    let query = history::AlertQuery { states: vec![history::AlertState::Active], limit: 1000 };
    Ok(history.alerts(&query)?.len() as u64)
}

/// Tells when tasks are due.
#[utoipa::path(
    get, path = "/api/v1/schedule", tag = "site", params(PlanQuery),
    responses((status = 200, description = "When tasks are due", body = Plan))
)]
pub(super) async fn schedule(
    State(app): State<App>,
    Asked(asked): Asked<PlanQuery>,
) -> Result<Json<Plan>, Problem> {
    let count = asked.count.unwrap_or(5);
    if !(1..=100).contains(&count) {
        return Err(Problem::bad_request(format!("count is {count}"), "give a number from 1 to 100"));
    }
    let now = app.access.now();
    let view = app.service.site();
    let Some(settings) = &view.site.file.schedule else {
        return Ok(Json(Plan { zone: None, tasks: Vec::new() }));
    };
    let all = [
        (Task::Backup, settings.backup()),
        (Task::Verify, settings.verify()),
        (Task::Retention, settings.retention()),
    ];
    let tasks = all
        .into_iter()
        .filter_map(|(task, schedule)| {
            let schedule = schedule?;
            Some(Planned { task, text: schedule.describe(), due: next_times(&schedule, now, count) })
        })
        .collect();
    Ok(Json(Plan { zone: Some(settings.zone.to_string()), tasks }))
}

fn next_times(schedule: &Schedule, now: Timestamp, count: u8) -> Vec<Due> {
    let mut after = now;
    let next = std::iter::from_fn(|| {
        let due = schedule.next(after)?;
        after = due.begin;
        let begin_local = schedule.zone.at(due.begin).to_string();
        Some(Due { begin: due.begin, begin_local, latest: due.latest })
    });
    next.take(usize::from(count)).collect()
}

/// Tells how the components stand by their messages.
#[utoipa::path(
    get, path = "/api/v1/components", tag = "site", params(ComponentsQuery),
    responses((status = 200, description = "How they stand", body = Components))
)]
pub(super) async fn components(
    State(app): State<App>,
    Asked(asked): Asked<ComponentsQuery>,
) -> Result<Json<Components>, Problem> {
    let hours = asked.hours.unwrap_or(24);
    if !(1..=8760).contains(&hours) {
        return Err(Problem::bad_request(format!("hours is {hours}"), "give a number from 1 to 8760"));
    }
    let now = app.access.now();
    let since = now.saturating_sub(SignedDuration::from_hours(i64::from(hours))).unwrap_or(now);
    let counted = app.service.with_history(move |history| history.component_status(since)).await?;
    let component = |it: history::ComponentStatus| Component {
        name: it.component,
        status: it.status,
        infos: it.infos,
        warnings: it.warnings,
        errors: it.errors,
    };
    let mut all: Vec<Component> = counted.into_iter().map(component).collect();
    for named in &app.service.site().site.file.components {
        let name = named.name.to_string();
        if all.iter().all(|known| known.name != name) {
            all.push(Component { name, status: "ok", infos: 0, warnings: 0, errors: 0 });
        }
    }
    Ok(Json(Components { since, components: all }))
}
