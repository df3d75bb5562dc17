//! `/versions`: the published set and what the archives hold.

use jiff::Timestamp;
use maud::{Markup, html};
use stillpoint_history::Run;

use super::Chrome;
use super::tables::{Column, or_nothing, table};
use super::words::{self, badge, bytes, count, grade, outcome, segment, time};

/// One version.
#[derive(Debug, Clone)]
pub struct VersionLine {
    /// Its name, 64 hexadecimal digits.
    pub version: String,
    /// When the backup in it was made.
    pub time: Timestamp,
    /// Its epoch.
    pub epoch: Option<u64>,
    /// The run that made it.
    pub run: Option<String>,
    /// Whether nothing was left out of it.
    pub complete: bool,
    /// Whether it is on hold.
    pub held: bool,
    /// Files in it.
    pub files: Option<u64>,
    /// Bytes in it.
    pub bytes: Option<u64>,
    /// Bytes that were new to the archive with it.
    pub added_bytes: Option<u64>,
}

/// One archive.
#[derive(Debug, Clone)]
pub struct ArchiveLine {
    /// Its name.
    pub name: String,
    /// Where it lies, without secrets.
    pub place: String,
    /// Why its versions cannot be shown.
    pub error: Option<String>,
    /// Its versions, newest first.
    pub versions: Vec<VersionLine>,
}

/// What the page shows.
#[derive(Debug, Clone, Default)]
pub struct VersionsData {
    /// The run that published the set that is there.
    pub set: Option<Run>,
    /// The archives of the site file.
    pub archives: Vec<ArchiveLine>,
}

/// The page.
pub fn page(chrome: &Chrome, data: &VersionsData) -> Markup {
    let content = html! {
        h1 { "Backups and versions" }
        section aria-labelledby="set" {
            h2 id="set" { "The backup set" }
            @match &data.set {
                None => p class="empty" { "No set was published yet." },
                Some(run) => dl class="card columns" {
                    dt { "Made" } dd { a href={ "/runs/" (segment(&run.name)) } { (time(chrome, run.started)) } " " (outcome(run.outcome)) }
                    @if let Some(set) = &run.set { dt { "Place" } dd { code { (set) } } }
                    dt { "Grade" } dd { (grade(run.grade)) }
                    dt { "Size" } dd { (bytes(run.bytes)) " in " (words::many(run.files, "file")) }
                },
            }
        }
        @for (number, archive) in data.archives.iter().enumerate() { (one(chrome, number, archive)) }
        @if data.archives.is_empty() { p class="empty" { "The site file has no [[archive]]: only the last set is kept." } }
    };
    chrome.frame("Versions", &content)
}

fn one(chrome: &Chrome, number: usize, archive: &ArchiveLine) -> Markup {
    let id = format!("archive-{number}");
    html! {
        section aria-labelledby=(id) {
            h2 id=(id) { "Archive " (archive.name) }
            p class="dim" { code { (archive.place) } " · " (words::many(archive.versions.len() as u64, "version")) }
            @if let Some(error) = &archive.error { p class="notice bad" { b { "Its versions cannot be shown: " } (error) } }
            @else if archive.versions.is_empty() { p class="empty" { "It has no version." } }
            @else {
                (table("", COLUMNS, archive.versions.iter().map(|it| row(chrome, archive, it))))
            }
        }
    }
}

const COLUMNS: &[Column] = &[
    ("Made", ""),
    ("Version", ""),
    ("State", ""),
    ("Files", "number"),
    ("Size", "number"),
    ("New", "number"),
];

fn row(chrome: &Chrome, archive: &ArchiveLine, it: &VersionLine) -> Vec<Markup> {
    let path = format!("/versions/{}/{}", segment(&archive.name), segment(&it.version));
    let short: String = it.version.chars().take(12).collect();
    vec![
        html! { a href=(path) { (time(chrome, it.time)) } },
        html! { code { (short) } @if let Some(epoch) = it.epoch { span class="dim" { " epoch " (epoch) } } },
        html! {
            @if it.complete { (badge("good", "✓", "complete")) } @else { (badge("look", "!", "incomplete")) }
            @if it.held { " " (badge("plain", "‖", "on hold")) }
        },
        or_nothing(it.files.map(count)),
        or_nothing(it.bytes.map(bytes)),
        or_nothing(it.added_bytes.map(bytes)),
    ]
}
