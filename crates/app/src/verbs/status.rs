//! `status`: how the site stands, with or without a service.

use std::io::Write;
use std::path::Path;

use jiff::Timestamp;
use stillpoint_alerts::{AlertSeverity, Condition};
use stillpoint_history::{History, Run, Task};
use stillpoint_model::{Bytes, ErrorKind, SiteCode, plain};
use stillpoint_server::standing::Standing;
use stillpoint_server::{history_at, metrics};
use stillpoint_site::{LoadedSite, SiteError};

use super::{Answer, state_root};
use crate::arguments::Common;
use crate::screen::{Style, span};
use crate::service_arguments::StatusArguments;

/// Exit codes of a plugin for Nagios and its kin (Monitoring Plugins Development Guidelines).
const NAGIOS: [(&str, u8); 4] = [("OK", 0), ("WARNING", 1), ("CRITICAL", 2), ("UNKNOWN", 3)];

/// `stillpoint status`.
pub fn status(common: &Common, own: &StatusArguments) -> Answer {
    match standing(common) {
        Ok((site, standing)) => {
            if let Some(file) = &own.metrics {
                write_metrics(file, &metrics(&standing))?;
            }
            if own.nagios {
                return Ok(nagios(&site, &standing));
            }
            if common.json {
                println!("{}", object(&site, &standing));
            } else if !common.quiet {
                print(&site, &standing);
            }
            Ok(worst(&standing))
        }
        Err(error) if own.nagios => {
            println!("STILLPOINT {} - {}", NAGIOS[3].0, one_plain_line(&error.text));
            Ok(NAGIOS[3].1)
        }
        Err(error) => Err(error),
    }
}

/// The exit code of `status`: 0 when nothing is the matter, 3 with warnings, 1 when something is critical.
fn worst(standing: &Standing) -> u8 {
    match standing.conditions.iter().map(|condition| condition.severity).max() {
        Some(AlertSeverity::Critical) => ErrorKind::Component.exit_code(),
        Some(AlertSeverity::Warning) => 3,
        Some(AlertSeverity::Info) | None => 0,
    }
}

fn standing(common: &Common) -> Result<(LoadedSite, Standing), SiteError> {
    let (site, mistakes) = site_in_force(common)?;
    let history = history_at(&site, &state_root(common)?)?;
    let standing = Standing::of(&site.file, &history, mistakes, Timestamp::now()).map_err(failed)?;
    Ok((site, standing))
}

pub(super) fn failed(error: stillpoint_history::HistoryError) -> SiteError {
    SiteError::new(ErrorKind::Environment, error.to_string())
}

/// The file is exchanged at once, so that a collector never reads half of it, and readable for it.
fn write_metrics(path: &Path, text: &str) -> Result<(), SiteError> {
    use std::os::unix::fs::PermissionsExt;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = tempfile::NamedTempFile::new_in(folder).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
        file.persist(path).map_err(|error| error.error)
    });
    written.map(drop).map_err(|error| {
        SiteError::new(ErrorKind::Environment, format!("cannot write the metrics to {}", path.display()))
            .hint("name a file in a folder that is there and may be written")
            .because(error)
    })
}

fn one_plain_line(text: &str) -> String {
    // A bar begins the performance data.
    plain::one_line(text.lines().next().unwrap_or_default()).replace('|', "/")
}

fn nagios(site: &LoadedSite, standing: &Standing) -> u8 {
    let (word, code) = match standing.conditions.iter().map(|condition| condition.severity).max() {
        Some(AlertSeverity::Critical) => NAGIOS[2],
        Some(AlertSeverity::Warning) => NAGIOS[1],
        Some(AlertSeverity::Info) | None => NAGIOS[0],
    };
    let told = match standing.conditions.first() {
        Some(condition) => condition.text.clone(),
        None => good(standing),
    };
    let mut data = String::new();
    if let Some(age) = standing.age() {
        let limit = standing.facts.expected.change_retention.as_secs();
        data.push_str(&format!("age={}s;{};{limit};0 ", age.as_secs(), limit / 10 * 8));
    }
    if let Some(us) = standing.facts.backup.last_good.as_ref().and_then(|run| run.window_us) {
        data.push_str(&format!("freeze={}us;;;0 ", us));
    }
    println!("STILLPOINT {word} - {}: {} | {}", site.file.site.code, one_plain_line(&told), data.trim_end());
    for condition in standing.conditions.iter().skip(1) {
        println!("{}: {}", condition.severity.as_str(), one_plain_line(&condition.text));
    }
    code
}

fn good(standing: &Standing) -> String {
    match (&standing.facts.backup.last_good, standing.age()) {
        (Some(run), Some(age)) => {
            let outcome = run.outcome.map_or_else(String::new, |outcome| outcome.to_string());
            format!("the last good backup is {} old ({outcome})", span_of(age.as_secs()))
        }
        _ => "there is no backup yet, and none was due".to_owned(),
    }
}

