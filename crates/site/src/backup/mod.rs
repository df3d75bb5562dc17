//! The backup task: one run from the lock to the hook.

mod hook;
mod own_unit;
mod plan;
mod stage;
mod teller;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use stillpoint_archive::{BackupSet, SetBuilder};
use stillpoint_coordinator::{
    ActHook, Participant, ReconcileReport, RunReport, RunSettings, StateFolder, StateLock, reconcile,
};
use stillpoint_model::site_file::SiteType;
use stillpoint_model::status::id;
use stillpoint_model::{
    Cancel, EpochNumber, ErrorKind, Event, Grade, Monitor, Outcome, Phase, Problem, RunId,
};

use crate::error::{SiteError, chain};
use crate::load::LoadedSite;
use crate::{assemble, backup::stage::SiteStage};
pub use plan::{BackupPlan, PlannedBackup, backup_plan};
use teller::Teller;

/// What a backup is given besides the site.
pub struct BackupOptions {
    /// The folder with the state of all sites of this machine.
    pub state_root: PathBuf,
    /// Program and arguments that start the guard.
    pub guard: Vec<OsString>,
    /// The program that goes into the recovery kit: ourselves.
    pub program: PathBuf,
    /// Who is told.
    pub monitor: Arc<dyn Monitor>,
    /// Set to end early.
    pub cancel: Cancel,
    /// Called around every act.
    pub hook: Arc<dyn ActHook>,
}

/// What came of a backup.
#[derive(Debug)]
pub struct BackupReport {
    /// The run.
    pub run: RunId,
    /// Its epoch.
    pub epoch: EpochNumber,
    /// The verdict.
    pub outcome: Outcome,
    /// The lowest grade in the set, when one was published.
    pub grade: Option<Grade>,
    /// The published set.
    pub set: Option<PathBuf>,
    /// How long the site stood still.
    pub window: Option<Duration>,
    /// What was found on the way.
    pub problems: Vec<Problem>,
    /// How the hook failed. It does not count for the outcome: the backup was made by then.
    pub hook_failure: Option<String>,
    /// How long the run took.
    pub elapsed: Duration,
    /// Why it failed.
    pub failure: Option<SiteError>,
}

/// Runs the backup task once. An error means that the run could not begin; a run that failed is a report.
pub fn backup(site: &LoadedSite, options: &BackupOptions) -> Result<BackupReport, SiteError> {
    refuse_secondary(site)?;
    own_unit::check()?;
    let started = Instant::now();
    let code = &site.file.site.code;
    let run = RunId::new(jiff::Timestamp::now(), std::process::id());
    let state = StateFolder::open(&options.state_root, code)?;
    let lock = state.lock(&run)?;
    let teller = Arc::new(Teller::new(code.clone(), options.monitor.clone()));
    heal(site, &state, &lock, &teller)?;
    let epoch = lock.next_epoch()?;
    teller.emit(Event::RunStarted { run: run.clone(), site: code.clone(), epoch });
    teller.status(id::BACKUP_STARTED, &[code.as_str(), run.as_str()]);

    let monitor: Arc<dyn Monitor> = teller.clone();
    let previous = open_previous(site, &teller);
    let (participants, places) = assemble::participants(site, &run, previous.as_ref(), &monitor)?;
    let mut stage = SiteStage {
        site,
        run: run.clone(),
        epoch,
        places,
        teller: teller.clone(),
        program: options.program.clone(),
        builder: None,
        published: None,
        grade: None,
        told: Default::default(),
    };
    let report = drive(site, options, &state, (&run, epoch), participants, &mut stage);
    Ok(conclude(site, stage, report, started))
}

/// A secondary site has no backup, and is told why.
pub(crate) fn refuse_secondary(site: &LoadedSite) -> Result<(), SiteError> {
    let identity = &site.file.site;
    if identity.site_type != SiteType::Secondary {
        return Ok(());
    }
    let parent =
        identity.parent.as_ref().map_or("its parent".to_owned(), |code| format!("its parent {code}"));
    Err(SiteError::new(
        ErrorKind::Usage,
        format!("site {} is a secondary site: it has no backup and is not recovered from one", identity.code),
    )
    .hint(format!("rebuild it from {parent}; all of its data comes from there")))
}

/// Heals what an earlier run left, and tells of it.
fn heal(site: &LoadedSite, state: &StateFolder, lock: &StateLock, teller: &Teller) -> Result<(), SiteError> {
    let ReconcileReport { run, healed, failed, left, thawed_by_guard } = reconcile(state, lock)?;
    let run = run.map_or_else(|| "?".to_owned(), |run| run.to_string());
    if let Some(thawed) = thawed_by_guard {
        teller.status(id::GUARD_THAWED, &[thawed.cause, &thawed.undos.join("; ")]);
    }
    if !healed.is_empty() {
        teller.status(id::RUN_RECONCILED, &[&run, &healed.join("; ")]);
    }
    for what in &left {
        teller.status(id::LEFTOVERS_NOT_REMOVED, &[what, "it is tried again by the next run"]);
    }
    match stillpoint_archive::heal(&site.file.destination, &site.file.site.code) {
        Ok(removed) if removed.is_empty() => {}
        Ok(removed) => teller.status(id::LEFTOVERS_REMOVED, &[&removed.join("; ")]),
        // Room that is lost, not a danger: whether the destination can be used is for the checks of the run to say.
        Err(error) => teller.status(id::LEFTOVERS_NOT_REMOVED, &["at the destination", &chain(&error)]),
    }
    if failed.is_empty() {
        return Ok(());
    }
    teller.status(id::SITE_NOT_THAWED, &[&failed.join("; ")]);
    Err(SiteError::new(
        ErrorKind::NotThawed,
        format!("run {run} left what could not be healed: {}", failed.join("; ")),
    )
    .hint("put it right by hand, then run `stillpoint reconcile`; no backup is made before"))
}

