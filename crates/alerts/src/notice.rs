//! A notice in words: for people, as text; for programs, as JSON. Whatever the alert says, a subject is one line.

use crate::AlertSeverity;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use stillpoint_history::{Alert, AlertState, NoticeKind};
use stillpoint_model::plain::{marked_lines, one_line};

use crate::words::{shortened, span, utc};

/// The version of the JSON of a notice. Fields may be added to it without another number.
const FORMAT: u32 = 1;

/// How long a subject may be, in characters.
const SUBJECT_MAX: usize = 160;

/// Where a notice comes from.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// The code of the site.
    pub site: String,
    /// Where the console is, to be clicked on.
    pub console: Option<String>,
    /// How often an alert is told again; zero never. An Alertmanager keeps it that much longer.
    pub remind_every: SignedDuration,
}

/// What a channel is told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    pub place: &'a Place,
    pub kind: NoticeKind,
    pub alert: &'a Alert,
    pub now: Timestamp,
}

impl Message<'_> {
    /// Such as `[P01] critical: no good backup for 30 h`. Always one line.
    pub fn subject(&self) -> String {
        let severity = self.alert.severity;
        let state = match self.kind {
            NoticeKind::Begun => severity.to_string(),
            NoticeKind::Worsened => format!("now {severity}"),
            NoticeKind::Reminder => format!("still {severity}"),
            NoticeKind::Cleared => "over".into(),
            NoticeKind::Test => "test".into(),
        };
        let subject = format!("[{}] {state}: {}", self.place.site, self.alert.title);
        shortened(&one_line(&subject), SUBJECT_MAX)
    }

    /// What, since when, and what to do, in plain text.
    pub fn text(&self) -> String {
        let alert = self.alert;
        let mut text = marked_lines(&alert.text, "  | ").join("\n");
        text.push_str("\n\n");
        let mut line = |name: &str, value: &str| {
            text.push_str(&format!("{:<12}{}\n", format!("{name}:"), one_line(value)));
        };
        line("Site", &self.place.site);
        line("Severity", alert.severity.as_str());
        line("Kind", &alert.kind);
        let length = span(self.end().unwrap_or(self.now).duration_since(alert.began));
        match self.end() {
            None => line("Since", &format!("{} ({length})", utc(alert.began))),
            Some(end) => line("Was active", &format!("{} to {} ({length})", utc(alert.began), utc(end))),
        }
        if alert.occurrences > 1 {
            line("Occurred", &format!("{} times", alert.occurrences));
        }
        if let Some(person) = &alert.closed_by {
            line("Closed by", person);
        }
        if !alert.comment.is_empty() {
            line("Comment", &alert.comment);
        }
        if self.end().is_none() {
            line("What to do", &alert.remedy);
        }
        if let Some(console) = &self.place.console {
            line("Console", console);
        }
        text
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        json!({
            "format": FORMAT,
            "site": self.place.site,
            "notice": self.kind,
            "subject": self.subject(),
            "message": self.text(),
            "console": self.place.console,
            "alert": self.alert,
        })
    }

    /// When the alert ended, if it did.
    pub fn end(&self) -> Option<Timestamp> {
        (self.alert.state == AlertState::Cleared).then_some(self.alert.changed)
    }
}

/// What a test is about.
pub(crate) fn test_alert(now: Timestamp) -> Alert {
    Alert {
        id: 0,
        kind: "test".into(),
        subject: String::new(),
        instance: String::new(),
        severity: AlertSeverity::Info,
        state: AlertState::Active,
        title: "this channel is being tested".into(),
        text: "Somebody tests the channels of this site. If you can read this, this one works.".into(),
        remedy: "Nothing.".into(),
        began: now,
        changed: now,
        told: now,
        occurrences: 1,
        postponed_until: None,
        closed_by: None,
        holds: true,
        comment: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert() -> Alert {
        Alert {
            id: 7,
            kind: "no-success".into(),
            severity: AlertSeverity::Critical,
            title: "no good backup for 30 h".into(),
            text: "The last one began yesterday.\nFrom: somebody else".into(),
            remedy: "Start one.".into(),
            occurrences: 3,
            ..test_alert(Timestamp::UNIX_EPOCH)
        }
    }

    fn place() -> Place {
        Place {
            site: "P01".into(),
            console: Some("https://backup.example.org:8470".into()),
            ..Place::default()
        }
    }

    fn later(hours: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours)
    }

    #[test]
    fn a_notice_says_what_since_when_what_to_do_and_where() {
        let (place, alert) = (place(), alert());
        let message = Message { place: &place, kind: NoticeKind::Begun, alert: &alert, now: later(30) };
        assert_eq!(message.subject(), "[P01] critical: no good backup for 30 h");
        let expected = "The last one began yesterday.\n  | From: somebody else\n\n\
            Site:       P01\n\
            Severity:   critical\n\
            Kind:       no-success\n\
            Since:      1970-01-01 00:00 UTC (30 h)\n\
            Occurred:   3 times\n\
            What to do: Start one.\n\
            Console:    https://backup.example.org:8470\n";
        assert_eq!(message.text(), expected);
        let json = message.json();
        assert_eq!(json["notice"], "begun");
        assert_eq!(json["alert"]["kind"], "no-success");
        assert_eq!(json["alert"]["severity"], "critical");
        assert_eq!(json["message"], expected);
    }

    #[test]
    fn an_end_says_how_long_it_was_and_who_closed_it() {
        let place = place();
        let cleared = Alert {
            state: AlertState::Cleared,
            changed: later(5),
            closed_by: Some("anna".into()),
            comment: "known\r\nBcc: all".into(),
            ..alert()
        };
        let message = Message { place: &place, kind: NoticeKind::Cleared, alert: &cleared, now: later(9) };
        assert_eq!(message.subject(), "[P01] over: no good backup for 30 h");
        let text = message.text();
        assert!(text.contains("Was active: 1970-01-01 00:00 UTC to 1970-01-01 05:00 UTC (5 h)\n"), "{text}");
        assert!(text.contains("Closed by:  anna\n") && !text.contains("What to do"), "{text}");
        assert!(text.contains("Comment:    known\\r\\nBcc: all\n"), "{text}");
    }

    #[test]
    fn a_subject_is_one_line_of_bounded_length_whatever_the_alert_says() {
        let place = Place { site: "P01\r\nBcc: all@example.org".into(), ..place() };
        let alert =
            Alert { title: format!("x\r\nBcc: all@example.org\u{2028}{}", "y".repeat(500)), ..alert() };
        for kind in NoticeKind::ALL {
            let subject = Message { place: &place, kind, alert: &alert, now: later(1) }.subject();
            assert!(!subject.contains(['\r', '\n', '\u{2028}']), "{subject:?}");
            assert!(subject.chars().count() <= SUBJECT_MAX + 1, "{subject:?}");
        }
    }
}
