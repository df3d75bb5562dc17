//! `/`: is my site safe?

use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};
use stillpoint_history::{Alert, Run, RunDetails, Task};
use stillpoint_model::Phase;

use super::verdict::{Standing, age, age_seconds, verdict, words as length_words};
use super::words::{self, bytes, distance, grade, length, outcome, segment, time, utc};
use super::{Chrome, forms};

/// How an archive stands.
#[derive(Debug, Clone)]
pub struct ArchiveState {
    /// Its name.
    pub name: String,
    /// When the newest backup in it was made.
    pub last: Option<Timestamp>,
    /// How many published backups are not in it.
    pub behind: u64,
}

/// A task that waits.
#[derive(Debug, Clone)]
pub struct Queued {
    /// Its number in the queue.
    pub job: u64,
    /// What it does.
    pub task: String,
    /// Who asked for it.
    pub asked_by: String,
    /// Since when it waits.
    pub since: Timestamp,
    /// What it waits for, such as the owner of the lock; may be empty.
    pub waits_for: String,
}

/// What the page shows.
#[derive(Debug, Clone)]
pub struct OverviewData {
    /// The newest run that published a set, complete or incomplete.
    pub last_backup: Option<Run>,
    /// The newest run of the backup task, however it went.
    pub last_attempt: Option<Run>,
    /// For how long the other sites keep what changed.
    pub change_retention: SignedDuration,
    /// When the next backup is due.
    pub next_run: Option<Timestamp>,
    /// The run that is under way.
    pub under_way: Option<RunDetails>,
    /// Its number in the queue; missing when it was begun elsewhere, such as on a command line.
    pub job: Option<u64>,
    /// What waits.
    pub queue: Vec<Queued>,
    /// Active alerts, the worst first.
    pub alerts: Vec<Alert>,
    /// The newest run of verify that ended.
    pub last_verify: Option<Run>,
    /// The archives of the site file.
    pub archives: Vec<ArchiveState>,
    /// The newest runs, newest first.
    pub recent: Vec<Run>,
}

/// The page.
pub fn page(chrome: &Chrome, data: &OverviewData) -> Markup {
    let content = html! {
        (answer(chrome, data))
        div data-region="overview" {
            @if let Some(run) = &data.under_way { (under_way(chrome, run)) }
            @if !data.queue.is_empty() { (queue(chrome, &data.queue)) }
            @if !data.alerts.is_empty() { (alerts(chrome, &data.alerts)) }
            (facts(chrome, data))
            (recent(chrome, &data.recent))
        }
    };
    chrome.frame("Overview", &content)
}

fn answer(chrome: &Chrome, data: &OverviewData) -> Markup {
    let verdict = verdict(chrome, data);
    let (class, sign) = match verdict.standing {
        Standing::Good => ("good", "✓"),
        Standing::Look => ("look", "!"),
        Standing::Bad => ("bad", "✕"),
    };
    html! {
        section class={ "answer " (class) } {
            div data-region="answer" aria-live="polite" {
                h1 { "Is my site safe?" }
                p class="verdict" {
                    span class="sign" aria-hidden="true" { (sign) }
                    span { b { (verdict.answer) } " " (verdict.why) }
                }
                @if let Some(remedy) = &verdict.remedy { p class="remedy" { (remedy) } }
            }
            @if chrome.may_operate() {
                div class="actions" data-region="actions" {
                    @if data.under_way.as_ref().is_none_or(|run| run.run.task != Task::Backup) {
                        (forms::button(chrome, "/tasks", "Run backup now", "primary", &[("task", "backup")]))
                    }
                    @if let (Some(_), Some(job)) = (&data.under_way, data.job) { (forms::cancel(chrome, job)) }
                    (forms::button(chrome, "/tasks", "Verify now", "", &[("task", "verify")]))
                }
            }
        }
    }
}

/// The run that is under way, with its phase. The script brings phase, activity and bar up to date.
fn under_way(chrome: &Chrome, details: &RunDetails) -> Markup {
    let run = &details.run;
    let current = details.phases.iter().rev().find(|phase| phase.elapsed_us.is_none());
    let current = current.map_or("", |phase| phase.phase.as_str());
    let ended = |name: &str| details.phases.iter().any(|it| it.phase == name && it.elapsed_us.is_some());
    html! {
        section class="card now" aria-labelledby="under-way" data-run=(run.name) {
            h2 id="under-way" { a href={ "/runs/" (segment(&run.name)) } { (words::capital(run.task.as_str())) " under way" } }
            p { "Asked for by " b { (run.asked_by) } ", began " (time(chrome, run.started)) " (" (distance(chrome, run.started)) ")"
                @if run.attempt > 1 { ", try " (run.attempt) } "." }
            @if run.task == Task::Backup {
                p aria-live="polite" { "Phase: " b data-now="phase" { (if current.is_empty() { "–" } else { current }) } }
                ol class="phases" {
                    @for phase in Phase::ALL {
                        @let name = phase.to_string();
                        li data-phase=(name) aria-current=[(name == current).then_some("step")]
                            class=[ended(&name).then_some("done")] { (name) }
                    }
                }
            }
            div class="progress" data-now="progress" hidden {
                span data-now="activity" {}
                (words::bar(0.0, 1.0, "now", "progress of the activity"))
            }
        }
    }
}

