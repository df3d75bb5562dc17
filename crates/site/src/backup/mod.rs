//! The backup task: one run from the lock to the hook.

mod archiving;
mod begin;
mod direct;
mod hook;
mod log;
mod own_unit;
mod plan;
mod stage;
mod teller;

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use stillpoint_archive::{BackupSet, SetBuilder};
use stillpoint_coordinator::{
    ActHook, Participant, ReconcileReport, RunReport, RunSettings, StateFolder, StateLock, reconcile,
    reconcile_forgetting,
};
use stillpoint_model::site_file::{SiteType, Wait};
use stillpoint_model::status::id;
use stillpoint_model::{
    Cancel, EpochNumber, ErrorKind, Event, Grade, Monitor, Outcome, Phase, Problem, RunId, Ticket,
};

use crate::error::{SiteError, chain};
use crate::load::LoadedSite;
use crate::{assemble, recover};
pub use archiving::ArchivedSet;
use archiving::Archiving;
use begin::Limits;
pub use plan::{BackupPlan, PlannedBackup, backup_plan};
use stage::{Made, Published, SiteStage};
use teller::Teller;

/// What a backup is given besides the site.
pub struct BackupOptions {
    /// The name of the run.
    pub run: RunId,
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
    /// What came of the set in each archive of the site. One that does not have it is a problem, too.
    pub archives: Vec<ArchivedSet>,
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
    let run = options.run.clone();
    let state = StateFolder::open(&options.state_root, &site.file.site.code)?;
    let lock = Arc::new(state.lock(&run)?);
    let teller = Arc::new(Teller::new(site.file.site.code.clone(), options.monitor.clone()));
    let task = Task { site: Arc::new(site.clone()), options, run, state, lock, teller };
    let done = task.run();
    task.teller.flush();
    done
}

/// One run of the backup task.
struct Task<'a> {
    site: Arc<LoadedSite>,
    options: &'a BackupOptions,
    run: RunId,
    state: StateFolder,
    lock: Arc<StateLock>,
    teller: Arc<Teller>,
}

