//! Pages that only show.

use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;
use stillpoint_history::{AuditQuery, Run, Task};
use stillpoint_model::Outcome;

use super::Look;
use super::alerts::active_lines;
use crate::api::extract::{Asked, Named};
use crate::blocking::blocking;
use crate::console::audit::AuditData;
use crate::console::overview::Queued;
use crate::console::{self, Place, gather, site_facts};
use crate::queue::{Job, QueueView};
use crate::web::{App, Problem};

/// How many entries a page of the audit log has.
const AUDIT_PER_PAGE: usize = 100;

pub(super) async fn overview(State(app): State<App>, look: Look) -> Result<Response, Problem> {
    let (view, now) = (app.service.site(), app.access.now());
    let gathered = move |history: &stillpoint_history::History| {
        let mut data = gather::overview(history, &view.site.file, now)?;
        data.alerts = active_lines(history)?;
        Ok(data)
    };
    let mut data = app.service.with_history(gathered).await?;
    let queue = app.service.queue.view();
    let under_way = data.under_way.as_ref().map(|details| &details.run);
    data.job = under_way.and_then(|run| job_of(&queue, run));
    data.queue = waiting(&queue, under_way);
    let chrome = look.chrome(&app, Place::Overview).await?;
    Ok(look.answer(&app, console::overview::page(&chrome, &data)))
}

/// The number of the job whose run this is.
fn job_of(queue: &QueueView, run: &Run) -> Option<u64> {
    queue.running.as_ref().filter(|job| job.is_of(run)).map(|job| job.id)
}

/// What waits: also a job that was begun and stands before the lock of the machine, which another run has.
fn waiting(queue: &QueueView, under_way: Option<&Run>) -> Vec<Queued> {
    let queued = |job: &Job, waits_for: String| Queued {
        job: job.id,
        task: job.order.task().to_string(),
        asked_by: job.asked_by.clone(),
        since: job.asked_at,
        waits_for,
    };
    let begun = queue.running.iter().filter(|job| !under_way.is_some_and(|run| job.is_of(run)));
    let begun = begun.map(|job| {
        let other = under_way.map(|run| format!("the {} that {} asked for", run.task, run.asked_by));
        queued(job, other.unwrap_or_default())
    });
    begun.chain(queue.waiting.iter().map(|job| queued(job, String::new()))).collect()
}

/// The query of the list of runs. What is empty is not asked for: a form sends all of its fields.
#[derive(Debug, Deserialize)]
pub(super) struct RunsWish {
    #[serde(default)]
    task: String,
    #[serde(default)]
    outcome: String,
    before: Option<i64>,
}

pub(super) async fn runs(
    State(app): State<App>,
    look: Look,
    Asked(wish): Asked<RunsWish>,
) -> Result<Response, Problem> {
    let task = chosen(&wish.task, "task", &Task::ALL)?;
    let outcome =
        chosen(&wish.outcome, "outcome", &[Outcome::Complete, Outcome::Incomplete, Outcome::Failed])?;
    let before = wish.before.map(Timestamp::from_millisecond).transpose();
    let before =
        before.map_err(|_| Problem::bad_request("before is no time", "go on from the newest runs"))?;
    let data = app.service.with_history(move |history| gather::runs(history, task, outcome, before)).await?;
    let chrome = look.chrome(&app, Place::Runs).await?;
    Ok(look.answer(&app, console::runs::page(&chrome, &data)))
}

/// One of these by its name; nothing when none is named.
fn chosen<T: Copy + ToString>(name: &str, what: &str, all: &[T]) -> Result<Option<T>, Problem> {
    if name.is_empty() {
        return Ok(None);
    }
    let found = all.iter().copied().find(|one| one.to_string() == name);
    let names: Vec<String> = all.iter().map(ToString::to_string).collect();
    let wrong = || {
        Problem::bad_request(format!("{name:?} is no {what}"), format!("choose from {}", names.join(", ")))
    };
    found.map(Some).ok_or_else(wrong)
}

pub(super) async fn run(
    State(app): State<App>,
    look: Look,
    Named(name): Named<String>,
) -> Result<Response, Problem> {
    let found = app.service.with_history(move |history| gather::run(history, &name)).await?;
    let mut data = found.ok_or_else(|| {
        let detail = "there is no run of that name; one that was there may have been let go";
        Problem::not_found(detail)
    })?;
    if data.details.run.ended.is_none() {
        data.job = job_of(&app.service.queue.view(), &data.details.run);
    }
    let chrome = look.chrome(&app, Place::Runs).await?;
    Ok(look.answer(&app, console::run::page(&chrome, &data)))
}

pub(super) async fn components(State(app): State<App>, look: Look) -> Result<Response, Problem> {
    let (view, now) = (app.service.site(), app.access.now());
    let gathered = move |history: &_| gather::components(history, &view.site.file, now);
    let data = app.service.with_history(gathered).await?;
    let chrome = look.chrome(&app, Place::Components).await?;
    Ok(look.answer(&app, console::components::page(&chrome, &data)))
}

pub(super) async fn charts(State(app): State<App>, look: Look) -> Result<Response, Problem> {
    let data = app.service.with_history(gather::charts).await?;
    let chrome = look.chrome(&app, Place::Charts).await?;
    Ok(look.answer(&app, console::charts::page(&chrome, &data)))
}

pub(super) async fn schedule(State(app): State<App>, look: Look) -> Result<Response, Problem> {
    let view = app.service.site();
    let data = site_facts::schedule(&view.site.file, view.mistakes, app.access.now());
    let chrome = look.chrome(&app, Place::Schedule).await?;
    Ok(look.answer(&app, console::schedule::page(&chrome, &data)))
}

pub(super) async fn settings(State(app): State<App>, look: Look) -> Result<Response, Problem> {
    let (view, now) = (app.service.site(), app.access.now());
    let mistakes = view.mistakes.clone();
    let checked = move || site_facts::settings(&view.site.path, &view.site.file, now);
    let mut data = blocking(checked).await?;
    // A file that is valid may still be one that the service cannot take up.
    if data.mistakes.is_empty() && data.unreadable.is_none() {
        data.unreadable = mistakes;
    }
    let chrome = look.chrome(&app, Place::Settings).await?;
    Ok(look.answer(&app, console::settings::page(&chrome, &data)))
}

/// The query of the audit log.
#[derive(Debug, Deserialize)]
pub(super) struct AuditWish {
    before: Option<i64>,
}

pub(super) async fn audit(
    State(app): State<App>,
    look: Look,
    Asked(wish): Asked<AuditWish>,
) -> Result<Response, Problem> {
    let query = AuditQuery { before: wish.before, limit: AUDIT_PER_PAGE + 1, ..AuditQuery::default() };
    let mut rows = app.access.audit_log(query).await?;
    let more = rows.len() > AUDIT_PER_PAGE;
    rows.truncate(AUDIT_PER_PAGE);
    let older = rows.last().filter(|_| more).map(|row| row.row);
    let data = AuditData { rows, older };
    let chrome = look.chrome(&app, Place::Audit).await?;
    Ok(look.answer(&app, console::audit::page(&chrome, &data)))
}
