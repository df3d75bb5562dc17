//! What stands around every route: the name that was asked for, the time that an answer may take, the headers of all answers.

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::guard::{Proof, is_for_programs};
use super::{App, Problem};
use crate::console::routes::{Look, problem_page};

/// Nothing from elsewhere, no script or style in a page, no page in a frame, no form to elsewhere.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";

const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// For a year; browsers heed it only from a certificate that they trust.
const ONLY_TLS: &str = "max-age=31536000";

pub(super) async fn around(State(app): State<App>, request: Request, next: Next) -> Response {
    let as_page = !is_for_programs(request.uri().path()) && wants_page(request.headers());
    let looks = as_page.then(|| (Look::from_outside(&request), Proof::of(&app, &request)));
    let response = answer(&app, request, next).await;
    let mut response = match looks {
        Some((look, proof)) => page_of_problem(&app, look, proof, response).await,
        None => response,
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if app.facts.secure {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(ONLY_TLS));
    }
    // What is shown to one person must not be kept for the next; what may be kept says so itself.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn answer(app: &App, request: Request, next: Next) -> Response {
    // Another site can have its name point at us, and its pages would then be of our origin (DNS rebinding).
    let asked = request.uri().authority().map(|authority| authority.as_str().to_owned()).or_else(|| {
        request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned)
    });
    let Some(asked) = asked else {
        let hint = "send the header host";
        return Problem::bad_request("the request does not say which host it is for", hint).into_response();
    };
    if !app.facts.hosts.allows(&asked) {
        let detail = format!("this console does not answer for {asked:?}");
        let hint = format!(
            "ask for {}; more names come from the certificate, or `name` in [console] of the site file",
            app.facts.hosts
        );
        return Problem::new(StatusCode::MISDIRECTED_REQUEST, detail, hint).into_response();
    }
    match tokio::time::timeout(app.facts.limits.answer, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let hint = "send the whole request at once, and try again";
            let mut response =
                Problem::new(StatusCode::REQUEST_TIMEOUT, "the request took too long", hint).into_response();
            // What is left of the request would be taken for the next one.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            response
        }
    }
}

fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html")) && !headers.contains_key(header::AUTHORIZATION)
}

/// A problem for a person who looks.
async fn page_of_problem(app: &App, look: Look, proof: Proof, response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let Some(problem) = parts.extensions.remove::<Problem>() else {
        return Response::from_parts(parts, body);
    };
    // Who cannot be told from a stranger is one: the page then says less.
    let look = look.of(proof.who(app).await.ok().flatten());
    let page = problem_page(app, &look, &problem).await;
    let mut response = (parts.status, page).into_response();
    for (name, value) in parts.headers {
        if let Some(name) =
            name.filter(|name| *name != header::CONTENT_TYPE && *name != header::CONTENT_LENGTH)
        {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