fn open_previous(site: &LoadedSite, teller: &Teller) -> Option<BackupSet> {
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

fn drive(
    site: &LoadedSite,
    options: &BackupOptions,
    state: &StateFolder,
    (run, epoch): (&RunId, EpochNumber),
    participants: Vec<Participant>,
    stage: &mut SiteStage<'_>,
) -> RunReport {
    let monitor: Arc<dyn Monitor> = stage.teller.clone();
    let settings = RunSettings {
        site: site.file.site.code.clone(),
        run: run.clone(),
        epoch,
        deadlines: site.file.deadlines.clone(),
        state: state.clone(),
        guard: options.guard.clone(),
        monitor,
        cancel: options.cancel.clone(),
        hook: options.hook.clone(),
    };
    stillpoint_coordinator::run(settings, participants, stage)
}

/// The verdict, the last messages and the hook.
fn conclude(site: &LoadedSite, stage: SiteStage<'_>, report: RunReport, started: Instant) -> BackupReport {
    let SiteStage { run, epoch, teller, published, grade, .. } = stage;
    if !report.not_undone.is_empty() {
        teller.status(id::SITE_NOT_THAWED, &[&report.not_undone.join("; ")]);
    }
    let mut failure = report.failure.map(SiteError::from);
    if let (Some(error), false) = (&mut failure, report.not_undone.is_empty()) {
        error.kind = ErrorKind::NotThawed;
    }
    if let (Some(_), Some(error)) = (&published, &failure) {
        // The set is there and whole, but the run did not end as it should.
        teller.emit(Event::Problem(Problem { component: None, path: None, text: chain(error) }));
    }
    let after = Instant::now();
    teller.emit(Event::PhaseStarted { phase: Phase::After });
    // The verdict is that on the set. What the hook does comes after it.
    let problems = teller.problems();
    let outcome = match (&published, problems.is_empty()) {
        (None, _) => Outcome::Failed,
        (Some(_), true) => Outcome::Complete,
        (Some(_), false) => Outcome::Incomplete,
    };
    let hook_failure = match (&published, &failure) {
        (Some(set), _) => {
            tell_good(&teller, problems.len());
            let window_us = report.window.map_or(0, |it| u64::try_from(it.as_micros()).unwrap_or(u64::MAX));
            let facts = hook::HookFacts {
                set: set.folder(),
                site: site.file.site.code.as_str(),
                run: run.as_str(),
                epoch: epoch.0,
                outcome: &outcome.to_string(),
                grade: &grade.map_or_else(String::new, |grade| grade.to_string()),
                window_us,
                problems: problems.len(),
            };
            hook::run_hook(&site.file.hook, &site.path, &facts, &teller)
        }
        (None, error) => {
            let why = error.as_ref().map_or_else(|| "unknown".to_owned(), |error| chain(error));
            teller.status(id::TASK_ABORTED, &[&why]);
            teller.status(id::BACKUP_FAILED, &[&why]);
            None
        }
    };
    let elapsed_us = u64::try_from(after.elapsed().as_micros()).unwrap_or(u64::MAX);
    teller.emit(Event::PhaseEnded { phase: Phase::After, elapsed_us });
    let elapsed = started.elapsed();
    teller.emit(Event::RunEnded {
        outcome,
        grade: published.as_ref().and(grade),
        problems: problems.len() as u64,
        elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        hook_failure: hook_failure.clone(),
    });
    let set = published.as_ref().map(|set| set.folder().to_path_buf());
    copy_log(&teller, set.as_deref());
    let window = report.window;
    BackupReport { run, epoch, outcome, grade, set, window, problems, hook_failure, elapsed, failure }
}

fn tell_good(teller: &Teller, problems: usize) {
    teller.status(id::TASK_COMPLETED, &[]);
    match problems {
        0 => teller.status(id::BACKUP_COMPLETED, &[]),
        count => teller.status(id::BACKUP_INCOMPLETE, &[&count.to_string()]),
    }
}

/// The set gets its own copy of the log of the run that made it.
fn copy_log(teller: &Teller, set: Option<&Path>) {
    if let Some(folder) = set
        && let Err(error) = std::fs::write(folder.join("backup.log"), teller.logged())
    {
        teller.line(&format!("Warning: the log could not be copied into the set: {error}"));
    }
}

/// Where the workspace of a component lies while the set is being built.
pub(crate) fn workspace(
    site: &LoadedSite,
    run: &RunId,
    place: stillpoint_archive::Place,
    component: &stillpoint_model::ComponentName,
) -> PathBuf {
    SetBuilder::workspace_path(&site.file.destination, &site.file.site.code, run, place, component)
}

/// Heals what dead runs of the site left, without making a backup. Tells what was done.
pub fn reconcile_site(site: &LoadedSite, state_root: &Path) -> Result<ReconcileReport, SiteError> {
    let run = RunId::new(jiff::Timestamp::now(), std::process::id());
    let state = StateFolder::open(state_root, &site.file.site.code)?;
    let lock = state.lock(&run)?;
    let mut report = reconcile(&state, &lock)?;
    match stillpoint_archive::heal(&site.file.destination, &site.file.site.code) {
        Ok(removed) => report.healed.extend(removed),
        Err(error) => report.left.push(chain(&error)),
    }
    Ok(report)
}

/// The folder of the destination that holds the set and the log.
pub fn destination_folder(site: &LoadedSite) -> Option<PathBuf> {
    stage::main_folder(&site.file.destination).cloned()
}
