//! `/components`: what is covered, how each component stands, and the state of its writer.

use maud::{Markup, html};
use stillpoint_history::{ComponentStatus, Run, RunComponent};

use super::Chrome;
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
        (table(data))
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

fn table(data: &ComponentsData) -> Markup {
    let known = |name: &str| data.configured.iter().any(|it| it.name == name);
    let gone = data.last_set.iter().flat_map(|(_, components)| components).filter(|it| !known(&it.name));
    html! {
        section aria-labelledby="all" {
            h2 id="all" { "All components" }
            table class="stack" {
                thead { tr { th scope="col" { "Component" } th scope="col" { "Kind" } th scope="col" { "Reads" }
                    th scope="col" { "Last grade" } th scope="col" { "Cut by" } th scope="col" class="number" { "Files" }
                    th scope="col" class="number" { "Size" } th scope="col" { "Status" } } }
                tbody {
                    @for it in &data.configured { (row(data, &it.name, &it.kind, &it.source)) }
                    @for it in gone { (row(data, &it.name, "no longer in the site file", "")) }
                }
            }
        }
    }
}

fn row(data: &ComponentsData, name: &str, kind: &str, source: &str) -> Markup {
    let last = stored(data, name);
    let status = data.status.iter().find(|it| it.component == name);
    html! {
        tr {
            th scope="row" data-label="Component" { (name) }
            td data-label="Kind" { (kind) }
            td data-label="Reads" class="path" { @if source.is_empty() { "–" } @else { code { (source) } } }
            td data-label="Last grade" { @match last { Some(it) => (grade(Some(it.grade))), None => (words::badge("bad", "✕", "not covered")) } }
            td data-label="Cut by" { (last.and_then(|it| it.provider.as_deref()).unwrap_or("–")) }
            td data-label="Files" class="number" { (last.map_or("–".to_owned(), |it| count(it.files))) }
            td data-label="Size" class="number" { (last.map_or("–".to_owned(), |it| bytes(it.bytes))) }
            td data-label="Status" { (words::level(status.map_or("ok", |it| it.status))) }
        }
    }
}

fn messages(data: &ComponentsData) -> Markup {
    html! {
        section aria-labelledby="status" {
            h2 id="status" { "Status from messages" }
            p class="dim" { "The messages of the last " (words::long(data.status_hours * 3600)) ". From 10 warnings or 1 error on the status is warning, from 50 warnings or 5 errors on critical." }
            @if data.status.is_empty() { p class="empty" { "No messages." } } @else {
                table class="stack" {
                    thead { tr { th scope="col" { "About" } th scope="col" { "Status" } th scope="col" class="number" { "Errors" }
                        th scope="col" class="number" { "Warnings" } th scope="col" class="number" { "Infos" } } }
                    tbody { @for it in &data.status {
                        tr {
                            th scope="row" data-label="About" { (if it.component.is_empty() { "the task as a whole" } else { &it.component }) }
                            td data-label="Status" { (words::level(it.status)) }
                            td data-label="Errors" class="number" { (count(it.errors)) }
                            td data-label="Warnings" class="number" { (count(it.warnings)) }
                            td data-label="Infos" class="number" { (count(it.infos)) }
                        }
                    } }
                }
            }
        }
    }
}

fn writers(data: &ComponentsData) -> Markup {
    let kind =
        |name: &str| data.configured.iter().find(|it| it.name == name).map_or("–", |it| it.kind.as_str());
    html! {
        section aria-labelledby="writers" {
            h2 id="writers" { "Writers" }
            @if data.writers.is_empty() { p class="empty" { "No writer has worked yet." } } @else {
                table class="stack" {
                    thead { tr { th scope="col" { "Component" } th scope="col" { "Writer" } th scope="col" { "State" }
                        th scope="col" { "Last step" } th scope="col" class="number" { "Took" } } }
                    tbody { @for it in &data.writers {
                        tr {
                            th scope="row" data-label="Component" { (it.component) }
                            td data-label="Writer" { (kind(&it.component)) }
                            td data-label="State" { @match &it.error {
                                None => (words::badge("good", "✓", "stable")),
                                Some((step, error)) => { (words::badge("bad", "✕", "failed")) " in " (step) ": " (error) }
                            } }
                            td data-label="Last step" { (it.step) }
                            td data-label="Took" class="number" { (words::length(it.elapsed_us)) }
                        }
                    } }
                }
            }
        }
    }
}