/// Seconds in words: "3 h 20 min".
fn span_of(seconds: i64) -> String {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn object(site: &LoadedSite, standing: &Standing) -> serde_json::Value {
    let condition = |condition: &Condition| {
        serde_json::json!({
            "kind": condition.kind.as_str(), "subject": condition.subject, "severity": condition.severity.as_str(),
            "title": condition.title, "text": condition.text, "remedy": condition.remedy, "since": condition.since,
        })
    };
    let backup = &standing.facts.backup;
    serde_json::json!({
        "event": "status", "site": site.file.site.code, "name": site.file.site.name, "now": standing.facts.now,
        "safe": worst(standing) == 0,
        "last_backup": backup.last_good, "last_attempt": backup.last_ended,
        "age_seconds": standing.age().map(|age| age.as_secs()),
        "change_retention_seconds": standing.facts.expected.change_retention.as_secs(),
        "last_verify": standing.facts.verify.last_ended, "under_way": standing.under_way,
        "next": standing.planned.iter().map(|it| serde_json::json!({ "task": it.timed.task, "at": it.next() })).collect::<Vec<_>>(),
        "conditions": standing.conditions.iter().map(condition).collect::<Vec<_>>(),
    })
}

fn print(site: &LoadedSite, standing: &Standing) {
    let style = Style::for_stdout();
    let identity = &site.file.site;
    println!("{}", style.bold(&format!("Site {} ({})", identity.code, plain::one_line(&identity.name))));
    for run in &standing.under_way {
        let since = span_of(standing.facts.now.duration_since(run.started).as_secs());
        println!(
            "  under way     {} {} for {since}, asked for by {}",
            run.task,
            run.name,
            plain::one_line(&run.asked_by)
        );
    }
    print_run("last backup", standing.facts.backup.last_good.as_ref(), standing);
    let failed = standing.facts.backup.last_ended.as_ref();
    if failed.is_some_and(|run| Some(run) != standing.facts.backup.last_good.as_ref()) {
        print_run("last attempt", failed, standing);
    }
    print_run("last verify", standing.facts.verify.last_ended.as_ref(), standing);
    for planned in &standing.planned {
        let next = planned.next().map_or_else(
            || "never again".to_owned(),
            |at| {
                let zone = planned.timed.schedule.zone.at(at);
                format!("{} ({})", zone.strftime("%a %Y-%m-%d %H:%M %Z"), at.strftime("%H:%M UTC"))
            },
        );
        println!("  next {:<9}{next}", planned.timed.task.as_str());
    }
    if standing.planned.is_empty() {
        println!("  next backup   when somebody asks for it: the site file has no [schedule]");
    }
    for condition in &standing.conditions {
        let mark = match condition.severity {
            AlertSeverity::Critical => style.red("critical:"),
            AlertSeverity::Warning => style.yellow("warning:"),
            AlertSeverity::Info => style.dim("note:"),
        };
        println!("  {mark} {}", plain::one_line(&condition.text));
        println!("      {} {}", style.bold("remedy:"), plain::one_line(&condition.remedy));
    }
    if standing.conditions.is_empty() {
        println!("  {}", style.green("Nothing is the matter."));
    }
}

fn print_run(what: &str, run: Option<&Run>, standing: &Standing) {
    let Some(run) = run else {
        println!("  {what:<13} none");
        return;
    };
    let ago = span_of(standing.facts.now.duration_since(run.started).as_secs());
    let outcome = run.outcome.map_or_else(String::new, |outcome| outcome.to_string());
    let grade = run.grade.map_or_else(String::new, |grade| format!(", grade {grade}"));
    let window = run.window_us.map_or_else(String::new, |us| format!(", stood still for {}", span(us)));
    let size = match run.task {
        Task::Backup if run.bytes > 0 => format!(", {}", Bytes(run.bytes)),
        _ => String::new(),
    };
    println!("  {what:<13} {outcome}, {ago} ago{grade}{window}{size}");
}

/// The site, and what is wrong with its file. While it is not valid, what it said before is in force, as in the service: who looks
/// how the site stands must not have to mend the file first.
fn site_in_force(common: &Common) -> Result<(LoadedSite, Option<String>), SiteError> {
    let mistakes = match common.site() {
        Ok(site) => return Ok((site, None)),
        Err(mistakes) => mistakes,
    };
    let text = std::fs::read_to_string(&common.config).unwrap_or_default();
    let Some(code) = code_in(&text) else { return Err(mistakes) };
    let copy = state_root(common)?.join(code.as_str()).join("site.toml");
    match stillpoint_site::load_copy(&common.config, &copy) {
        Ok(site) => Ok((site, Some(mistakes.text))),
        Err(_) => Err(mistakes),
    }
}

/// The site code in a text that may be anything else than a site file.
fn code_in(text: &str) -> Option<SiteCode> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix("code"))?;
    line.split('"').nth(1)?.parse().ok()
}

/// The history of the site, for verbs that only look.
pub(super) fn history(common: &Common) -> Result<(LoadedSite, History), SiteError> {
    let (site, _) = site_in_force(common)?;
    let history = history_at(&site, &state_root(common)?)?;
    Ok((site, history))
}
