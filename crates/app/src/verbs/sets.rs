//! `verify`, `show` and `list`: what lies at a destination.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use stillpoint_archive::{BackupSet, SetSummary};
use stillpoint_history::Task;
use stillpoint_model::{Bytes, Cancel, ErrorKind, Monitor};
use stillpoint_site::SiteError;

use super::{Answer, archive, cancel_on_signal, mention_complete, monitor};
use crate::arguments::{Common, ListArguments, SetArguments, VerifyArguments};
use crate::record::{Record, new_run};
use crate::screen::{Screen, Style, count, span};

/// `stillpoint verify`: one set, or all that the site file names.
pub fn verify(common: &Common, own: &VerifyArguments) -> Answer {
    let cancel = cancel_on_signal();
    if let Some(set) = &own.set {
        return verify_set(common, set, &monitor(common), &cancel);
    }
    let site = common.site()?;
    let record = Record::begin(common, &site, &new_run(), Task::Verify, monitor(common))?;
    // Where sets go straight into an archive there is no set in a folder.
    let folder =
        stillpoint_site::destination_folder(&site).filter(|_| site.file.destination.staging.is_none());
    let set = folder.map_or(Ok(0), |folder| verify_set(common, &folder, &record.monitor(), &cancel));
    let archives = archive::verify_all(common, site, record.monitor(), cancel);
    let answer = match (set, archives) {
        (Err(error), archives) => {
            // The first error is the answer; the other must not be lost.
            if let Err(other) = archives {
                crate::edge::print(&other);
            }
            Err(error)
        }
        (Ok(_), archives) => archives,
    };
    record.end(&answer);
    answer
}

fn verify_set(common: &Common, set: &Path, monitor: &Arc<dyn Monitor>, cancel: &Cancel) -> Answer {
    let report = stillpoint_archive::verify(set, monitor, cancel)?;
    if common.json {
        println!("{}", serde_json::json!({ "event": "verified", "set": report.set, "report": report }));
    } else if !common.quiet {
        let style = Style::for_stdout();
        for damage in &report.damage {
            let component = damage.component.as_ref().map_or("set", |name| name.as_str());
            println!(
                "{} {component}: {}: {}",
                style.red("damaged:"),
                damage.path.as_deref().unwrap_or("-"),
                damage.text
            );
        }
        // The sizes of the files: nothing was read of their holes.
        let (files, size) = (count(report.files, "file"), Bytes(report.bytes));
        println!("{files}, {size} in size, read from {}", report.set.display());
    }
    if report.damage.is_empty() {
        if !common.json && !common.quiet {
            println!("{}", Style::for_stdout().green("Every byte is what it was."));
        }
        return Ok(0);
    }
    Err(SiteError::new(
        ErrorKind::Damaged,
        format!("{} in the set not as stored", count(report.damage.len() as u64, "thing")),
    )
    .hint(
        "make a new backup now; keep this set until it is complete: what is undamaged can still be recovered",
    ))
}

/// `stillpoint show`.
pub fn show(common: &Common, own: &SetArguments) -> Answer {
    let set = BackupSet::open(&own.set)?;
    let facts = set.facts();
    if common.json {
        let kept = set.complete_beside();
        println!("{}", serde_json::json!({ "set": set.folder(), "facts": facts, "complete_beside": kept }));
        return Ok(0);
    }
    let style = Style::for_stdout();
    println!("{}", style.bold(&set.folder().display().to_string()));
    println!("  site      {} ({})", facts.site, facts.name);
    println!("  epoch     {} of {}", facts.epoch, facts.cut_at.strftime("%Y-%m-%d %H:%M:%S%.3f UTC"));
    let grade =
        facts.grade.map_or_else(String::new, |grade| format!(", grade {}", Screen::grade(style, grade, 0)));
    println!("  run       {}, {}{grade}", facts.run, facts.outcome);
    println!("  stood still for {}", span(facts.window_us));
    for (name, place, description, captured) in &facts.components {
        let grade = Screen::grade(style, captured.grade, 7);
        println!("  {:<16} {:<9} {grade} {}/{name}", name.as_str(), description.writer, place.folder());
    }
    for problem in &facts.problems {
        let component = problem.component.as_ref().map_or("-", |name| name.as_str());
        println!(
            "  {} {component}: {}: {}",
            style.yellow("problem:"),
            problem.path.as_deref().unwrap_or("-"),
            problem.text
        );
    }
    mention_complete(common, &set);
    Ok(0)
}

/// `stillpoint list`.
pub fn list(common: &Common, own: &ListArguments) -> Answer {
    let folder = match &own.destination {
        Some(folder) => folder.clone(),
        None => destination(common)?,
    };
    let sets = stillpoint_archive::list(&folder)?;
    if common.json {
        for set in &sets {
            println!("{}", listed(set));
        }
        return Ok(0);
    }
    if sets.is_empty() && !common.quiet {
        println!("There is no backup set at {}.", folder.display());
    }
    let style = Style::for_stdout();
    for set in &sets {
        match &set.content {
            Ok(content) => println!(
                "{}  epoch {:<5} {}  {:<10} {:<6} {}, {}  {}",
                style.bold(content.site.as_str()),
                content.epoch,
                content.cut_at.strftime("%Y-%m-%d %H:%M:%S UTC"),
                content.outcome.to_string(),
                content.grade.map_or_else(|| "-".to_owned(), |grade| grade.to_string()),
                count(content.files, "file"),
                Bytes(content.bytes),
                set.folder.display()
            ),
            Err(why) => println!("{} {}: {why}", style.red("not readable:"), set.folder.display()),
        }
    }
    Ok(0)
}

/// One line of the list for a program: the set's own fields, or what is wrong with it.
fn listed(set: &SetSummary) -> serde_json::Value {
    let mut line = match &set.content {
        Ok(content) => serde_json::json!(content),
        Err(error) => serde_json::json!({ "error": error }),
    };
    line["set"] = serde_json::json!(set.folder);
    line
}

fn destination(common: &Common) -> Result<PathBuf, SiteError> {
    let site = common.site()?;
    stillpoint_site::destination_folder(&site)
        .ok_or_else(|| SiteError::new(ErrorKind::Config, "the site file names no destination"))
}
