//! What is shown when a page cannot be.

use maud::{Markup, html};

use super::Chrome;

/// What the page shows.
#[derive(Debug, Clone)]
pub struct ErrorData {
    /// The status of HTTP.
    pub status: u16,
    /// What went wrong, in one sentence.
    pub what: String,
    /// Why; may be empty.
    pub why: String,
    /// What to do; may be empty.
    pub remedy: String,
}

impl ErrorData {
    /// There is no such page.
    pub fn not_found(path: &str) -> Self {
        Self {
            status: 404,
            what: "There is no such page.".into(),
            why: format!("Nothing is at {path}; a run or version that was there may have been let go."),
            remedy: "Go on from the overview.".into(),
        }
    }
}

/// The page.
pub fn page(chrome: &Chrome, data: &ErrorData) -> Markup {
    let content = html! {
        section class="card bad door" {
            h1 { (data.what) }
            @if !data.why.is_empty() { p class="lines" { b { "Why: " } (data.why) } }
            @if !data.remedy.is_empty() { p { b { "What to do: " } (data.remedy) } }
            p { a href="/" { "Overview" } " " span class="dim" { "(" (data.status) ")" } }
        }
    };
    chrome.frame(&data.what, &content)
}