fn queue(chrome: &Chrome, queue: &[Queued]) -> Markup {
    html! {
        section class="card" aria-labelledby="queue" {
            h2 id="queue" { "Waiting" }
            ul class="plain" {
                @for task in queue {
                    li { b { (task.task) } ", asked for by " (task.asked_by) " " (distance(chrome, task.since))
                        @if !task.waits_for.is_empty() { ": waits for " (task.waits_for) }
                        @if chrome.may_operate() {
                            " " (forms::button(chrome, "/tasks/cancel", "Do not do it", "quiet", &[("job", &task.job.to_string())]))
                        } }
                }
            }
        }
    }
}

fn alerts(chrome: &Chrome, alerts: &[Alert]) -> Markup {
    html! {
        section class="card" aria-labelledby="active-alerts" {
            h2 id="active-alerts" { a href="/alerts" { "Active alerts" } }
            ul class="plain" {
                @for alert in alerts.iter().take(5) {
                    li { (words::level(alert.severity.as_str())) " " (words::capital(&alert.title)) " " span class="dim" { (distance(chrome, alert.began)) } }
                }
            }
            @if alerts.len() > 5 { p { a href="/alerts" { "All " (alerts.len()) } } }
        }
    }
}

fn facts(chrome: &Chrome, data: &OverviewData) -> Markup {
    html! {
        section aria-labelledby="facts" {
            h2 id="facts" { "How it stands" }
            div class="cards" {
                (last_backup(chrome, data))
                div class="card" {
                    h3 { "Next backup" }
                    @match data.next_run {
                        Some(at) => {
                            p class="figure" { (distance(chrome, at)) }
                            p { (time(chrome, at)) br; span class="dim" { (utc(at)) } }
                        }
                        None => { p class="figure" { "not planned" } p { a href="/schedule" { "Schedule" } } }
                    }
                }
                div class="card" {
                    h3 { "Last verify" }
                    @match &data.last_verify {
                        Some(run) => {
                            p class="figure" { (outcome(run.outcome)) }
                            p { a href={ "/runs/" (segment(&run.name)) } { (time(chrome, run.started)) } ", " (distance(chrome, run.started)) }
                        }
                        None => { p class="figure" { "never" } p { "What is stored was not read again yet." } }
                    }
                }
                @for archive in &data.archives { (archive_card(chrome, archive)) }
                (room(data))
            }
        }
    }
}

fn last_backup(chrome: &Chrome, data: &OverviewData) -> Markup {
    let limit = length_words(data.change_retention);
    html! {
        div class="card wide" {
            h3 { "Last good backup" }
            @match &data.last_backup {
                None => { p class="figure" { "none" } }
                Some(run) => {
                    @let old = length_words(age(chrome.now, run.started));
                    p class="figure" { (old) " old " (outcome(run.outcome)) }
                    @let part = age_seconds(chrome.now, run.started);
                    @let whole = data.change_retention.as_secs_f64();
                    @let class = if part > whole { "bad" } else if part > 0.8 * whole { "look" } else { "good" };
                    (words::bar(part, whole, class, &format!("{old} of {limit}")))
                    p class="ends" { span { "now" } span { "limit " (limit) } }
                    dl {
                        dt { "Made" } dd { a href={ "/runs/" (segment(&run.name)) } { (time(chrome, run.started)) } }
                        dt { "Grade" } dd { (grade(run.grade)) @if let Some(it) = run.grade { " " span class="dim" { (words::grade_meaning(it)) } } }
                        dt { "Freeze window" } dd { (run.window_us.map_or("–".to_owned(), length)) }
                        dt { "Size" } dd { (bytes(run.bytes)) " in " (words::many(run.files, "file")) }
                    }
                }
            }
        }
    }
}

fn archive_card(chrome: &Chrome, archive: &ArchiveState) -> Markup {
    html! {
        div class="card" {
            h3 { "Archive " (archive.name) }
            p class="figure" {
                @if archive.last.is_none() { (words::badge("look", "!", "empty")) }
                @else if archive.behind == 0 { (words::badge("good", "✓", "up to date")) }
                @else { (words::badge("look", "!", &format!("{} behind", words::many(archive.behind, "backup")))) }
            }
            @if let Some(last) = archive.last { p { "Newest: " (time(chrome, last)) } }
        }
    }
}

fn room(data: &OverviewData) -> Markup {
    let known =
        data.recent.iter().chain(&data.last_backup).find_map(|run| run.free_bytes.zip(run.size_bytes));
    html! {
        @if let Some((free, size)) = known {
            @let used = size.saturating_sub(free) as f64;
            @let share = if size > 0 { used / size as f64 } else { 0.0 };
            div class="card" {
                h3 { "Room at the destination" }
                p class="figure" { (bytes(free)) " free" }
                (words::bar(used, size as f64, if share > 0.95 { "bad" } else if share > 0.85 { "look" } else { "good" },
                    &format!("{:.0} % used", share * 100.0)))
                p class="dim" { (format!("{:.0} % of {} used", share * 100.0, bytes(size))) }
            }
        }
    }
}

fn recent(chrome: &Chrome, runs: &[Run]) -> Markup {
    html! {
        section aria-labelledby="recent" {
            h2 id="recent" { a href="/runs" { "Recent runs" } }
            (super::runs::list(chrome, runs))
        }
    }
}
