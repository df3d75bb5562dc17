//! Coming in and going out, for browsers: `/sign-in`, `/welcome/{secret}`, `/sign-out`.

use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Redirect, Response};
use maud::Markup;
use serde::Deserialize;
use stillpoint_history::Invitation;

use super::cookies::set_cookie;
use super::{App, Peer, Problem};
use crate::access::{AccessError, Caller, NewSession, PASSWORD_CHARS_MIN, SESSION_LONGEST};
use crate::console::Place;
use crate::console::routes::Look;
use crate::console::sign_in::{self, SignInData, WelcomeData};

/// The query of the sign-in page.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Wish {
    #[serde(default)]
    next: String,
}

/// The form of the sign-in page.
#[derive(Deserialize)]
pub(super) struct SignIn {
    name: String,
    password: String,
    #[serde(default)]
    next: String,
}

/// The form behind a one-time link.
#[derive(Deserialize)]
pub(super) struct Welcome {
    #[serde(default)]
    name: String,
    password: String,
    again: String,
}

/// Where the door is for whoever wanted to go to `next`.
pub(super) fn sign_in_path(next: &str) -> String {
    if next == "/" {
        return "/sign-in".to_owned();
    }
    let mut path = String::from("/sign-in?next=");
    for byte in next.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' => {
                path.push(char::from(byte))
            }
            byte => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
}

/// Only a path of ours: a browser takes `//host` and `/\host` for another site.
pub(crate) fn safe_next(next: &str) -> &str {
    let own = next.starts_with('/')
        && !next[1..].starts_with(['/', '\\'])
        && next.bytes().all(|byte| (0x21..0x7f).contains(&byte));
    if own { next } else { "/" }
}

pub(super) async fn sign_in_page(
    State(app): State<App>,
    look: Look,
    Query(wish): Query<Wish>,
) -> Result<Response, Problem> {
    let nobody_yet = app.access.people().await?.is_empty();
    let data = SignInData { next: safe_next(&wish.next).to_owned(), nobody_yet, ..SignInData::default() };
    Ok(sign_in_form(&app, &look, data).await?.into_response())
}

pub(super) async fn sign_in(
    State(app): State<App>,
    Peer(address): Peer,
    look: Look,
    form: Result<axum::Form<SignIn>, axum::extract::rejection::FormRejection>,
) -> Result<Response, Problem> {
    let form =
        form.map_err(|_| Problem::bad_request("the form is not whole", "fill in name and password"))?.0;
    let next = safe_next(&form.next);
    match app.access.sign_in(&form.name, &form.password, address).await {
        Ok(session) => Ok(come_in(&app, &session, next)),
        Err(error) => {
            let (told, problem) = (error.to_string(), Problem::from(error));
            if problem.status >= 500 {
                return Err(problem);
            }
            let next = next.to_owned();
            let data = SignInData { name: form.name, error: Some(told), next, nobody_yet: false };
            let page = sign_in_form(&app, &look.at("/sign-in"), data).await?;
            Ok(refused(problem, page))
        }
    }
}

pub(super) async fn welcome_page(
    State(app): State<App>,
    look: Look,
    Path(secret): Path<String>,
) -> Result<Response, Problem> {
    let link = app.access.link(&secret).await?.ok_or(AccessError::LinkOver)?;
    Ok(welcome_form(&app, &look, secret, link, (String::new(), None)).await?.into_response())
}

pub(super) async fn welcome(
    State(app): State<App>,
    Path(secret): Path<String>,
    Peer(address): Peer,
    look: Look,
    form: Result<axum::Form<Welcome>, axum::extract::rejection::FormRejection>,
) -> Result<Response, Problem> {
    let form = form.map_err(|_| Problem::bad_request("the form is not whole", "fill in all fields"))?.0;
    let link = app.access.link(&secret).await?.ok_or(AccessError::LinkOver)?;
    let used = if form.password == form.again {
        app.access.use_link(&secret, &form.name, &form.password, address).await
    } else {
        Err(AccessError::Refused("the two passwords are not the same".into()))
    };
    match used {
        Ok(session) => Ok(come_in(&app, &session, "/")),
        Err(AccessError::Refused(why)) => {
            let look = look.at(&format!("/welcome/{secret}"));
            let page = welcome_form(&app, &look, secret, link, (form.name, Some(why.clone()))).await?;
            Ok(refused(Problem::conflict(why, ""), page))
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn sign_out(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    app.access.sign_out(&caller).await?;
    let mut response = Redirect::to("/sign-in").into_response();
    set_cookie(&app, &mut response, &app.facts.cookie, "", 0);
    Ok(response)
}

fn come_in(app: &App, session: &NewSession, next: &str) -> Response {
    let mut response = Redirect::to(next).into_response();
    set_cookie(app, &mut response, &app.facts.cookie, &session.secret, SESSION_LONGEST.as_secs());
    response
}

/// The form again, with the status and the headers of the problem.
fn refused(problem: Problem, page: Markup) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_REQUEST);
    let told = problem.into_response();
    let mut headers = HeaderMap::new();
    if let Some(wait) = told.headers().get(header::RETRY_AFTER) {
        headers.insert(header::RETRY_AFTER, wait.clone());
    }
    (status, headers, page).into_response()
}

async fn sign_in_form(app: &App, look: &Look, data: SignInData) -> Result<Markup, Problem> {
    Ok(sign_in::page(&look.chrome(app, Place::Elsewhere).await?, &data))
}

async fn welcome_form(
    app: &App,
    look: &Look,
    secret: String,
    link: Invitation,
    tried: (String, Option<String>),
) -> Result<Markup, Problem> {
    let data = WelcomeData {
        secret,
        role: link.role.to_string(),
        name_is_free: link.name.is_none(),
        name: link.name.unwrap_or(tried.0),
        password_min: PASSWORD_CHARS_MIN,
        error: tried.1,
    };
    Ok(sign_in::welcome(&look.chrome(app, Place::Elsewhere).await?, &data))
}
