//! The one table of routes: method, path, least role, handler. A test walks it with every role.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post};
use stillpoint_history::Role;

use super::guard::{Proof, guard, stranger};
use super::{App, BODY_BYTES_MAX, Problem, door, outside};
use crate::{api, console};

/// Who may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Least {
    /// Everybody, also without a session.
    Open,
    /// Whoever has this role or a higher one.
    Role(Role),
}

/// One row of the table.
pub struct Route {
    /// The method. `GET` is `HEAD`, too.
    pub method: Method,
    /// The path, with `{name}` for what changes.
    pub path: String,
    /// Who may come.
    pub least: Least,
    handler: MethodRouter<App>,
}

impl Route {
    /// A row for `GET`.
    pub fn get<H, T>(path: &str, least: Least, handler: H) -> Self
    where
        H: axum::handler::Handler<T, App>,
        T: 'static,
    {
        Self::with(Method::GET, path, least, get(handler))
    }

    /// A row for `POST`.
    pub fn post<H, T>(path: &str, least: Least, handler: H) -> Self
    where
        H: axum::handler::Handler<T, App>,
        T: 'static,
    {
        Self::with(Method::POST, path, least, post(handler))
    }

    pub(crate) fn with(method: Method, path: &str, least: Least, handler: MethodRouter<App>) -> Self {
        Self { method, path: path.to_owned(), least, handler }
    }
}

/// Everything that is served.
pub fn table() -> Vec<Route> {
    let mut rows = vec![
        Route::get("/health", Least::Open, health),
        Route::get("/sign-in", Least::Open, door::sign_in_page),
        Route::post("/sign-in", Least::Open, door::sign_in),
        Route::get("/welcome/{secret}", Least::Open, door::welcome_page),
        Route::post("/welcome/{secret}", Least::Open, door::welcome),
        Route::post("/sign-out", Least::Role(Role::Reader), door::sign_out),
    ];
    rows.push(Route::get("/metrics", Least::Role(Role::Reader), crate::metrics::page));
    rows.extend(console::routes::rows());
    rows.extend(api::routes());
    rows
}

/// The table as what answers requests.
pub fn router(app: &App) -> Router {
    let mut router = Router::new();
    for row in table() {
        let guarded = from_fn_with_state((app.clone(), row.least), guard);
        router = router.route(&row.path, row.handler.route_layer(guarded));
    }
    router
        .fallback(not_there)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(app.clone(), outside::around))
        .with_state(app.clone())
}

async fn health() -> &'static str {
    "ok\n"
}

async fn not_there(State(app): State<App>, request: Request) -> Response {
    let path = request.uri().path();
    let problem = Problem::not_found(format!("there is nothing at {path}"));
    told_to_who_may_look(&app, Proof::of(&app, &request), stranger(&request), problem).await
}

async fn wrong_method(State(app): State<App>, request: Request) -> Response {
    let detail = format!("{} does not know the method {}", request.uri().path(), request.method());
    let hint = "the header allow names those that it knows";
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail, hint);
    told_to_who_may_look(&app, Proof::of(&app, &request), stranger(&request), problem).await
}

/// What is not in the table is nobody's business who may not look at what is.
async fn told_to_who_may_look(app: &App, proof: Proof, to_strangers: Response, problem: Problem) -> Response {
    match proof.who(app).await {
        Ok(Some(_)) => problem.into_response(),
        Ok(None) => to_strangers,
        Err(failed) => failed.into_response(),
    }
}
