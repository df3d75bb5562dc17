//! Which versions stay and which may go. A pure function: what is asked twice is answered the same, on every machine, in
//! whatever order the versions come.
//!
//! What it must never do is let a good version go because a clock was wrong. So:
//!
//! - Nothing depends on the clock of this machine but one thing: what is dated after it is *from the future*. Such a
//!   version is kept, told, and counts for no rule.
//! - The times of versions are believed only as far as the numbers of their epochs, which only ever grow, agree. Of two
//!   versions of which the one with the lower number has the later time, one was dated by a wrong clock. Which one cannot be
//!   known: both are kept, told, and count for no rule. Who knows better retires one of them by its name.
//! - Hours, days, weeks, months and years are those of UTC, so that neither a time zone nor the change to summer time
//!   moves a version from one to another. Weeks are those of ISO 8601.
//! - *Within* is measured back from the newest complete version that counts, not from now: a site that is not backed up any more
//!   does not lose its versions by that.
//!
//! Complete and incomplete versions are judged apart, so that the latter never take the place of the former. Incomplete ones
//! are judged by the same rules, but only as long as no complete version is newer; then they go, except *within*.

use std::fmt;
use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

use crate::id::Id;

/// How far ahead of this machine's clock the time of a version may be: clocks of two machines differ.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(15 * 60);

/// How long versions stay. What any rule names is kept; without any rule everything is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeepRules {
    /// This many of the newest.
    pub last: Option<u32>,
    /// The newest of each of this many hours in which there is a version.
    pub hourly: Option<u32>,
    /// The same for days.
    pub daily: Option<u32>,
    /// The same for weeks.
    pub weekly: Option<u32>,
    /// The same for months.
    pub monthly: Option<u32>,
    /// The same for years.
    pub yearly: Option<u32>,
    /// All that are not older than this, measured from the newest complete one.
    pub within: Option<Duration>,
}

impl KeepRules {
    /// Whether there is no rule.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What retention knows of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub id: Id,
    /// The instant of its epoch, as the clock of the site said.
    pub time: Timestamp,
    /// The number of its epoch, if it says one.
    pub epoch: Option<u64>,
    /// Whether its run was complete.
    pub complete: bool,
    /// Whether somebody put a hold on it.
    pub held: bool,
    /// Whether something else in the archive or of the site cannot do without it.
    pub needed: bool,
}

/// Why a version stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// There is no rule.
    NoRule,
    /// Somebody put a hold on it.
    Held,
    /// Something else cannot do without it.
    Needed,
    /// It is the newest complete version.
    LastComplete,
    /// It is the newest version, and newer than every complete one.
    Newest,
    /// It is dated after this machine's clock.
    FromTheFuture,
    /// Its time and the number of its epoch are not in the same order as those of this other version.
    ClockDisagrees(Id),
    /// It is one of the newest.
    Last,
    /// It is the newest of its hour.
    Hourly,
    /// It is the newest of its day.
    Daily,
    /// It is the newest of its week.
    Weekly,
    /// It is the newest of its month.
    Monthly,
    /// It is the newest of its year.
    Yearly,
    /// It is not old enough.
    Within,
}

impl Reason {
    /// Whether a person should know: a clock was wrong.
    #[must_use]
    pub const fn is_doubt(self) -> bool {
        matches!(self, Self::FromTheFuture | Self::ClockDisagrees(_))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRule => "no rule lets any version go",
            Self::Held => "on hold",
            Self::Needed => "needed by something else",
            Self::LastComplete => "the newest complete version",
            Self::Newest => "the newest version",
            Self::FromTheFuture => "dated in the future: a clock is or was wrong",
            Self::ClockDisagrees(other) => {
                return write!(
                    f,
                    "its time and its epoch are not in the order of {other:.8}: a clock was wrong"
                );
            }
            Self::Last => "last",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
            Self::Within => "within",
        })
    }
}

/// Why a version goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Retired {
    /// No rule names it.
    ByNoRule,
    /// It is incomplete, and a complete version is newer.
    Superseded,
}

impl fmt::Display for Retired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ByNoRule => "no rule keeps it",
            Self::Superseded => "incomplete, and a complete version is newer",
        })
    }
}

/// What becomes of one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It stays, for these reasons, of which there is at least one.
    Keep(Vec<Reason>),
    /// It may go.
    Retire(Retired),
}

/// The judgement of one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The version.
    pub id: Id,
    /// What becomes of it.
    pub fate: Fate,
}

impl Verdict {
    /// Whether it may go.
    #[must_use]
    pub const fn retires(&self) -> bool {
        matches!(self.fate, Fate::Retire(_))
    }
}

