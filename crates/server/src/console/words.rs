//! Times, lengths, sizes and verdicts as the pages show them.

use std::fmt::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{Markup, html};
use stillpoint_model::status::Severity;
use stillpoint_model::{Bytes, Grade, Outcome};

use super::Chrome;

/// An instant in the site's zone, with UTC for who points at it.
pub(super) fn time(chrome: &Chrome, at: Timestamp) -> Markup {
    let utc = at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    let machine = at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    html! { time datetime=(machine) title=(utc) { (local(chrome, at)) } }
}

/// An instant in the site's zone, in words.
pub(super) fn local(chrome: &Chrome, at: Timestamp) -> String {
    at.to_zoned(chrome.zone.clone()).strftime("%a %-d %b %Y, %H:%M %Z").to_string()
}

/// An instant in UTC, in words.
pub(super) fn utc(at: Timestamp) -> Markup {
    let machine = at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    html! { time datetime=(machine) { (at.to_zoned(TimeZone::UTC).strftime("%a %-d %b %Y, %H:%M UTC").to_string()) } }
}

/// The seconds from one instant to another, 0 when it is not later.
pub(super) fn seconds_between(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.as_second().saturating_sub(from.as_second())).unwrap_or(0)
}

/// How long ago, or how soon.
pub(super) fn distance(chrome: &Chrome, at: Timestamp) -> String {
    if at <= chrome.now {
        format!("{} ago", long(seconds_between(at, chrome.now)))
    } else {
        format!("in {}", long(seconds_between(chrome.now, at)))
    }
}

/// A length of time from seconds: two units at most.
pub(super) fn long(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let day = if days == 1 { "day" } else { "days" };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) if seconds < 600 && !seconds.is_multiple_of(60) => {
            format!("{minutes} min {} s", seconds % 60)
        }
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, 0) => format!("{hours} h"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, 0, _) => format!("{days} {day}"),
        (days, hours, _) => format!("{days} {day} {hours} h"),
    }
}

/// A length of time from microseconds.
pub(super) fn length(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..10_000 => format!("{:.1} ms", us as f64 / 1e3),
        10_000..1_000_000 => format!("{} ms", us / 1_000),
        1_000_000..60_000_000 => format!("{:.1} s", us as f64 / 1e6),
        _ => long(us / 1_000_000),
    }
}

/// The text without characters that steer: controls, and those that turn the direction of writing and so make a name look
/// like another. A page is not the place to keep them; what must be kept to the byte is escaped before.
pub(super) fn unsteered(text: String) -> String {
    let steers = |character: char| {
        let turns = matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        turns || (character.is_control() && !matches!(character, '\n' | '\t'))
    };
    if text.contains(steers) { text.replace(steers, "\u{fffd}") } else { text }
}

/// How long a run took, in microseconds.
pub(super) fn run_us(started: Timestamp, ended: Timestamp) -> u64 {
    u64::try_from(ended.as_microsecond().saturating_sub(started.as_microsecond())).unwrap_or(0)
}

/// A word as the first of a heading or a button.
pub(super) fn capital(word: &str) -> String {
    let mut rest = word.chars();
    rest.next().map_or_else(String::new, |first| first.to_uppercase().chain(rest).collect())
}

/// A number of bytes.
pub(super) fn bytes(count: u64) -> String {
    Bytes(count).to_string()
}

/// A count, with thin spaces between groups of three digits.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            shown.push('\u{202f}');
        }
        shown.push(digit);
    }
    shown
}

/// `1 problem`, `2 problems`.
pub(super) fn many(number: u64, one: &str) -> String {
    format!("{} {one}{}", count(number), if number == 1 { "" } else { "s" })
}

