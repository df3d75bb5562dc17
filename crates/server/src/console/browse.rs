//! `/versions/{archive}/{version}?path=`: what is in a version; a file can be downloaded, a folder restored.

use jiff::Timestamp;
use maud::{Markup, html};
use stillpoint_model::plain::one_line;

use super::tables::{Column, NOTHING, or_nothing, table};
use super::words::{self, bytes, path_query, segment, time};
use super::{Chrome, forms};

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A folder.
    Folder,
    /// A file.
    File,
    /// A symbolic link.
    Link,
    /// A pipe, socket or device.
    Special,
}

/// One entry of a folder.
#[derive(Debug, Clone)]
pub struct EntryLine {
    /// Its name: bytes, as Linux has it.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// The bytes of a file.
    pub bytes: u64,
    /// When it was last changed.
    pub modified: Option<Timestamp>,
    /// Its rights, such as `rw-r--r--`; may be empty.
    pub rights: String,
    /// Whom it belongs to; may be empty.
    pub owner: String,
    /// Where a link leads.
    pub target: Option<Vec<u8>>,
}

/// What the page shows.
#[derive(Debug, Clone)]
pub struct BrowseData {
    /// The archive.
    pub archive: String,
    /// The name of the version, 64 hexadecimal digits.
    pub version: String,
    /// When the backup in it was made.
    pub made: Timestamp,
    /// The folder that is shown, with `/` between its parts and none at the ends; empty for the top.
    pub path: Vec<u8>,
    /// What is in it, folders first.
    pub entries: Vec<EntryLine>,
    /// Entries follow: the name to go on after, for `&after=`.
    pub after: Option<Vec<u8>>,
    /// The folder of the server in which restored data gets a folder of its own.
    pub restored: String,
    /// The name that the form offers for it.
    pub folder: String,
}

impl BrowseData {
    /// The path of an entry of this folder, escaped for a query or a form: its bytes may be no text.
    fn place(&self, name: &[u8]) -> String {
        let mut place = self.path.clone();
        if !place.is_empty() {
            place.push(b'/');
        }
        place.extend_from_slice(name);
        path_query(&place)
    }
}

/// The page.
pub fn page(chrome: &Chrome, data: &BrowseData) -> Markup {
    let base = format!("/versions/{}/{}", segment(&data.archive), segment(&data.version));
    let short: String = data.version.chars().take(12).collect();
    let content = html! {
        h1 { "Backup of " (words::local(chrome, data.made)) }
        p class="dim" { "Archive " (data.archive) ", version " code { (short) } " · " a href="/versions" { "all versions" } }
        (crumbs(&base, &data.path))
        @if data.entries.is_empty() { p class="empty" { "This folder is empty." } } @else { (table("", COLUMNS, data.entries.iter().map(|it| row(chrome, data, &base, it)))) }
        @if let Some(after) = &data.after {
            nav aria-label="More entries" class="pages" {
                a rel="next" href={ (base) "?path=" (path_query(&data.path)) "&after=" (path_query(after)) } { "More" }
            }
        }
        @if chrome.may_administer() { (restore(chrome, data, &base)) }
    };
    chrome.frame(&format!("Version {short}"), &content)
}

fn shown(name: &[u8]) -> String {
    one_line(&String::from_utf8_lossy(name))
}

fn crumbs(base: &str, path: &[u8]) -> Markup {
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).collect();
    html! {
        nav aria-label="Folders above" class="crumbs" {
            ol {
                li { a href=(base) aria-current=[parts.is_empty().then_some("location")] { "top" } }
                @for (number, part) in parts.iter().enumerate() {
                    @let here = parts[..=number].join(&b'/');
                    li { a href={ (base) "?path=" (path_query(&here)) } aria-current=[(number + 1 == parts.len()).then_some("location")] { (shown(part)) } }
                }
            }
        }
    }
}

const COLUMNS: &[Column] =
    &[("Name", "path"), ("Size", "number"), ("Changed", ""), ("Rights", ""), ("Owner", "who")];

fn row(chrome: &Chrome, data: &BrowseData, base: &str, it: &EntryLine) -> Vec<Markup> {
    let name = shown(&it.name);
    vec![
        match it.kind {
            EntryKind::Folder => html! { a href={ (base) "?path=" (data.place(&it.name)) } { (name) "/" } },
            // Only who may administer may take content out.
            EntryKind::File if !chrome.may_administer() => html! { (name) },
            EntryKind::File => {
                html! { a href={ (base) "/file?path=" (data.place(&it.name)) } download { (name) } }
            }
            EntryKind::Link => {
                html! { (name) span class="dim" { " → " (it.target.as_deref().map(shown).unwrap_or_default()) } }
            }
            EntryKind::Special => html! { (name) span class="dim" { " (special)" } },
        },
        or_nothing((it.kind == EntryKind::File).then(|| bytes(it.bytes))),
        html! { @match it.modified { Some(at) => (time(chrome, at)), None => (NOTHING) } },
        html! { code { (it.rights) } },
        html! { (it.owner) },
    ]
}

fn restore(chrome: &Chrome, data: &BrowseData, base: &str) -> Markup {
    let what = if data.path.is_empty() {
        "the whole version".to_owned()
    } else {
        format!("this folder: {}", shown(&data.path))
    };
    html! {
        section aria-labelledby="restore" class="card" {
            h2 id="restore" { "Restore" }
            form method="post" action={ (base) "/restore" } class="rows" {
                (forms::csrf(chrome))
                label for="restore-path" { "What" }
                select id="restore-path" name="path" {
                    option value=(path_query(&data.path)) { (what) }
                    @for it in &data.entries { option value=(data.place(&it.name)) { (shown(&it.name)) } }
                }
                label for="restore-folder" { "Name of the new folder in " (data.restored) }
                input type="text" id="restore-folder" name="folder" value=(data.folder) required pattern="[A-Za-z0-9][A-Za-z0-9\\-]*"
                    maxlength="64" spellcheck="false" aria-describedby="restore-help";
                p id="restore-help" class="dim" { "Letters, digits and -. Nothing of the site is touched; a person puts the data where they "
                    "belong. A whole version is a backup set: " code { "stillpoint recover" } " brings the site back from it." }
                button type="submit" class="primary" { "Restore" }
            }
        }
    }
}
