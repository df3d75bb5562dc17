//! `/settings`: whether the site file is valid, and what is in effect.

use jiff::Timestamp;
use maud::{Markup, html};
use stillpoint_model::site_file::Mistake;

use super::Chrome;
use super::tables::{Column, table};
use super::words::{self, distance, time};

/// What the page shows.
#[derive(Debug, Clone)]
pub struct SettingsData {
    /// The site file.
    pub file: String,
    /// When it was last read.
    pub checked: Timestamp,
    /// Its mistakes, in order.
    pub mistakes: Vec<Mistake>,
    /// Why it cannot be read at all.
    pub unreadable: Option<String>,
    /// What is in effect, as a site file without secrets.
    pub effective: String,
}

/// The page.
pub fn page(chrome: &Chrome, data: &SettingsData) -> Markup {
    let valid = data.mistakes.is_empty() && data.unreadable.is_none();
    let content = html! {
        h1 { "Settings check" }
        section class={ "card " (if valid { "good" } else { "bad" }) } aria-labelledby="check" {
            h2 id="check" {
                @if valid { (words::badge("good", "✓", "valid")) } @else { (words::badge("bad", "✕", "has mistakes")) }
            }
            p { code { (data.file) } ", read " (time(chrome, data.checked)) " (" (distance(chrome, data.checked)) ")" }
            @if let Some(why) = &data.unreadable { p class="lines" { b { "It cannot be read: " } (why) } }
            @if !valid { p { "Until it is mended, the settings of before stay in effect." } }
        }
        @if !data.mistakes.is_empty() { (mistakes(&data.mistakes)) }
        section aria-labelledby="effective" {
            h2 id="effective" { "In effect" }
            p class="dim" { "With all values that were not written. Secrets are not shown." }
            pre tabindex="0" { (data.effective) }
        }
    };
    chrome.frame("Settings check", &content)
}

fn mistakes(mistakes: &[Mistake]) -> Markup {
    let columns: &[Column] = &[("Line", ""), ("Key", ""), ("What is wrong", ""), ("How to mend it", "")];
    let row = |it: &Mistake| {
        vec![
            html! { (it.line) },
            html! { code { (it.key_path) } },
            html! { (it.message) @if !it.text.is_empty() { " " code { (it.text) } } },
            html! { (it.remedy) },
        ]
    };
    html! {
        section aria-labelledby="mistakes" {
            h2 id="mistakes" { (words::many(mistakes.len() as u64, "mistake")) }
            (table("", columns, mistakes.iter().map(row)))
        }
    }
}
