//! A time zone, and from its wall clock to instants.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, Zoned};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::wrong::as_text;
use crate::{WrongSchedule, nearest};

/// A time zone by its IANA name, such as `Europe/Berlin`. Its rules are those of the system, or of the program where the system
/// has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Zone {
    name: String,
    rules: TimeZone,
}

as_text!(Zone);

/// What lies among the zones of a machine and is none of its own: what it means differs or may change.
const NO_PLACE: [&str; 3] = ["localtime", "posixrules", "Factory"];

impl Zone {
    /// Coordinated universal time.
    pub fn utc() -> Self {
        Self { name: "UTC".to_owned(), rules: TimeZone::UTC }
    }

    /// Its IANA name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its wall clock shows at `instant`.
    pub fn at(&self, instant: Timestamp) -> Zoned {
        instant.to_zoned(self.rules.clone())
    }

    /// The instant at which its wall clock shows `time`: of two the first; of none the first instant after the gap. Nothing for a
    /// day that a place left out as a whole, such as 2011-12-30 in Samoa: a day that was not has no night.
    ///
    /// Never goes back: a later `time` has no earlier instant. [`crate::Schedule::next`] needs this.
    pub(crate) fn instant(&self, time: DateTime) -> Option<Timestamp> {
        let instant = self.first_instant(time)?;
        // Only on such a day does even midnight belong to a later day.
        let midnight = self.first_instant(time.date().to_datetime(Time::midnight()))?;
        let left_out = self.date_of(midnight) > time.date();
        (!left_out).then_some(instant)
    }

    fn date_of(&self, instant: Timestamp) -> Date {
        self.rules.to_datetime(instant).date()
    }

    fn first_instant(&self, time: DateTime) -> Option<Timestamp> {
        match self.rules.to_ambiguous_timestamp(time).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(time).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(time).ok(),
            // With the offset of after the gap, the time is an instant before it.
            AmbiguousOffset::Gap { after, .. } => {
                let before_gap = after.to_timestamp(time).ok()?;
                self.rules.following(before_gap).next().map(|change| change.timestamp())
            }
        }
    }
}

impl FromStr for Zone {
    type Err = WrongSchedule;

    fn from_str(text: &str) -> Result<Self, WrongSchedule> {
        if text.eq_ignore_ascii_case("UTC") {
            return Ok(Self::utc());
        }
        if NO_PLACE.iter().any(|name| name.eq_ignore_ascii_case(text)) {
            let remedy = "write the IANA name of the zone that is meant, such as \"Europe/Berlin\"; `timedatectl` shows that of the machine";
            return Err(WrongSchedule::new(format!("names no place: {text:?}"), remedy));
        }
        let zones = jiff::tz::db();
        if let Ok(rules) = zones.get(text) {
            let name = rules.iana_name().unwrap_or(text).to_owned();
            return Ok(Self { name, rules });
        }
        let known: Vec<String> = zones.available().map(|name| name.as_str().to_owned()).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        // People often know the town and not the continent.
        let in_town =
            |name: &&&str| name.rsplit('/').next().is_some_and(|town| town.eq_ignore_ascii_case(text));
        let remedy = match nearest(text, &known).or(known.iter().find(in_town).copied()) {
            Some(near) => format!("did you mean {near:?}?"),
            None => "write the IANA name of a zone, such as \"Europe/Berlin\" or \"UTC\"; `timedatectl list-timezones` \
                     lists them"
                .to_owned(),
        };
        Err(WrongSchedule::new(format!("names no time zone: {text:?}"), remedy))
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
