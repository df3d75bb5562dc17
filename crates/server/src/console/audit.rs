//! `/audit`: who did what.

use maud::{Markup, html};
use stillpoint_history::AuditRow;

use super::Chrome;
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
            table class="stack" {
                thead { tr { th scope="col" { "When" } th scope="col" { "Who" } th scope="col" { "From" } th scope="col" { "What" }
                    th scope="col" { "To what" } th scope="col" { "Result" } } }
                tbody { @for it in &data.rows {
                    tr {
                        th scope="row" data-label="When" { (time(chrome, it.at)) }
                        td data-label="Who" class="who" { (if it.person.is_empty() { "nobody" } else { &it.person }) }
                        td data-label="From" { code { (it.address) } }
                        td data-label="What" { (it.action) }
                        td data-label="To what" class="path" { (it.subject) }
                        td data-label="Result" { (it.result) }
                    }
                } }
            }
        }
        @if let Some(older) = data.older {
            nav aria-label="Older entries" class="pages" { a rel="next" href={ "/audit?before=" (older) } { "Older" } }
        }
    };
    chrome.frame("Audit log", &content)
}
