//! `/audit`: who did what.

use maud::{Markup, html};
use stillpoint_history::AuditRow;

use super::Chrome;
use super::tables::{Column, table};
use super::words::time;

/// What the page shows.
#[derive(Debug, Clone, Default)]
pub struct AuditData {
    /// What was done, newest first.
    pub rows: Vec<AuditRow>,
    /// There is older: the number for `?before=`.
    pub older: Option<i64>,
}

/// The page.
pub fn page(chrome: &Chrome, data: &AuditData) -> Markup {
    let content = html! {
        h1 { "Audit log" }
        @if data.rows.is_empty() { p class="empty" { "Nothing was done." } } @else {
            (table("", COLUMNS, data.rows.iter().map(|it| row(chrome, it))))
        }
        @if let Some(older) = data.older {
            nav aria-label="Older entries" class="pages" { a rel="next" href={ "/audit?before=" (older) } { "Older" } }
        }
    };
    chrome.frame("Audit log", &content)
}

const COLUMNS: &[Column] = &[
    ("When", ""),
    ("Who", "who"),
    ("From", "tight"),
    ("What", "tight"),
    ("To what", "path"),
    ("Result", ""),
];

fn row(chrome: &Chrome, it: &AuditRow) -> Vec<Markup> {
    vec![
        time(chrome, it.at),
        html! { (if it.person.is_empty() { "nobody" } else { &it.person }) },
        html! { code { (it.address) } },
        html! { (it.action) },
        html! { (it.subject) },
        html! { (it.result) },
    ]
}
