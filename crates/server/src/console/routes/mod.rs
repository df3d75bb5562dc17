//! The pages and forms as handlers: what a page shows is gathered, what a form asks for is done by what the API uses, too.

mod alerts;
mod archives;
mod look;
mod pages;
mod people;
mod tasks;

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, FromRequest, Request};
use axum::http::header;
use serde::de::DeserializeOwned;
use stillpoint_history::Role;

pub(crate) use look::{Look, problem_page};

use super::assets::{self, Asset};
use crate::web::{App, Least, Problem, Route};

/// The rows of the table of routes for the console.
pub(crate) fn rows() -> Vec<Route> {
    let reader = Least::Role(Role::Reader);
    let operator = Least::Role(Role::Operator);
    let administrator = Least::Role(Role::Administrator);
    let mut rows = vec![
        Route::get("/", reader, pages::overview),
        Route::get("/runs", reader, pages::runs),
        Route::get("/runs/{name}", reader, pages::run),
        Route::get("/components", reader, pages::components),
        Route::get("/charts", reader, pages::charts),
        Route::get("/schedule", reader, pages::schedule),
        Route::get("/settings", reader, pages::settings),
        Route::get("/alerts", reader, alerts::page),
        Route::get("/versions", reader, archives::versions),
        Route::get("/versions/{archive}/{version}", reader, archives::browse),
        Route::get("/versions/{archive}/{version}/file", administrator, archives::file),
        Route::get("/people", administrator, people::page),
        Route::get("/audit", administrator, pages::audit),
        Route::post("/tasks", operator, tasks::ask),
        Route::post("/tasks/cancel", operator, tasks::cancel),
        Route::post("/alerts/{id}/postpone", operator, alerts::postpone),
        Route::post("/alerts/{id}/clear", operator, alerts::clear),
        Route::post("/alerts/test", operator, alerts::test),
        Route::post("/versions/{archive}/{version}/restore", administrator, archives::restore),
        Route::post("/people/invite", administrator, people::invite),
        Route::post("/people/{name}/role", administrator, people::change_role),
        Route::post("/people/{name}/remove", administrator, people::remove),
        Route::post("/tokens", administrator, people::make_token),
        Route::post("/tokens/{id}/revoke", administrator, people::revoke_token),
        // Also on the pages before the sign-in; it changes nothing but the look of this browser.
        Route::post("/theme", Least::Open, tasks::theme),
    ];
    rows.extend(assets::all().map(static_file));
    rows
}

fn static_file(asset: &'static Asset) -> Route {
    let headers = [(header::CONTENT_TYPE, asset.media_type), (header::CACHE_CONTROL, assets::CACHE_CONTROL)];
    Route::get(&asset.path, Least::Open, move || async move { (headers, asset.content) })
}

/// What a form says.
pub(super) struct Filled<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Filled<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let form = Form::<T>::from_request(request, app).await;
        form.map(|Form(filled)| Self(filled)).map_err(|rejection: FormRejection| {
            let detail = format!("the form cannot be understood: {}", rejection.body_text());
            Problem::bad_request(detail, "load the page again, and fill in all fields")
        })
    }
}
