//! Times, lengths of time and sizes as they are written in notices.

use jiff::{SignedDuration, Timestamp};

/// Such as `30 h`: to the minute below two hours, to the hour below three days, then to the day.
pub(crate) fn span(length: SignedDuration) -> String {
    let (minutes, hours) = (length.as_mins().max(0), length.as_hours());
    match hours {
        ..2 => format!("{minutes} min"),
        2..72 => format!("{hours} h"),
        _ => format!("{} days", hours / 24),
    }
}

/// Such as `2026-11-25 09:16 UTC`.
pub(crate) fn utc(instant: Timestamp) -> String {
    instant.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// Such as `1.5 GB`.
pub(crate) fn size(bytes: u64) -> String {
    let units = [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1000, "kB")];
    let unit = units.into_iter().find(|(unit, _)| bytes >= *unit);
    unit.map_or_else(
        || format!("{bytes} bytes"),
        |(unit, name)| format!("{:.1} {name}", bytes as f64 / unit as f64),
    )
}

/// At most `max` characters of a text, and a sign that there was more.
pub(crate) fn shortened(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", text[..at].trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_and_sizes_are_written_as_people_say_them() {
        let told = |minutes| span(SignedDuration::from_mins(minutes));
        assert_eq!([told(-5), told(0), told(119)], ["0 min", "0 min", "119 min"]);
        assert_eq!([told(120), told(1801), told(71 * 60 + 59)], ["2 h", "30 h", "71 h"]);
        assert_eq!([told(72 * 60), told(6 * 24 * 60 - 1)], ["3 days", "5 days"]);
        assert_eq!([size(999), size(1000), size(2_560_000_000)], ["999 bytes", "1.0 kB", "2.6 GB"]);
        assert_eq!(utc(Timestamp::UNIX_EPOCH), "1970-01-01 00:00 UTC");
        assert_eq!([shortened("äöü", 3), shortened("äöü x", 3)], ["äöü", "äöü…"]);
    }
}
