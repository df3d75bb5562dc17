//! `/runs/{name}`: one run.

use maud::{Markup, html};
use stillpoint_history::{Message, Run, RunComponent, RunDetails, RunStep, RunVersion, Task};
use stillpoint_model::Outcome;

use super::tables::{Column, NOTHING, or_nothing, table};
use super::timeline::{drawing, is_still, swatch, window_row, window_steps};
use super::words::{self, bytes, count, distance, grade, length, many, outcome, segment, time};
use super::{Chrome, forms};

/// What the page shows.
#[derive(Debug, Clone)]
pub struct RunData {
    /// The run.
    pub details: RunDetails,
    /// Its status messages, oldest first.
    pub messages: Vec<Message>,
    /// There are more messages than are shown.
    pub messages_left_out: bool,
    /// Its number in the queue, while it is under way and was begun by the service.
    pub job: Option<u64>,
    /// What it logged, as text.
    pub log: Option<String>,
}

/// The page.
pub fn page(chrome: &Chrome, data: &RunData) -> Markup {
    let details = &data.details;
    let run = &details.run;
    let content = html! {
        h1 { (words::capital(run.task.as_str())) " of " (words::local(chrome, run.started)) }
        div data-region="run" {
            (summary(chrome, run, data.job))
            @if !details.phases.is_empty() { (time_line(details)) }
            @if !details.problem_list.is_empty() { (problems(details)) }
            @if !details.components.is_empty() { (components(details)) }
            @if !details.versions.is_empty() { (versions(details)) }
            (messages(chrome, data))
            @if !details.steps.is_empty() { (steps(&details.steps)) }
        }
        @if let Some(log) = &data.log {
            section aria-labelledby="log" {
                h2 id="log" { "Log" }
                details { summary { "Show the log" } pre tabindex="0" { (log) } }
            }
        }
    };
    chrome.frame(&format!("Run {}", run.name), &content)
}

fn summary(chrome: &Chrome, run: &Run, job: Option<u64>) -> Markup {
    html! {
            section class="card" aria-labelledby="verdict" data-run=(run.name) {
                h2 id="verdict" { (outcome(run.outcome)) " "
                    @if run.problems > 0 { (many(run.problems, "problem")) } }
                @if let Some(why) = &run.failure { p class="why" { b { "Why it failed: " } (why) } }
                @if let Some(why) = &run.hook_failure { p { b { "The hook failed; the backup is whole: " } (why) } }
                @if run.ended.is_none() {
    @if run.task == Task::Backup { p aria-live="polite" { "Phase: " b data-now="phase" { "–" } } }
                    div class="progress" data-now="progress" hidden {
                        span data-now="activity" {} (words::bar(0.0, 1.0, "now", "progress of the activity"))
                    }
                    @if let (true, Some(job)) = (chrome.may_operate(), job) { (forms::cancel(chrome, job)) }
                }
                dl class="columns" {
                    dt { "Run" } dd { code { (run.name) } }
                    @if let Some(epoch) = run.epoch { dt { "Epoch" } dd { (epoch) } }
                    dt { "Asked by" } dd { (run.asked_by) @if run.attempt > 1 { ", try " (run.attempt) } }
                    dt { "Began" } dd { (time(chrome, run.started)) " (" (distance(chrome, run.started)) ")" }
                    @if let Some(ended) = run.ended {
                        dt { "Ended" } dd { (time(chrome, ended)) ", after " (length(words::run_us(run.started, ended))) }
                    }
                    @if let Some(window) = run.window_us { dt { "Freeze window" } dd { (length(window)) } }
                    @if let Some(it) = run.grade { dt { "Grade" } dd { (grade(run.grade)) " " span class="dim" { (words::grade_meaning(it)) } } }
                    @if run.files > 0 { dt { "Size" } dd { (bytes(run.bytes)) " in " (many(run.files, "file")) } }
                    @if let Some(set) = &run.set { dt { "Set" } dd { code { (set) } } }
                    @if let Some(code) = run.exit_code { dt { "Exit code" } dd { (code) } }
                }
            }
        }
}

fn time_line(details: &RunDetails) -> Markup {
    let still: u64 =
        details.phases.iter().filter(|it| is_still(&it.phase)).filter_map(|it| it.elapsed_us).sum();
    let window = details.run.window_us.unwrap_or(still);
    let whole: u64 = details.phases.iter().filter_map(|it| it.elapsed_us).sum();
    let rows = window_steps(details);
    let scale =
        rows.values().flatten().map(|it| it.from_us + it.us).max().unwrap_or(0).max(window).max(still).max(1);
    html! {
        section aria-labelledby="phases" {
            h2 id="phases" { "Phases" }
            (drawing(details, details.run.window_us))
            @if still > 0 && whole > 0 {
                p class="dim" {
                    "Above the whole run, " (length(whole)) "; below the phases freeze, snapshot and thaw, " (length(scale)) ", "
                    (format!("{:.0}", (whole as f64 / scale as f64).max(1.0))) " times magnified. Framed in it is the freeze window: "
                    (length(window)) ", " (format!("{:.2}", window as f64 / whole as f64 * 100.0)) " % of the run."
                }
            }
            div class="side" {
                table class="narrow" {
                    caption { "How long each phase took" }
                    thead { tr { th scope="col" { "Phase" } th scope="col" class="number" { "Took" } th scope="col" { "The site" } } }
                    tbody { @for phase in &details.phases {
                        tr {
                            th scope="row" { (swatch(&phase.phase)) " " (phase.phase) }
                            td class="number" { (phase.elapsed_us.map_or("not ended".to_owned(), length)) }
                            td { (if is_still(&phase.phase) { "stands still" } else { "works" }) }
                        }
                    } }
                }
                @if !rows.is_empty() {
                    table class="narrow grow" {
                        caption { "In the magnified part, " (length(scale)) ": components of one level act at the same time" }
                        thead { tr { th scope="col" { "Component" } th scope="col" class="draw" { span class="hidden" { "Place in the window" } }
                            th scope="col" { "Steps" } } }
                        tbody { @for (component, stretches) in &rows {
                            tr {
                                th scope="row" { (component) }
                                td class="draw" { (window_row(stretches, scale)) }
                                td { @for it in stretches { span class="step" { (swatch(&it.name)) (it.name) " " (length(it.us)) } " " } }
                            }
                        } }
                    }
                }
            }
        }
    }
}

