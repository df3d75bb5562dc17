//! `archive repair`.

use std::path::PathBuf;

use stillpoint_archive::BackupSet;
use stillpoint_model::ErrorKind;
use stillpoint_repository::{RepairReport, Watcher};
use stillpoint_site::SiteError;
use stillpoint_site::archive::{OpenArchive, find_archive, open_archive};

use super::verify::{damaged_object, print_damaged};
use super::{Answer, Call};
use crate::archive_arguments::RepairArguments;
use crate::screen::{Style, count};

/// `stillpoint archive repair`.
pub fn repair(call: &Call<'_>, own: &RepairArguments) -> Answer {
    let settings = find_archive(&call.site, call.name)?;
    let archive = open_archive(settings, &call.cancel)?;
    let watcher = call.watcher(settings);
    let named = !own.from.is_empty() || !own.folder.is_empty();
    let (archives, folders) =
        if named { sources(call, own)? } else { all_sources(call, &archive, &*watcher) };
    let report = archive.repair(&archives, &folders, &watcher)?;
    print(call, &archive, &report);
    if report.unhealed.is_empty() && report.damaged_files.is_empty() {
        return Ok(0);
    }
    let text = format!("not all of archive {} could be healed", settings.name);
    Err(SiteError::new(ErrorKind::Damaged, text).hint(
        "name more with --from ARCHIVE or --folder FOLDER; let the versions go that are lost, and make a backup now",
    ))
}

type Sources = (Vec<OpenArchive>, Vec<PathBuf>);

/// What the command line names.
fn sources(call: &Call<'_>, own: &RepairArguments) -> Result<Sources, SiteError> {
    let open = |name: &stillpoint_model::ArchiveName| {
        find_archive(&call.site, Some(name.as_str()))
            .and_then(|settings| open_archive(settings, &call.cancel))
    };
    let archives = own.from.iter().map(open).collect::<Result<_, _>>()?;
    let mut folders = Vec::new();
    for folder in &own.folder {
        let absolute = std::path::absolute(folder).ok().filter(|folder| folder.is_dir());
        folders.push(absolute.ok_or_else(|| {
            SiteError::new(ErrorKind::Usage, format!("{} is not a folder", folder.display()))
        })?);
    }
    Ok((archives, folders))
}

/// All that there is of the site: the other archives, as far as they can be opened, and the published set.
fn all_sources(call: &Call<'_>, archive: &OpenArchive, watcher: &dyn Watcher) -> Sources {
    let mut archives = Vec::new();
    for other in call.site.file.archives.iter().filter(|other| other.name != archive.settings.name) {
        match open_archive(other, &call.cancel) {
            Ok(opened) => archives.push(opened),
            Err(error) => watcher.note(&format!("nothing is taken from archive {}: {error}", other.name)),
        }
    }
    let set =
        stillpoint_site::destination_folder(&call.site).and_then(|folder| BackupSet::open(&folder).ok());
    let folders = set.iter().flat_map(|set| {
        [Some(set.folder()), set.databases_folder()].into_iter().flatten().map(std::path::Path::to_owned)
    });
    (archives, folders.collect())
}

fn print(call: &Call<'_>, archive: &OpenArchive, report: &RepairReport) {
    let name = &archive.settings.name;
    if call.common.json {
        let object = serde_json::json!({
            "event": "repaired", "archive": name, "packs_indexed": report.packs_indexed,
            "blobs_healed": report.blobs_healed, "blobs_salvaged": report.blobs_salvaged,
            "versions_healed": report.versions_healed, "files_removed": report.files_removed,
            "unhealed": report.unhealed.iter().map(damaged_object).collect::<Vec<_>>(),
            "damaged_files": report.damaged_files, "postponed": report.postponed,
        });
        println!("{object}");
        return;
    }
    if !call.for_people() {
        return;
    }
    let style = Style::for_stdout();
    for file in &report.damaged_files {
        println!("{} {}", style.red("not healed:"), stillpoint_model::plain::one_line(file));
    }
    for pack in &report.unhealed {
        print_damaged(style, pack);
    }
    println!(
        "archive {name}: {} healed from elsewhere, {} taken out of damaged packs, {} healed, {} removed",
        count(report.blobs_healed, "blob"),
        report.blobs_salvaged,
        count(report.versions_healed, "version"),
        count(report.files_removed, "damaged file"),
    );
    if let Some(why) = &report.postponed {
        println!("{} damaged files are still there: {why}", style.yellow("postponed:"));
    }
}
