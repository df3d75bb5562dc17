//! What is done, and what waits.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillpoint_history::AuditAction;
use utoipa::ToSchema;

use super::extract::{Named, Sent};
use super::runs::Task;
use crate::access::Caller;
use crate::launcher::Order;
use crate::queue;
use crate::web::{App, Problem};

/// One job.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Job {
    /// Its number, unique while the service runs.
    id: u64,
    /// What is to be done.
    task: Task,
    /// Who asked: `schedule`, or the name of a person.
    asked_by: String,
    /// When it was asked for.
    asked_at: Timestamp,
    /// Which try it is, from 1.
    attempt: u32,
    /// When it began; null while it waits.
    started: Option<Timestamp>,
}

impl From<queue::Job> for Job {
    fn from(job: queue::Job) -> Self {
        Self {
            id: job.id,
            task: job.order.task().into(),
            asked_by: job.asked_by,
            asked_at: job.asked_at,
            attempt: job.attempt,
            started: job.started,
        }
    }
}

/// The queue.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Queue {
    /// What is being done.
    running: Option<Job>,
    /// What waits, in its order.
    waiting: Vec<Job>,
    /// Whether the service is about to end: nothing new begins.
    closing: bool,
}

impl From<queue::QueueView> for Queue {
    fn from(view: queue::QueueView) -> Self {
        Self {
            running: view.running.map(Into::into),
            waiting: view.waiting.into_iter().map(Into::into).collect(),
            closing: view.closing,
        }
    }
}

/// A task that needs no more words.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PlainTask {
    /// Back the site up.
    Backup,
    /// Read what is stored.
    Verify,
    /// Let old versions go.
    Retention,
}

impl PlainTask {
    /// What the queue is asked for.
    pub(crate) fn order(self) -> Order {
        match self {
            PlainTask::Backup => Order::Backup,
            PlainTask::Verify => Order::Verify,
            PlainTask::Retention => Order::Retention,
        }
    }
}

/// What is to be done.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    /// The task.
    task: PlainTask,
}

/// What was put into the queue.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Queued {
    /// The number of the job. One that waits for the same already is the same one.
    pub(super) id: u64,
}

/// Shows what is done and what waits.
#[utoipa::path(
    get, path = "/api/v1/queue", tag = "queue", responses((status = 200, description = "The queue", body = Queue))
)]
pub(super) async fn show(State(app): State<App>) -> Json<Queue> {
    Json(app.service.queue.view().into())
}

/// Asks for a task.
#[utoipa::path(
    post, path = "/api/v1/queue", tag = "queue", request_body = Wish,
    responses(
        (status = 202, description = "It waits for its turn", body = Queued),
        (status = 503, description = "The service is about to end", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn add(
    State(app): State<App>,
    caller: Caller,
    Sent(wish): Sent<Wish>,
) -> Result<(StatusCode, Json<Queued>), Problem> {
    let order = wish.task.order();
    let subject = order.task().to_string();
    let id = ask_for(&app, &caller, order, AuditAction::Run, &subject).await?;
    Ok((StatusCode::ACCEPTED, Json(Queued { id })))
}

/// Puts an order into the queue, and keeps who asked.
pub(crate) async fn ask_for(
    app: &App,
    caller: &Caller,
    order: Order,
    action: AuditAction,
    subject: &str,
) -> Result<u64, Problem> {
    let asked = app.service.order(order, &caller.name);
    let result = asked.as_ref().map_or_else(ToString::to_string, |id| format!("job {id}"));
    app.access.audit(caller, action, subject, &result).await;
    asked.map_err(|closing| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, closing.to_string(), "ask again when it is back")
    })
}

/// Takes a job out of the queue; one that is under way is told to end, and ends soon.
#[utoipa::path(
    delete, path = "/api/v1/queue/{id}", tag = "queue", params(("id" = u64, Path, description = "The number of the job")),
    responses(
        (status = 202, description = "It is gone, or was told to end"),
        (status = 404, description = "There is no such job", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It cannot be told to end", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Named(id): Named<u64>,
) -> Result<StatusCode, Problem> {
    cancel_job(&app, &caller, id).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Takes a job out of the queue, or tells it to end, and keeps who did.
pub(crate) async fn cancel_job(app: &App, caller: &Caller, id: u64) -> Result<(), Problem> {
    let view = app.service.queue.view();
    let job = view.running.iter().chain(&view.waiting).find(|job| job.id == id);
    let job = job.ok_or_else(|| Problem::not_found(format!("there is no job {id} in the queue")))?;
    let subject = format!("job {id}: {}", job.order.task());
    let cancelled = app.service.cancel(id).await;
    let result = cancelled.as_ref().err().map_or_else(|| "ok".to_owned(), ToString::to_string);
    app.access.audit(caller, AuditAction::Cancel, &subject, &result).await;
    cancelled.map_err(|error| Problem::conflict(error.to_string(), "look at the queue and try again"))
}
