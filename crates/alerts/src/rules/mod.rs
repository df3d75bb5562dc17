//! The rules: from facts to conditions. Pure; the clock is one of the facts.

mod runs;
mod site;

use jiff::{SignedDuration, Timestamp};

use crate::kind::remedy;
use crate::{AlertKind, AlertSeverity, Condition, Facts};

/// How long an event that has no end of its own is a condition.
const EVENT_HOLDS: SignedDuration = SignedDuration::from_hours(24);

/// All that is the matter, at most once for each kind and subject. A verdict that is mended is simply not found any more.
pub fn conditions(facts: &Facts) -> Vec<Condition> {
    let mut found = Vec::new();
    runs::backups(facts, &mut found);
    runs::other_runs(facts, &mut found);
    runs::ages(facts, &mut found);
    runs::archives(facts, &mut found);
    site::site(facts, &mut found);
    site::room(facts, &mut found);
    site::settings(facts, &mut found);
    site::clock(facts, &mut found);
    site::channels(facts, &mut found);
    found
}

/// The condition of a kind, without subject and instance, with the remedy of its kind.
fn condition(
    kind: AlertKind,
    severity: AlertSeverity,
    since: Timestamp,
    title: String,
    text: String,
) -> Condition {
    Condition {
        kind,
        subject: String::new(),
        instance: String::new(),
        severity,
        title,
        text,
        remedy: remedy(kind).to_owned(),
        since,
    }
}
