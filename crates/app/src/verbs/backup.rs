//! `backup` and `reconcile`.

use std::sync::Arc;
use std::time::Duration;

use stillpoint_coordinator::{ActHook, ReconcileReport};
use stillpoint_history::{History, Task};
use stillpoint_model::status::StatusMessage;
use stillpoint_model::{ErrorKind, Event, Outcome, Ticket};
use stillpoint_site::{BackupOptions, BackupReport, LoadedSite, SiteError};

use super::{Answer, cancel_or_leave_on_signal, monitor, own_program, state_root};
use crate::arguments::{BackupArguments, Common, ReconcileArguments};
use crate::edge;
use crate::record::{BackupFacts, Record, new_run};
use crate::screen::{Screen, Style, count, span};

/// The exit code of an incomplete run.
const INCOMPLETE: u8 = 3;

/// `stillpoint backup`.
pub fn backup(common: &Common, own: &BackupArguments, hook: Arc<dyn ActHook>) -> Answer {
    let site = common.site()?;
    if own.dry_run {
        let rehearsal = stillpoint_site::backup_plan(&site)?;
        return print_plan(common, &rehearsal);
    }
    let run = new_run();
    let record = Record::begin(common, &site, &run, Task::Backup, monitor(common))?;
    let options = BackupOptions {
        run,
        state_root: state_root(common)?,
        guard: vec![own_program()?.into(), "guard".into()],
        // Leads to what is running, also when its file was replaced or removed since.
        program: "/proc/self/exe".into(),
        monitor: record.monitor(),
        cancel: cancel_or_leave_on_signal(),
        hook,
    };
    let report = match own.wait {
        true => when_it_is_our_turn(&site, &options),
        false => stillpoint_site::backup(&site, &options),
    };
    if let Ok(report) = report.as_ref()
        && !common.json
        && !common.quiet
    {
        summary(report);
    }
    let facts = report.as_ref().map(|report| BackupFacts::of(&site, report)).unwrap_or_default();
    let answer = report.and_then(answer);
    record.end_backup(facts, &answer);
    answer
}

/// How often a run that waits looks whether it may begin.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The backup, as soon as no other run holds the site or the machine. Who does is told while it waits.
fn when_it_is_our_turn(site: &LoadedSite, options: &BackupOptions) -> Result<BackupReport, SiteError> {
    loop {
        match stillpoint_site::backup(site, options) {
            Err(busy) if busy.kind == ErrorKind::Busy && !options.cancel.is_cancelled() => {
                let activity = format!("waiting: {}", busy.text);
                options.monitor.emit(Event::Progress {
                    component: None,
                    activity,
                    files: 0,
                    bytes: 0,
                    total_bytes: None,
                });
                std::thread::sleep(LOOK_EVERY);
            }
            Err(busy) if busy.kind == ErrorKind::Busy => {
                let text = "cancelled while it waited for its turn";
                return Err(SiteError::new(ErrorKind::Cancelled, text).because(busy));
            }
            done => return done,
        }
    }
}

fn answer(report: BackupReport) -> Answer {
    match (report.outcome, report.failure) {
        // The set may be published and whole: that the site stands still is what a person must know.
        (_, Some(error)) if error.kind == ErrorKind::NotThawed => Err(error),
        (Outcome::Complete, _) => Ok(0),
        (Outcome::Incomplete, _) => Ok(INCOMPLETE),
        (Outcome::Failed, Some(error)) => Err(error),
        (Outcome::Failed, None) => Err(SiteError::new(ErrorKind::Bug, "the run failed and did not say why")),
    }
}

fn summary(report: &BackupReport) {
    let style = Style::for_stdout();
    if let Some(set) = &report.set {
        let grade = report
            .grade
            .map_or_else(String::new, |grade| format!(", grade {}", Screen::grade(style, grade, 0)));
        let problems = match report.problems.len() {
            0 => String::new(),
            number => format!(", {}", style.yellow(&count(number as u64, "problem"))),
        };
        let elapsed = span(u64::try_from(report.elapsed.as_micros()).unwrap_or(u64::MAX));
        println!("{}{grade}{problems}, in {elapsed}", style.bold(&set.display().to_string()));
    }
}

fn print_plan(common: &Common, plan: &stillpoint_site::BackupPlan) -> Answer {
    if common.json {
        println!("{}", serde_json::json!(plan));
    } else {
        let style = Style::for_stdout();
        println!("{}", style.bold(&format!("Site {}: what a backup would do", plan.site)));
        println!("  set: {}", plan.set.display());
        for part in &plan.components {
            let level = part.level.map_or_else(String::new, |level| format!(", level {level}"));
            println!("  {} ({}{level})", style.bold(part.name.as_str()), part.writer);
            for line in &part.notes {
                println!("      {line}");
            }
            if let Some(error) = &part.error {
                println!("      {} {error}", style.red("would fail:"));
            }
        }
        for finding in &plan.findings {
            println!("  {} {finding}", style.yellow("destination:"));
        }
    }
    // The exit code that the run itself would have.
    Ok(match plan {
        plan if plan.fatal > 0 => ErrorKind::Environment.exit_code(),
        plan if plan.would_fail() => ErrorKind::Component.exit_code(),
        _ => 0,
    })
}

/// What was healed is in the history, so that an alert that the site stands still ends.
fn record_healed(common: &Common, site: &LoadedSite, report: &ReconcileReport) {
    let mut messages = Vec::new();
    stillpoint_site::tell_healed(report, &mut |id, inserts: &[&str]| {
        let inserts = inserts.iter().map(|text| (*text).to_owned()).collect();
        messages.push(StatusMessage::new(id, None, inserts, jiff::Timestamp::now()));
    });
    if messages.is_empty() {
        return;
    }
    let path = state_root(common).map(|root| History::path_in(&root, &site.file.site.code));
    let kept = path.map_err(|error| error.text).and_then(|path| {
        let history = History::open(&path).map_err(|error| error.to_string())?;
        messages.iter().try_for_each(|message| history.tell(message)).map_err(|error| error.to_string())
    });
    if let Err(why) = kept {
        edge::warn(&format!("this is not recorded: {why}"));
    }
}

/// `stillpoint reconcile`.
pub fn reconcile(common: &Common, own: &ReconcileArguments) -> Answer {
    let site = common.site()?;
    let report = stillpoint_site::reconcile_site(&site, &state_root(common)?, own.forget.map(Ticket))?;
    record_healed(common, &site, &report);
    if common.json {
        let object = serde_json::json!({
            "event": "reconciled", "run": report.run, "healed": report.healed, "failed": report.failed, "left": report.left,
            "forgotten": report.forgotten,
        });
        println!("{object}");
    } else if !common.quiet {
        let nothing = report.healed.is_empty() && report.failed.is_empty() && report.left.is_empty();
        if nothing && report.forgotten.is_none() {
            println!("Nothing was left behind.");
        }
        for line in &report.healed {
            println!("healed: {line}");
        }
        if let Some(line) = &report.forgotten {
            println!("dismissed, and not tried again: {line}");
        }
        for line in &report.left {
            println!("still there, tried again by the next run: {line}");
        }
    }
    if report.failed.is_empty() {
        return Ok(0);
    }
    let error =
        SiteError::new(ErrorKind::NotThawed, format!("could not be healed: {}", report.failed.join("; ")))
            .hint(
                "put it right by hand, then run `stillpoint reconcile` again; with --forget TICKET for what can never succeed",
            );
    if common.json {
        return Err(error);
    }
    edge::print(&error);
    Ok(error.kind.exit_code())
}
