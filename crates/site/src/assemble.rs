//! From what the site file says to the writers, providers and restorers that do it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use stillpoint_archive::{BackupSet, Place};
use stillpoint_coordinator::Participant;
use stillpoint_model::site_file::{Component, ComponentKind, FilesSettings, Quiet, SiteFile};
use stillpoint_model::{
    Cancel, ComponentName, Context, ErrorKind, Level, Monitor, Restorer, RunId, TreeRequest, Writer,
    WriterError,
};
use stillpoint_writers::{command, files, postgres, services, sqlite};

use crate::backup::workspace;
use crate::error::{SiteError, chain};
use crate::load::LoadedSite;
use crate::no_undos::NoUndos;

/// Participants of a run, in the order of the site file, and where in the set each lies.
pub(crate) type Assembled = (Vec<Participant>, BTreeMap<ComponentName, Place>);

/// A component that has no writer here, and why.
pub(crate) type Unfit = (ComponentName, WriterError);

/// Makes the participants of a run. The error names every component that has no writer here.
pub(crate) fn participants(
    site: &LoadedSite,
    run: &RunId,
    previous: Option<&BackupSet>,
    monitor: &Arc<dyn Monitor>,
) -> Result<Assembled, SiteError> {
    let (mut list, mut unfit) = (Vec::new(), Vec::new());
    for made in candidates(site, run, previous, monitor) {
        match made {
            Ok(participant) => list.push(participant),
            Err((name, error)) => {
                unfit.push(format!("component {name} cannot be backed up: {}", chain(&error)));
            }
        }
    }
    if unfit.is_empty() {
        return Ok((list, places(&site.file)));
    }
    Err(SiteError::new(ErrorKind::Component, unfit.join("; ")))
}

/// Where in the set each component lies.
pub(crate) fn places(site: &SiteFile) -> BTreeMap<ComponentName, Place> {
    site.components.iter().map(|component| (component.name.clone(), place(&component.kind))).collect()
}

/// Each component as a participant, or why it cannot be one. Probes which provider suits each file tree; changes nothing.
pub(crate) fn candidates(
    site: &LoadedSite,
    run: &RunId,
    previous: Option<&BackupSet>,
    monitor: &Arc<dyn Monitor>,
) -> Vec<Result<Participant, Unfit>> {
    let candidate = |component: &Component| {
        let place = place(&component.kind);
        let context = Context {
            site: site.file.site.code.clone(),
            run: run.clone(),
            component: component.name.clone(),
            workspace: workspace(site, run, place, &component.name),
            previous: previous.and_then(|set| set.previous(&component.name)),
            undos: Arc::new(NoUndos),
            monitor: monitor.clone(),
            cancel: Cancel::default(),
        };
        let writer =
            writer(&site.file, component, &context).map_err(|error| (component.name.clone(), error))?;
        Ok(Participant {
            component: component.name.clone(),
            level: component.level,
            writer,
            workspace: context.workspace,
            previous: context.previous,
        })
    };
    site.file.components.iter().map(candidate).collect()
}

/// Databases lie in `SiteDBServer`, all else in `SiteServer`.
fn place(kind: &ComponentKind) -> Place {
    match kind {
        ComponentKind::Postgres(_) | ComponentKind::Sqlite(_) => Place::SiteDbServer,
        ComponentKind::Service(_) | ComponentKind::Files(_) | ComponentKind::Command(_) => Place::SiteServer,
    }
}

fn writer(site: &SiteFile, component: &Component, context: &Context) -> Result<Box<dyn Writer>, WriterError> {
    Ok(match &component.kind {
        ComponentKind::Service(settings) => Box::new(services::ServiceWriter::new(settings)?),
        ComponentKind::Files(settings) => files_writer(settings, context)?,
        ComponentKind::Postgres(settings) => postgres::writer(settings),
        ComponentKind::Sqlite(settings) => {
            Box::new(sqlite::SqliteWriter::new(settings, services_are_held(site)))
        }
        ComponentKind::Command(settings) => Box::new(command::CommandWriter::new(settings)),
    })
}

fn files_writer(settings: &FilesSettings, context: &Context) -> Result<Box<dyn Writer>, WriterError> {
    let request = TreeRequest {
        source: settings.path.clone(),
        include: settings.include.clone(),
        exclude: settings.exclude.clone(),
    };
    let (provider, reason) = stillpoint_providers::choose(&request, settings.provider, context)?;
    Ok(Box::new(files::FilesWriter::new(settings, provider, reason)))
}

/// Whether the freezer holds any service of the site, in the middle of whatever it does: then a rollback-journal database
/// must be locked before, else after.
fn services_are_held(site: &SiteFile) -> sqlite::LockOrder {
    let held = site.components.iter().any(|component| {
        matches!(&component.kind, ComponentKind::Service(settings) if settings.quiet == Quiet::Freeze)
    });
    if held { sqlite::LockOrder::BeforeServices } else { sqlite::LockOrder::AfterServices }
}

/// What puts the component back.
pub(crate) fn restorer(component: &Component) -> Result<Box<dyn Restorer>, WriterError> {
    Ok(match &component.kind {
        ComponentKind::Service(settings) => Box::new(services::ServiceRestorer::new(settings)?),
        ComponentKind::Files(settings) => Box::new(files::FilesRestorer::new(settings)),
        ComponentKind::Postgres(settings) => postgres::restorer(settings),
        ComponentKind::Sqlite(settings) => Box::new(sqlite::SqliteRestorer::new(settings)),
        ComponentKind::Command(settings) => Box::new(command::CommandRestorer::new(settings)),
    })
}

/// In which order a component is stopped and started around a restore.
pub(crate) fn restore_level(component: &Component) -> Level {
    component.level.unwrap_or(component.kind.usual_level())
}

/// The paths of the site that the site file names: the destination must not lie in them.
pub(crate) fn sources(site: &SiteFile) -> Vec<PathBuf> {
    let of = |component: &Component| match &component.kind {
        ComponentKind::Files(settings) => Some(settings.path.clone()),
        ComponentKind::Sqlite(settings) => Some(settings.path.clone()),
        ComponentKind::Postgres(settings) => settings.data.clone(),
        ComponentKind::Service(_) | ComponentKind::Command(_) => None,
    };
    site.components.iter().filter_map(of).collect()
}
