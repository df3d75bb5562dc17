//! `/runs`: what was done.

use jiff::Timestamp;
use maud::{Markup, html};
use stillpoint_history::{Run, Task};
use stillpoint_model::Outcome;

use super::tables::{Column, NOTHING, or_nothing, table};
use super::words::{self, bytes, grade, length, outcome, segment, time};
use super::{Chrome, forms};

/// What the page shows.
#[derive(Debug, Clone, Default)]
pub struct RunsData {
    /// The runs, newest first.
    pub runs: Vec<Run>,
    /// Only this task is shown.
    pub task: Option<Task>,
    /// Only this verdict is shown.
    pub outcome: Option<Outcome>,
    /// Only runs before this are shown.
    pub before: Option<Timestamp>,
    /// There are older ones: the instant to go on from.
    pub older: Option<Timestamp>,
}

/// The page.
pub fn page(chrome: &Chrome, data: &RunsData) -> Markup {
    let content = html! {
        h1 { "Runs" }
        form method="get" action="/runs" class="filter" {
            label { "Task " select name="task" {
                option value="" { "all" }
                @for task in Task::ALL {
                    option value=(task) selected[data.task == Some(task)] { (task) }
                }
            } }
            label { "Outcome " select name="outcome" {
                option value="" { "all" }
                @for outcome in [Outcome::Complete, Outcome::Incomplete, Outcome::Failed] {
                    option value=(outcome) selected[data.outcome == Some(outcome)] { (outcome) }
                }
            } }
            button type="submit" { "Show" }
        }
        @if chrome.may_operate() {
            div class="actions" {
                @for task in [Task::Backup, Task::Verify, Task::Retention] {
                    (forms::button(chrome, "/tasks", &format!("Run {task} now"), "", &[("task", task.as_str())])) " "
                }
            }
        }
        div data-region="runs" { (list(chrome, &data.runs)) }
        nav aria-label="Older and newer runs" class="pages" {
            @if data.before.is_some() { a href={ "/runs" (query(data, None)) } { "Newest" } }
            @if let Some(older) = data.older { a href={ "/runs" (query(data, Some(older))) } rel="next" { "Older" } }
        }
    };
    chrome.frame("Runs", &content)
}

fn query(data: &RunsData, before: Option<Timestamp>) -> String {
    let parts = [
        data.task.map(|task| format!("task={task}")),
        data.outcome.map(|outcome| format!("outcome={outcome}")),
        before.map(|before| format!("before={}", segment(&before.to_string()))),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
}

const COLUMNS: [Column; 9] = [
    ("Began", ""),
    ("Task", ""),
    ("Epoch", "number"),
    ("Outcome", ""),
    ("Grade", ""),
    ("Freeze window", "number"),
    ("Took", "number"),
    ("Size", "number"),
    ("Asked by", "who"),
];

/// The runs as a table.
pub(super) fn list(chrome: &Chrome, runs: &[Run]) -> Markup {
    if runs.is_empty() {
        return html! { p class="empty" { "No runs." } };
    }
    table("", &COLUMNS, runs.iter().map(|run| row(chrome, run)))
}

fn row(chrome: &Chrome, run: &Run) -> Vec<Markup> {
    vec![
        html! { a href={ "/runs/" (segment(&run.name)) } { (time(chrome, run.started)) } },
        html! { (run.task) },
        or_nothing(run.epoch.map(|epoch| epoch.to_string())),
        html! {
            (outcome(run.outcome))
            @if run.problems > 0 { " " span class="dim tight" { (words::many(run.problems, "problem")) } }
            @if let Some(why) = &run.failure { " " span class="why" { (why) } }
        },
        html! { @if run.grade.is_some() { (grade(run.grade)) } @else { (NOTHING) } },
        or_nothing(run.window_us.map(length)),
        or_nothing(run.ended.map(|ended| length(words::run_us(run.started, ended)))),
        or_nothing((run.bytes > 0).then(|| bytes(run.bytes))),
        html! { (run.asked_by) @if run.attempt > 1 { " " span class="dim tight" { "(try " (run.attempt) ")" } } },
    ]
}
