//! `archive copy`.

use stillpoint_model::{Bytes, ErrorKind};
use stillpoint_repository::{CopyReport, Id};
use stillpoint_site::SiteError;
use stillpoint_site::archive::{OpenArchive, VersionFacts, find_archive, open_archive};

use super::{Answer, Call, first_error};
use crate::archive_arguments::CopyArguments;
use crate::screen::count;

/// `stillpoint archive copy`.
pub fn copy(call: &Call<'_>, own: &CopyArguments) -> Answer {
    let from = find_archive(&call.site, Some(own.from.as_str()))?;
    let targets: Vec<_> =
        call.archives()?.into_iter().filter(|settings| settings.name != from.name).collect();
    if targets.is_empty() {
        let text = format!("there is no other archive than {} to copy to", from.name);
        return Err(SiteError::new(ErrorKind::Usage, text)
            .hint("add one to the site file, or name it with --archive"));
    }
    let source = open_archive(from, &call.cancel)?;
    let mut named = Vec::new();
    for wanted in &own.ids {
        let (id, snapshot) = source.find_version(call.site_code(), wanted)?;
        named.push(VersionFacts::of(id, &snapshot));
    }
    first_error(targets.into_iter().map(|settings| {
        let target = open_archive(settings, &call.cancel)?;
        let wanted = match named.is_empty() {
            true => target.missing_from(&source, call.site_code(), None)?,
            false => named.clone(),
        };
        if own.dry_run {
            print_plan(call, &target, &wanted);
            return Ok(());
        }
        let ids: Vec<Id> = wanted.iter().map(|version| version.id).collect();
        let report = target.copy_from(&source, &ids, &call.watcher(settings))?;
        print(call, &source, &target, &report);
        match report.damaged.into_iter().next() {
            None => Ok(()),
            Some((id, error)) => {
                let text =
                    format!("version {} of archive {} is damaged and was not copied", id.short(), from.name);
                Err(SiteError::new(ErrorKind::Damaged, text)
                    .because(error)
                    .hint("all others were copied; `stillpoint archive verify` tells what is damaged"))
            }
        }
    }))
}

fn print_plan(call: &Call<'_>, target: &OpenArchive, wanted: &[VersionFacts]) {
    let name = &target.settings.name;
    if call.common.json {
        println!("{}", serde_json::json!({ "event": "would-copy", "archive": name, "versions": wanted }));
        return;
    }
    println!("archive {name}: {} would be copied", count(wanted.len() as u64, "version"));
    for version in wanted {
        println!("  {}  {}", version.id.short(), version.time.strftime("%Y-%m-%d %H:%M:%S UTC"));
    }
}

fn print(call: &Call<'_>, source: &OpenArchive, target: &OpenArchive, report: &CopyReport) {
    let (from, to) = (&source.settings.name, &target.settings.name);
    if call.common.json {
        let copied: Vec<_> =
            report.copied.iter().map(|(there, here)| serde_json::json!([there, here])).collect();
        let object = serde_json::json!({
            "event": "copied", "from": from, "archive": to, "copied": copied, "there": report.there,
            "stored_bytes": report.stored.bytes,
        });
        println!("{object}");
    } else if call.for_people() {
        let (new, there) = (count(report.copied.len() as u64, "version"), report.there.len());
        let had = if there == 0 { String::new() } else { format!(", {there} were there already") };
        println!("archive {to}: {new} copied from {from}, {} new{had}", Bytes(report.stored.bytes));
    }
}
