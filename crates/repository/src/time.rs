//! Times as restic writes them: RFC 3339 with nanoseconds and an offset.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment, to the nanosecond. By default the begin of 1970, for where none is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(Timestamp);

impl Moment {
    /// Now, by the system's clock.
    #[must_use]
    pub fn now() -> Self {
        Self(Timestamp::now())
    }

    /// The moment of this timestamp.
    #[must_use]
    pub const fn new(timestamp: Timestamp) -> Self {
        Self(timestamp)
    }

    /// As a timestamp.
    #[must_use]
    pub const fn timestamp(self) -> Timestamp {
        self.0
    }

    /// The moment of a file system time. Times that no calendar holds (years before -9999 or after 9999) become the nearest
    /// that one does.
    #[must_use]
    pub fn of_file(time: stillpoint_tree::Timestamp) -> Self {
        let nearest = if time.seconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
        let nanosecond = i32::try_from(time.nanoseconds).unwrap_or_default();
        Self(Timestamp::new(time.seconds, nanosecond).unwrap_or(nearest))
    }

    /// One nanosecond earlier.
    pub(crate) fn just_before(self) -> Self {
        Self(self.0.checked_sub(jiff::SignedDuration::from_nanos(1)).unwrap_or(self.0))
    }

    /// As a file system time.
    #[must_use]
    pub fn to_file(self) -> stillpoint_tree::Timestamp {
        let nanoseconds = self.0.as_nanosecond();
        let seconds = nanoseconds.div_euclid(1_000_000_000);
        stillpoint_tree::Timestamp {
            seconds: i64::try_from(seconds).unwrap_or_default(),
            nanoseconds: u32::try_from(nanoseconds.rem_euclid(1_000_000_000)).unwrap_or_default(),
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Moment {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        // Go's zero time is how restic writes "none".
        text.parse().map(Self)
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Moment;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time as in RFC 3339")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Moment, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_files_survive_to_the_nanosecond_also_before_1970() {
        for (seconds, nanoseconds) in [(0, 0), (1, 999_999_999), (-1, 1), (-86_400, 5), (253_402_200_000, 7)]
        {
            let time = stillpoint_tree::Timestamp { seconds, nanoseconds };
            let moment = Moment::of_file(time);
            assert_eq!(moment.to_file(), time);
            assert_eq!(moment.to_string().parse::<Moment>().unwrap(), moment);
        }
    }

    #[test]
    fn the_times_that_restic_writes_are_read() {
        for text in ["2026-11-25T03:17:58.123456789+01:00", "0001-01-01T00:00:00Z"] {
            text.parse::<Moment>().unwrap();
        }
    }
}
