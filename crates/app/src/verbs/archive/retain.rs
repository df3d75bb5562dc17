//! `archive forget`, `prune`, `hold` and `release`: which versions stay.

use stillpoint_model::{Bytes, ErrorKind};
use stillpoint_repository::{Id, PruneReport};
use stillpoint_site::SiteError;
use stillpoint_site::archive::{OpenArchive, Retention, RetentionPlan, open_archive};

use super::{Answer, Call, first_error};
use crate::archive_arguments::{ForgetArguments, PruneArguments};
use crate::screen::{Style, count};

/// `stillpoint archive forget`.
pub fn forget(call: &Call<'_>, own: &ForgetArguments) -> Answer {
    if !own.ids.is_empty() {
        let archive = call.open()?;
        return forget_named(call, own, &archive);
    }
    let archives = call.archives()?;
    let several = archives.len() > 1;
    first_error(archives.into_iter().filter(|settings| !several || !settings.append_only).map(|settings| {
        let archive = open_archive(settings, &call.cancel)?;
        let plan = archive.retention(call.site_code())?;
        print_plan(call, own.dry_run, &archive, &plan);
        let retired: Vec<Id> = plan.retired().map(|one| one.version.id).collect();
        finish(call, own, &archive, &retired)
    }))
}

fn forget_named(call: &Call<'_>, own: &ForgetArguments, archive: &OpenArchive) -> Answer {
    let versions = archive.versions()?;
    let mut retired = Vec::new();
    for wanted in &own.ids {
        let (id, snapshot) = archive.find_version(call.site_code(), wanted)?;
        if snapshot.is_held() {
            let text = format!("version {} is on hold", id.short());
            return Err(SiteError::new(ErrorKind::Usage, text)
                .hint("nothing was changed; release it first with `stillpoint archive release`"));
        }
        retired.push(id);
    }
    // The site must have something to come back from; whoever wants that removes the archive.
    let site = call.site_code();
    let stays = |version: &&stillpoint_site::archive::VersionFacts| {
        version.ours && version.site == site && version.complete && !retired.contains(&version.id)
    };
    let had = versions.iter().any(|version| version.ours && version.site == site && version.complete);
    if had && versions.iter().find(stays).is_none() {
        let text = format!("that would let go of the last complete version of site {site}");
        return Err(SiteError::new(ErrorKind::WouldOverwrite, text)
            .hint("nothing was changed; make a complete backup first"));
    }
    finish(call, own, archive, &retired)?;
    Ok(0)
}

fn finish(
    call: &Call<'_>,
    own: &ForgetArguments,
    archive: &OpenArchive,
    retired: &[Id],
) -> Result<(), SiteError> {
    let watcher = call.watcher(&archive.settings);
    let name = &archive.settings.name;
    if !own.dry_run && !retired.is_empty() {
        let gone = archive.forget(retired, &*watcher)?;
        if call.common.json {
            println!(
                "{}",
                serde_json::json!({ "event": "versions-forgotten", "archive": name, "versions": gone })
            );
        } else if call.for_people() {
            println!("archive {name}: let {} go", count(gone.len() as u64, "version"));
        }
    } else if own.dry_run && call.for_people() && !own.ids.is_empty() {
        println!("archive {name}: {} would go", count(retired.len() as u64, "version"));
    }
    if own.prune {
        print_prune(call, archive, &archive.prune(own.dry_run, &*watcher)?);
    }
    Ok(())
}

fn print_plan(call: &Call<'_>, dry_run: bool, archive: &OpenArchive, plan: &RetentionPlan) {
    let name = &archive.settings.name;
    if call.common.json {
        for one in &plan.versions {
            let mut object = serde_json::json!(one.version);
            object["event"] = "retention".into();
            object["archive"] = serde_json::json!(name);
            object["retires"] = one.retires().into();
            object["why"] = one.words().into();
            println!("{object}");
        }
        return;
    }
    let style = Style::for_stdout();
    // What a wrong clock did must be seen also when nobody asked for the reasons.
    let told = |one: &&Retention| dry_run || one.doubt().is_some();
    if call.common.quiet {
        return;
    }
    if dry_run {
        let (all, gone) = (plan.versions.len() as u64, plan.retired().count() as u64);
        println!("{}: of {}, {gone} would go", style.bold(&format!("archive {name}")), count(all, "version"));
    }
    for one in plan.versions.iter().filter(told) {
        let fate = match (one.retires(), one.doubt()) {
            (true, _) => style.red("goes "),
            (false, Some(_)) => style.yellow("stays"),
            (false, None) => style.green("stays"),
        };
        let epoch = one.version.epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string());
        let time = one.version.time.strftime("%Y-%m-%d %H:%M:%S UTC");
        println!(
            "  {fate}  {}  epoch {epoch:<5} {time}  {}",
            style.bold(&one.version.id.short()),
            one.words()
        );
    }
}

/// `stillpoint archive prune`.
pub fn prune(call: &Call<'_>, own: &PruneArguments) -> Answer {
    let archives = call.archives()?;
    let several = archives.len() > 1;
    first_error(archives.into_iter().filter(|settings| !several || !settings.append_only).map(|settings| {
        let archive = open_archive(settings, &call.cancel)?;
        let report = archive.prune(own.dry_run, &*call.watcher(settings))?;
        print_prune(call, &archive, &report);
        Ok(())
    }))
}

fn print_prune(call: &Call<'_>, archive: &OpenArchive, report: &PruneReport) {
    let name = &archive.settings.name;
    if call.common.json {
        println!("{}", serde_json::json!({ "event": "pruned", "archive": name, "report": report }));
        return;
    }
    if !call.for_people() {
        return;
    }
    let style = Style::for_stdout();
    let verb = if report.dry_run { "would be removed" } else { "removed" };
    println!(
        "archive {name}: {} ({}) {verb}, {} of them repacked",
        count(report.packs_removed, "pack"),
        Bytes(report.removed_bytes),
        report.packs_repacked,
    );
    for damaged in &report.damaged {
        println!("{} {damaged}", style.red("damaged:"));
    }
    if let Some(why) = &report.postponed {
        println!("{} nothing was removed yet: {why}", style.yellow("postponed:"));
    }
}

/// `stillpoint archive hold` and `release`.
pub fn hold(call: &Call<'_>, wanted: &str, hold: bool) -> Answer {
    let archive = call.open()?;
    let (id, _) = archive.find_version(call.site_code(), wanted)?;
    let now = archive.hold(id, hold, &*call.watcher(&archive.settings))?;
    if call.common.json {
        let object = serde_json::json!({
            "event": if hold { "version-held" } else { "version-released" }, "archive": archive.settings.name,
            "version": now, "before": id,
        });
        println!("{object}");
    } else if call.for_people() {
        let how = if hold { "on hold" } else { "no longer on hold" };
        println!(
            "Version {} is {how}; its name is now {}.",
            id.short(),
            Style::for_stdout().bold(&now.short())
        );
    }
    Ok(0)
}
