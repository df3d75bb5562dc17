//! What the site itself does in a run: checks the destination, opens the set that is built, and publishes it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stillpoint_archive::{
    ArchiveError, BackupSet, Finding, Kit, Place, SetBuilder, SetFacts, check_destination, check_room,
};
use stillpoint_coordinator::{Component, RunReport, Stage, StageError};
use stillpoint_model::site_file::{ComponentKind, Destination};
use stillpoint_model::status::id;
use stillpoint_model::{
    Cancel, CaptureSink, ComponentName, Description, EpochNumber, ErrorKind, Event, Grade, Monitor, Outcome,
    Problem, RunId, UndoLog,
};

use super::archiving::{self, ArchivedSet};
use super::direct::DirectCapture;
use super::teller::{Teller, log_path};
use crate::error::{SiteError, chain};
use crate::load::LoadedSite;
use crate::recovery_kit;

/// The site's part in one run.
pub(crate) struct SiteStage {
    site: Arc<LoadedSite>,
    places: BTreeMap<ComponentName, Place>,
    teller: Arc<Teller>,
    run: RunId,
    epoch: EpochNumber,
    program: PathBuf,
    cancel: Cancel,
    state: Mutex<State>,
}

/// What changes in the course of the run. Locked for moments only, never while a disk is waited for.
#[derive(Default)]
struct State {
    builder: Option<SetBuilder>,
    direct: Option<Arc<DirectCapture>>,
    published: Option<Published>,
    told: BTreeSet<String>,
}

/// What the run made.
pub(crate) enum Made {
    /// A set in the folder of the destination.
    Set(Arc<BackupSet>),
    /// A version in an archive, and no folder.
    Version(ArchivedSet),
}

/// What the run made, and how good it is.
pub(crate) struct Published {
    pub made: Made,
    /// The lowest grade in it.
    pub grade: Option<Grade>,
}

/// The folder of the destination that holds the set and the log.
pub(crate) fn main_folder(destination: &Destination) -> Option<&PathBuf> {
    let Destination { folder, share, files, staging, .. } = destination;
    folder.as_ref().or(share.as_ref()).or(files.as_ref()).or(staging.as_ref())
}

