//! `archive mount`: the versions as folders, until Ctrl-C or an unmount.

use std::time::Duration;

use stillpoint_model::ErrorKind;
use stillpoint_site::SiteError;

use super::{Answer, Call};
use crate::archive_arguments::MountArguments;

/// How often it is looked whether the mount is over.
const INTERVAL: Duration = Duration::from_millis(100);

/// `stillpoint archive mount`.
pub fn mount(call: &Call<'_>, own: &MountArguments) -> Answer {
    let at = std::path::absolute(&own.folder).ok().filter(|folder| folder.is_dir()).ok_or_else(|| {
        SiteError::new(ErrorKind::Usage, format!("{} is not a folder", own.folder.display()))
            .hint("make it first; what is in it is out of sight while the archive is mounted there")
    })?;
    let archive = call.open()?;
    let watcher = call.watcher(&archive.settings);
    let lock = archive.lock_for_reading(&*watcher)?;
    let mounted = stillpoint_mount::mount(&archive.repository, &at, own.for_all);
    let mounted = mounted.map_err(|error| archive.error(error))?;
    if call.common.json {
        let object =
            serde_json::json!({ "event": "mounted", "archive": archive.settings.name, "folder": at });
        println!("{object}");
    } else if call.for_people() {
        println!("Archive {} is mounted at {}. Ctrl-C unmounts it.", archive.settings.name, at.display());
    }
    while !mounted.is_over() && !call.cancel.is_cancelled() {
        std::thread::sleep(INTERVAL);
    }
    let ended = mounted.end().map_err(|error| archive.error(error));
    if let Some(lock) = lock {
        lock.release(&*watcher);
    }
    // That it was ended is what was meant.
    ended.map(|()| 0)
}
