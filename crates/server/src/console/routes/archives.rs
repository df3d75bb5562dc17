//! Versions in archives: looking into them, and getting things back.

use std::path::PathBuf;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use futures::future::join_all;
use jiff::Timestamp;
use serde::Deserialize;
use stillpoint_history::Task;
use stillpoint_model::Outcome;
use stillpoint_model::site_file::Archive;

use super::look::{Done, then};
use super::{Filled, Look};
use crate::access::Caller;
use crate::api::extract::{Asked, Named};
use crate::api::{
    Entry, Version, archive_of, ask_to_restore, download, entries_in, path_of, version_of, versions_in,
};
use crate::console::browse::{self, BrowseData, EntryKind, EntryLine};
use crate::console::versions::{self, ArchiveLine, VersionLine, VersionsData};
use crate::console::{Chrome, Place};
use crate::launcher::{FolderName, RESTORED, Restore};
use crate::web::{App, Problem};

/// How long an archive may take to say which versions it has, before the page is shown without them.
const ARCHIVE_LIMIT: Duration = Duration::from_secs(30);

/// How many entries of a folder one page shows.
const ENTRIES_PER_PAGE: usize = 1000;

pub(super) async fn versions(State(app): State<App>, look: Look) -> Result<Response, Problem> {
    let published = [Outcome::Complete, Outcome::Incomplete];
    let set = app.service.with_history(move |history| history.last_run(Task::Backup, &published)).await?;
    let view = app.service.site();
    let archives = join_all(view.site.file.archives.iter().map(|archive| look_into(&app, archive))).await;
    let chrome = look.chrome(&app, Place::Versions).await?;
    Ok(look.answer(&app, versions::page(&chrome, &VersionsData { set, archives })))
}

async fn look_into(app: &App, archive: &Archive) -> ArchiveLine {
    let asked = tokio::time::timeout(ARCHIVE_LIMIT, versions_in(app, &archive.name)).await;
    let (mut found, error) = match asked {
        Ok(Ok(found)) => (found, None),
        Ok(Err(problem)) => (Vec::new(), Some(problem.detail)),
        Err(_) => (Vec::new(), Some(format!("it did not answer within {} s", ARCHIVE_LIMIT.as_secs()))),
    };
    found.sort_by_key(|version| std::cmp::Reverse(version.time));
    let line = |it: Version| VersionLine {
        version: it.id,
        time: it.time,
        epoch: it.epoch,
        run: it.run,
        complete: it.complete,
        held: it.held,
        files: it.files,
        bytes: it.bytes,
        added_bytes: it.added_bytes,
    };
    ArchiveLine {
        name: archive.name.to_string(),
        place: archive.location.to_string(),
        error,
        versions: found.into_iter().map(line).collect(),
    }
}

/// The query of a folder of a version.
#[derive(Debug, Deserialize)]
pub(super) struct FolderWish {
    #[serde(default)]
    path: String,
    after: Option<String>,
}

pub(super) async fn browse(
    State(app): State<App>,
    look: Look,
    Named((archive, version)): Named<(String, String)>,
    Asked(wish): Asked<FolderWish>,
) -> Result<Response, Problem> {
    let name = archive_of(&app, &archive)?;
    let path = wish.path.trim_matches('/').to_owned();
    let inside = format!("/{path}");
    let (known, entries) =
        tokio::try_join!(versions_in(&app, &name), entries_in(&app, &archive, version.clone(), &inside))?;
    let newest = known.iter().map(|it| it.time).max();
    let is_meant = |it: &&Version| match version.as_str() {
        "latest" => Some(it.time) == newest,
        beginning => it.id.starts_with(beginning),
    };
    let meant = known.iter().find(is_meant);
    let meant = meant.ok_or_else(|| Problem::not_found(format!("{archive} has no version {version}")))?;
    let chrome = look.chrome(&app, Place::Versions).await?;
    let (entries, after) = page_of(lines(entries, &path), wish.after.as_deref());
    let data = BrowseData {
        folder: new_folder(&chrome, &meant.id),
        archive,
        version: meant.id.clone(),
        made: meant.time,
        path: path.into_bytes(),
        entries,
        after,
        restored: restored(&app).display().to_string(),
    };
    Ok(look.answer(&app, browse::page(&chrome, &data)))
}

/// The folder of the server in which restored data lie.
fn restored(app: &App) -> PathBuf {
    // The history lies in a folder of the state folder.
    let history = app.service.history.path();
    history.ancestors().nth(2).map(|state| state.join(RESTORED)).unwrap_or_default()
}

/// A name for a new folder that nobody has taken.
fn new_folder(chrome: &Chrome, version: &str) -> String {
    let now = chrome.now.to_zoned(chrome.zone.clone()).strftime("%Y%m%d-%H%M%S");
    let short: String = version.chars().take(8).collect();
    format!("{now}-{short}")
}

/// What lies in a folder, folders first.
fn lines(entries: Vec<Entry>, folder: &str) -> Vec<EntryLine> {
    let inside = entries.into_iter().filter_map(|entry| line(entry, folder));
    let mut lines: Vec<EntryLine> = inside.collect();
    lines.sort_by(|one, other| {
        let key = |it: &EntryLine| (it.kind != EntryKind::Folder, it.name.clone());
        key(one).cmp(&key(other))
    });
    lines
}

