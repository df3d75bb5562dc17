//! The page of alerts and its forms.

use axum::extract::State;
use axum::response::Response;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use serde::Deserialize;
use stillpoint_history::{Alert, AlertQuery, AlertState, AuditAction, ChannelState, History, HistoryError};
use stillpoint_model::site_file::{Channel, SiteFile};

use super::look::{Done, then};
use super::{Filled, Look};
use crate::access::Caller;
use crate::alerting;
use crate::api::extract::Named;
use crate::api::{clear_with, postpone_until};
use crate::console::alerts::{self, AlertsData, ChannelLine};
use crate::console::{Place, site_facts};
use crate::web::{App, Problem};

/// The most open alerts that are shown, and the newest that are over.
const OPEN_MAX: usize = 1000;
const CLEARED_MAX: usize = 50;

/// The hour at which an alert speaks again that was postponed to a day.
const MORNING: i8 = 8;

pub(super) async fn page(State(app): State<App>, look: Look) -> Result<Response, Problem> {
    let view = app.service.site();
    let data = app.service.with_history(move |history| gather(history, &view.site.file)).await?;
    let chrome = look.chrome(&app, Place::Alerts).await?;
    Ok(look.answer(&app, alerts::page(&chrome, &data)))
}

fn gather(history: &History, site: &SiteFile) -> Result<AlertsData, HistoryError> {
    let mut alerts = active_lines(history)?;
    alerts.extend(lines(history, AlertState::Postponed, OPEN_MAX)?);
    alerts.extend(lines(history, AlertState::Cleared, CLEARED_MAX)?);
    let states = history.channels()?;
    let channels = site.channels.iter().map(|channel| channel_line(channel, &states));
    Ok(AlertsData { alerts, channels: channels.collect() })
}

/// The active alerts, the worst first.
pub(super) fn active_lines(history: &History) -> Result<Vec<Alert>, HistoryError> {
    lines(history, AlertState::Active, OPEN_MAX)
}

fn lines(history: &History, state: AlertState, limit: usize) -> Result<Vec<Alert>, HistoryError> {
    let mut alerts = history.alerts(&AlertQuery { states: vec![state], limit })?;
    if state != AlertState::Cleared {
        alerts.sort_by_key(|alert| (std::cmp::Reverse(alert.severity), alert.began));
    }
    Ok(alerts)
}

fn channel_line(channel: &Channel, states: &[ChannelState]) -> ChannelLine {
    ChannelLine {
        name: channel.name.to_string(),
        kind: channel.kind.as_str().to_owned(),
        state: states.iter().find(|state| state.name == channel.name.as_str()).cloned(),
    }
}

/// The form that postpones an alert.
#[derive(Debug, Deserialize)]
pub(super) struct PostponeForm {
    until: String,
    #[serde(default)]
    date: String,
}

pub(super) async fn postpone(
    State(app): State<App>,
    caller: Caller,
    Named(id): Named<i64>,
    Filled(form): Filled<PostponeForm>,
) -> Result<Response, Problem> {
    let zone = site_facts::zone(&app.service.site().site.file);
    let until = until(&form.until, &form.date, &zone, app.access.now())?;
    postpone_until(&app, &caller, id, until).await?;
    Ok(then(&app, "/alerts", Done::Postponed))
}

/// The instant that the form names: so many hours from now, or the morning of a day at the site.
fn until(choice: &str, date: &str, zone: &TimeZone, now: Timestamp) -> Result<Timestamp, Problem> {
    let wrong = |detail: String| Problem::bad_request(detail, "choose a day that is yet to come");
    let morning = |date: Date| {
        let at = date.at(MORNING, 0, 0, 0).to_zoned(zone.clone());
        at.map(|at| at.timestamp()).map_err(|error| wrong(error.to_string()))
    };
    let hours =
        |hours| now.checked_add(SignedDuration::from_hours(hours)).map_err(|it| wrong(it.to_string()));
    match choice {
        "1h" => hours(1),
        "8h" => hours(8),
        "tomorrow" => {
            let today = now.to_zoned(zone.clone()).date();
            morning(today.checked_add(1.day()).map_err(|error| wrong(error.to_string()))?)
        }
        "date" => morning(date.parse().map_err(|_| wrong(format!("{date:?} is no date")))?),
        other => Err(wrong(format!("{other:?} is no time until which an alert may rest"))),
    }
}

/// The form that clears an alert.
#[derive(Debug, Deserialize)]
pub(super) struct ClearForm {
    #[serde(default)]
    comment: String,
}

pub(super) async fn clear(
    State(app): State<App>,
    caller: Caller,
    Named(id): Named<i64>,
    Filled(form): Filled<ClearForm>,
) -> Result<Response, Problem> {
    clear_with(&app, &caller, id, form.comment).await?;
    Ok(then(&app, "/alerts", Done::Cleared))
}

/// Sends a test through every channel. How each did stands on the page.
pub(super) async fn test(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    let site = app.service.site().site;
    if site.file.channels.is_empty() {
        let hint = "write a [[channel]] into the site file";
        return Err(Problem::conflict("the site file has no channel that could be tested", hint));
    }
    let told = alerting::test(&site.file, &app.service.history, app.service.console_url()).await?;
    for one in &told {
        let result = one.error.as_ref().map_or_else(|| "ok".to_owned(), ToString::to_string);
        app.access.audit(&caller, AuditAction::ChannelTest, &one.channel, &result).await;
    }
    let all_took_it = told.iter().all(|one| one.error.is_none());
    Ok(then(&app, "/alerts", if all_took_it { Done::Tested } else { Done::TestFailed }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_rests_until_a_morning_of_the_site() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        // The night in which clocks go back.
        let now: Timestamp = "2026-10-24T20:30:00Z".parse().unwrap();
        let at = |choice: &str, date: &str| until(choice, date, &zone, now).map(|at| at.to_string());
        assert_eq!(at("1h", "").unwrap(), "2026-10-24T21:30:00Z");
        assert_eq!(at("8h", "2027-01-01").unwrap(), "2026-10-25T04:30:00Z");
        assert_eq!(at("tomorrow", "").unwrap(), "2026-10-25T07:00:00Z");
        assert_eq!(at("date", "2026-12-24").unwrap(), "2026-12-24T07:00:00Z");
        for (choice, date) in [("date", ""), ("date", "9999-99-99"), ("forever", ""), ("", "")] {
            assert_eq!(until(choice, date, &zone, now).unwrap_err().status, 400, "{choice} {date}");
        }
    }
}
