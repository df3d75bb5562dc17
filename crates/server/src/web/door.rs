//! Coming in and going out, for browsers: `/sign-in`, `/welcome/{secret}`, `/sign-out`.

use axum::extract::{Path, Query, State};
use axum::http::header::{self, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::{App, Peer, Problem};
use crate::access::{AccessError, Caller, NewSession, PASSWORD_CHARS_MIN, SESSION_LONGEST};

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
fn safe_next(next: &str) -> &str {
    let own = next.starts_with('/')
        && !next[1..].starts_with(['/', '\\'])
        && next.bytes().all(|byte| (0x21..0x7f).contains(&byte));
    if own { next } else { "/" }
}

pub(super) async fn sign_in_page(
    State(app): State<App>,
    Query(wish): Query<Wish>,
) -> Result<Response, Problem> {
    let people = app.access.people().await?;
    Ok(sign_in_form("", safe_next(&wish.next), None, people.is_empty()).into_response())
}

pub(super) async fn sign_in(
    State(app): State<App>,
    Peer(address): Peer,
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
            let page = sign_in_form(&form.name, next, Some(&told), false);
            Ok(refused(problem, page))
        }
    }
}

pub(super) async fn welcome_page(
    State(app): State<App>,
    Path(secret): Path<String>,
) -> Result<Response, Problem> {
    let link = app.access.link(&secret).await?.ok_or(AccessError::LinkOver)?;
    Ok(welcome_form(link.role.as_str(), link.name.as_deref(), "", None).into_response())
}

pub(super) async fn welcome(
    State(app): State<App>,
    Path(secret): Path<String>,
    Peer(address): Peer,
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
            let page = welcome_form(link.role.as_str(), link.name.as_deref(), &form.name, Some(&why));
            Ok(refused(Problem::conflict(why, ""), page))
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn sign_out(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    app.access.sign_out(&caller).await?;
    let mut response = Redirect::to("/sign-in").into_response();
    set_cookie(&app, &mut response, "", 0);
    Ok(response)
}

fn come_in(app: &App, session: &NewSession, next: &str) -> Response {
    let mut response = Redirect::to(next).into_response();
    set_cookie(app, &mut response, &session.secret, SESSION_LONGEST.as_secs());
    response
}

fn set_cookie(app: &App, response: &mut Response, secret: &str, seconds: i64) {
    let secure = if app.facts.secure { "; Secure" } else { "" };
    let cookie = format!(
        "{}={secret}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}",
        app.facts.cookie
    );
    // Our own letters and digits always fit into a header.
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
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

fn sign_in_form(name: &str, next: &str, error: Option<&str>, nobody_yet: bool) -> Markup {
    frame(
        "Sign in",
        &html! {
            @if nobody_yet {
                p { "Nobody can sign in yet. Open the one-time link that the service told when it started, or make a new one: "
                    code { "stillpoint console reset-link" } }
            }
            (refusal(error))
            form method="post" action="/sign-in" {
                input type="hidden" name="next" value=(next);
                label for="name" { "Name" }
                input type="text" id="name" name="name" value=(name) required autocomplete="username" autocapitalize="none";
                label for="password" { "Password" }
                input type="password" id="password" name="password" required autocomplete="current-password";
                button type="submit" { "Sign in" }
            }
        },
    )
}

fn welcome_form(role: &str, name: Option<&str>, tried: &str, error: Option<&str>) -> Markup {
    frame(
        "Welcome",
        &html! {
            p { "This link works once. It makes you " b { (role) } "." }
            (refusal(error))
            form method="post" {
                label for="name" { "Name" }
                input type="text" id="name" name="name" value=(name.unwrap_or(tried)) required maxlength="64"
                    autocomplete="username" autocapitalize="none" readonly[name.is_some()];
                label for="password" { "Password, at least " (PASSWORD_CHARS_MIN) " characters" }
                input type="password" id="password" name="password" required minlength=(PASSWORD_CHARS_MIN)
                    autocomplete="new-password";
                label for="again" { "The password again" }
                input type="password" id="again" name="again" required autocomplete="new-password";
                button type="submit" { "Begin" }
            }
        },
    )
}

fn refusal(error: Option<&str>) -> Markup {
    html! { @if let Some(error) = error { p role="alert" { (error) } } }
}

fn frame(title: &str, content: &Markup) -> Markup {
    html! {
        (maud::DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " - Stillpoint" }
            }
            body { main { h1 { (title) } (content) } }
        }
    }
}
