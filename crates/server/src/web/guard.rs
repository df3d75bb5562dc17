//! Who asks, and may they? Runs before every handler, with the least role that the table says.

use std::net::IpAddr;

use axum::body::{Body, Bytes};
use axum::extract::{Form, FromRequest as _, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;

use super::cookies::cookie;
use super::{App, BODY_BYTES_MAX, Least, Problem};
use crate::access::{By, Caller};

/// The address that a request came from.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

impl FromRequestParts<App> for Peer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Problem> {
        let missing = || Problem::internal(&"a request without the address that it came from");
        parts.extensions.get::<Peer>().copied().ok_or_else(missing)
    }
}

/// Lets a request through to its handler, or answers it.
pub(super) async fn guard(
    State((app, least)): State<(App, Least)>,
    request: Request,
    next: Next,
) -> Response {
    match let_in(&app, least, request).await {
        Ok(request) => next.run(request).await,
        Err(response) => *response,
    }
}

async fn let_in(app: &App, least: Least, mut request: Request) -> Result<Request, Box<Response>> {
    let answer = |problem: Problem| Box::new(problem.into_response());
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if changes && comes_from_elsewhere(request.headers()) {
        let hint = "open the page of this console itself and try again";
        return Err(answer(Problem::forbidden("another site sent this form", hint)));
    }
    let Least::Role(role) = least else { return Ok(request) };
    let caller = Proof::of(app, &request).who(app).await.map_err(answer)?;
    let Some(caller) = caller else { return Err(Box::new(stranger(&request))) };
    if caller.role < role {
        let detail = format!("this needs the role {role}; {} has the role {}", caller.name, caller.role);
        return Err(answer(Problem::forbidden(detail, "ask an administrator of this console")));
    }
    if changes && matches!(caller.by, By::Session { .. }) {
        request = check_csrf(&caller, request).await.map_err(answer)?;
    }
    request.extensions_mut().insert(caller);
    Ok(request)
}

/// A browser says where a request began. Only this is asked for: with our referrer policy it sends no useful `Origin`.
fn comes_from_elsewhere(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none")
}

/// How a request proves who sent it.
pub(super) struct Proof {
    address: Option<IpAddr>,
    shown: Shown,
}

enum Shown {
    Nothing,
    Token(String),
    Session(String),
}

impl Proof {
    /// What the request shows. Who shows a token is judged by it alone.
    pub(super) fn of(app: &App, request: &Request) -> Self {
        let address = request.extensions().get::<Peer>().map(|peer| peer.0);
        let headers = request.headers();
        let shown = match headers.get(header::AUTHORIZATION) {
            Some(value) => value.to_str().ok().and_then(bearer).map(|token| Shown::Token(token.to_owned())),
            None => cookie(headers, &app.facts.cookie).map(|secret| Shown::Session(secret.to_owned())),
        };
        Self { address, shown: shown.unwrap_or(Shown::Nothing) }
    }

    /// Who that is; nobody without a session or token that is not over.
    ///
    /// # Errors
    ///
    /// When the history fails.
    pub(super) async fn who(self, app: &App) -> Result<Option<Caller>, Problem> {
        let Some(address) = self.address else {
            return Err(Problem::internal(&"a request without the address that it came from"));
        };
        match self.shown {
            Shown::Nothing => Ok(None),
            Shown::Token(token) => Ok(app.access.by_token(&token, address).await?),
            Shown::Session(secret) => Ok(app.access.by_session(&secret, address).await?),
        }
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// The answer to nobody: programs are told, browsers are sent to the door.
pub(super) fn stranger(request: &Request) -> Response {
    if is_for_programs(request.uri().path()) || request.headers().contains_key(header::AUTHORIZATION) {
        return Problem::unauthorized().into_response();
    }
    // Back to a page, never to a form: it would be sent again.
    let back = match *request.method() {
        Method::GET => request.uri().path_and_query().map_or("/", |path| path.as_str()),
        _ => "/",
    };
    Redirect::to(&super::door::sign_in_path(back)).into_response()
}

/// Whether programs ask there, which want an error as JSON and no page.
pub(super) fn is_for_programs(path: &str) -> bool {
    path.starts_with("/api/") || path == "/metrics"
}

#[derive(Deserialize)]
struct CsrfField {
    csrf: String,
}

/// A form of a session must bring back what it was given: another site can send a form with our cookie, but not with that.
async fn check_csrf(caller: &Caller, request: Request) -> Result<Request, Problem> {
    let wrong = || {
        let hint =
            "load the page again; a program sends a token instead of a cookie, or the header x-csrf-token";
        Problem::forbidden("the form does not carry the secret of this session", hint)
    };
    if let Some(value) = request.headers().get("x-csrf-token") {
        let fits = value.to_str().is_ok_and(|value| caller.csrf_fits(value));
        return if fits { Ok(request) } else { Err(wrong()) };
    }
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| {
        Problem::new(
            axum::http::StatusCode::PAYLOAD_TOO_LARGE,
            "the form is too large or did not come whole",
            "",
        )
    })?;
    if !field_of(&parts, bytes.clone()).await.is_some_and(|csrf| caller.csrf_fits(&csrf)) {
        return Err(wrong());
    }
    Ok(Request::from_parts(parts, Body::from(bytes)))
}

async fn field_of(parts: &Parts, bytes: Bytes) -> Option<String> {
    let mut copy = Request::new(Body::from(bytes));
    *copy.method_mut() = Method::POST;
    copy.headers_mut().insert(header::CONTENT_TYPE, parts.headers.get(header::CONTENT_TYPE)?.clone());
    let Form(field) = Form::<CsrfField>::from_request(copy, &()).await.ok()?;
    Some(field.csrf)
}
