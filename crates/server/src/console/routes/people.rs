//! The page of people and tokens, and its forms.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use stillpoint_history::Role;

use super::look::{Done, then};
use super::{Filled, Look};
use crate::access::Caller;
use crate::api::extract::Named;
use crate::console::Place;
use crate::console::people::{self, PeopleData};
use crate::web::{App, Problem};

pub(super) async fn page(State(app): State<App>, look: Look) -> Result<Response, Problem> {
    show(&app, &look, None).await
}

/// The page, with what was just made: it is shown in the answer itself, because no other place may hold it.
async fn show(app: &App, look: &Look, fresh: Option<(String, String)>) -> Result<Response, Problem> {
    let data = PeopleData { people: app.access.people().await?, tokens: app.access.tokens().await?, fresh };
    let chrome = look.chrome(app, Place::People).await?;
    Ok(look.answer(app, people::page(&chrome, &data)))
}

fn role_of(name: &str) -> Result<Role, Problem> {
    name.parse().map_err(|why: String| Problem::bad_request(why, "choose one of the roles of the form"))
}

/// The form that invites somebody.
#[derive(Debug, Deserialize)]
pub(super) struct InviteForm {
    name: String,
    role: String,
}

pub(super) async fn invite(
    State(app): State<App>,
    look: Look,
    caller: Caller,
    Filled(form): Filled<InviteForm>,
) -> Result<Response, Problem> {
    let path = app.access.invite(&caller, &form.name, role_of(&form.role)?).await?;
    let what =
        format!("One-time link for {}: send it, put behind the address of this console", form.name.trim());
    show(&app, &look.at("/people"), Some((what, path))).await
}

/// The form that gives somebody another role.
#[derive(Debug, Deserialize)]
pub(super) struct RoleForm {
    role: String,
}

pub(super) async fn change_role(
    State(app): State<App>,
    caller: Caller,
    Named(name): Named<String>,
    Filled(form): Filled<RoleForm>,
) -> Result<Response, Problem> {
    app.access.set_role(&caller, &name, role_of(&form.role)?).await?;
    Ok(then(&app, "/people", Done::RoleChanged))
}

pub(super) async fn remove(
    State(app): State<App>,
    caller: Caller,
    Named(name): Named<String>,
) -> Result<Response, Problem> {
    app.access.remove_person(&caller, &name).await?;
    Ok(then(&app, "/people", Done::PersonRemoved))
}

/// The form that makes a token.
#[derive(Debug, Deserialize)]
pub(super) struct TokenForm {
    name: String,
    role: String,
    days: u16,
}

pub(super) async fn make_token(
    State(app): State<App>,
    look: Look,
    caller: Caller,
    Filled(form): Filled<TokenForm>,
) -> Result<Response, Problem> {
    let made = app.access.make_token(&caller, &form.name, role_of(&form.role)?, form.days).await?;
    let what = format!("Token for {}", made.0.name);
    show(&app, &look.at("/people"), Some((what, made.1))).await
}

pub(super) async fn revoke_token(
    State(app): State<App>,
    caller: Caller,
    Named(id): Named<i64>,
) -> Result<Response, Problem> {
    app.access.remove_token(&caller, id).await?;
    Ok(then(&app, "/people", Done::TokenRevoked))
}
