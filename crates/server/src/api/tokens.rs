//! Tokens.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use stillpoint_history as history;
use utoipa::ToSchema;

use super::extract::{Named, Sent};
use super::people::Role;
use crate::access::Caller;
use crate::web::{App, Problem};

/// A token, without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Token {
    /// Its number.
    id: i64,
    /// What it is for.
    name: String,
    /// What it may do at most; never more than its person.
    role: Role,
    /// Who made it.
    person: String,
    /// When it was made.
    created: Timestamp,
    /// When it ends.
    expires: Timestamp,
    /// When it was last used, to about five minutes.
    last_used: Option<Timestamp>,
}

impl From<history::Token> for Token {
    fn from(token: history::Token) -> Self {
        Self {
            id: token.id,
            name: token.name,
            role: token.role.into(),
            person: token.person,
            created: token.created,
            expires: token.expires,
            last_used: token.last_used,
        }
    }
}

/// Tokens, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Tokens {
    tokens: Vec<Token>,
}

/// Which token is wanted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Making {
    /// What it is for.
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    /// What it may do at most.
    role: Role,
    /// How long it is good, in days.
    #[schema(minimum = 1, maximum = 400)]
    #[serde(deserialize_with = "whole")]
    days: u16,
}

/// A whole number, also when it is written as `30.0`: to JSON they are the same.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    let whole = number.as_f64().filter(|it| it.fract() == 0.0 && (0.0..=f64::from(u16::MAX)).contains(it));
    let wrong = || serde::de::Error::custom(format!("{number} is no number of days"));
    // In these bounds nothing is cut off.
    whole.map(|it| it as u16).ok_or_else(wrong)
}

/// A token that was made.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Made {
    token: Token,
    /// What goes into the header `Authorization: Bearer ...`. Nobody sees it again.
    secret: String,
}

/// Lists all tokens, the newest first.
#[utoipa::path(
    get, path = "/api/v1/tokens", tag = "people", responses((status = 200, description = "The tokens", body = Tokens))
)]
pub(super) async fn list(State(app): State<App>) -> Result<Json<Tokens>, Problem> {
    let tokens = app.access.tokens().await?.into_iter().map(Into::into).collect();
    Ok(Json(Tokens { tokens }))
}

/// Makes a token, which acts in your name.
#[utoipa::path(
    post, path = "/api/v1/tokens", tag = "people", request_body = Making,
    responses(
        (status = 201, description = "The token", body = Made),
        (status = 409, description = "The name, role or time cannot be", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn make(
    State(app): State<App>,
    caller: Caller,
    Sent(wish): Sent<Making>,
) -> Result<(StatusCode, Json<Made>), Problem> {
    let (token, secret) = app.access.make_token(&caller, &wish.name, wish.role.into(), wish.days).await?;
    Ok((StatusCode::CREATED, Json(Made { token: token.into(), secret })))
}

/// Removes a token.
#[utoipa::path(
    delete, path = "/api/v1/tokens/{id}", tag = "people", params(("id" = i64, Path, description = "Its number")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is no such token", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn remove(
    State(app): State<App>,
    caller: Caller,
    Named(id): Named<i64>,
) -> Result<StatusCode, Problem> {
    app.access.remove_token(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
