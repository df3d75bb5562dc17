//! `alert` and `console`: what can be done without the console.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use stillpoint_alerts::Told;
use stillpoint_history::{Alert, AlertQuery, AlertState};
use stillpoint_model::{ErrorKind, plain};
use stillpoint_server::{access, alerting};
use stillpoint_site::SiteError;

use super::Answer;
use super::status::{failed, history};
use crate::arguments::Common;
use crate::screen::Style;
use crate::service_arguments::{AlertVerb, ConsoleVerb};

/// The exit code when something could not be told.
const INCOMPLETE: u8 = 3;

/// `stillpoint alert`.
pub fn alert(common: &Common, verb: &AlertVerb) -> Answer {
    match verb {
        AlertVerb::List { all } => list(common, *all),
        AlertVerb::Check => check(common),
        AlertVerb::Test => test(common),
        AlertVerb::Postpone { id, wait } => {
            let now = Timestamp::now();
            let wait = SignedDuration::try_from(wait.duration()).unwrap_or(SignedDuration::MAX);
            let until = now.checked_add(wait).map_err(|error| {
                SiteError::new(ErrorKind::Usage, "that is too far in the future").because(error)
            })?;
            history(common)?.1.postpone_alert(*id, until, now).map_err(refused)?;
            Ok(0)
        }
        AlertVerb::Clear { id, comment } => {
            let by = std::env::var("USER").ok().filter(|user| !user.is_empty());
            let by = by.unwrap_or_else(|| "command line".into());
            history(common)?.1.close_alert(*id, &by, comment, Timestamp::now()).map_err(refused)?;
            Ok(0)
        }
    }
}

fn refused(error: stillpoint_history::HistoryError) -> SiteError {
    SiteError::new(ErrorKind::Usage, error.to_string()).hint("`stillpoint alert list` shows the alerts")
}

fn list(common: &Common, all: bool) -> Answer {
    let states = if all { Vec::new() } else { vec![AlertState::Active, AlertState::Postponed] };
    let alerts = history(common)?.1.alerts(&AlertQuery { states, limit: 1000 }).map_err(failed)?;
    if common.json {
        for alert in &alerts {
            println!("{}", serde_json::json!(alert));
        }
        return Ok(0);
    }
    if alerts.is_empty() && !common.quiet {
        println!("There is no alert.");
    }
    for alert in &alerts {
        print(alert);
    }
    Ok(0)
}

fn print(alert: &Alert) {
    let style = Style::for_stdout();
    let severity = alert.severity.as_str();
    let since = alert.began.strftime("%Y-%m-%d %H:%M UTC");
    println!(
        "{} {severity} ({}, since {since}): {}",
        style.bold(&alert.id.to_string()),
        alert.state.as_str(),
        plain::one_line(&alert.title)
    );
    println!("    {}", plain::one_line(&alert.text));
    println!("    {} {}", style.bold("remedy:"), plain::one_line(&alert.remedy));
}

fn in_runtime<T>(
    work: impl Future<Output = Result<T, stillpoint_history::HistoryError>>,
) -> Result<T, SiteError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        SiteError::new(ErrorKind::Environment, "the channels cannot be told").because(error)
    })?;
    runtime.block_on(work).map_err(failed)
}

fn check(common: &Common) -> Answer {
    let (site, history) = history(common)?;
    let told = in_runtime(alerting::check(&site.file, &Arc::new(history), None, Timestamp::now()))?;
    Ok(answer(common, &told))
}

fn test(common: &Common) -> Answer {
    let (site, history) = history(common)?;
    if site.file.channels.is_empty() {
        return Err(SiteError::new(ErrorKind::Config, "the site file names no channel")
            .hint("add a [[channel]]; docs/alerts.md has an example of each"));
    }
    let told = in_runtime(alerting::test(&site.file, &Arc::new(history), None))?;
    Ok(answer(common, &told))
}

fn answer(common: &Common, told: &[Told]) -> u8 {
    let style = Style::for_stdout();
    for one in told {
        if common.json {
            println!("{}", serde_json::json!(one));
            continue;
        }
        match &one.error {
            None if common.quiet => {}
            None => println!("{} {}", style.green("told:"), one.channel),
            Some(error) => println!("{} {}", style.red("not told:"), plain::one_line(&error.to_string())),
        }
    }
    if told.is_empty() && !common.json && !common.quiet {
        println!("Nobody had to be told anything.");
    }
    if told.iter().any(|one| one.error.is_some()) { INCOMPLETE } else { 0 }
}

/// `stillpoint console`.
pub fn console(common: &Common, verb: &ConsoleVerb) -> Answer {
    match verb {
        ConsoleVerb::ResetLink { name } => {
            let (site, history) = history(common)?;
            let secret = access::new_link(&history, name.as_deref(), Timestamp::now()).map_err(failed)?;
            let scheme = if site.file.console.is_encrypted() { "https" } else { "http" };
            let url = format!("{scheme}://{}/welcome/{secret}", site.file.console.listen);
            if common.json {
                println!("{}", serde_json::json!({ "event": "link", "url": url }));
            } else {
                println!("{url}");
                if !common.quiet {
                    println!("It works once, within 24 hours, while the service runs.");
                }
            }
            Ok(0)
        }
    }
}
