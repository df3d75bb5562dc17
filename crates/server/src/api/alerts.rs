//! Alerts.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillpoint_history as history;
use stillpoint_history::AuditAction;
use utoipa::{IntoParams, ToSchema};

use super::extract::{Asked, Named, Sent};
use super::limit_of;
use crate::access::Caller;
use crate::web::{App, Problem};

/// Where an alert is in its life.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum AlertState {
    /// Its condition holds.
    Active,
    /// Its condition holds, and a person said that it may rest until a date.
    Postponed,
    /// Its condition is gone, or a person cleared it.
    Cleared,
}

impl From<history::AlertState> for AlertState {
    fn from(state: history::AlertState) -> Self {
        match state {
            history::AlertState::Active => AlertState::Active,
            history::AlertState::Postponed => AlertState::Postponed,
            history::AlertState::Cleared => AlertState::Cleared,
        }
    }
}

impl From<AlertState> for history::AlertState {
    fn from(state: AlertState) -> Self {
        match state {
            AlertState::Active => history::AlertState::Active,
            AlertState::Postponed => history::AlertState::Postponed,
            AlertState::Cleared => history::AlertState::Cleared,
        }
    }
}

/// One alert.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Alert {
    /// Its number.
    id: i64,
    /// The name of its kind.
    kind: String,
    /// What it is about, such as an archive; may be empty.
    subject: String,
    /// `info`, `warning` or `critical`.
    #[schema(example = "warning")]
    severity: &'static str,
    /// Where it is in its life.
    state: AlertState,
    /// What is the matter, in a few words.
    title: String,
    /// What is the matter.
    text: String,
    /// What a person does about it.
    remedy: String,
    /// Since when.
    began: Timestamp,
    /// When its state or severity last changed.
    changed: Timestamp,
    /// How often its condition came about.
    occurrences: u64,
    /// Until when it is quiet, where a person postponed it.
    postponed_until: Option<Timestamp>,
    /// Who cleared it; null when it cleared by itself.
    closed_by: Option<String>,
    /// Whether its condition still holds, also when a person cleared it.
    holds: bool,
    /// What a person said of it.
    comment: String,
}

impl From<history::Alert> for Alert {
    fn from(alert: history::Alert) -> Self {
        Self {
            id: alert.id,
            kind: alert.kind,
            subject: alert.subject,
            severity: alert.severity.as_str(),
            state: alert.state.into(),
            title: alert.title,
            text: alert.text,
            remedy: alert.remedy,
            began: alert.began,
            changed: alert.changed,
            occurrences: alert.occurrences,
            postponed_until: alert.postponed_until,
            closed_by: alert.closed_by,
            holds: alert.holds,
            comment: alert.comment,
        }
    }
}

/// Alerts, those that changed last first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Alerts {
    alerts: Vec<Alert>,
}

/// Which alerts.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct AlertsQuery {
    /// Only those in this state.
    state: Option<AlertState>,
    /// At most this many; 100 without it.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u16>,
}

/// Until when an alert may rest.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Postponing {
    /// A time that is yet to come.
    until: Timestamp,
}

/// Why an alert is cleared.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Clearing {
    /// For those who look later.
    #[serde(default)]
    #[schema(max_length = 1000)]
    comment: String,
}

/// The longest comment, in characters.
const COMMENT_CHARS_MAX: usize = 1000;

/// Lists alerts, those that changed last first.
#[utoipa::path(
    get, path = "/api/v1/alerts", tag = "alerts", params(AlertsQuery),
    responses((status = 200, description = "The alerts", body = Alerts))
)]
pub(super) async fn list(
    State(app): State<App>,
    Asked(asked): Asked<AlertsQuery>,
) -> Result<Json<Alerts>, Problem> {
    let query = history::AlertQuery {
        states: asked.state.map(Into::into).into_iter().collect(),
        limit: limit_of(asked.limit)?,
    };
    let alerts = app.service.with_history(move |history| history.alerts(&query)).await?;
    Ok(Json(Alerts { alerts: alerts.into_iter().map(Into::into).collect() }))
}

/// Lets an alert rest until then: nothing more is told of it before, unless it gets worse or ends.
#[utoipa::path(
    post, path = "/api/v1/alerts/{id}/postpone", tag = "alerts", params(("id" = i64, Path, description = "The number of the alert")),
    request_body = Postponing,
    responses(
        (status = 204, description = "It rests"),
        (status = 404, description = "There is no such alert", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is cleared already, or the time is over", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn postpone(
    State(app): State<App>,
    caller: Caller,
    Named(id): Named<i64>,
    Sent(wish): Sent<Postponing>,
) -> Result<StatusCode, Problem> {
    postpone_until(&app, &caller, id, wish.until).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Clears an alert: it stays so until its condition is gone and comes back, or gets worse.
#[utoipa::path(
    post, path = "/api/v1/alerts/{id}/clear", tag = "alerts", params(("id" = i64, Path, description = "The number of the alert")),
    request_body = Clearing,
    responses(
        (status = 204, description = "It is cleared"),
        (status = 404, description = "There is no such alert", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is cleared already", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn clear(
    State(app): State<App>,
    caller: Caller,
    Named(id): Named<i64>,
    Sent(wish): Sent<Clearing>,
) -> Result<StatusCode, Problem> {
    clear_with(&app, &caller, id, wish.comment).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn there_is(app: &App, id: i64) -> Result<(), Problem> {
    let found = app.service.with_history(move |history| history.alert(id)).await?;
    found.map(drop).ok_or_else(|| Problem::not_found(format!("there is no alert {id}")))
}

/// Postpones an alert, and keeps who did.
pub(crate) async fn postpone_until(
    app: &App,
    caller: &Caller,
    id: i64,
    until: Timestamp,
) -> Result<(), Problem> {
    there_is(app, id).await?;
    let now = app.access.now();
    app.service.with_history(move |history| history.postpone_alert(id, until, now)).await?;
    app.access.audit(caller, AuditAction::Postpone, &format!("alert {id} until {}", until), "ok").await;
    Ok(())
}

/// Clears an alert, and keeps who did.
pub(crate) async fn clear_with(app: &App, caller: &Caller, id: i64, comment: String) -> Result<(), Problem> {
    if comment.chars().count() > COMMENT_CHARS_MAX {
        let hint = format!("at most {COMMENT_CHARS_MAX} characters");
        return Err(Problem::bad_request("the comment is too long", hint));
    }
    there_is(app, id).await?;
    let (now, person) = (app.access.now(), caller.name.clone());
    let closed = move |history: &history::History| history.close_alert(id, &person, &comment, now);
    app.service.with_history(closed).await?;
    app.access.audit(caller, AuditAction::Clear, &format!("alert {id}"), "ok").await;
    Ok(())
}
