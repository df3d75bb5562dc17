//! A length of time as people write it: `500ms`, `10s`, `5m`, `1h 30m`, `30d`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A length of time, longer than zero. A day has 24 hours and a week seven days; months and years, whose length differs, are
/// not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Wait(Duration);

impl Wait {
    /// The wait of `seconds`.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The wait of `days` of 24 hours.
    pub const fn days(days: u64) -> Self {
        Self::seconds(days * 24 * 3600)
    }

    /// As a duration of the standard library.
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Wait {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || {
            format!(
                "a length of time is written like \"500ms\", \"10s\", \"5m\", \"1h 30m\" or \"30d\"; this is {text:?}"
            )
        };
        let span: jiff::Span = text.parse().map_err(|_| wanted())?;
        let span = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| wanted())?;
        match Duration::try_from(span) {
            Ok(duration) if !duration.is_zero() => Ok(Self(duration)),
            _ => Err(wanted()),
        }
    }
}

impl TryFrom<String> for Wait {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Wait> for String {
    fn from(wait: Wait) -> String {
        wait.to_string()
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0.as_millis();
        match milliseconds {
            ms if ms % 86_400_000 == 0 => write!(f, "{}d", ms / 86_400_000),
            ms if ms % 3_600_000 == 0 => write!(f, "{}h", ms / 3_600_000),
            ms if ms % 60_000 == 0 => write!(f, "{}m", ms / 60_000),
            ms if ms % 1_000 == 0 => write!(f, "{}s", ms / 1_000),
            ms => write!(f, "{ms}ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_reads_and_prints_as_people_write_it() {
        for (text, milliseconds) in [("500ms", 500), ("10s", 10_000), ("5m", 300_000), ("1h 30m", 5_400_000)]
        {
            assert_eq!(text.parse::<Wait>().unwrap().duration().as_millis(), milliseconds);
        }
        assert_eq!(Wait::seconds(90).to_string(), "90s");
        assert_eq!("2w 1d".parse::<Wait>().unwrap().to_string(), "15d");
        for wrong in ["", "0s", "-1s", "ten", "10", "1y", "2mo"] {
            assert!(wrong.parse::<Wait>().is_err(), "{wrong:?} was taken");
        }
    }
}
