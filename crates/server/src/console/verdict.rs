//! Whether the site is safe, in one sentence for somebody who was just woken up.

use jiff::{SignedDuration, Timestamp};
use stillpoint_model::Outcome;
use stillpoint_model::site_file::AlertSeverity;

use super::Chrome;
use super::overview::OverviewData;
use super::words::{capital, distance, local, long, many, seconds_between};

/// How the site stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Safe, and nothing to do.
    Good,
    /// Safe, but somebody should look.
    Look,
    /// Not safe, or not known to be.
    Bad,
}

/// The answer.
#[derive(Debug)]
pub(super) struct Verdict {
    pub standing: Standing,
    /// `Yes.`, `Yes, but look.`, `No.`
    pub answer: &'static str,
    /// Why, in one sentence.
    pub why: String,
    /// What to do now.
    pub remedy: Option<String>,
}

/// From which share of the change retention on the age of the last backup is told, as the alert for it.
const NEAR_LIMIT: f64 = 0.8;

/// The first thing that is true, the worst first.
pub(super) fn verdict(chrome: &Chrome, data: &OverviewData) -> Verdict {
    bad(chrome, data).or_else(|| look(chrome, data)).unwrap_or_else(|| {
        let at = data.last_backup.as_ref().map_or(chrome.now, |run| run.started);
        Verdict {
            standing: Standing::Good,
            answer: "Yes.",
            why: format!(
                "The site can be recovered as it was at {}, {}.",
                local(chrome, at),
                distance(chrome, at)
            ),
            remedy: None,
        }
    })
}

fn bad(chrome: &Chrome, data: &OverviewData) -> Option<Verdict> {
    let told = |answer, why, remedy: &str| {
        Some(Verdict { standing: Standing::Bad, answer, why, remedy: Some(remedy.to_owned()) })
    };
    let critical = data.alerts.iter().find(|alert| alert.severity == AlertSeverity::Critical);
    let Some(backup) = &data.last_backup else {
        let why = match data.under_way {
            Some(_) => "There is no backup of this site yet; one is being made now.",
            None => "There is no backup of this site yet: what is lost now is lost.",
        };
        return told("No.", why.to_owned(), "Run the backup now, and see that it ends well.");
    };
    let age = age(chrome.now, backup.started);
    if age > data.change_retention {
        let why = format!(
            "The last backup is {} old and must not be older than {}.",
            words(age),
            words(data.change_retention)
        );
        return told("No.", why, "Run the backup now. If it fails, its page says why and what to do.");
    }
    if let Some(alert) = critical {
        let remedy = if alert.remedy.is_empty() { "Look at the alert." } else { &alert.remedy };
        return told("Not for sure.", format!("{}.", capital(&alert.title)), remedy);
    }
    None
}

fn look(chrome: &Chrome, data: &OverviewData) -> Option<Verdict> {
    let told = |why: String, remedy: &str| {
        Some(Verdict {
            standing: Standing::Look,
            answer: "Yes, but look.",
            why,
            remedy: Some(remedy.to_owned()),
        })
    };
    let backup = data.last_backup.as_ref()?;
    let age = age(chrome.now, backup.started);
    if age.as_secs_f64() >= NEAR_LIMIT * data.change_retention.as_secs_f64() {
        let why =
            format!("The last backup is {} old; the limit is {}.", words(age), words(data.change_retention));
        return told(why, "Run the backup now, or see that the next run comes before the limit.");
    }
    if data.last_attempt.as_ref().is_some_and(|run| run.outcome == Some(Outcome::Failed)) {
        let when = local(chrome, backup.started);
        return told(
            format!("The last run failed. The backup of {when} is untouched and can be used."),
            "Open the failed run: it says why and what to do.",
        );
    }
    if backup.outcome == Some(Outcome::Incomplete) {
        let why = format!("The last backup left something out: {}.", many(backup.problems, "problem"));
        return told(why, "Open the run and read its problems.");
    }
    if let Some(archive) = data.archives.iter().find(|archive| archive.behind > 0) {
        let why = format!("Archive {} is {} behind.", archive.name, many(archive.behind, "backup"));
        return told(why, "See that the archive can be reached; the next run brings it up to date.");
    }
    if let Some(alert) = data.alerts.first() {
        let remedy = if alert.remedy.is_empty() { "Look at the alert." } else { &alert.remedy };
        return told(format!("{}.", capital(&alert.title)), remedy);
    }
    if data.next_run.is_none() {
        return told(
            "No next run is planned, so this backup will grow old.".to_owned(),
            "Give the site file a [schedule].",
        );
    }
    None
}

/// How old what was made then is.
pub(super) fn age(now: Timestamp, made: Timestamp) -> SignedDuration {
    now.duration_since(made).max(SignedDuration::ZERO)
}

/// A length of time in words.
pub(super) fn words(length: SignedDuration) -> String {
    long(u64::try_from(length.as_secs()).unwrap_or(0))
}

/// The age of a run in seconds, for a bar.
pub(super) fn age_seconds(now: Timestamp, made: Timestamp) -> f64 {
    seconds_between(made, now) as f64
}
