//! `archive save`: the published set becomes a version.

use std::path::PathBuf;

use stillpoint_archive::BackupSet;
use stillpoint_model::{Bytes, ErrorKind};
use stillpoint_site::SiteError;
use stillpoint_site::archive::{SavedVersion, open_archive};

use super::{Answer, Call, first_error};
use crate::archive_arguments::SaveArguments;
use crate::screen::Style;

/// `stillpoint archive save`.
pub fn save(call: &Call<'_>, own: &SaveArguments) -> Answer {
    let folder: PathBuf = match &own.set {
        Some(set) => set.clone(),
        None => stillpoint_site::destination_folder(&call.site)
            .ok_or_else(|| SiteError::new(ErrorKind::Config, "the site file names no destination"))?,
    };
    let archives = call.archives()?;
    let set = BackupSet::open(&folder)?;
    if set.facts().site != call.site.file.site.code {
        let (found, wanted) = (&set.facts().site, &call.site.file.site.code);
        let text = format!(
            "{} is a set of site {found}, and the site file is that of {wanted}",
            set.folder().display()
        );
        return Err(
            SiteError::new(ErrorKind::Usage, text).hint("name the site file of that site with --config")
        );
    }
    first_error(archives.iter().map(|settings| {
        let archive = open_archive(settings, &call.cancel)?;
        let watcher = call.watcher(settings);
        let saved = archive.save(&set, &watcher)?;
        print(call, settings.name.as_str(), &set, &saved);
        Ok(())
    }))
}

fn print(call: &Call<'_>, archive: &str, set: &BackupSet, saved: &SavedVersion) {
    if call.common.json {
        let object = serde_json::json!({
            "event": "version-saved", "archive": archive, "version": saved.id, "epoch": set.facts().epoch,
            "added_bytes": saved.added_bytes, "stored_bytes": saved.stored_bytes,
        });
        println!("{object}");
    } else if call.for_people() {
        let size =
            saved.stored_bytes.map_or("there already".to_owned(), |size| format!("{} new", Bytes(size)));
        let version = Style::for_stdout().bold(&saved.id.short());
        println!("archive {archive}: version {version} of epoch {}, {size}", set.facts().epoch);
    }
}
