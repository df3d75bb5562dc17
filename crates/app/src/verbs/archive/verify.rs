//! `archive verify`.

use stillpoint_model::{Bytes, ErrorKind, plain};
use stillpoint_repository::{CheckReport, DamagedPack, ReadState};
use stillpoint_site::SiteError;
use stillpoint_site::archive::{OpenArchive, VerifyScope, open_archive};

use super::{Answer, Call, first_error};
use crate::archive_arguments::VerifyArguments;
use crate::screen::{Style, count};
use crate::verbs::state_root;

/// `stillpoint archive verify`.
pub fn verify(call: &Call<'_>, own: &VerifyArguments) -> Answer {
    let scope = match (own.all, own.structure) {
        (true, _) => VerifyScope::All,
        (_, true) => VerifyScope::Structure,
        _ => VerifyScope::Share,
    };
    let root = state_root(call.common)?;
    first_error(call.archives()?.into_iter().map(|settings| {
        let archive = open_archive(settings, &call.cancel)?;
        let watcher = call.watcher(settings);
        let (report, state) = archive.verify(scope, &root, &call.site.file.site.code, &*watcher)?;
        print(call, &archive, &report, &state);
        answer(&archive, report)
    }))
}

fn answer(archive: &OpenArchive, report: CheckReport) -> Result<(), SiteError> {
    let name = &archive.settings.name;
    if !report.is_good() {
        let packs = count(report.damaged_packs.len() as u64, "damaged pack");
        let files = count(report.damaged_files.len() as u64, "damaged version or index file");
        return Err(SiteError::new(ErrorKind::Damaged, format!("archive {name} has {packs} and {files}")).hint(
            "what no damaged pack touches can be restored; heal it with `stillpoint archive repair`, and make a backup now",
        ));
    }
    match report.unfinished {
        None => Ok(()),
        Some(error) => Err(archive.error(error)),
    }
}

fn print(call: &Call<'_>, archive: &OpenArchive, report: &CheckReport, state: &ReadState) {
    let name = &archive.settings.name;
    if call.common.json {
        let object = serde_json::json!({
            "event": "archive-verified", "archive": name, "good": report.is_good(), "versions": report.versions,
            "blobs": report.blobs, "packs": report.packs.items, "bytes": report.packs.bytes,
            "read_packs": report.read.items, "read_bytes": report.read.bytes, "damaged_files": report.damaged_files,
            "damaged_packs": report.damaged_packs.iter().map(damaged_object).collect::<Vec<_>>(),
            "notes": report.notes, "all_read": state.completed(),
            "unfinished": report.unfinished.as_ref().map(ToString::to_string),
        });
        println!("{object}");
        return;
    }
    if call.common.quiet {
        return;
    }
    let style = Style::for_stdout();
    for note in &report.notes {
        println!("note: {}", plain::one_line(note));
    }
    for file in &report.damaged_files {
        println!("{} {}", style.red("damaged:"), plain::one_line(file));
    }
    for pack in &report.damaged_packs {
        print_damaged(style, pack);
    }
    let read = format!("{} ({}) read", count(report.read.items, "pack"), Bytes(report.read.bytes));
    let all = format!("of {} ({})", report.packs.items, Bytes(report.packs.bytes));
    let last = state.completed().map_or_else(
        || "not all of it was read yet".to_owned(),
        |time| format!("all of it was last read by {}", time.timestamp().strftime("%Y-%m-%d")),
    );
    println!("archive {name}: {}, {read} {all}; {last}", count(report.versions, "version"));
    if report.is_good() && report.unfinished.is_none() {
        println!("{}", style.green("No damage was found."));
    }
}

/// A damaged pack for a program.
pub fn damaged_object(pack: &DamagedPack) -> serde_json::Value {
    let touched = pack.touched.iter().map(|one| {
        serde_json::json!({
            "version": one.version, "time": one.time, "components": one.components, "files": one.files,
            "files_count": one.files_count,
        })
    });
    serde_json::json!({
        "pack": pack.pack, "why": pack.why, "blobs": pack.blobs, "lost": pack.lost,
        "touched": touched.collect::<Vec<_>>(),
    })
}

/// A damaged pack for a person: what it touches.
pub fn print_damaged(style: Style, pack: &DamagedPack) {
    let name = pack.pack.map_or_else(|| "no pack".to_owned(), |id| format!("pack {}", id.short()));
    println!("{} {name}: {}", style.red("damaged:"), plain::one_line(&pack.why));
    if pack.lost == 0 {
        println!("    all of it lies elsewhere, too: nothing is lost");
    }
    for one in &pack.touched {
        let time = one.time.timestamp().strftime("%Y-%m-%d %H:%M:%S UTC");
        let components = one.components.join(", ");
        let files = count(one.files_count, "file");
        println!("    version {} of {time}: {files} of {components}", style.bold(&one.version.short()));
        for file in &one.files {
            println!("      {}", plain::one_line(file));
        }
        let more = one.files_count.saturating_sub(one.files.len() as u64);
        if more > 0 {
            println!("      and {more} more");
        }
    }
}
