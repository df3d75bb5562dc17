//! `archive restore`.

use std::path::PathBuf;

use stillpoint_model::site_file::ComponentKind;
use stillpoint_model::{Bytes, ErrorKind, plain};
use stillpoint_repository::RestoreReport;
use stillpoint_site::SiteError;
use stillpoint_site::archive::RestoreWish;

use super::{Answer, Call};
use crate::archive_arguments::RestoreArguments;
use crate::screen::{Style, count};

/// The exit code when something could not be restored.
const INCOMPLETE: u8 = 3;

/// `stillpoint archive restore`.
pub fn restore(call: &Call<'_>, own: &RestoreArguments) -> Answer {
    let target = target(call, own)?;
    let archive = call.open()?;
    let version = archive.open_version(call.site_code(), &own.id, &call.watcher(&archive.settings))?;
    let wish = RestoreWish {
        component: own.whereabouts.component.clone(),
        path: own.path.clone(),
        include: own.include.clone(),
        exclude: own.exclude.clone(),
        overwrite: own.overwrite,
        delete: own.delete,
        dry_run: own.dry_run,
    };
    let report = version.restore(&target, &wish)?;
    let facts = version.facts().clone();
    version.close();
    if call.common.json {
        let problems: Vec<_> = report
            .problems
            .iter()
            .map(|one| serde_json::json!({ "path": one.path.as_path().to_string_lossy(), "text": one.text }))
            .collect();
        let object = serde_json::json!({
            "event": "restored", "archive": archive.settings.name, "version": facts.id, "target": target,
            "dry_run": own.dry_run, "files": report.files, "unchanged_files": report.unchanged_files,
            "folders": report.folders, "bytes": report.bytes, "fetched_bytes": report.fetched_bytes,
            "removed": report.removed, "sockets": report.sockets, "problem_count": report.problem_count,
            "problems": problems,
        });
        println!("{object}");
    } else if call.for_people() {
        print(own, &target, &report);
    }
    if report.problem_count > 0 { Ok(INCOMPLETE) } else { Ok(0) }
}

/// Where to: the folder that is named, or the place of the component in the site file.
fn target(call: &Call<'_>, own: &RestoreArguments) -> Result<PathBuf, SiteError> {
    if let Some(target) = &own.target {
        return std::path::absolute(target).map_err(|error| {
            SiteError::new(ErrorKind::Usage, format!("{} is not a path", target.display())).because(error)
        });
    }
    let name = own.whereabouts.component.as_ref();
    let component = call.site.file.components.iter().find(|component| Some(&component.name) == name);
    let place = match component.map(|component| &component.kind) {
        Some(ComponentKind::Files(files)) => files.path.clone(),
        Some(_) => {
            let text = "only a file tree is restored to its place in this way";
            return Err(SiteError::new(ErrorKind::Usage, text).hint(
                "restore the version with --target FOLDER; `stillpoint recover FOLDER --component NAME` puts it back",
            ));
        }
        None => {
            let name = name.map_or("?", |name| name.as_str());
            let text = format!("the site file has no component {name}");
            return Err(SiteError::new(ErrorKind::Usage, text).hint("name a folder with --target"));
        }
    };
    // A path below the component goes to the same path below its place.
    Ok(match &own.path {
        Some(path) => place.join(path.strip_prefix("/").unwrap_or(path)),
        None => place,
    })
}

fn print(own: &RestoreArguments, target: &std::path::Path, report: &RestoreReport) {
    let style = Style::for_stdout();
    for problem in &report.problems {
        let path = plain::one_line(&problem.path.as_path().to_string_lossy());
        println!("{} {path}: {}", style.red("not restored:"), plain::one_line(&problem.text));
    }
    let more = report.problem_count - report.problems.len() as u64;
    if more > 0 {
        println!("{}", style.red(&format!("and {} more", count(more, "problem"))));
    }
    let verb = if own.dry_run { "would be restored to" } else { "restored to" };
    let mut extra = String::new();
    if report.unchanged_files > 0 {
        extra.push_str(&format!(", {} as they were", count(report.unchanged_files, "file")));
    }
    if report.removed > 0 {
        extra.push_str(&format!(", {} removed", report.removed));
    }
    println!("{}, {}, {verb} {}{extra}", count(report.files, "file"), Bytes(report.bytes), target.display());
    let whole = own.whereabouts.component.is_none() && own.path.is_none() && own.include.is_empty();
    if whole && !own.dry_run && report.problem_count == 0 {
        println!(
            "It is a backup set: `stillpoint recover {}` brings the site back from it.",
            target.display()
        );
    }
}
