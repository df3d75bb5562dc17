//! A rehearsal without a freeze: every check of preflight and every description, nothing touched.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;
use stillpoint_archive::check_destination;
use stillpoint_model::{
    Cancel, ComponentName, Context, Deadline, Event, Level, Monitor, ProviderKind, RunId, SiteCode,
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
    let (participants, _) = assemble::participants(site, &run, None, &monitor)?;
    let mut components = Vec::new();
    let mut sources = assemble::sources(&site.file);
    for mut part in participants {
        let context = Context {
            site: site.file.site.code.clone(),
            run: run.clone(),
            component: part.component.clone(),
            workspace: part.workspace.clone(),
            previous: None,
            undos: Arc::new(NoUndos),
            monitor: monitor.clone(),
            cancel: Cancel::default(),
        };
        let said = part.writer.identify(&context, Deadline::after(IDENTIFY_LIMIT));
        let _ = part.writer.release(&context);
        components.push(match said {
            Ok(description) => {
                sources.extend(description.sources.clone());
                PlannedBackup {
                    name: part.component,
                    writer: description.writer,
                    level: Some(part.level.unwrap_or(description.level)),
                    notes: description
                        .estimate_bytes
                        .map(|bytes| format!("about {bytes} bytes"))
                        .into_iter()
                        .collect(),
                    error: None,
                }
            }
            Err(error) => PlannedBackup {
                name: part.component,
                writer: "?".to_owned(),
                level: part.level,
                notes: Vec::new(),
                error: Some(chain(&error)),
            },
        });
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
    let mut found = check_destination(&site.file.destination, &identity.code, &sources);
    found.sort_by_key(|finding| !finding.fatal);
    let fatal = found.iter().filter(|finding| finding.fatal).count();
    Ok(BackupPlan {
        site: identity.code.clone(),
        set: main_folder(&site.file.destination)
            .cloned()
            .unwrap_or_default()
            .join(identity.code.set_folder()),
        components,
        findings: found.into_iter().map(|finding| format!("{} ({})", finding.text, finding.remedy)).collect(),
        fatal,
    })
}
