//! Status messages.

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillpoint_history as history;
use stillpoint_model::status::Severity;
use utoipa::{IntoParams, ToSchema};

use super::extract::{Asked, Named};
use super::limit_of;
use crate::web::{App, Problem};

/// One status message.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Message {
    /// Its place in the history; later ones are greater.
    row: i64,
    /// The run that told it; null for what the service told.
    run: Option<String>,
    /// Its number, such as 5035.
    id: u16,
    /// `info`, `warning` or `error`.
    #[schema(value_type = String, example = "info")]
    severity: Severity,
    /// When.
    time: Timestamp,
    /// The component, if it is about one.
    component: Option<String>,
    /// The values in the text.
    inserts: Vec<String>,
    /// The whole text.
    text: String,
    /// The usual cause, where something is wrong.
    cause: Option<&'static str>,
    /// What a person does about it.
    remedy: Option<&'static str>,
}

impl From<history::Message> for Message {
    fn from(it: history::Message) -> Self {
        let message = it.message;
        Self {
            row: it.row,
            run: it.run,
            id: message.id.number(),
            severity: message.severity,
            time: message.time,
            component: message.component.map(|name| name.to_string()),
            inserts: message.inserts,
            text: message.text,
            cause: it.cause,
            remedy: it.remedy,
        }
    }
}

/// Status messages, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Messages {
    messages: Vec<Message>,
}

/// Which messages.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct MessagesQuery {
    /// Only those before this place: the `row` of the last one that you have.
    before: Option<i64>,
    /// Only warnings and errors.
    #[serde(default)]
    #[param(required = false)]
    to_look_at: bool,
    /// Only about this component.
    component: Option<String>,
    /// Only with this number.
    #[param(maximum = 65535)]
    id: Option<u16>,
    /// At most this many; 100 without it.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u16>,
}

/// Lists status messages of all runs and of the service, newest first.
#[utoipa::path(
    get, path = "/api/v1/messages", tag = "runs", params(MessagesQuery),
    responses((status = 200, description = "The messages", body = Messages))
)]
pub(super) async fn list(
    State(app): State<App>,
    Asked(asked): Asked<MessagesQuery>,
) -> Result<Json<Messages>, Problem> {
    find(&app, None, asked).await
}

/// Lists the status messages of one run, newest first.
#[utoipa::path(
    get, path = "/api/v1/runs/{name}/messages", tag = "runs",
    params(("name" = String, Path, description = "The name of the run"), MessagesQuery),
    responses((status = 200, description = "The messages", body = Messages), (status = 404, description = "There is no such run", body = Problem, content_type = "application/problem+json"))
)]
pub(super) async fn of_run(
    State(app): State<App>,
    Named(name): Named<String>,
    Asked(asked): Asked<MessagesQuery>,
) -> Result<Json<Messages>, Problem> {
    find(&app, Some(name), asked).await
}

async fn find(app: &App, run: Option<String>, asked: MessagesQuery) -> Result<Json<Messages>, Problem> {
    let query = history::MessageQuery {
        run,
        before: asked.before,
        to_look_at: asked.to_look_at,
        component: asked.component,
        number: asked.id,
        limit: limit_of(asked.limit)?,
    };
    let found = app
        .service
        .with_history(move |history| match &query.run {
            Some(run) if history.run(run)?.is_none() => Ok(None),
            _ => history.messages(&query).map(Some),
        })
        .await?;
    let found = found.ok_or_else(|| Problem::not_found("there is no run of that name"))?;
    Ok(Json(Messages { messages: found.into_iter().map(Into::into).collect() }))
}
