//! `/alerts`: what a person must know of, and its life.

use maud::{Markup, html};
use stillpoint_history::{Alert, AlertState, ChannelState};
use stillpoint_model::site_file::AlertSeverity;

use super::tables::{Column, NOTHING, table};
use super::words::{self, distance, time};
use super::{Chrome, forms};

/// A channel of the site file and how it does.
#[derive(Debug, Clone)]
pub struct ChannelLine {
    /// Its name in the site file.
    pub name: String,
    /// Its kind, such as `mail`.
    pub kind: String,
    /// How it does, where it was used.
    pub state: Option<ChannelState>,
}

/// What the page shows.
#[derive(Debug, Clone, Default)]
pub struct AlertsData {
    /// Alerts that hold, the worst first, and the newest that are over.
    pub alerts: Vec<Alert>,
    /// The channels of the site file.
    pub channels: Vec<ChannelLine>,
}

/// The page.
pub fn page(chrome: &Chrome, data: &AlertsData) -> Markup {
    let of = |state| data.alerts.iter().filter(move |alert| alert.state == state).collect::<Vec<_>>();
    let (active, postponed, cleared) =
        (of(AlertState::Active), of(AlertState::Postponed), of(AlertState::Cleared));
    let content = html! {
        h1 { "Alerts" }
        div data-region="alerts" {
            section aria-labelledby="active" {
                h2 id="active" { "Active" }
                @if active.is_empty() { p class="empty" { "Nothing is active." } }
                @for alert in active { (open(chrome, alert)) }
            }
            @if !postponed.is_empty() {
                section aria-labelledby="postponed" {
                    h2 id="postponed" { "Postponed" }
                    @for alert in postponed { (open(chrome, alert)) }
                }
            }
            section aria-labelledby="cleared" {
                h2 id="cleared" { "Cleared" }
                @if cleared.is_empty() { p class="empty" { "Nothing was cleared lately." } } @else { (over(chrome, &cleared)) }
            }
        }
        (channels(chrome, &data.channels))
    };
    chrome.frame("Alerts", &content)
}

fn open(chrome: &Chrome, alert: &Alert) -> Markup {
    html! {
        article class={ "card alert " (if alert.severity == AlertSeverity::Critical { "bad" } else { "look" }) }
            aria-labelledby={ "alert-" (alert.id) } {
            h3 id={ "alert-" (alert.id) } { (words::level(alert.severity.as_str())) " " (words::capital(&alert.title)) }
            p class="lines" { (alert.text) }
            @if !alert.remedy.is_empty() { p { b { "What to do: " } (alert.remedy) } }
            p class="dim" {
                code { (alert.kind) } @if !alert.subject.is_empty() { " of " (alert.subject) }
                ", since " (time(chrome, alert.began)) " (" (distance(chrome, alert.began)) ")"
                @if alert.occurrences > 1 { ", seen " (words::count(alert.occurrences)) " times" }
                @if let Some(until) = alert.postponed_until { ", silent until " (time(chrome, until)) }
                @if let Some(by) = &alert.closed_by { ", by " (by) }
                @if !alert.comment.is_empty() { ": “" (alert.comment) "”" }
            }
            @if chrome.may_operate() { (deal_with(chrome, alert)) }
        }
    }
}

fn deal_with(chrome: &Chrome, alert: &Alert) -> Markup {
    let (date, comment) = (format!("date-{}", alert.id), format!("comment-{}", alert.id));
    html! {
        div class="deal" {
            form method="post" action={ "/alerts/" (alert.id) "/postpone" } {
                (forms::csrf(chrome))
                fieldset {
                    legend { "Postpone" }
                    button type="submit" name="until" value="1h" { "1 hour" }
                    button type="submit" name="until" value="8h" { "8 hours" }
                    button type="submit" name="until" value="tomorrow" { "Until tomorrow" }
                    span class="together" {
                        label for=(date) { "Until" }
                        input type="date" name="date" id=(date);
                        button type="submit" name="until" value="date" { "that day" }
                    }
                }
            }
            form method="post" action={ "/alerts/" (alert.id) "/clear" } {
                (forms::csrf(chrome))
                fieldset {
                    legend { "Clear" }
                    label for=(comment) { "Comment" }
                    input type="text" name="comment" id=(comment) maxlength="500" required;
                    button type="submit" { "Clear" }
                }
            }
        }
    }
}

fn over(chrome: &Chrome, alerts: &[&Alert]) -> Markup {
    let columns: &[Column] =
        &[("Alert", ""), ("Severity", ""), ("Began", ""), ("Cleared", ""), ("By", "who")];
    let row = |alert: &&Alert| {
        vec![
            html! { (words::capital(&alert.title)) },
            words::level(alert.severity.as_str()),
            time(chrome, alert.began),
            time(chrome, alert.changed),
            html! { (alert.closed_by.as_deref().unwrap_or("itself")) @if !alert.comment.is_empty() { ": “" (alert.comment) "”" } },
        ]
    };
    table("", columns, alerts.iter().map(row))
}

fn channels(chrome: &Chrome, channels: &[ChannelLine]) -> Markup {
    let columns: &[Column] = &[("Channel", ""), ("Kind", ""), ("State", ""), ("Last worked", "")];
    let row = |it: &ChannelLine| {
        let last_good = it.state.as_ref().and_then(|it| it.last_good);
        vec![
            html! { (it.name) },
            html! { (it.kind) },
            html! { @match &it.state {
                None => (words::badge("plain", "–", "not used yet")),
                Some(ChannelState { error: Some(error), .. }) => { (words::badge("bad", "✕", "fails")) " " (error) }
                Some(_) => (words::badge("good", "✓", "works")),
            } },
            html! { @match last_good { Some(at) => (time(chrome, at)), None => (NOTHING) } },
        ]
    };
    html! {
        section aria-labelledby="channels" {
            h2 id="channels" { "Channels" }
            @if channels.is_empty() {
                p class="notice bad" { b { "Nobody is told of alerts: " } "the site file has no [[channel]]." }
            } @else {
                (table("", columns, channels.iter().map(row)))
                @if chrome.may_operate() { div { (forms::button(chrome, "/alerts/test", "Test the channels", "", &[])) } }
            }
        }
    }
}
