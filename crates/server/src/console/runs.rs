//! `/runs`: what was done.

use jiff::Timestamp;
use maud::{Markup, html};
use stillpoint_history::{Run, Task};
use stillpoint_model::Outcome;

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
        div data-region="runs" { (table(chrome, &data.runs)) }
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
        before.map(|before| format!("before={}", before.as_millisecond())),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
}

/// The runs as a table.
pub(super) fn table(chrome: &Chrome, runs: &[Run]) -> Markup {
    html! {
        @if runs.is_empty() {
            p class="empty" { "No runs." }
        } @else {
            table class="stack" {
                thead { tr {
                    th scope="col" { "Began" } th scope="col" { "Task" } th scope="col" { "Outcome" }
                    th scope="col" { "Grade" } th scope="col" class="number" { "Freeze window" }
                    th scope="col" class="number" { "Took" } th scope="col" class="number" { "Size" }
                    th scope="col" { "Asked by" }
                } }
                tbody { @for run in runs { (row(chrome, run)) } }
            }
        }
    }
}

fn row(chrome: &Chrome, run: &Run) -> Markup {
    html! {
        tr {
            th scope="row" data-label="Began" { a href={ "/runs/" (segment(&run.name)) } { (time(chrome, run.started)) } }
            td data-label="Task" { (run.task) @if let Some(epoch) = run.epoch { " " span class="dim tight" { "epoch " (epoch) } } }
            td data-label="Outcome" {
                (outcome(run.outcome))
                @if run.problems > 0 { " " span class="dim" { (words::many(run.problems, "problem")) } }
                @if let Some(why) = &run.failure { " " span class="why" { (why) } }
            }
            td data-label="Grade" class=[run.grade.is_none().then_some("none")] { (grade(run.grade)) }
            td data-label="Freeze window" class={ "number " (none(run.window_us.is_none())) } { (run.window_us.map_or("–".to_owned(), length)) }
            td data-label="Took" class={ "number " (none(run.ended.is_none())) } { (run.ended.map_or("–".to_owned(), |ended| length(words::run_us(run.started, ended)))) }
            td data-label="Size" class={ "number " (none(run.bytes == 0)) } { (if run.bytes > 0 { bytes(run.bytes) } else { "–".to_owned() }) }
            td data-label="Asked by" class="who" { (run.asked_by) @if run.attempt > 1 { " " span class="dim tight" { "(try " (run.attempt) ")" } } }
        }
    }
}

/// The class of a cell that has nothing to say, which a phone leaves out.
fn none(is_none: bool) -> &'static str {
    if is_none { "none" } else { "" }
}
