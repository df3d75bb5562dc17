//! `recover`.

use stillpoint_archive::BackupSet;
use stillpoint_model::{Bytes, ErrorKind};
use stillpoint_site::{RecoverOptions, RecoverPlan, RecoverReport};

use super::{Answer, cancel_on_signal, mention_complete, monitor, state_root};
use crate::arguments::{Common, RecoverArguments};
use crate::screen::{Style, count, span};

/// `stillpoint recover`.
pub fn recover(common: &Common, own: &RecoverArguments) -> Answer {
    let set = BackupSet::open(&own.set)?;
    let site = if own.with_config {
        stillpoint_site::load(&common.config)?
    } else {
        stillpoint_site::load(&set.site_file())?
    };
    mention_complete(common, &set);
    let options = RecoverOptions {
        component: own.component.clone(),
        overwrite: own.overwrite,
        verify: !own.no_verify,
        start: !own.no_start,
        state_root: state_root(common)?,
        monitor: monitor(common),
        cancel: cancel_on_signal(),
    };
    if own.dry_run {
        let plan = stillpoint_site::recover_plan(&set, &site, &options)?;
        print_plan(common, &plan);
        // The exit code that the recovery itself would have.
        let refused = !own.overwrite && plan.components.iter().any(|part| !part.obstacles.is_empty());
        return Ok(if refused { ErrorKind::WouldOverwrite.exit_code() } else { 0 });
    }
    let report = stillpoint_site::recover(&set, &site, &options)?;
    drop(options);
    if common.json {
        println!("{}", serde_json::json!({ "event": "recovered", "report": report }));
    } else if !common.quiet {
        print_report(&report);
    }
    Ok(0)
}

fn print_plan(common: &Common, plan: &RecoverPlan) {
    if common.json {
        println!("{}", serde_json::json!(plan));
        return;
    }
    let style = Style::for_stdout();
    println!("{}", style.bold(&format!("What a recovery from {} would do", plan.set.display())));
    for part in &plan.components {
        println!("  {}", style.bold(part.name.as_str()));
        for step in &part.steps {
            println!("    - {step}");
        }
        for obstacle in &part.obstacles {
            println!("    {} {obstacle}", style.yellow("in the way:"));
        }
    }
    for probe in &plan.probes {
        println!("  probe: {probe}");
    }
}

fn print_report(report: &RecoverReport) {
    let style = Style::for_stdout();
    for (name, restored) in &report.components {
        let (files, bytes) = (count(restored.files, "file"), Bytes(restored.bytes));
        println!("  {}: {files}, {bytes}", style.bold(name.as_str()));
        for note in &restored.notes {
            println!("    {note}");
        }
    }
    for (name, failure) in &report.probes {
        match failure {
            None => println!("  {} {name}", style.green("probe succeeded:")),
            Some(why) => println!("  {} {name}: {why}", style.red("probe failed:")),
        }
    }
    println!("{} in {}", style.green("Recovered"), span(report.elapsed_ms.max(1) * 1000));
}
