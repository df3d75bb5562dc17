//! A rehearsal without a freeze: every check of preflight and every description, nothing touched.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;
use stillpoint_archive::{check_destination, check_room};
use stillpoint_coordinator::Participant;
use stillpoint_model::{
    Bytes, Cancel, ComponentName, Context, Deadline, Description, Event, Level, Monitor, ProviderKind, RunId,
    SiteCode, WriterError,
};

use super::stage::main_folder;
use crate::assemble;
use crate::error::{SiteError, chain};
use crate::load::LoadedSite;
use crate::no_undos::NoUndos;

/// How long one component may take to describe itself.
const IDENTIFY_LIMIT: Duration = Duration::from_secs(60);

/// What a backup would do.
#[derive(Debug, Serialize)]
pub struct BackupPlan {
    /// The site.
    pub site: SiteCode,
    /// Where the set would be.
    pub set: PathBuf,
    /// The components in order.
    pub components: Vec<PlannedBackup>,
    /// Findings about the destination; the fatal ones first.
    pub findings: Vec<String>,
    /// How many of the findings are fatal.
    pub fatal: usize,
}

/// One component of a plan.
#[derive(Debug, Serialize)]
pub struct PlannedBackup {
    /// Its name.
    pub name: ComponentName,
    /// The kind of writer.
    pub writer: String,
    /// When in the freeze it would act.
    pub level: Option<Level>,
    /// What it would do, one sentence each.
    pub notes: Vec<String>,
    /// Why it would fail.
    pub error: Option<String>,
}

impl BackupPlan {
    /// Whether the backup could not succeed as things are.
    pub fn would_fail(&self) -> bool {
        self.fatal > 0 || self.components.iter().any(|part| part.error.is_some())
    }
}

/// Keeps which provider was chosen.
#[derive(Default)]
struct Choices(Mutex<Vec<(ComponentName, ProviderKind, String)>>);

impl Monitor for Choices {
    fn emit(&self, event: Event) {
        if let Event::ProviderChosen { component, provider, reason } = event {
            self.0
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .push((component, provider, reason));
        }
    }
}

/// Says what [`super::backup`] would do. Touches nothing of the site.
pub fn backup_plan(site: &LoadedSite) -> Result<BackupPlan, SiteError> {
    super::refuse_secondary(site)?;
    let run = RunId::new(jiff::Timestamp::now(), std::process::id());
    let choices = Arc::new(Choices::default());
    let monitor: Arc<dyn Monitor> = choices.clone();
    let mut components = Vec::new();
    let mut needed = Vec::new();
    let mut sources = assemble::sources(&site.file);
    let places = assemble::places(&site.file);
    for candidate in assemble::candidates(site, &run, None, &monitor) {
        let (name, level, said) = match candidate {
            Ok(part) => {
                let (name, level) = (part.component.clone(), part.level);
                (name, level, describe(site, &run, part, &monitor))
            }
            Err((name, error)) => (name, None, Err(error)),
        };
        if let Ok(said) = &said {
            sources.extend(said.sources.clone());
            needed.extend(places.get(&name).copied().zip(said.estimate_bytes));
        }
        components.push(planned(name, level, said));
    }
    for (name, provider, reason) in
        choices.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).drain(..)
    {
        if let Some(part) = components.iter_mut().find(|part| part.name == name) {
            part.notes.push(format!("provider {provider} ({reason})"));
        }
    }
    sources.sort();
    sources.dedup();
    let identity = &site.file.site;
    let destination = &site.file.destination;
    let mut found = check_destination(destination, &identity.code, &sources);
    found.extend(check_room(destination, &identity.code, &needed, site.file.task.keep_free_percent));
    found.sort_by_key(|finding| !finding.fatal);
    let fatal = found.iter().filter(|finding| finding.fatal).count();
    Ok(BackupPlan {
        site: identity.code.clone(),
        set: main_folder(destination).cloned().unwrap_or_default().join(identity.code.set_folder()),
        components,
        findings: found.into_iter().map(|finding| format!("{} ({})", finding.text, finding.remedy)).collect(),
        fatal,
    })
}

/// What the writer says of its component, outside of any run.
fn describe(
    site: &LoadedSite,
    run: &RunId,
    mut part: Participant,
    monitor: &Arc<dyn Monitor>,
) -> Result<Description, WriterError> {
    let context = Context {
        site: site.file.site.code.clone(),
        run: run.clone(),
        component: part.component,
        workspace: part.workspace,
        previous: None,
        undos: Arc::new(NoUndos),
        monitor: monitor.clone(),
        cancel: Cancel::default(),
    };
    let said = part.writer.identify(&context, Deadline::after(IDENTIFY_LIMIT));
    // It holds nothing that an error here could be about.
    let _ = part.writer.release(&context);
    said
}

fn planned(
    name: ComponentName,
    level: Option<Level>,
    said: Result<Description, WriterError>,
) -> PlannedBackup {
    match said {
        Ok(said) => PlannedBackup {
            name,
            writer: said.writer,
            level: Some(level.unwrap_or(said.level)),
            notes: said
                .estimate_bytes
                .filter(|bytes| *bytes > 0)
                .map(|bytes| format!("about {}", Bytes(bytes)))
                .into_iter()
                .collect(),
            error: None,
        },
        Err(error) => PlannedBackup {
            name,
            writer: "?".to_owned(),
            level,
            notes: Vec::new(),
            error: Some(chain(&error)),
        },
    }
}