fn line(entry: Entry, folder: &str) -> Option<EntryLine> {
    let path = entry.path.trim_matches('/');
    let name = match folder {
        "" => path,
        folder => path.strip_prefix(folder)?.strip_prefix('/')?,
    };
    // An archive lists all that is below a folder; the page shows what is right in it.
    if name.is_empty() || name.contains('/') {
        return None;
    }
    Some(EntryLine {
        name: name.as_bytes().to_vec(),
        kind: match entry.kind.as_str() {
            "dir" => EntryKind::Folder,
            "file" => EntryKind::File,
            "symlink" => EntryKind::Link,
            _ => EntryKind::Special,
        },
        bytes: entry.size,
        modified: entry.mtime.and_then(|text| text.parse::<Timestamp>().ok()),
        rights: rights(&entry.mode),
        owner: format!("{}:{}", entry.uid, entry.gid),
        target: entry.target.map(String::into_bytes),
    })
}

/// `0640` as `rw-r-----`; what is more than that stays as it is.
fn rights(mode: &str) -> String {
    let Ok(bits) = u32::from_str_radix(mode, 8) else { return mode.to_owned() };
    if bits > 0o777 {
        return mode.to_owned();
    }
    let letter =
        |place: u32| if bits >> (8 - place) & 1 == 1 { ["r", "w", "x"][place as usize % 3] } else { "-" };
    (0..9).map(letter).collect()
}

/// The entries of one page, and the name after which the next one goes on.
fn page_of(mut entries: Vec<EntryLine>, after: Option<&str>) -> (Vec<EntryLine>, Option<Vec<u8>>) {
    if let Some(after) = after
        && let Some(place) = entries.iter().position(|it| it.name == after.as_bytes())
    {
        entries.drain(..=place);
    }
    let more = entries.len() > ENTRIES_PER_PAGE;
    entries.truncate(ENTRIES_PER_PAGE);
    let after = entries.last().filter(|_| more).map(|it| it.name.clone());
    (entries, after)
}

/// The query of a file.
#[derive(Debug, Deserialize)]
pub(super) struct FileWish {
    path: String,
}

pub(super) async fn file(
    State(app): State<App>,
    caller: Caller,
    Named((archive, version)): Named<(String, String)>,
    Asked(wish): Asked<FileWish>,
) -> Result<Response, Problem> {
    let path = format!("/{}", wish.path.trim_start_matches('/'));
    download(&app, &caller, &archive, version, &path).await
}

/// The form of a restore.
#[derive(Debug, Deserialize)]
pub(super) struct RestoreForm {
    path: String,
    folder: String,
}

pub(super) async fn restore(
    State(app): State<App>,
    caller: Caller,
    Named((archive, version)): Named<(String, String)>,
    Filled(form): Filled<RestoreForm>,
) -> Result<Response, Problem> {
    let path = plain(&form.path)?;
    let folder = FolderName::try_from(form.folder.trim().to_owned());
    let restore = Restore {
        archive: archive_of(&app, &archive)?,
        version: version_of(version)?,
        component: None,
        path: if path.is_empty() { None } else { Some(path_of(&path)?) },
        folder: folder.map_err(|why| Problem::bad_request(why, "take letters, digits and -"))?,
    };
    ask_to_restore(&app, &caller, restore).await?;
    Ok(then(&app, "/", Done::Restoring))
}

/// A path that the form carries escaped.
fn plain(escaped: &str) -> Result<String, Problem> {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        let digits = others.get(..2).filter(|_| *first == b'%').and_then(|it| std::str::from_utf8(it).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &others[2..] } else { others };
    }
    String::from_utf8(bytes).map_err(|_| {
        let hint = "restore the folder that it is in, or use stillpoint archive restore on the server";
        Problem::bad_request("the name of that file is no text", hint)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_form_escapes_comes_back_to_the_byte() {
        assert_eq!(plain("a/b%20c%25%C3%A4+%").unwrap(), "a/b c%ä+%");
        assert_eq!(plain("a%FF").unwrap_err().status, 400);
    }

    #[test]
    fn rights_are_shown_as_ls_shows_them() {
        assert_eq!(["0640", "0755", "4755", "x"].map(rights), ["rw-r-----", "rwxr-xr-x", "4755", "x"]);
    }

    fn entry(path: &str, kind: &str) -> Entry {
        let value = serde_json::json!({ "path": path, "kind": kind, "mode": "0644", "uid": 0, "gid": 0, "size": 1, "mtime": null, "target": null });
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn folders_come_first_and_a_long_folder_goes_on_after_a_name() {
        let all = vec![
            entry("top/b", "file"),
            entry("top/z", "dir"),
            entry("top/z/deeper", "file"),
            entry("top/a", "file"),
            entry("top", "dir"),
            entry("topper/x", "file"),
        ];
        let names = |lines: &[EntryLine]| -> Vec<String> {
            lines.iter().map(|it| String::from_utf8_lossy(&it.name).into_owned()).collect()
        };
        let found = lines(all, "top");
        assert_eq!(names(&found), ["z", "a", "b"]);
        let (rest, after) = page_of(found, Some("z"));
        assert_eq!((names(&rest), after), (vec!["a".to_owned(), "b".to_owned()], None));
        let many = (0..=ENTRIES_PER_PAGE).map(|number| entry(&format!("{number:05}"), "file")).collect();
        let (first, after) = page_of(lines(many, ""), None);
        assert_eq!((first.len(), after), (ENTRIES_PER_PAGE, Some(b"00999".to_vec())));
    }
}
