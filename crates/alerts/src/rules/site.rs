//! Rules about the site itself, its settings, the machine, and the channels.

use jiff::SignedDuration;

use super::{EVENT_HOLDS, condition};
use crate::facts::{Room, Trouble};
use crate::words::{shortened, size, span, utc};
use crate::{AlertKind, AlertSeverity, Condition, Facts};

/// How far in the future a run may have begun before the clock is in doubt: machines that keep their time set it by less.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_mins(1);

/// How often in a row a channel may fail: one try that is lost on the way is no condition.
const FAILURES: u64 = 3;

/// Whether the site was left frozen, or nearly.
pub(super) fn site(facts: &Facts, found: &mut Vec<Condition>) {
    // What shows that the site works again: that it was healed, or a whole backup that began afterwards.
    let healed = facts.reconciled.as_ref().map(|trouble| trouble.at);
    let good = facts.backup.last_good.as_ref().map(|run| run.started);
    let works_since = healed.max(good);
    if let Some(trouble) = &facts.not_thawed
        && works_since.is_none_or(|works| works <= trouble.at)
    {
        let title = "THE SITE COULD NOT BE PUT BACK TO WORK";
        found.push(of_trouble(AlertKind::SiteFrozen, AlertSeverity::Critical, trouble, title));
    }
    let healed = facts
        .reconciled
        .as_ref()
        .map(|trouble| (AlertSeverity::Info, trouble, "a run had died; what it left was healed"));
    let thawed = facts
        .guard_thawed
        .as_ref()
        .map(|trouble| (AlertSeverity::Warning, trouble, "the guard had to let the site go on"));
    let recent = |trouble: &Trouble| facts.now.duration_since(trouble.at) < EVENT_HOLDS;
    // Both are told of the same run: what matters more is what counts.
    let events = [thawed, healed].into_iter().flatten().find(|(_, trouble, _)| recent(trouble));
    if let Some((severity, trouble, title)) = events {
        found.push(of_trouble(AlertKind::SiteReconciled, severity, trouble, title));
    }
}

pub(super) fn room(facts: &Facts, found: &mut Vec<Condition>) {
    let last = facts.backup.last_ended.as_ref();
    let measured = last.and_then(|run| {
        Some((
            Room { free_bytes: run.free_bytes?, size_bytes: run.size_bytes? },
            run.ended.unwrap_or(run.started),
        ))
    });
    let Some((room, since)) = facts.expected.room.map(|room| (room, facts.now)).or(measured) else { return };
    let limit = u128::from(facts.expected.destination_free_percent);
    let (free, all) = (u128::from(room.free_bytes) * 100, u128::from(room.size_bytes));
    if all == 0 || free >= limit * all {
        return;
    }
    let severity = if free * 2 < limit * all { AlertSeverity::Critical } else { AlertSeverity::Warning };
    let percent = free / all;
    let text = format!(
        "{} of {} are free at the destination; it is filling up below {limit} %.",
        size(room.free_bytes),
        size(room.size_bytes)
    );
    let title = format!("{percent} % free at the destination");
    found.push(condition(AlertKind::DestinationFilling, severity, since, title, text));
}

pub(super) fn settings(facts: &Facts, found: &mut Vec<Condition>) {
    let expected = &facts.expected;
    if let Some(mistakes) = &expected.site_file_mistakes {
        let text = format!("The site file was changed and cannot be used, so the old one counts: {mistakes}");
        let title = "the site file has mistakes".to_owned();
        // Another mistake is another occurrence.
        let found_here = condition(AlertKind::SiteFile, AlertSeverity::Warning, facts.now, title, text);
        found.push(Condition { instance: shortened(mistakes, 200), ..found_here });
    }
    if let Some(gap) = expected.longest_gap.filter(|gap| *gap > expected.change_retention) {
        let title = "the schedule cannot keep to the change retention".to_owned();
        let text = format!(
            "Between two backups of the schedule there are up to {}, and the change retention is {}.",
            span(gap),
            span(expected.change_retention)
        );
        found.push(condition(AlertKind::ScheduleTooSparse, AlertSeverity::Warning, facts.now, title, text));
    }
}

pub(super) fn clock(facts: &Facts, found: &mut Vec<Condition>) {
    let runs = [&facts.backup, &facts.verify, &facts.retention];
    let future = runs
        .into_iter()
        .filter_map(|runs| runs.last_ended.as_ref())
        .find(|run| run.started.duration_since(facts.now) > CLOCK_SLACK);
    let title = "the clock of the machine was set".to_owned();
    let made = |since, text| condition(AlertKind::ClockJumped, AlertSeverity::Warning, since, title, text);
    if let Some(run) = future {
        let text = format!("Run {} began at {}, which is yet to come.", run.name, utc(run.started));
        found.push(Condition { instance: run.name.clone(), ..made(facts.now, text) });
        return;
    }
    // Both ways: the one that set it forward may lie in the future after it was set back.
    let is_recent = |jump: &&Trouble| facts.now.duration_since(jump.at).abs() < EVENT_HOLDS;
    if let Some(jump) = facts.clock_jumped.as_ref().filter(is_recent) {
        let since = jump.at.min(facts.now);
        found.push(Condition { instance: jump.at.to_string(), ..made(since, jump.text.clone()) });
    }
}

pub(super) fn channels(facts: &Facts, found: &mut Vec<Condition>) {
    for channel in facts.channels.iter().filter(|channel| channel.failures >= FAILURES) {
        let name = &channel.name;
        let since = channel.last_failed.unwrap_or(facts.now);
        let last = channel
            .last_good
            .map_or_else(|| "It never worked.".to_owned(), |at| format!("It last worked at {}.", utc(at)));
        let error = channel.error.as_deref().unwrap_or("nothing is known of why");
        let title = format!("channel {name} does not work");
        let text = format!("Channel {name} failed, at last with: {error}. {last}");
        let found_here = condition(AlertKind::ChannelFailed, AlertSeverity::Warning, since, title, text);
        found.push(Condition { subject: name.clone(), ..found_here });
    }
}

fn of_trouble(kind: AlertKind, severity: AlertSeverity, trouble: &Trouble, title: &str) -> Condition {
    Condition {
        instance: trouble.run.clone().unwrap_or_else(|| trouble.at.to_string()),
        ..condition(kind, severity, trouble.at, title.to_owned(), trouble.text.clone())
    }
}
