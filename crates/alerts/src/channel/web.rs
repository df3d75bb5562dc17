//! Channels that are one request to a web address: webhook, ntfy, Alertmanager.

use crate::AlertSeverity;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::{SignedDuration, Timestamp};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use stillpoint_history::NoticeKind;

use super::Trouble;
use super::http::{Post, Web, header};
use crate::notice::Message;

/// The JSON of the notice.
pub(super) async fn webhook(web: &Web, message: &Message<'_>) -> Result<(), Trouble> {
    web.post(json_post(&[], "", &message.json())).await
}

fn json_post(below: &'static [&'static str], scheme: &'static str, body: &Value) -> Post {
    let headers = HeaderMap::from_iter(header("content-type", "application/json"));
    Post { below, query: None, headers, body: body.to_string().into_bytes(), scheme }
}

/// A message with a title, a priority and tags.
pub(super) async fn ntfy(web: &Web, message: &Message<'_>) -> Result<(), Trouble> {
    let over = message.kind == NoticeKind::Cleared;
    // 5 wakes people up, 3 is what nobody asked anything special for, 2 makes no sound.
    let (priority, tag) = match message.alert.severity {
        _ if over => ("3", "white_check_mark"),
        AlertSeverity::Info => ("2", "information_source"),
        AlertSeverity::Warning => ("4", "warning"),
        AlertSeverity::Critical => ("5", "rotating_light"),
    };
    let mut headers = HeaderMap::new();
    headers.extend(header("content-type", "text/plain; charset=utf-8"));
    headers.extend(header("title", &in_header(&message.subject())));
    headers.extend(header("priority", priority));
    headers.extend(header("tags", &in_header(&format!("{tag},{}", message.alert.kind))));
    if let Some(console) = &message.place.console {
        headers.extend(header("click", &in_header(console)));
    }
    let body = message.text().into_bytes();
    web.post(Post { below: &[], query: None, headers, body, scheme: "Bearer " }).await
}

/// A line as it may stand in a header: other than ASCII as an encoded word (RFC 2047), which ntfy decodes.
fn in_header(line: &str) -> String {
    if line.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        line.to_owned()
    } else {
        format!("=?UTF-8?B?{}?=", BASE64.encode(line))
    }
}

/// The alerts as Alertmanager knows them.
pub(super) async fn alertmanager(web: &Web, messages: &[Message<'_>]) -> Result<(), Trouble> {
    let entries = messages.iter().flat_map(entries).collect();
    web.post(json_post(&["api", "v2", "alerts"], "Bearer ", &Value::Array(entries))).await
}

fn entries(message: &Message<'_>) -> Vec<Value> {
    let alert = message.alert;
    let ends = message.end().unwrap_or_else(|| ends_unless_renewed(message));
    let mut entries = vec![entry(message, alert.severity, ends)];
    // The severity is a label, and labels are what Alertmanager knows an alert by: one that got worse is another one to it.
    for lower in AlertSeverity::ALL.into_iter().filter(|severity| *severity < alert.severity) {
        entries.push(entry(message, lower, message.now.max(alert.began)));
    }
    entries
}

fn entry(message: &Message<'_>, severity: AlertSeverity, ends: Timestamp) -> Value {
    let alert = message.alert;
    let mut entry = json!({
        "labels": {
            "alertname": alert_name(&alert.kind),
            "site": message.place.site,
            "severity": severity,
            "subject": alert.subject,
        },
        "annotations": { "summary": alert.title, "description": alert.text, "remedy": alert.remedy },
        "startsAt": alert.began.to_string(),
        "endsAt": ends.to_string(),
    });
    if let Some(console) = &message.place.console {
        entry["generatorURL"] = json!(console);
    }
    entry
}

/// An active alert ends for Alertmanager when it was not told again for twice the time after which it should have been: then there
/// is nobody here any more to tell it.
fn ends_unless_renewed(message: &Message<'_>) -> Timestamp {
    let every = message.place.remind_every;
    let lasts = match message.kind {
        NoticeKind::Test => SignedDuration::from_mins(5),
        _ if every.is_positive() => every.saturating_mul(2),
        _ => SignedDuration::from_hours(24 * 365),
    };
    message.now.saturating_add(lasts).unwrap_or(Timestamp::MAX)
}

/// `run-failed` as `StillpointRunFailed`.
fn alert_name(kind: &str) -> String {
    let mut name = "Stillpoint".to_owned();
    for word in kind.split('-') {
        let mut letters = word.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.push_str(letters.as_str());
    }
    name
}

#[cfg(test)]
mod tests {
    use stillpoint_history::{Alert, AlertState};

    use super::*;
    use crate::notice::{Place, test_alert};

    #[test]
    fn a_header_is_ascii_whatever_is_in_it() {
        assert_eq!(in_header("[P01] critical: x"), "[P01] critical: x");
        assert_eq!(in_header("größer"), "=?UTF-8?B?Z3LDtsOfZXI=?=");
        assert!(in_header("a\r\nb").starts_with("=?"));
    }

    #[test]
    fn alertmanager_learns_the_end_and_that_what_got_worse_is_the_same() {
        let place =
            Place { site: "P01".into(), remind_every: SignedDuration::from_hours(24), ..Place::default() };
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1);
        let mut alert = Alert {
            kind: "archive-behind".into(),
            subject: "vault".into(),
            severity: AlertSeverity::Warning,
            ..test_alert(Timestamp::UNIX_EPOCH)
        };
        let body = |alert: &Alert| {
            Value::Array(entries(&Message { place: &place, kind: NoticeKind::Begun, alert, now }))
        };
        let active = body(&alert);
        assert_eq!(active[0]["labels"]["alertname"], "StillpointArchiveBehind");
        assert_eq!(active[0]["labels"]["subject"], "vault");
        assert_eq!(active[0]["startsAt"], "1970-01-01T00:00:00Z");
        assert_eq!(active[0]["endsAt"], "1970-01-03T01:00:00Z");
        alert.severity = AlertSeverity::Critical;
        let worse = body(&alert);
        let told: Vec<_> =
            worse.as_array().unwrap().iter().map(|it| (&it["labels"]["severity"], &it["endsAt"])).collect();
        assert_eq!(told[0], (&json!("critical"), &json!("1970-01-03T01:00:00Z")));
        assert_eq!(told[2], (&json!("warning"), &json!("1970-01-01T01:00:00Z")));
        alert.state = AlertState::Cleared;
        alert.changed = now;
        assert_eq!(body(&alert)[0]["endsAt"], "1970-01-01T01:00:00Z");
    }
}