/// Judges all versions of one site in one archive, in the order in which they come. It needs all of them: a version that is
/// not told is one that others do not have to make room for.
#[must_use]
pub fn judge(rules: &KeepRules, versions: &[Candidate], now: Timestamp) -> Vec<Verdict> {
    let mut reasons: Vec<Vec<Reason>> = vec![Vec::new(); versions.len()];
    note_what_always_stays(rules, versions, now, &mut reasons);
    let counts = |place: &usize| !reasons[*place].iter().any(|reason| reason.is_doubt());
    // The newest first. Of the same instant, the higher epoch; then the name, so that the order is always the same.
    let mut counting: Vec<usize> = (0..versions.len()).filter(counts).collect();
    counting.sort_by_key(|place| {
        let version = &versions[*place];
        std::cmp::Reverse((version.time, version.epoch, version.id))
    });
    let (complete, mut incomplete): (Vec<usize>, Vec<usize>) =
        counting.iter().partition(|place| versions[**place].complete);
    let last_complete = complete.first().map(|place| versions[*place].time);
    if let Some(place) = complete.first() {
        reasons[*place].push(Reason::LastComplete);
    }
    let superseded = |place: &usize| {
        !versions[*place].complete && last_complete.is_some_and(|time| versions[*place].time <= time)
    };
    incomplete.retain(|place| !superseded(place));
    if let Some(place) = incomplete.first() {
        reasons[*place].push(Reason::Newest);
    }
    for group in [&complete, &incomplete] {
        by_count(rules, versions, group, &mut reasons);
    }
    let newest = last_complete.or(counting.first().map(|place| versions[*place].time));
    if let (Some(within), Some(newest)) = (rules.within, newest) {
        let from = newest.checked_sub(within).unwrap_or(Timestamp::MIN);
        for place in counting.iter().filter(|place| versions[**place].time >= from) {
            reasons[*place].push(Reason::Within);
        }
    }
    let fate = |(place, reasons): (usize, Vec<Reason>)| match (reasons.is_empty(), superseded(&place)) {
        (false, _) => Fate::Keep(reasons),
        (true, true) => Fate::Retire(Retired::Superseded),
        (true, false) => Fate::Retire(Retired::ByNoRule),
    };
    let fates = reasons.into_iter().enumerate().map(fate);
    versions.iter().zip(fates).map(|(version, fate)| Verdict { id: version.id, fate }).collect()
}

fn note_what_always_stays(
    rules: &KeepRules,
    versions: &[Candidate],
    now: Timestamp,
    reasons: &mut [Vec<Reason>],
) {
    let latest = now.checked_add(CLOCK_TOLERANCE).unwrap_or(Timestamp::MAX);
    for (version, reasons) in versions.iter().zip(&mut *reasons) {
        let always = [
            (rules.is_empty(), Reason::NoRule),
            (version.held, Reason::Held),
            (version.needed, Reason::Needed),
            (version.time > latest, Reason::FromTheFuture),
        ];
        reasons.extend(always.into_iter().filter_map(|(holds, reason)| holds.then_some(reason)));
    }
    let mut by_epoch: Vec<(u64, usize)> = (0..versions.len())
        .filter(|place| versions[*place].time <= latest)
        .filter_map(|place| Some((versions[place].epoch?, place)))
        .collect();
    by_epoch.sort_unstable();
    // Forwards, the latest of all with a lower number; backwards, the earliest of all with a higher one.
    note_disorder(versions, by_epoch.iter(), |one, other| one < other, reasons);
    note_disorder(versions, by_epoch.iter().rev(), |one, other| one > other, reasons);
}

/// Notes each version before which, in this order of epochs, there is one whose time is on the wrong side of its own.
fn note_disorder<'a>(
    versions: &[Candidate],
    by_epoch: impl Iterator<Item = &'a (u64, usize)>,
    on_wrong_side: impl Fn(Timestamp, Timestamp) -> bool,
    reasons: &mut [Vec<Reason>],
) {
    let mut extreme: Option<usize> = None;
    // Those with the same number say nothing about each other: they are noted when the number changes.
    let mut same: (u64, Vec<usize>) = (0, Vec::new());
    for (epoch, place) in by_epoch {
        if *epoch != same.0 {
            for place in same.1.drain(..) {
                if extreme.is_none_or(|known| on_wrong_side(versions[known].time, versions[place].time)) {
                    extreme = Some(place);
                }
            }
            same.0 = *epoch;
        }
        same.1.push(*place);
        let doubtful = extreme.filter(|known| on_wrong_side(versions[*place].time, versions[*known].time));
        if let Some(known) = doubtful
            && !reasons[*place].iter().any(|reason| matches!(reason, Reason::ClockDisagrees(_)))
        {
            reasons[*place].push(Reason::ClockDisagrees(versions[known].id));
        }
    }
}

/// The rules that count, over versions from the newest to the oldest.
fn by_count(rules: &KeepRules, versions: &[Candidate], newest_first: &[usize], reasons: &mut [Vec<Reason>]) {
    for place in newest_first.iter().take(rules.last.unwrap_or(0) as usize) {
        reasons[*place].push(Reason::Last);
    }
    let periods = [
        (rules.hourly, Reason::Hourly),
        (rules.daily, Reason::Daily),
        (rules.weekly, Reason::Weekly),
        (rules.monthly, Reason::Monthly),
        (rules.yearly, Reason::Yearly),
    ];
    for (wanted, reason) in periods {
        let mut left = wanted.unwrap_or(0);
        let mut previous = None;
        for place in newest_first {
            let period = Some(period(versions[*place].time, reason));
            if left == 0 {
                break;
            }
            if period != previous {
                reasons[*place].push(reason);
                (left, previous) = (left - 1, period);
            }
        }
    }
}

/// The period in UTC that an instant lies in, as numbers that differ for different periods.
fn period(time: Timestamp, reason: Reason) -> (i16, i8, i8, i8) {
    let time = time.to_zoned(TimeZone::UTC).datetime();
    let week = time.date().iso_week_date();
    match reason {
        Reason::Hourly => (time.year(), time.month(), time.day(), time.hour()),
        Reason::Daily => (time.year(), time.month(), time.day(), 0),
        Reason::Weekly => (week.year(), week.week(), 0, 0),
        Reason::Monthly => (time.year(), time.month(), 0, 0),
        _ => (time.year(), 0, 0, 0),
    }
}

#[cfg(test)]
mod tests;
