//! `/schedule`: when what is due, in the site's zone and in UTC.

use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use super::Chrome;
use super::tables::{Column, table};
use super::verdict::words as length_words;
use super::words::{self, distance, time, utc};

/// One schedule.
#[derive(Debug, Clone)]
pub struct Planned {
    /// What is done, such as `backup`.
    pub task: String,
    /// When, in words.
    pub words: String,
    /// The zone in which it is meant.
    pub zone: String,
    /// What becomes of a run that was missed, in words.
    pub missed: String,
    /// The next times, soonest first.
    pub next: Vec<Timestamp>,
}

/// What the page shows.
#[derive(Debug, Clone)]
pub struct ScheduleData {
    /// The schedules, that of the backup first.
    pub planned: Vec<Planned>,
    /// For how long the other sites keep what changed.
    pub change_retention: SignedDuration,
    /// The longest time between two planned backups.
    pub longest_gap: Option<SignedDuration>,
    /// Why an older schedule is in use: the site file has mistakes.
    pub old_because: Option<String>,
}

/// The page.
pub fn page(chrome: &Chrome, data: &ScheduleData) -> Markup {
    let content = html! {
        h1 { "Schedule" }
        @if let Some(why) = &data.old_because {
            p class="notice bad lines" { b { "The schedule before the last edit is in use: " } (why) " " a href="/settings" { "Settings check" } }
        }
        (retention(data))
        @if data.planned.is_empty() { p class="empty" { "Nothing is planned: the site file has no [schedule]." } }
        @for (number, planned) in data.planned.iter().enumerate() { (one(chrome, number, planned)) }
    };
    chrome.frame("Schedule", &content)
}

fn retention(data: &ScheduleData) -> Markup {
    let limit = length_words(data.change_retention);
    html! {
        section class="card" aria-labelledby="retention" {
            h2 id="retention" { "Change retention" }
            @match data.longest_gap {
                Some(gap) if gap <= data.change_retention => p {
                    (words::badge("good", "✓", "kept")) " At most " (length_words(gap)) " between two backups; " (limit) " are allowed."
                },
                Some(gap) => p {
                    (words::badge("bad", "✕", "not kept")) " Up to " (length_words(gap)) " between two backups; " (limit)
                    " are allowed: plan them more often."
                },
                None => p { (words::badge("bad", "✕", "not kept")) " No backup is planned; one is wanted every " (limit) "." },
            }
            p class="dim" { "For so long the site can do without a newer backup: what changed since then can still be had from elsewhere." }
        }
    }
}

fn one(chrome: &Chrome, number: usize, planned: &Planned) -> Markup {
    let id = format!("schedule-{number}");
    let columns: &[Column] = &[("In the site's zone", ""), ("In UTC", ""), ("How soon", "")];
    let row = |at: &Timestamp| vec![time(chrome, *at), utc(*at), html! { (distance(chrome, *at)) }];
    html! {
        section aria-labelledby=(id) {
            h2 id=(id) { (words::capital(&planned.task)) }
            dl class="columns" {
                dt { "When" } dd { (planned.words) }
                dt { "Time zone" } dd { (planned.zone) }
                dt { "When missed" } dd { (planned.missed) }
            }
            @if planned.next.is_empty() { p class="empty" { "Never." } }
            @else { (table("The next times", columns, planned.next.iter().take(10).map(row))) }
        }
    }
}
