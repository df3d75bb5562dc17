//! People, and what they did.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillpoint_history as history;
use stillpoint_history::AuditQuery;
use utoipa::{IntoParams, ToSchema};

use super::extract::{Asked, Named, Sent};
use super::limit_of;
use crate::access::{By, Caller};
use crate::web::{App, Problem};

/// What somebody may do. Each may do what the ones before it may.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    /// Looks.
    Reader,
    /// Starts and cancels tasks, handles alerts.
    Operator,
    /// Restores, and decides who may do what.
    Administrator,
}

impl From<history::Role> for Role {
    fn from(role: history::Role) -> Self {
        match role {
            history::Role::Reader => Role::Reader,
            history::Role::Operator => Role::Operator,
            history::Role::Administrator => Role::Administrator,
        }
    }
}

impl From<Role> for history::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Reader => history::Role::Reader,
            Role::Operator => history::Role::Operator,
            Role::Administrator => history::Role::Administrator,
        }
    }
}

/// Who asks.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Me {
    /// The name.
    name: String,
    /// What they may do with this session or token.
    role: Role,
    /// What the token is for; null for a session.
    token: Option<String>,
}

/// Somebody who may sign in.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Person {
    /// Their name.
    name: String,
    /// What they may do.
    role: Role,
    /// Since when they are here.
    created: Timestamp,
    /// When they were last seen, to about five minutes.
    last_seen: Option<Timestamp>,
}

/// Everybody, by name.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct People {
    people: Vec<Person>,
}

/// Who is to come in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Inviting {
    /// Their name.
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    /// What they may do.
    role: Role,
}

/// A one-time link.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Invited {
    /// Its path on the console. Whoever opens it within 24 hours sets the password.
    path: String,
}

/// Another role.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRole {
    /// The role.
    role: Role,
}

/// Another password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPassword {
    /// The one that you have.
    old: String,
    /// The one that you want, at least 12 characters.
    #[schema(min_length = 12, max_length = 1024)]
    new: String,
}

/// Something that somebody did.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuditEntry {
    /// Its place; later ones are greater.
    row: i64,
    /// When.
    at: Timestamp,
    /// Who.
    person: String,
    /// From which address.
    address: String,
    /// What, such as `sign-in`.
    action: String,
    /// To what; may be empty.
    subject: String,
    /// `ok`, or what came of it.
    result: String,
}

/// What was done, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuditLog {
    entries: Vec<AuditEntry>,
}

/// Which part of the audit log.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditAsked {
    /// Only what this person did.
    person: Option<String>,
    /// Only those before this place: the `row` of the last one that you have.
    before: Option<i64>,
    /// At most this many; 100 without it.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u16>,
}

/// Tells who you are.
#[utoipa::path(get, path = "/api/v1/me", tag = "people", responses((status = 200, description = "You", body = Me)))]
pub(super) async fn me(caller: Caller) -> Json<Me> {
    let token = match caller.by {
        By::Session { .. } => None,
        By::Token { name, .. } => Some(name),
    };
    Json(Me { name: caller.name, role: caller.role.into(), token })
}

/// Sets your password. Your other sessions end. Needs a session.
#[utoipa::path(
    put, path = "/api/v1/me/password", tag = "people", request_body = NewPassword,
    responses(
        (status = 204, description = "It is set"),
        (status = 409, description = "You came with a token, or the password is too short", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many tries", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn change_password(
    State(app): State<App>,
    caller: Caller,
    Sent(wish): Sent<NewPassword>,
) -> Result<StatusCode, Problem> {
    app.access.change_password(&caller, &wish.old, &wish.new).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists everybody who may sign in.
#[utoipa::path(
    get, path = "/api/v1/people", tag = "people", responses((status = 200, description = "Everybody", body = People))
)]
pub(super) async fn list(State(app): State<App>) -> Result<Json<People>, Problem> {
    let person = |it: history::Person| Person {
        name: it.name,
        role: it.role.into(),
        created: it.created,
        last_seen: it.last_seen,
    };
    let people = app.access.people().await?.into_iter().map(person).collect();
    Ok(Json(People { people }))
}

/// Makes a one-time link for somebody: new, or with a lost password.
#[utoipa::path(
    post, path = "/api/v1/people", tag = "people", request_body = Inviting,
    responses(
        (status = 201, description = "The link", body = Invited),
        (status = 409, description = "The name cannot be, or has another role", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn invite(
    State(app): State<App>,
    caller: Caller,
    Sent(wish): Sent<Inviting>,
) -> Result<(StatusCode, Json<Invited>), Problem> {
    let path = app.access.invite(&caller, &wish.name, wish.role.into()).await?;
    Ok((StatusCode::CREATED, Json(Invited { path })))
}

/// Gives somebody another role.
#[utoipa::path(
    put, path = "/api/v1/people/{name}/role", tag = "people", params(("name" = String, Path, description = "Their name")),
    request_body = NewRole,
    responses(
        (status = 204, description = "It is so"),
        (status = 404, description = "There is no such person", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "They are the last administrator", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn change_role(
    State(app): State<App>,
    caller: Caller,
    Named(name): Named<String>,
    Sent(wish): Sent<NewRole>,
) -> Result<StatusCode, Problem> {
    app.access.set_role(&caller, &name, wish.role.into()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes somebody, with their sessions and tokens.
#[utoipa::path(
    delete, path = "/api/v1/people/{name}", tag = "people", params(("name" = String, Path, description = "Their name")),
    responses(
        (status = 204, description = "They are gone"),
        (status = 404, description = "There is no such person", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "They are the last administrator", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn remove(
    State(app): State<App>,
    caller: Caller,
    Named(name): Named<String>,
) -> Result<StatusCode, Problem> {
    app.access.remove_person(&caller, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists who did what, newest first.
#[utoipa::path(
    get, path = "/api/v1/audit", tag = "people", params(AuditAsked),
    responses((status = 200, description = "What was done", body = AuditLog))
)]
pub(super) async fn audit(
    State(app): State<App>,
    Asked(asked): Asked<AuditAsked>,
) -> Result<Json<AuditLog>, Problem> {
    let query = AuditQuery { person: asked.person, before: asked.before, limit: limit_of(asked.limit)? };
    let entry = |it: history::AuditRow| AuditEntry {
        row: it.row,
        at: it.at,
        person: it.person,
        address: it.address,
        action: it.action,
        subject: it.subject,
        result: it.result,
    };
    let entries = app.access.audit_log(query).await?.into_iter().map(entry).collect();
    Ok(Json(AuditLog { entries }))
}
