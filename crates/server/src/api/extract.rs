//! What a request says, checked. What cannot be understood is told as a problem, in our words.

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Json, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::web::{App, Problem};

/// The query of a request.
pub(crate) struct Asked<T>(pub T);

/// What changes in the path.
pub(crate) struct Named<T>(pub T);

/// The body of a request, as JSON.
pub(super) struct Sent<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<App> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let asked = Query::<T>::from_request_parts(parts, app).await;
        asked.map(|Query(asked)| Self(asked)).map_err(|rejection: QueryRejection| {
            let hint = "the description of the API says what may be asked: /api/v1/openapi.json";
            Problem::bad_request(format!("the query cannot be understood: {}", rejection.body_text()), hint)
        })
    }
}

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let named = Path::<T>::from_request_parts(parts, app).await;
        // What cannot be the name of anything is the name of nothing.
        named.map(|Path(named)| Self(named)).map_err(|rejection: PathRejection| {
            Problem::not_found(format!("there is nothing of that name: {}", rejection.body_text()))
        })
    }
}

impl<T: DeserializeOwned> FromRequest<App> for Sent<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let sent = Json::<T>::from_request(request, app).await;
        sent.map(|Json(sent)| Self(sent)).map_err(|rejection: JsonRejection| {
            let status = match rejection.status() {
                StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
                status => status,
            };
            let hint = "send a JSON object, with the header content-type: application/json";
            Problem::new(status, format!("the body cannot be understood: {}", rejection.body_text()), hint)
        })
    }
}