impl SiteStage {
    pub fn new(
        (site, places, teller): (Arc<LoadedSite>, BTreeMap<ComponentName, Place>, Arc<Teller>),
        (run, epoch, program): (RunId, EpochNumber, PathBuf),
        cancel: &Cancel,
    ) -> Self {
        let cancel = cancel.clone();
        Self { site, places, teller, run, epoch, program, cancel, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was published. Nothing after the first call.
    pub fn published(&self) -> Option<Published> {
        self.state().published.take()
    }

    fn check(&self, sources: &[PathBuf]) -> Result<(), SiteError> {
        let site = &self.site.file;
        self.refuse(check_destination(&site.destination, &site.site.code, sources))
    }

    /// Whether what the components will add has room.
    fn check_room(&self, components: &[(ComponentName, Description)]) -> Result<(), SiteError> {
        let site = &self.site.file;
        let needed: Vec<(Place, u64)> = components
            .iter()
            .filter_map(|(name, said)| Some((*self.places.get(name)?, said.estimate_bytes?)))
            .collect();
        self.refuse(check_room(&site.destination, &site.site.code, &needed, site.task.keep_free_percent))
    }

    /// Tells every finding; an error names all that are fatal.
    fn refuse(&self, findings: Vec<Finding>) -> Result<(), SiteError> {
        let mut fatal = Vec::new();
        for finding in findings {
            // Checked twice, with the paths of the site file and with those of the writers; told once.
            if self.state().told.insert(finding.text.clone()) {
                self.teller.status(id::DESTINATION_FINDING, &[&finding.text, &finding.remedy]);
            }
            if finding.fatal {
                fatal.push(finding);
            }
        }
        let Some(first) = fatal.first() else { return Ok(()) };
        let texts: Vec<&str> = fatal.iter().map(|finding| finding.text.as_str()).collect();
        self.teller.status(id::DESTINATION_INVALID, &[&texts.join("; ")]);
        Err(SiteError::new(ErrorKind::Environment, texts.join("; ")).hint(first.remedy.clone()))
    }

    fn facts(&self, report: &RunReport, grade: Option<Grade>) -> Result<SetFacts, SiteError> {
        let site = &self.site.file.site;
        let bug = |what: &str| {
            SiteError::new(ErrorKind::Bug, format!("the run has no {what} but is to be published"))
        };
        let mut components = Vec::new();
        for Component { name, description, captured } in &report.components {
            let place = self.places.get(name).copied().ok_or_else(|| bug("place"))?;
            let description = description.clone().ok_or_else(|| bug("description"))?;
            let captured = captured.clone().ok_or_else(|| bug("capture"))?;
            components.push((name.clone(), place, description, captured));
        }
        let problems = self.teller.problems();
        Ok(SetFacts {
            site: site.code.clone(),
            name: site.name.clone(),
            run: self.run.clone(),
            epoch: self.epoch,
            cut_at: report.cut_at.ok_or_else(|| bug("cut"))?,
            window_us: report
                .window
                .map_or(0, |window| u64::try_from(window.as_micros()).unwrap_or(u64::MAX)),
            outcome: if problems.is_empty() { Outcome::Complete } else { Outcome::Incomplete },
            grade,
            problems,
            tools: recovery_kit::tools(),
            components,
        })
    }

    /// Refuses a set with a component below the site's minimum; answers its grade.
    fn check_grade(&self, report: &RunReport) -> Result<Option<Grade>, SiteError> {
        let wanted = self.site.file.task.minimum_grade;
        let counts = |name: &ComponentName| {
            self.site.file.components.iter().any(|part| part.name == *name && is_graded(&part.kind))
        };
        let graded: Vec<(&ComponentName, Grade)> = report
            .components
            .iter()
            .filter(|part| counts(&part.name))
            .filter_map(|part| Some((&part.name, part.captured.as_ref()?.grade)))
            .collect();
        let below: Vec<String> = graded
            .iter()
            .filter(|(_, grade)| *grade < wanted)
            .map(|(name, grade)| format!("{name} is {grade}"))
            .collect();
        if below.is_empty() {
            return Ok(graded.iter().map(|(_, grade)| *grade).min());
        }
        let text =
            format!("the set is below the minimum grade {wanted} and is not published: {}", below.join(", "));
        self.teller.status(id::SET_BELOW_GRADE, &[&wanted.to_string(), &below.join(", ")]);
        Err(SiteError::new(ErrorKind::Grade, text)
            .hint("quiet every service that writes to it, or lower task.minimum_grade in the site file"))
    }

    fn publish(&self, report: &RunReport, cancel: &Cancel) -> Result<(), SiteError> {
        let grade = self.check_grade(report)?;
        let facts = self.facts(report, grade)?;
        let builder = self.state().builder.take();
        let builder =
            builder.ok_or_else(|| SiteError::new(ErrorKind::Bug, "the set is sealed before it was begun"))?;
        let kit = Kit {
            program: self.program.clone(),
            site_file: self.site.text.clone(),
            recover: recovery_kit::recover_text(&self.site, &facts, builder.databases_folder().as_deref()),
        };
        let monitor: Arc<dyn Monitor> = self.teller.clone();
        let graded: Vec<_> =
            facts.components.iter().map(|(name, _, _, captured)| (name.clone(), captured.grade)).collect();
        let direct = self.state().direct.take();
        if let Some(direct) = direct {
            return self.finish_version(&direct, builder.cancelled_by(cancel), facts, &kit, grade);
        }
        let set = builder.cancelled_by(cancel).publish(facts, &kit, &monitor)?;
        for (component, grade) in graded {
            let (files, bytes) = set.size(&component).unwrap_or_default();
            self.teller.emit(Event::ComponentCaptured { component, grade, files, bytes });
        }
        self.teller.status(id::SET_PUBLISHED, &[&set.folder().display().to_string()]);
        self.state().published = Some(Published { made: Made::Set(Arc::new(set)), grade });
        Ok(())
    }

    /// The version gets its name, and with it is the backup.
    fn finish_version(
        &self,
        direct: &DirectCapture,
        builder: SetBuilder,
        facts: SetFacts,
        kit: &Kit,
        grade: Option<Grade>,
    ) -> Result<(), SiteError> {
        let monitor: Arc<dyn Monitor> = self.teller.clone();
        let sealed = builder.seal_without_content(facts.clone(), kit, &monitor)?;
        let saved = direct.finish(&facts, &sealed.pieces, &sealed.folder)?;
        let archive = direct.archive().settings.name.clone();
        let made = ArchivedSet { archive, result: Ok(saved) };
        for (component, _, _, captured) in &facts.components {
            let size = sealed.sizes.iter().find(|(name, ..)| name == component);
            let (files, bytes) = size.map_or((0, 0), |(_, files, bytes)| (*files, *bytes));
            let (component, grade) = (component.clone(), captured.grade);
            self.teller.emit(Event::ComponentCaptured { component, grade, files, bytes });
        }
        archiving::tell(&made, self.epoch, &self.teller);
        self.state().published = Some(Published { made: Made::Version(made), grade });
        if let Err(error) = sealed.remove() {
            // The version is there. What could not be removed still carries the marker, and the next start removes it.
            let text = format!("the staging folder could not be emptied: {}", chain(&error));
            self.teller.emit(Event::Problem(Problem { component: None, path: None, text }));
        }
        Ok(())
    }

    fn begin(&self, undos: &dyn UndoLog) -> Result<(), SiteError> {
        let site = &self.site.file;
        self.check(&crate::assemble::sources(site))?;
        let builder = SetBuilder::create(&site.destination, &site.site.code, &self.run, undos)?
            .keep_free_percent(site.task.keep_free_percent);
        let builder = if site.destination.staging.is_some() {
            let ids = (&site.site.code, &self.run);
            let work = builder.folder();
            let direct = DirectCapture::begin(&site.archives, ids, &work, &self.teller, &self.cancel)?;
            let direct = Arc::new(direct);
            self.state().direct = Some(direct.clone());
            builder.content_to(direct)
        } else {
            builder
        };
        self.state().builder = Some(builder);
        // The destination may not have been there before.
        if let Some(folder) = main_folder(&site.destination) {
            let path = log_path(folder);
            self.teller.open_log(&path).map_err(|error| {
                SiteError::new(ErrorKind::Environment, format!("cannot write the log {}", path.display()))
                    .because(error)
            })?;
        }
        Ok(())
    }
}

/// Whether the grade of a component of this kind counts for the set. A service adds no data: what it does to others is in
/// their grades. The output of a command that runs after the thaw describes the site and is not part of its state.
fn is_graded(kind: &ComponentKind) -> bool {
    match kind {
        ComponentKind::Service(_) => false,
        ComponentKind::Command(settings) => settings.in_freeze,
        ComponentKind::Files(_) | ComponentKind::Postgres(_) | ComponentKind::Sqlite(_) => true,
    }
}

impl Stage for SiteStage {
    fn preflight(&self, undos: &dyn UndoLog) -> Result<(), StageError> {
        self.begin(undos).map_err(StageError::from)
    }

    fn identified(&self, components: &[(ComponentName, Description)]) -> Result<(), StageError> {
        let sources: Vec<PathBuf> = components.iter().flat_map(|(_, said)| said.sources.clone()).collect();
        self.check(&sources).and_then(|()| self.check_room(components)).map_err(StageError::from)
    }

    fn sink(&self, component: &ComponentName) -> Box<dyn CaptureSink> {
        match (&self.state().builder, self.places.get(component)) {
            (Some(builder), Some(place)) => builder.sink(*place, component),
            _ => Box::new(NoSink),
        }
    }

    fn seal(&self, report: &RunReport, cancel: &Cancel) -> Result<(), StageError> {
        self.publish(report, cancel).map_err(StageError::from)
    }
}

/// Stands where there is no set to write to; a writer that uses it fails.
struct NoSink;

impl NoSink {
    fn refusal() -> stillpoint_model::SinkError {
        stillpoint_model::SinkError(
            "there is no set that is being built".into(),
            None::<Box<ArchiveError>>.map(|e| e as _),
        )
    }
}

impl CaptureSink for NoSink {
    fn tree(
        &mut self,
        _context: &stillpoint_model::Context,
        _folder: &str,
        _source: stillpoint_model::TreeSource,
    ) -> Result<(), stillpoint_model::SinkError> {
        Err(Self::refusal())
    }

    fn stream(
        &mut self,
        _context: &stillpoint_model::Context,
        _name: &str,
        _reader: &mut dyn std::io::Read,
    ) -> Result<u64, stillpoint_model::SinkError> {
        Err(Self::refusal())
    }
}