/// How a run ended, or that it has not.
pub(super) fn outcome(outcome: Option<Outcome>) -> Markup {
    let (class, sign, word) = match outcome {
        Some(Outcome::Complete) => ("good", "✓", "complete"),
        Some(Outcome::Incomplete) => ("look", "!", "incomplete"),
        Some(Outcome::Failed) => ("bad", "✕", "failed"),
        None => ("now", "▶", "under way"),
    };
    badge(class, sign, word)
}

/// A word with a sign and a colour.
pub(super) fn badge(class: &str, sign: &str, word: &str) -> Markup {
    html! { span class={ "badge " (class) } { span aria-hidden="true" { (sign) " " } (word) } }
}

/// A grade with what it means.
pub(super) fn grade(grade: Option<Grade>) -> Markup {
    let Some(grade) = grade else { return html! { span class="dim" { "–" } } };
    let class = match grade {
        Grade::Frozen => "good",
        Grade::Crash => "plain",
        Grade::Fuzzy => "look",
    };
    html! { span class={ "badge " (class) } title=(grade_meaning(grade)) { (grade) } }
}

/// What a grade means, in one sentence.
pub(super) fn grade_meaning(grade: Grade) -> &'static str {
    match grade {
        Grade::Frozen => "Nothing was under way in it at the instant of the backup.",
        Grade::Crash => "It is as a power cut at the instant of the backup would have left it.",
        Grade::Fuzzy => "It was read while it changed: parts may not fit together.",
    }
}

/// How serious a message is.
pub(super) fn severity(severity: Severity) -> Markup {
    match severity {
        Severity::Info => badge("plain", "i", "info"),
        Severity::Warning => badge("look", "!", "warning"),
        Severity::Error => badge("bad", "✕", "error"),
    }
}

/// How serious an alert or a status is, by its word.
pub(super) fn level(word: &str) -> Markup {
    let (class, sign) = match word {
        "critical" | "error" => ("bad", "✕"),
        "warning" => ("look", "!"),
        "ok" => ("good", "✓"),
        _ => ("plain", "i"),
    };
    badge(class, sign, word)
}

/// A part of a path in a link: all but letters, digits and `-._~` is escaped.
pub(super) fn segment(text: &str) -> String {
    encode(text.as_bytes(), b"")
}

/// A path of a file in the query of a link: as [`segment`], but `/` stays.
pub(super) fn path_query(path: &[u8]) -> String {
    encode(path, b"/")
}

fn encode(bytes: &[u8], also: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) || also.contains(byte) {
            shown.push(char::from(*byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(shown, "%{byte:02X}");
        }
    }
    shown
}

/// A bar that is filled to `part` of `whole`, with words for who does not see it.
pub(super) fn bar(part: f64, whole: f64, class: &str, label: &str) -> Markup {
    let share = if whole > 0.0 { (part / whole).clamp(0.0, 1.0) * 100.0 } else { 0.0 };
    html! {
        svg class={ "bar " (class) } viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label=(label) {
            rect class="rail" width="100" height="10" {}
            rect class="fill" width=(format!("{share:.1}")) height="10" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_counts_read_as_people_say_them() {
        let shown = [45, 61, 540, 600, 3600, 5400, 86_400, 100_000, 432_000].map(long);
        let wanted =
            ["45 s", "1 min 1 s", "9 min", "10 min", "1 h", "1 h 30 min", "1 day", "1 day 3 h", "5 days"];
        assert_eq!(shown, wanted);
        let shown = [7, 1_234, 412_345, 3_200_000, 252_000_000].map(length);
        assert_eq!(shown, ["7 µs", "1.2 ms", "412 ms", "3.2 s", "4 min 12 s"]);
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(count),
            ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]
        );
    }

    #[test]
    fn what_is_in_a_link_cannot_leave_its_place() {
        assert_eq!(segment("a/b?c#d \"<"), "a%2Fb%3Fc%23d%20%22%3C");
        assert_eq!(path_query(b"var/l ib/\xff&x=1"), "var/l%20ib/%FF%26x%3D1");
    }
}
