//! Rules about runs, their ages, and what they brought into the archives.

use jiff::Timestamp;
use stillpoint_history::{Run, Task};
use stillpoint_model::{ErrorKind, Outcome};

use super::condition;
use crate::words::{span, utc};
use crate::{AlertKind, AlertSeverity, Condition, Facts};

pub(super) fn backups(facts: &Facts, found: &mut Vec<Condition>) {
    let retry_is_planned = facts.expected.retry_at.is_some_and(|at| at > facts.now);
    if let Some(run) = &facts.backup.last_ended {
        match run.outcome {
            Some(Outcome::Failed) if !retry_is_planned => {
                let severity = if was_cancelled(run) { AlertSeverity::Warning } else { AlertSeverity::Critical };
                found.push(failed(run, severity));
            }
            Some(Outcome::Incomplete) => found.push(of_run(
                run,
                condition(
                    AlertKind::RunIncomplete,
                    AlertSeverity::Warning,
                    ended(run),
                    format!("the backup was incomplete: {}", problems(run.problems)),
                    format!(
                        "The backup of {} (run {}) was published with {}: something was left out or did not go as asked.",
                        utc(run.started),
                        run.name,
                        problems(run.problems)
                    ),
                ),
            )),
            _ => {}
        }
    }
    if let Some(run) = &facts.backup.last_good
        && let Some(failure) = &run.hook_failure
    {
        found.push(of_run(
            run,
            condition(
                AlertKind::HookFailed,
                AlertSeverity::Warning,
                ended(run),
                "the hook failed after the backup".into(),
                format!("After the backup of {} (run {}): {failure}.", utc(run.started), run.name),
            ),
        ));
    }
}

pub(super) fn other_runs(facts: &Facts, found: &mut Vec<Condition>) {
    if let Some(run) = &facts.retention.last_ended
        && run.outcome == Some(Outcome::Failed)
    {
        found.push(failed(run, AlertSeverity::Warning));
    }
    let Some(run) = &facts.verify.last_ended else { return };
    let (severity, title) = match run.outcome {
        Some(Outcome::Failed) => (AlertSeverity::Critical, "the verify failed".to_owned()),
        Some(Outcome::Incomplete) => {
            (AlertSeverity::Warning, format!("the verify found {}", problems(run.problems)))
        }
        _ => return,
    };
    let text = format!("The verify of {} (run {}): {}.", utc(run.started), run.name, why(run));
    found.push(of_run(run, condition(AlertKind::VerifyFailed, severity, ended(run), title, text)));
}

/// What is too old, or was never done.
pub(super) fn ages(facts: &Facts, found: &mut Vec<Condition>) {
    let expected = &facts.expected;
    let (since, last) = last_good(facts.backup.last_good.as_ref(), facts.watched_since, "backup");
    let age = facts.now.duration_since(since);
    let next = expected
        .next_due
        .map_or_else(|| "None is planned.".to_owned(), |due| format!("The next one is due at {}.", utc(due)));
    if let Some(limit) = expected.no_success_for.filter(|limit| age >= *limit) {
        found.push(condition(
            AlertKind::NoSuccess,
            AlertSeverity::Critical,
            since,
            format!("no good backup for {}", span(age)),
            format!("{last} There should be one every {}. {next}", span(limit)),
        ));
    }
    let limit = expected.change_retention;
    // 80 % without fractions: five times the age against four times the limit.
    if limit.is_positive() && age.saturating_mul(5) >= limit.saturating_mul(4) {
        let (severity, title) = if age > limit {
            (AlertSeverity::Critical, format!("the last good backup is older than {}", span(limit)))
        } else {
            (AlertSeverity::Warning, format!("the last good backup is nearly {} old", span(limit)))
        };
        let text = format!("{last} The change retention is {}. {next}", span(limit));
        found.push(condition(AlertKind::ChangeRetention, severity, since, title, text));
    }
    let (since, last) = last_good(facts.verify.last_good.as_ref(), facts.watched_since, "verify");
    let age = facts.now.duration_since(since);
    if let Some(limit) = expected.verify_within.filter(|limit| age >= *limit) {
        found.push(condition(
            AlertKind::VerifyOverdue,
            AlertSeverity::Warning,
            since,
            format!("nothing was verified for {}", span(age)),
            format!("{last} What is stored should be verified every {}.", span(limit)),
        ));
    }
}

pub(super) fn archives(facts: &Facts, found: &mut Vec<Condition>) {
    let Some(newest) = &facts.backup.last_good else { return };
    let Some(epoch) = newest.epoch else { return };
    for archive in &facts.archives {
        let name = &archive.name;
        let (since, has) = match archive.newest {
            Some((version, _)) if version >= epoch => continue,
            Some((version, at)) => (at, format!("its newest version is epoch {version} of {}", utc(at))),
            None => (facts.watched_since, "it has no version that is known here".to_owned()),
        };
        let is_too_old = facts.now.duration_since(since) > facts.expected.change_retention;
        let severity = if is_too_old { AlertSeverity::Critical } else { AlertSeverity::Warning };
        let title = format!("archive {name} is behind");
        let text = format!(
            "The last good backup is epoch {epoch} (run {}), and archive {name} does not have it: {has}.",
            newest.name
        );
        let found_here = condition(AlertKind::ArchiveBehind, severity, ended(newest), title, text);
        found.push(Condition { subject: name.clone(), ..found_here });
    }
}

fn failed(run: &Run, severity: AlertSeverity) -> Condition {
    let (what, task) = match run.task {
        Task::Retention => ("letting old versions go", run.task),
        task => ("the backup", task),
    };
    let title = format!("{what} {}", if was_cancelled(run) { "was cancelled" } else { "failed" });
    let tries = if run.attempt > 1 { format!(" in try {}", run.attempt) } else { String::new() };
    let text =
        format!("The {task} run of {} (run {}) failed{tries}: {}.", utc(run.started), run.name, why(run));
    let found = condition(AlertKind::RunFailed, severity, ended(run), title, text);
    Condition { subject: task.to_string(), ..of_run(run, found) }
}

/// Somebody, or the end of the service, wanted it so.
fn was_cancelled(run: &Run) -> bool {
    run.exit_code == Some(ErrorKind::Cancelled.exit_code())
}

fn of_run(run: &Run, condition: Condition) -> Condition {
    Condition { instance: run.name.clone(), ..condition }
}

fn ended(run: &Run) -> Timestamp {
    run.ended.unwrap_or(run.started)
}

fn why(run: &Run) -> String {
    match (&run.failure, run.exit_code) {
        (Some(failure), _) => failure.trim_end_matches('.').to_owned(),
        (None, _) if run.problems > 0 => problems(run.problems),
        (None, Some(code)) => format!("it ended with exit code {code}"),
        (None, None) => "nothing is known of why".to_owned(),
    }
}

fn problems(count: u64) -> String {
    if count == 1 { "1 problem".to_owned() } else { format!("{count} problems") }
}

/// Since when there was no good run, and that in words. A backup is as old as its begin: that is when it was cut, or before.
fn last_good(run: Option<&Run>, watched_since: Timestamp, task: &str) -> (Timestamp, String) {
    match run {
        Some(run) => {
            (run.started, format!("The last good {task} began at {} (run {}).", utc(run.started), run.name))
        }
        None => (
            watched_since,
            format!("There was no good {task} yet; it is waited for since {}.", utc(watched_since)),
        ),
    }
}
