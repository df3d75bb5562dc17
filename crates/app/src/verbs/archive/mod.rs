//! `archive`: the archives of a site, one file a group of verbs.

mod copy;
mod keys;
mod look;
mod make;
mod mount;
mod repair;
mod restore;
mod retain;
mod save;
mod verify;
mod versions;

use std::sync::Arc;

use stillpoint_history::Task;
use stillpoint_model::site_file::Archive;
use stillpoint_model::{Cancel, Monitor, NoMonitor};
use stillpoint_repository::Watcher;
use stillpoint_site::archive::{ArchiveWatcher, OpenArchive, find_archive, open_archive};
use stillpoint_site::{LoadedSite, SiteError};

use super::{Answer, cancel_on_signal, monitor};
use crate::archive_arguments::{ArchiveArguments, ArchiveVerb, VerifyArguments};
use crate::arguments::Common;
use crate::record::{Record, new_run};

/// `stillpoint archive`.
pub fn archive(common: &Common, own: &ArchiveArguments) -> Answer {
    let site = common.site()?;
    let record = recorded_as(&own.verb)
        .map(|task| Record::begin(common, &site, &new_run(), task, monitor(common)))
        .transpose()?;
    let call = Call {
        common,
        site,
        name: own.archive.as_ref().map(|name| name.as_str()),
        monitor: record.as_ref().map_or_else(|| monitor(common), Record::monitor),
        cancel: cancel_on_signal(),
    };
    let answer = act(&call, &own.verb);
    if let Some(record) = &record {
        record.end(&answer);
    }
    answer
}

/// The task as which the work of a verb is recorded. What only looks, and what a person does to one thing, is not.
fn recorded_as(verb: &ArchiveVerb) -> Option<Task> {
    match verb {
        ArchiveVerb::Verify(_) => Some(Task::Verify),
        ArchiveVerb::Forget(own) if !own.dry_run => Some(Task::Retention),
        ArchiveVerb::Prune(own) if !own.dry_run => Some(Task::Retention),
        ArchiveVerb::Restore(own) if !own.dry_run => Some(Task::Restore),
        _ => None,
    }
}

/// Reads a share of each archive of the site, as a part of a greater verify.
pub fn verify_all(common: &Common, site: LoadedSite, monitor: Arc<dyn Monitor>, cancel: Cancel) -> Answer {
    if site.file.archives.is_empty() {
        return Ok(0);
    }
    let call = Call { common, site, name: None, monitor, cancel };
    verify::verify(&call, &VerifyArguments { all: false, structure: false })
}

fn act(call: &Call<'_>, verb: &ArchiveVerb) -> Answer {
    match verb {
        ArchiveVerb::Init => make::init(call),
        ArchiveVerb::Save(own) => save::save(call, own),
        ArchiveVerb::List => versions::list(call),
        ArchiveVerb::Ls(own) => look::ls(call, own),
        ArchiveVerb::Find(own) => look::find(call, own),
        ArchiveVerb::Diff(own) => look::diff(call, own),
        ArchiveVerb::Dump(own) => look::dump(call, own),
        ArchiveVerb::Restore(own) => restore::restore(call, own),
        ArchiveVerb::Mount(own) => mount::mount(call, own),
        ArchiveVerb::Forget(own) => retain::forget(call, own),
        ArchiveVerb::Prune(own) => retain::prune(call, own),
        ArchiveVerb::Hold { id } => retain::hold(call, id, true),
        ArchiveVerb::Release { id } => retain::hold(call, id, false),
        ArchiveVerb::Copy(own) => copy::copy(call, own),
        ArchiveVerb::Verify(own) => verify::verify(call, own),
        ArchiveVerb::Repair(own) => repair::repair(call, own),
        ArchiveVerb::Key(verb) => keys::key(call, verb),
        ArchiveVerb::RecoveryKey(own) => keys::recovery_key(call, own),
    }
}

/// What every verb of `archive` is given.
struct Call<'a> {
    common: &'a Common,
    site: LoadedSite,
    name: Option<&'a str>,
    monitor: Arc<dyn Monitor>,
    cancel: Cancel,
}

impl Call<'_> {
    /// The one archive that is meant, open.
    fn open(&self) -> Result<OpenArchive, SiteError> {
        open_archive(find_archive(&self.site, self.name)?, &self.cancel)
    }

    /// The archive that is named, or all.
    fn archives(&self) -> Result<Vec<&Archive>, SiteError> {
        match self.name {
            None if !self.site.file.archives.is_empty() => Ok(self.site.file.archives.iter().collect()),
            name => Ok(vec![find_archive(&self.site, name)?]),
        }
    }

    /// Who is told of long work in this archive. What it notes is shown as it comes.
    fn watcher(&self, settings: &Archive) -> Arc<dyn Watcher> {
        let (json, quiet, name) = (self.common.json, self.common.quiet, settings.name.to_string());
        let notes = move |text: &str| match (json, quiet) {
            (true, _) => {
                println!("{}", serde_json::json!({ "event": "note", "archive": name, "text": text }))
            }
            (false, true) => {}
            (false, false) => eprintln!("note: archive {name}: {}", stillpoint_model::plain::one_line(text)),
        };
        ArchiveWatcher::new(settings.name.as_str(), self.monitor.clone(), &self.cancel, notes)
    }

    /// The same for work whose standard output is something else: only what it notes is shown, on standard error.
    fn silent_watcher(&self, settings: &Archive) -> Arc<dyn Watcher> {
        let name = settings.name.to_string();
        let notes =
            move |text: &str| eprintln!("note: archive {name}: {}", stillpoint_model::plain::one_line(text));
        ArchiveWatcher::new(settings.name.as_str(), Arc::new(NoMonitor), &self.cancel, notes)
    }

    /// The site code.
    fn site_code(&self) -> &str {
        self.site.file.site.code.as_str()
    }

    /// Whether a person reads the answer.
    fn for_people(&self) -> bool {
        !self.common.json && !self.common.quiet
    }
}

/// Does something in each of several archives: one that fails does not keep the others from it. Of several errors the first is
/// the answer, and the others are printed.
fn first_error(results: impl Iterator<Item = Result<(), SiteError>>) -> Answer {
    let mut first = None;
    for error in results.filter_map(Result::err) {
        match first {
            None => first = Some(error),
            Some(_) => crate::edge::print(&error),
        }
    }
    first.map_or(Ok(0), Err)
}
