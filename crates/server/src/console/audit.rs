//! `/audit`: who did what.

use jiff::Timestamp;
use maud::{Markup, html};

use super::Chrome;
use super::words::time;

/// One thing that was done.
#[derive(Debug, Clone)]
pub struct AuditLine {
    /// When.
    pub at: Timestamp,
    /// Who; may be empty when nobody was signed in.
    pub person: String,
    /// From which address.
    pub address: String,
    /// What, such as `sign-in`.
    pub action: String,
    /// To what; may be empty.
    pub subject: String,
    /// What came of it.
    pub result: String,
}

/// What the page shows.
#[derive(Debug, Clone, Default)]
pub struct AuditData {
    /// What was done, newest first.
    pub lines: Vec<AuditLine>,
    /// There is older: the number for `?before=`.
    pub older: Option<i64>,
}

/// The page.
pub fn page(chrome: &Chrome, data: &AuditData) -> Markup {
    let content = html! {
        h1 { "Audit log" }
        @if data.lines.is_empty() { p class="empty" { "Nothing was done." } } @else {
            table class="stack" {
                thead { tr { th scope="col" { "When" } th scope="col" { "Who" } th scope="col" { "From" } th scope="col" { "What" }
                    th scope="col" { "To what" } th scope="col" { "Result" } } }
                tbody { @for it in &data.lines {
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
