//! Recovery, first form: a whole site or one component put back from a set, its services started, its probes run.

mod probe;
mod put_back;
mod workspace;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use stillpoint_archive::BackupSet;
use stillpoint_coordinator::{StateFolder, StateLock, reconcile};
use stillpoint_model::status::{MessageId, StatusMessage, id};
use stillpoint_model::{
    Cancel, ComponentName, Context, ErrorKind, Event, Level, Monitor, Restored, Restorer, RunId,
    StoredComponent, WriterError,
};

use crate::assemble;
use crate::backup::refuse_secondary;
use crate::error::{SiteError, chain};
use crate::healing;
use crate::load::LoadedSite;
use crate::no_undos::NoUndos;
use workspace::Workspace;
pub(crate) use workspace::remove_leftovers;

/// How long one component may take to stop, start, or be put back.
const STOP_LIMIT: Duration = Duration::from_secs(120);
const START_LIMIT: Duration = Duration::from_secs(300);
const RESTORE_LIMIT: Duration = Duration::from_secs(24 * 3600);

/// How many damaged things an error names.
const DAMAGE_TOLD_MAX: usize = 10;

/// What a recovery is given.
pub struct RecoverOptions {
    /// Only this component; nothing means the whole site.
    pub component: Option<ComponentName>,
    /// Whether what is there may be replaced.
    pub overwrite: bool,
    /// Whether every byte of what is to be put back is read and compared before anything is touched.
    pub verify: bool,
    /// Whether components are started and probes are run afterwards.
    pub start: bool,
    /// The folder with the state of all sites of this machine.
    pub state_root: PathBuf,
    /// Who is told.
    pub monitor: Arc<dyn Monitor>,
    /// Set to end early.
    pub cancel: Cancel,
}

/// What a recovery would do, component by component.
#[derive(Debug, Serialize)]
pub struct RecoverPlan {
    /// The set.
    pub set: PathBuf,
    /// The components in the order in which they are put back.
    pub components: Vec<PlannedComponent>,
    /// The probes that are run at the end.
    pub probes: Vec<String>,
}

/// One component of a plan.
#[derive(Debug, Serialize)]
pub struct PlannedComponent {
    /// Its name.
    pub name: ComponentName,
    /// What would be done.
    pub steps: Vec<String>,
    /// What is in the way.
    pub obstacles: Vec<String>,
}

/// What came of a recovery.
#[derive(Debug, Serialize)]
pub struct RecoverReport {
    /// The set that it came from.
    pub set: PathBuf,
    /// What was put back.
    pub components: Vec<(ComponentName, Restored)>,
    /// Each probe: its name, and what went wrong if it failed.
    pub probes: Vec<(String, Option<String>)>,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
}

/// One component with what puts it back.
struct Part {
    stored: StoredComponent,
    level: Level,
    restorer: Box<dyn Restorer>,
    context: Context,
}

/// Says what [`recover`] would do. Changes nothing.
pub fn recover_plan(
    set: &BackupSet,
    site: &LoadedSite,
    options: &RecoverOptions,
) -> Result<RecoverPlan, SiteError> {
    let parts = parts(set, site, options, Path::new("/nonexistent"), &new_run())?;
    let mut components = Vec::new();
    for part in &parts {
        let fail = |error| component_error(&part.stored.name, "planned", &error);
        components.push(PlannedComponent {
            name: part.stored.name.clone(),
            steps: part.restorer.plan(&part.stored).map_err(fail)?,
            obstacles: part.restorer.obstacles(&part.stored).map_err(fail)?,
        });
    }
    let probes = if whole_site(options) {
        site.file.probes.iter().map(|probe| probe.name.clone()).collect()
    } else {
        vec![]
    };
    Ok(RecoverPlan { set: set.folder().to_path_buf(), components, probes })
}

/// Puts the site (or one component) back, starts it, and runs its probes.
pub fn recover(
    set: &BackupSet,
    site: &LoadedSite,
    options: &RecoverOptions,
) -> Result<RecoverReport, SiteError> {
    let started = Instant::now();
    let run = new_run();
    let state = StateFolder::open(&options.state_root, &site.file.site.code)?;
    let lock = state.lock(&run)?;
    heal(&state, &lock, options)?;
    let workspace = Workspace::create(&options.state_root, &run)?;
    let mut parts = parts(set, site, options, &workspace.0, &run)?;
    if !options.overwrite {
        refuse_overwriting(&parts)?;
    }
    if options.verify {
        refuse_damaged(set, &parts, options)?;
    }
    tell(options, id::RECOVERY_STARTED, &[site.file.site.code.as_str(), &set.folder().display().to_string()]);
    let result = put_back::put_back(&mut parts, options).and_then(|components| {
        let probes = if options.start && whole_site(options) {
            probe::run_all(&site.file.probes, options)?
        } else {
            vec![]
        };
        Ok((components, probes))
    });
    match result {
        Ok((components, probes)) => {
            let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            tell(options, id::RECOVERY_COMPLETED, &[site.file.site.code.as_str()]);
            Ok(RecoverReport { set: set.folder().to_path_buf(), components, probes, elapsed_ms })
        }
        Err(error) => {
            tell(options, id::RECOVERY_FAILED, &[site.file.site.code.as_str(), &chain(&error)]);
            Err(error)
        }
    }
}

