//! Cookies of ours: read, and set so that no script and no other site gets at them.

use axum::http::HeaderMap;
use axum::http::header::{self, HeaderValue};
use axum::response::Response;

use super::App;

/// The value of a cookie.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// Has the browser keep a cookie for so many seconds; 0 takes it away. `value` is of letters, digits, `-` and `_`.
pub(crate) fn set_cookie(app: &App, response: &mut Response, name: &str, value: &str, seconds: i64) {
    let secure = if app.facts.secure { "; Secure" } else { "" };
    let cookie = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    // Our own letters and digits always fit into a header.
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}
