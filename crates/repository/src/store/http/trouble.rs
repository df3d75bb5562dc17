//! What goes wrong with a request, and whether it may pass by itself.

use std::fmt;
use std::time::Duration;

use http::StatusCode;

use crate::store::StoreErrorKind;

/// A request that was not answered as wanted.
#[derive(Debug, Clone)]
pub struct HttpTrouble {
    /// What it means for a store.
    pub kind: StoreErrorKind,
    /// Whether it may pass by itself.
    pub passes: bool,
    /// Whether a try before this one may have been carried out after all.
    pub again: bool,
    /// What was said, in one line.
    pub text: String,
    /// What the admin can do.
    pub hint: Option<&'static str>,
    /// The code of the answer; nothing when there was none.
    pub status: Option<u16>,
}

impl fmt::Display for HttpTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for HttpTrouble {}

/// All causes of an error in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

impl HttpTrouble {
    fn passing(text: String) -> Self {
        let kind = StoreErrorKind::Unavailable;
        let hint = Some("Is the server up, and is the address right?");
        Self { kind, passes: true, again: false, text, hint, status: None }
    }

    /// The line broke.
    pub fn line(error: &reqwest::Error) -> Self {
        // The address is part of the whole error already.
        let text = chain(error);
        let text = text.replace(&error.url().map(|url| format!(" for url ({url})")).unwrap_or_default(), "");
        if text.contains("certificate") {
            let hint =
                Some("Give the certificate of the authority that vouches for the server in the credentials.");
            return Self { kind: StoreErrorKind::Other, passes: false, hint, ..Self::passing(text) };
        }
        if error.is_builder() {
            return Self { kind: StoreErrorKind::Other, passes: false, ..Self::passing(text) };
        }
        Self::passing(text)
    }

    /// No byte moved.
    pub fn silence(idle: Duration) -> Self {
        Self::passing(format!("no byte came or went for {} s", idle.as_secs_f64()))
    }

    /// The body is not what was asked for. It may be the page of something in between, which passes.
    pub fn lie(text: String) -> Self {
        Self { kind: StoreErrorKind::Lied, hint: None, ..Self::passing(text) }
    }

    /// An answer other than success.
    pub fn answer(status: StatusCode, body: &[u8]) -> Self {
        let body = String::from_utf8_lossy(body);
        let code = element(&body, "Code");
        let (kind, passes) = judge(status, code, &body);
        let hint = match code {
            "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken" => {
                Some("Check the key in the credentials.")
            }
            "RequestTimeTooSkewed" => Some("Set the clock of this machine."),
            "AuthorizationHeaderMalformed" => Some("Give the region of the bucket in the credentials."),
            _ if status == StatusCode::UNAUTHORIZED => {
                Some("Check the user and the password in the credentials.")
            }
            _ if status.is_redirection() => {
                Some("Redirects are not followed: give the address that the server names.")
            }
            _ => None,
        };
        let text = match (code, element(&body, "Message")) {
            // Some repeat the status in the body.
            ("", _) => {
                format!("{} {}", status.as_u16(), first_line(body.trim().trim_start_matches(status.as_str())))
            }
            (code, message) => format!("{} {code} {}", status.as_u16(), first_line(message)),
        };
        let text = text.trim_end().to_owned();
        Self { kind, passes, hint, status: Some(status.as_u16()), ..Self::passing(text) }
    }
}

/// What an answer means. The codes are those of S3; restic's REST protocol has none.
fn judge(status: StatusCode, code: &str, body: &str) -> (StoreErrorKind, bool) {
    match code {
        "NoSuchBucket" => return (StoreErrorKind::NoStore, false),
        "NoSuchKey" => return (StoreErrorKind::NotFound, false),
        "QuotaExceeded" | "XMinioStorageFull" | "EntityTooLarge" => return (StoreErrorKind::Full, false),
        // Somebody else writes the same name just now.
        "OperationAborted" | "ConditionalRequestConflict" | "RequestTimeout" | "SlowDown" => {
            return (StoreErrorKind::Unavailable, true);
        }
        _ => {}
    }
    let lower = body.to_ascii_lowercase();
    if status.is_server_error() && (lower.contains("no space left") || lower.contains("quota exceeded")) {
        return (StoreErrorKind::Full, false);
    }
    match status.as_u16() {
        401 | 403 => (StoreErrorKind::Denied, false),
        404 | 410 => (StoreErrorKind::NotFound, false),
        409 | 412 => (StoreErrorKind::AlreadyExists, false),
        416 => (StoreErrorKind::Lied, false),
        413 | 507 => (StoreErrorKind::Full, false),
        408 | 425 | 429 | 499 | 500 | 502 | 503 | 504 | 520..=530 => (StoreErrorKind::Unavailable, true),
        _ => (StoreErrorKind::Other, false),
    }
}

/// The text of the first such element; empty when there is none.
fn element<'a>(xml: &'a str, name: &str) -> &'a str {
    let after = xml.split_once(&format!("<{name}>")).map_or("", |(_, after)| after);
    after.split_once(&format!("</{name}>")).map_or("", |(text, _)| text)
}

/// So much that it says what is the matter.
fn first_line(text: &str) -> String {
    text.trim().lines().next().unwrap_or_default().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        let xml =
            |code: &str| format!("<?xml?><Error><Code>{code}</Code><Message>why\nmore</Message></Error>");
        for (status, body, kind, passes) in [
            (404, xml("NoSuchBucket"), StoreErrorKind::NoStore, false),
            (404, xml("NoSuchKey"), StoreErrorKind::NotFound, false),
            (404, String::new(), StoreErrorKind::NotFound, false),
            (403, xml("AccessDenied"), StoreErrorKind::Denied, false),
            (403, xml("QuotaExceeded"), StoreErrorKind::Full, false),
            (412, xml("PreconditionFailed"), StoreErrorKind::AlreadyExists, false),
            (409, xml("ConditionalRequestConflict"), StoreErrorKind::Unavailable, true),
            (503, xml("SlowDown"), StoreErrorKind::Unavailable, true),
            (400, xml("RequestTimeout"), StoreErrorKind::Unavailable, true),
            (507, String::new(), StoreErrorKind::Full, false),
            (500, "write: no space left on device".to_owned(), StoreErrorKind::Full, false),
            (500, "oh".to_owned(), StoreErrorKind::Unavailable, true),
            (302, String::new(), StoreErrorKind::Other, false),
        ] {
            let trouble = HttpTrouble::answer(StatusCode::from_u16(status).unwrap(), body.as_bytes());
            assert_eq!((trouble.kind, trouble.passes), (kind, passes), "{status} {body}");
            assert!(!trouble.text.contains('\n') && !trouble.text.contains('<'), "{}", trouble.text);
        }
        let trouble = HttpTrouble::answer(StatusCode::FORBIDDEN, xml("SignatureDoesNotMatch").as_bytes());
        assert_eq!(trouble.text, "403 SignatureDoesNotMatch why");
        assert!(trouble.hint.is_some());
    }
}
