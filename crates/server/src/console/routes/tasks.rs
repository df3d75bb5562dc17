//! Forms that start and end tasks, and the one for the colours.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use stillpoint_history::AuditAction;

use super::Filled;
use super::look::{Done, in_colours, then};
use crate::access::Caller;
use crate::api::{PlainTask, ask_for, cancel_job};
use crate::console::Theme;
use crate::web::{App, Problem, safe_next};

/// The form of a task.
#[derive(Debug, Deserialize)]
pub(super) struct TaskForm {
    task: PlainTask,
}

pub(super) async fn ask(
    State(app): State<App>,
    caller: Caller,
    Filled(form): Filled<TaskForm>,
) -> Result<Response, Problem> {
    let order = form.task.order();
    let subject = order.task().to_string();
    ask_for(&app, &caller, order, AuditAction::Run, &subject).await?;
    Ok(then(&app, "/", Done::Asked))
}

/// The form that ends a job.
#[derive(Debug, Deserialize)]
pub(super) struct CancelForm {
    job: u64,
}

pub(super) async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Filled(form): Filled<CancelForm>,
) -> Result<Response, Problem> {
    cancel_job(&app, &caller, form.job).await?;
    Ok(then(&app, "/", Done::Cancelled))
}

/// The form of the colours.
#[derive(Debug, Deserialize)]
pub(super) struct ThemeForm {
    theme: String,
    #[serde(default)]
    back: String,
}

pub(super) async fn theme(
    State(app): State<App>,
    Filled(form): Filled<ThemeForm>,
) -> Result<Response, Problem> {
    Ok(in_colours(&app, safe_next(&form.back), Theme::named(&form.theme)))
}