fn problems(details: &RunDetails) -> Markup {
    html! {
        section aria-labelledby="problems" {
            h2 id="problems" { "Problems" }
            ul class="plain" {
                @for problem in &details.problem_list {
                    li {
                        (words::badge("look", "!", "problem")) " "
                        @if let Some(component) = &problem.component { b { (component.as_str()) } " " }
                        @if let Some(path) = &problem.path { code { (stillpoint_model::plain::one_line(path)) } " " }
                        (problem.text)
                    }
                }
            }
            @if details.run.problems > details.problem_list.len() as u64 {
                p class="dim" { "The first " (details.problem_list.len()) " of " (count(details.run.problems)) "; the manifest of the set has them all." }
            }
        }
    }
}

/// What the set holds. A run that published none knows at most how its components were to be cut.
fn components(details: &RunDetails) -> Markup {
    let published = matches!(details.run.outcome, Some(Outcome::Complete | Outcome::Incomplete));
    let all: &[Column] =
        &[("Component", ""), ("Cut by", ""), ("Grade", ""), ("Files", "number"), ("Size", "number")];
    let columns = if published { all } else { &all[..2] };
    let row = |it: &RunComponent| {
        vec![
            html! { (it.name) },
            html! { (it.provider.as_deref().unwrap_or("its writer")) },
            grade(Some(it.grade)),
            html! { (count(it.files)) },
            html! { (bytes(it.bytes)) },
        ]
    };
    html! {
        section aria-labelledby="components" {
            h2 id="components" { (if published { "Components in the set" } else { "Components" }) }
            (table("", columns, details.components.iter().map(row)))
        }
    }
}

fn versions(details: &RunDetails) -> Markup {
    let columns: &[Column] = &[("Archive", ""), ("Version", ""), ("New", "number"), ("Stored", "number")];
    let row = |it: &RunVersion| {
        let path = format!("/versions/{}/{}", segment(&it.archive), segment(&it.version));
        let short: String = it.version.chars().take(12).collect();
        vec![
            html! { (it.archive) },
            html! { a href=(path) { code { (short) } } " epoch " (it.epoch) },
            html! { (it.added_bytes.map_or("was there".to_owned(), bytes)) },
            or_nothing(it.stored_bytes.map(bytes)),
        ]
    };
    html! {
        section aria-labelledby="versions" {
            h2 id="versions" { "Versions in archives" }
            (table("", columns, details.versions.iter().map(row)))
        }
    }
}

fn messages(chrome: &Chrome, data: &RunData) -> Markup {
    html! {
        section aria-labelledby="messages" {
            h2 id="messages" { "Messages" }
            @if data.messages.is_empty() { p class="empty" { "No messages." } }
            ol class="messages" {
                @for it in &data.messages {
                    li {
                        span class="head" {
                            (words::severity(it.message.severity)) " " b { (it.message.id) } " "
                            (time_of_day(chrome, it))
                            @if let Some(component) = &it.message.component { " " span class="dim" { (component.as_str()) } }
                        }
                        span class="text" { (stillpoint_model::plain::one_line(&it.message.text)) }
                        @if let Some(cause) = it.cause { span class="text dim" { "Cause: " (cause) } }
                        @if let Some(remedy) = it.remedy { span class="text" { b { "What to do: " } (remedy) } }
                    }
                }
            }
            @if data.messages_left_out { p class="dim" { "There are more messages; the API and the log have them all." } }
        }
    }
}

fn time_of_day(chrome: &Chrome, message: &Message) -> Markup {
    let at = message.message.time;
    let shown = at.to_zoned(chrome.zone.clone()).strftime("%H:%M:%S").to_string();
    html! {
        time datetime=(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
            title=(at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()) { (shown) }
    }
}

fn steps(steps: &[RunStep]) -> Markup {
    let columns: &[Column] =
        &[("Component", ""), ("Step", ""), ("Level", ""), ("Took", "number"), ("Error", "")];
    let row = |step: &RunStep| {
        vec![
            html! { (step.component) },
            html! { (step.step) },
            or_nothing(step.level.clone()),
            html! { (length(step.elapsed_us)) },
            html! { @match &step.error { Some(error) => { (words::badge("bad", "✕", "error")) " " (error) } None => (NOTHING) } },
        ]
    };
    html! {
        section aria-labelledby="steps" {
            h2 id="steps" { "Steps" }
            details {
                summary { "All " (steps.len()) " steps, in the order in which they ended" }
                (table("", columns, steps.iter().map(row)))
            }
        }
    }
}