/// Heals what an earlier run left. What cannot be healed is told and does not hold a recovery up, which may be what mends it.
fn heal(state: &StateFolder, lock: &StateLock, options: &RecoverOptions) -> Result<(), SiteError> {
    healing::tell(&reconcile(state, lock)?, &mut |id, inserts| tell(options, id, inserts));
    let removed = remove_leftovers(&options.state_root, lock);
    if !removed.is_empty() {
        tell(options, id::LEFTOVERS_REMOVED, &[&removed.join("; ")]);
    }
    Ok(())
}

fn whole_site(options: &RecoverOptions) -> bool {
    options.component.is_none()
}

fn new_run() -> RunId {
    RunId::new(jiff::Timestamp::now(), std::process::id())
}

fn tell(options: &RecoverOptions, id: MessageId, inserts: &[&str]) {
    let inserts = inserts.iter().map(|text| (*text).to_owned()).collect();
    options.monitor.emit(Event::Status(StatusMessage::new(id, None, inserts, jiff::Timestamp::now())));
}

fn parts(
    set: &BackupSet,
    site: &LoadedSite,
    options: &RecoverOptions,
    workspace: &Path,
    run: &RunId,
) -> Result<Vec<Part>, SiteError> {
    refuse_secondary(site)?;
    if set.facts().site != site.file.site.code {
        return Err(SiteError::new(
            ErrorKind::Usage,
            format!(
                "the set is of site {}, the site file is of site {}",
                set.facts().site,
                site.file.site.code
            ),
        )
        .hint("leave --config out: the set has its own site file"));
    }
    let mut parts = Vec::new();
    for component in &site.file.components {
        if options.component.as_ref().is_some_and(|wanted| *wanted != component.name) {
            continue;
        }
        let Some(stored) = set.component(&component.name) else {
            let text = format!("component {} is in the site file but not in the set", component.name);
            return Err(
                SiteError::new(ErrorKind::Usage, text).hint("`stillpoint show SET` lists what is in it")
            );
        };
        let context = Context {
            site: site.file.site.code.clone(),
            run: run.clone(),
            component: component.name.clone(),
            workspace: workspace.join(component.name.as_str()),
            previous: None,
            undos: Arc::new(NoUndos),
            monitor: options.monitor.clone(),
            cancel: options.cancel.clone(),
        };
        let level = assemble::restore_level(component);
        let restorer = assemble::restorer(component)
            .map_err(|error| component_error(&component.name, "put back", &error))?;
        parts.push(Part { stored, level, restorer, context });
    }
    match (&options.component, parts.is_empty()) {
        (Some(name), true) => {
            Err(SiteError::new(ErrorKind::Usage, format!("there is no component {name} in the site file"))
                .hint("`stillpoint show SET` lists the components"))
        }
        _ => Ok(parts),
    }
}

fn refuse_overwriting(parts: &[Part]) -> Result<(), SiteError> {
    let mut found = Vec::new();
    for part in parts {
        let obstacles = part
            .restorer
            .obstacles(&part.stored)
            .map_err(|error| component_error(&part.stored.name, "checked", &error))?;
        found.extend(obstacles.into_iter().map(|text| format!("{}: {text}", part.stored.name)));
    }
    if found.is_empty() {
        return Ok(());
    }
    Err(SiteError::new(
        ErrorKind::WouldOverwrite,
        format!("nothing was touched, because something is there:\n  {}", found.join("\n  ")),
    )
    .hint("look at it, then say --overwrite if it may be replaced"))
}

/// A damaged set must not be played over a living site: half of it would be replaced before the damage is met.
fn refuse_damaged(set: &BackupSet, parts: &[Part], options: &RecoverOptions) -> Result<(), SiteError> {
    let names = parts.iter().map(|part| part.stored.name.clone()).collect();
    let damage = set.verify_components(names, &options.monitor, &options.cancel)?.damage;
    if damage.is_empty() {
        return Ok(());
    }
    let mut lines: Vec<String> = damage
        .iter()
        .take(DAMAGE_TOLD_MAX)
        .map(|found| {
            let component = found.component.as_ref().map_or("set", ComponentName::as_str);
            format!("{component}: {}: {}", found.path.as_deref().unwrap_or("-"), found.text)
        })
        .collect();
    if damage.len() > lines.len() {
        lines.push(format!("and {} more; `stillpoint verify` lists all", damage.len() - lines.len()));
    }
    let text = format!("nothing was touched, because the set is damaged:\n  {}", lines.join("\n  "));
    Err(SiteError::new(ErrorKind::Damaged, text).hint(
        "recover from another copy of the set, or put the undamaged components back with --component NAME",
    ))
}

fn component_error(name: &ComponentName, what: &str, error: &WriterError) -> SiteError {
    let kind = match error {
        WriterError::Damaged(_) => ErrorKind::Damaged,
        WriterError::Cancelled => ErrorKind::Cancelled,
        _ => ErrorKind::Component,
    };
    SiteError::new(kind, format!("component {name} could not be {what}: {}", chain(error)))
}
