//! Errors as a program reads them: `application/problem+json` (RFC 9457).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use stillpoint_history::HistoryError;
use utoipa::ToSchema;

use crate::access::AccessError;

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// Which kind of problem it is: a name that does not change.
    #[serde(rename = "type")]
    #[schema(example = "urn:stillpoint:problem:not-found")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The status of HTTP.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What happened, in one sentence.
    pub detail: String,
    /// What to do about it; missing where there is nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hint: String,
    #[serde(skip)]
    retry_after_s: Option<u64>,
}

/// The media type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

impl Problem {
    /// Any problem. What it is called follows from the status.
    pub fn new(status: StatusCode, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        let slug = title.to_ascii_lowercase().replace(' ', "-");
        Self {
            kind: format!("urn:stillpoint:problem:{slug}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            hint: hint.into(),
            retry_after_s: None,
        }
    }

    /// What was sent cannot be understood.
    pub fn bad_request(detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail, hint)
    }

    /// Nobody has said who they are.
    pub fn unauthorized() -> Self {
        let hint = "sign in, or send the header: Authorization: Bearer sp_...";
        Self::new(StatusCode::UNAUTHORIZED, "this needs a session or a token that is not over", hint)
    }

    /// They may not.
    pub fn forbidden(detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail, hint)
    }

    /// It is not there.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail, "")
    }

    /// It is not possible as things are.
    pub fn conflict(detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail, hint)
    }

    /// Something of ours failed. What exactly is for the log.
    pub fn internal(why: &dyn std::fmt::Display) -> Self {
        tracing::error!("a request failed: {why}");
        let hint = "look into the log of the service: journalctl -u stillpoint";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the service could not do that", hint)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // A struct of texts and numbers always becomes JSON.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, PROBLEM_JSON)], body).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"stillpoint\""));
        }
        if let Some(wait_s) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait_s));
        }
        // For whoever shows it as a page.
        response.extensions_mut().insert(self);
        response
    }
}

impl From<AccessError> for Problem {
    fn from(error: AccessError) -> Self {
        let text = error.to_string();
        match error {
            AccessError::Wrong => Self::new(StatusCode::FORBIDDEN, text, "try again"),
            AccessError::TooMany { wait_s } => {
                let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, text, "");
                Self { retry_after_s: Some(wait_s), ..problem }
            }
            AccessError::LinkOver => Self::new(StatusCode::GONE, text, ""),
            AccessError::Refused(why) => Self::conflict(why, ""),
            AccessError::NotThere(_) => Self::not_found(text),
            AccessError::History(error) => error.into(),
        }
    }
}

impl From<HistoryError> for Problem {
    fn from(error: HistoryError) -> Self {
        match error {
            HistoryError::Refused(why) => Self::conflict(why, ""),
            error => Self::internal(&error),
        }
    }
}