impl Task<'_> {
    fn run(&self) -> Result<BackupReport, SiteError> {
        let started = Instant::now();
        self.begin()?;
        let (code, teller) = (&self.site.file.site.code, &self.teller);
        let epoch = self.lock.next_epoch()?;
        teller.emit(Event::RunStarted { run: self.run.clone(), site: code.clone(), epoch });
        teller.status(id::BACKUP_STARTED, &[code.as_str(), self.run.as_str()]);
        let (report, published) = match self.assemble() {
            Ok((participants, places)) => {
                let stage = Arc::new(SiteStage::new(
                    (self.site.clone(), places, teller.clone()),
                    (self.run.clone(), epoch, self.options.program.clone()),
                    &self.options.cancel,
                ));
                let report = self.drive(epoch, participants, stage.clone());
                (report, stage.published())
            }
            Err(error) => (not_driven(error), None),
        };
        Ok(self.conclude(epoch, published, report, started))
    }

    fn limits(&self, limit: Wait, grace: Duration) -> Limits<'_> {
        Limits { limit: limit.duration(), cancel: &self.options.cancel, grace }
    }

    /// Opens the log and heals what is left of earlier runs.
    fn begin(&self) -> Result<(), SiteError> {
        let deadlines = &self.site.file.deadlines;
        let (site, teller) = (self.site.clone(), self.teller.clone());
        let limits = self.limits(deadlines.identify, Duration::ZERO);
        begin::apart("opening the log at the destination", &limits, move || begin::open_log(&site, &teller))?;
        let (site, teller) = (self.site.clone(), self.teller.clone());
        let (root, state, lock) = (self.options.state_root.clone(), self.state.clone(), self.lock.clone());
        // A site that is being let go is not left half-way for a cancel.
        let limits = self.limits(deadlines.prepare, deadlines.thaw.duration());
        begin::apart("healing what earlier runs left", &limits, move || {
            begin::heal(&site, (&root, &state, &lock), &teller)
        })?
    }

    /// The participants, with what is shared with the last set.
    fn assemble(&self) -> Result<assemble::Assembled, SiteError> {
        let (site, teller, run) = (self.site.clone(), self.teller.clone(), self.run.clone());
        let limits = self.limits(self.site.file.deadlines.prepare, Duration::ZERO);
        begin::apart("looking at the last set and at the components", &limits, move || {
            let previous = begin::open_previous(&site, &teller);
            let monitor: Arc<dyn Monitor> = teller;
            assemble::participants(&site, &run, previous.as_ref(), &monitor)
        })?
    }

    fn drive(&self, epoch: EpochNumber, participants: Vec<Participant>, stage: Arc<SiteStage>) -> RunReport {
        let settings = RunSettings {
            site: self.site.file.site.code.clone(),
            run: self.run.clone(),
            epoch,
            deadlines: self.site.file.deadlines.clone(),
            state: self.state.clone(),
            guard: self.options.guard.clone(),
            monitor: self.teller.clone(),
            cancel: self.options.cancel.clone(),
            hook: self.options.hook.clone(),
        };
        stillpoint_coordinator::run(settings, participants, stage)
    }

    /// The verdict, the last messages and the hook.
    fn conclude(
        &self,
        epoch: EpochNumber,
        published: Option<Published>,
        report: RunReport,
        started: Instant,
    ) -> BackupReport {
        let Task { run, teller, .. } = self;
        let (published, grade) = published.map_or((None, None), |it| (Some(it.made), it.grade));
        let window = report.window;
        let failure = failure_of(report, teller);
        if let (Some(_), Some(error)) = (&published, &failure) {
            // The set is there and whole, but the run did not end as it should.
            teller.emit(Event::Problem(Problem { component: None, path: None, text: chain(error) }));
        }
        let after = Instant::now();
        teller.emit(Event::PhaseStarted { phase: Phase::After });
        let (published, archives) = match published {
            Some(made) => {
                let (set, archives) = self.archive(made, epoch);
                (Some(set), archives)
            }
            None => (None, Vec::new()),
        };
        // The verdict is that on the set and its versions. What the hook does comes after it.
        let problems = teller.problems();
        let outcome = match (&published, problems.is_empty()) {
            (None, _) => Outcome::Failed,
            (Some(_), true) => Outcome::Complete,
            (Some(_), false) => Outcome::Incomplete,
        };
        let hook_failure = match (&published, &failure) {
            (Some(set), _) => {
                tell_good(teller, problems.len());
                let grade = grade.map_or_else(String::new, |grade| grade.to_string());
                self.run_hook((set.as_deref(), &archives), (epoch, outcome, &grade), window, problems.len())
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
            grade,
            problems: problems.len() as u64,
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            hook_failure: hook_failure.clone(),
        });
        let set = published.flatten().map(|set| set.folder().to_path_buf());
        self.copy_log(set.as_deref());
        BackupReport {
            run: run.clone(),
            epoch,
            outcome,
            grade,
            set,
            window,
            problems,
            archives,
            hook_failure,
            elapsed,
            failure,
        }
    }

    /// The versions of what was made, in all archives; and the set, if it is one.
    fn archive(&self, made: Made, epoch: EpochNumber) -> (Option<Arc<BackupSet>>, Vec<ArchivedSet>) {
        let site = &self.site.file;
        let mut archiving = Archiving::new(&site.site.code, &self.teller, &self.options.cancel);
        match made {
            Made::Set(set) => {
                let archived = archiving.save_in_all(&site.archives, &set);
                (Some(set), archived)
            }
            Made::Version(version) => (None, archiving.copy_to_others(&site.archives, version, epoch)),
        }
    }

    fn run_hook(
        &self,
        (set, archives): (Option<&BackupSet>, &[ArchivedSet]),
        (epoch, outcome, grade): (EpochNumber, Outcome, &str),
        window: Option<Duration>,
        problems: usize,
    ) -> Option<String> {
        let version = |archived: &ArchivedSet| {
            archived.result.as_ref().ok().map(|saved| format!("{}:{}", archived.archive, saved.id))
        };
        let versions: Vec<String> = archives.iter().filter_map(version).collect();
        let facts = hook::HookFacts {
            set: set.map_or(Path::new(""), BackupSet::folder),
            versions: &versions.join(" "),
            site: self.site.file.site.code.as_str(),
            run: self.run.as_str(),
            epoch: epoch.0,
            outcome: &outcome.to_string(),
            grade,
            window_us: window.map_or(0, |window| u64::try_from(window.as_micros()).unwrap_or(u64::MAX)),
            problems,
        };
        let Task { site, teller, options, .. } = self;
        hook::run_hook(&site.file.hook, &site.path, &facts, teller, &options.cancel)
    }

    /// The set gets its own copy of the log of the run that made it.
    fn copy_log(&self, set: Option<&Path>) {
        let Some(path) = set.map(|folder| folder.join("backup.log")) else { return };
        let logged = self.teller.logged();
        let limits = self.limits(self.site.file.deadlines.identify, Duration::ZERO);
        let copied = begin::apart("copying the log into the set", &limits, move || {
            let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
            file.and_then(|mut file| file.write_all(logged.as_bytes()))
        });
        let why = match copied {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        self.teller.line(&format!("Warning: the log could not be copied into the set: {why}"));
    }
}

/// Why the run failed. That the site stands still is what a person must know.
fn failure_of(report: RunReport, teller: &Teller) -> Option<SiteError> {
    let failure = report.failure.map(SiteError::from);
    if report.not_undone.is_empty() {
        return failure;
    }
    teller.status(id::SITE_NOT_THAWED, &[&report.not_undone.join("; ")]);
    failure.map(|error| SiteError { kind: ErrorKind::NotThawed, ..error })
}

/// The report of a run that ended before its first phase.
fn not_driven(error: SiteError) -> RunReport {
    RunReport {
        window: None,
        cut_at: None,
        components: Vec::new(),
        phases: Vec::new(),
        failure: Some(error.into()),
        not_undone: Vec::new(),
    }
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

fn tell_good(teller: &Teller, problems: usize) {
    teller.status(id::TASK_COMPLETED, &[]);
    match problems {
        0 => teller.status(id::BACKUP_COMPLETED, &[]),
        count => teller.status(id::BACKUP_INCOMPLETE, &[&count.to_string()]),
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

/// Heals what dead runs of the site left, without making a backup. Tells what was done. The undo with the ticket `forget`
/// is dismissed when it fails once more.
pub fn reconcile_site(
    site: &LoadedSite,
    state_root: &Path,
    forget: Option<Ticket>,
) -> Result<ReconcileReport, SiteError> {
    let run = RunId::new(jiff::Timestamp::now(), std::process::id());
    let state = StateFolder::open(state_root, &site.file.site.code)?;
    let lock = state.lock(&run)?;
    let mut report = match forget {
        None => reconcile(&state, &lock)?,
        Some(ticket) => reconcile_forgetting(&state, &lock, ticket)?,
    };
    report.healed.extend(recover::remove_leftovers(state_root, &lock));
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
