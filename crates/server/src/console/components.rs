//! `/components`: what is covered, how each component stands, and the state of its writer.

use maud::{Markup, html};
use stillpoint_history::{ComponentStatus, Run, RunComponent};

use super::Chrome;
use super::tables::{Column, NOTHING, or_nothing, table};
use super::words::{self, bytes, count, grade, segment, time};

/// A component of the site file.
#[derive(Debug, Clone)]
pub struct Configured {
    /// Its name.
    pub name: String,
    /// Its kind, such as `files`; it names the writer.
    pub kind: String,
    /// What it reads, such as a path.
    pub source: String,
}

/// What the writer of a component did last.
#[derive(Debug, Clone)]
pub struct WriterState {
    /// The component.
    pub component: String,
    /// The last step that it ended.
    pub step: String,
    /// How long that took, in microseconds.
    pub elapsed_us: u64,
    /// What went wrong in the run, with the step.
    pub error: Option<(String, String)>,
}

/// What the page shows.
#[derive(Debug, Clone, Default)]
pub struct ComponentsData {
    /// The components of the site file.
    pub configured: Vec<Configured>,
    /// The newest run that published a set, and what is in it.
    pub last_set: Option<(Run, Vec<RunComponent>)>,
    /// How the messages of each component stand.
    pub status: Vec<ComponentStatus>,
    /// Since when messages are counted, in hours.
    pub status_hours: u64,
    /// What the writers did in the newest run of the backup task.
    pub writers: Vec<WriterState>,
}

/// The page.
pub fn page(chrome: &Chrome, data: &ComponentsData) -> Markup {
    let content = html! {
        h1 { "Components" }
        (coverage(chrome, data))
        (all(data))
        (messages(data))
        (writers(data))
    };
    chrome.frame("Components", &content)
}

fn stored<'a>(data: &'a ComponentsData, name: &str) -> Option<&'a RunComponent> {
    data.last_set.as_ref().and_then(|(_, components)| components.iter().find(|it| it.name == name))
}

fn coverage(chrome: &Chrome, data: &ComponentsData) -> Markup {
    let missing: Vec<&str> = data
        .configured
        .iter()
        .map(|it| it.name.as_str())
        .filter(|name| stored(data, name).is_none())
        .collect();
    html! {
        section aria-labelledby="coverage" {
            h2 id="coverage" { "Coverage" }
            @match &data.last_set {
                None => p class="notice bad" { b { "Nothing is covered: " } "there is no backup yet." },
                Some((run, _)) => {
                    @let covered = data.configured.len() - missing.len();
                    p { (words::bar(covered as f64, data.configured.len() as f64, if missing.is_empty() { "good" } else { "bad" },
                            &format!("{covered} of {} covered", data.configured.len()))) }
                    p { (covered) " of " (words::many(data.configured.len() as u64, "component")) " of the site file are in the backup of "
                        a href={ "/runs/" (segment(&run.name)) } { (time(chrome, run.started)) } "." }
                    @if !missing.is_empty() {
                        p class="notice bad" { b { "Not in it: " } (missing.join(", ")) }
                    }
                }
            }
        }
    }
}

const COLUMNS: &[Column] = &[
    ("Component", ""),
    ("Kind", ""),
    ("Reads", "path"),
    ("Last grade", ""),
    ("Cut by", ""),
    ("Files", "number"),
    ("Size", "number"),
    ("Status", ""),
];

fn all(data: &ComponentsData) -> Markup {
    let known = |name: &str| data.configured.iter().any(|it| it.name == name);
    let gone = data.last_set.iter().flat_map(|(_, components)| components).filter(|it| !known(&it.name));
    let gone = gone.map(|it| row(data, &it.name, "no longer in the site file", ""));
    let rows = data.configured.iter().map(|it| row(data, &it.name, &it.kind, &it.source)).chain(gone);
    html! {
        section aria-labelledby="all" {
            h2 id="all" { "All components" }
            (table("", COLUMNS, rows))
        }
    }
}

fn row(data: &ComponentsData, name: &str, kind: &str, source: &str) -> Vec<Markup> {
    let last = stored(data, name);
    let status = data.status.iter().find(|it| it.component == name);
    vec![
        html! { (name) },
        html! { (kind) },
        html! { @if source.is_empty() { (NOTHING) } @else { code { (source) } } },
        html! { @match last { Some(it) => (grade(Some(it.grade))), None => (words::badge("bad", "✕", "not covered")) } },
        or_nothing(last.and_then(|it| it.provider.clone())),
        or_nothing(last.map(|it| count(it.files))),
        or_nothing(last.map(|it| bytes(it.bytes))),
        words::level(status.map_or("ok", |it| it.status)),
    ]
}

fn messages(data: &ComponentsData) -> Markup {
    let columns: &[Column] =
        &[("About", ""), ("Status", ""), ("Errors", "number"), ("Warnings", "number"), ("Infos", "number")];
    let row = |it: &ComponentStatus| {
        vec![
            html! { (if it.component.is_empty() { "the task as a whole" } else { &it.component }) },
            words::level(it.status),
            html! { (count(it.errors)) },
            html! { (count(it.warnings)) },
            html! { (count(it.infos)) },
        ]
    };
    html! {
        section aria-labelledby="status" {
            h2 id="status" { "Status from messages" }
            p class="dim" { "The messages of the last " (words::long(data.status_hours * 3600)) ". From 10 warnings or 1 error on the status is warning, from 50 warnings or 5 errors on critical." }
            @if data.status.is_empty() { p class="empty" { "No messages." } }
            @else { (table("", columns, data.status.iter().map(row))) }
        }
    }
}

fn writers(data: &ComponentsData) -> Markup {
    let kind = |name: &str| data.configured.iter().find(|it| it.name == name).map(|it| it.kind.clone());
    let columns: &[Column] =
        &[("Component", ""), ("Writer", ""), ("State", ""), ("Last step", ""), ("Took", "number")];
    let row = |it: &WriterState| {
        vec![
            html! { (it.component) },
            or_nothing(kind(&it.component)),
            html! { @match &it.error {
                None => (words::badge("good", "✓", "stable")),
                Some((step, error)) => { (words::badge("bad", "✕", "failed")) " in " (step) ": " (error) }
            } },
            html! { (it.step) },
            html! { (words::length(it.elapsed_us)) },
        ]
    };
    html! {
        section aria-labelledby="writers" {
            h2 id="writers" { "Writers" }
            @if data.writers.is_empty() { p class="empty" { "No writer has worked yet." } }
            @else { (table("", columns, data.writers.iter().map(row))) }
        }
    }
}
