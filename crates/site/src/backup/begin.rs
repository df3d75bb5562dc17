//! What comes before the phases: the log is opened and leftovers are healed, each with a limit, because the destination may
//! not answer.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use stillpoint_archive::{BackupSet, standing_root};
use stillpoint_coordinator::{ReconcileReport, StateFolder, StateLock, reconcile};
use stillpoint_model::status::id;
use stillpoint_model::{Cancel, ErrorKind};

use super::stage;
use super::teller::{Teller, log_path};
use crate::error::{SiteError, chain};
use crate::load::LoadedSite;
use crate::{healing, recover};

/// How long is waited before one looks up, for a cancel.
const TICK: Duration = Duration::from_millis(20);

/// How long something may take.
pub(crate) struct Limits<'a> {
    /// Then it is given up.
    pub limit: Duration,
    /// Set to give it up earlier.
    pub cancel: &'a Cancel,
    /// How much longer it may take when that was set.
    pub grace: Duration,
}

/// Does `work` on a thread of its own and gives it up when it does not end.
pub(crate) fn apart<T: Send + 'static>(
    what: &str,
    limits: &Limits<'_>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SiteError> {
    let (sender, ended) = mpsc::channel();
    let named = std::thread::Builder::new().name("begin".to_owned());
    named.spawn(move || drop(sender.send(work()))).map_err(|error| {
        SiteError::new(ErrorKind::Environment, format!("no thread can be started for {what}")).because(error)
    })?;
    let mut end = Instant::now() + limits.limit;
    let mut cancelled = false;
    loop {
        match ended.recv_timeout(TICK) {
            Ok(done) => return Ok(done),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(SiteError::new(ErrorKind::Bug, format!("{what} panicked")));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if !cancelled && limits.cancel.is_cancelled() {
            cancelled = true;
            end = end.min(Instant::now() + limits.grace);
        }
        if Instant::now() >= end {
            return Err(given_up(what, limits.limit, cancelled));
        }
    }
}

fn given_up(what: &str, limit: Duration, cancelled: bool) -> SiteError {
    if cancelled {
        return SiteError::new(ErrorKind::Cancelled, format!("the run was cancelled during {what}"))
            .hint("the last set is untouched");
    }
    SiteError::new(ErrorKind::Environment, format!("{what} was not done within {limit:?}"))
        .hint("see whether the destination answers (a network share may be away), and run it again")
}

/// Opens the log, if the destination is there: so that whatever goes wrong from here on leaves a trace. Whether it can be
/// used at all is for the checks of the run to say.
pub(crate) fn open_log(site: &LoadedSite, teller: &Teller) {
    if let Some(root) = standing_root(&site.file.destination) {
        // One that cannot be opened fails the checks as well, and these say why.
        let _ = teller.open_log(&log_path(&root));
    }
}

/// Heals what an earlier run left, and tells of it.
pub(crate) fn heal(
    site: &LoadedSite,
    (state_root, state, lock): (&Path, &StateFolder, &StateLock),
    teller: &Teller,
) -> Result<(), SiteError> {
    let removed = recover::remove_leftovers(state_root, lock);
    if !removed.is_empty() {
        teller.status(id::LEFTOVERS_REMOVED, &[&removed.join("; ")]);
    }
    let found = reconcile(state, lock)?;
    healing::tell(&found, &mut |id, inserts| teller.status(id, inserts));
    match stillpoint_archive::heal(&site.file.destination, &site.file.site.code) {
        Ok(removed) if removed.is_empty() => {}
        Ok(removed) => teller.status(id::LEFTOVERS_REMOVED, &[&removed.join("; ")]),
        // Room that is lost, not a danger: whether the destination can be used is for the checks of the run to say.
        Err(error) => teller.status(id::LEFTOVERS_NOT_REMOVED, &["at the destination", &chain(&error)]),
    }
    let ReconcileReport { run, failed, .. } = found;
    if failed.is_empty() {
        return Ok(());
    }
    let run = run.map_or_else(|| "?".to_owned(), |run| run.to_string());
    Err(SiteError::new(
        ErrorKind::NotThawed,
        format!("run {run} left what could not be healed: {}", failed.join("; ")),
    )
    .hint(
        "put it right by hand, then run `stillpoint reconcile` (with --forget TICKET for what can never succeed); no backup is \
         made before",
    ))
}

/// The last set, to share with.
pub(crate) fn open_previous(site: &LoadedSite, teller: &Arc<Teller>) -> Option<BackupSet> {
    let folder = stage::main_folder(&site.file.destination)?.join(site.file.site.code.set_folder());
    if !folder.exists() {
        return None;
    }
    match BackupSet::open(&folder) {
        Ok(set) => Some(set),
        Err(error) => {
            // Not a problem of this run: the new set is simply made without sharing.
            teller.line(&format!("Warning: the last set is not used for sharing: {}", chain(&error)));
            None
        }
    }
}
