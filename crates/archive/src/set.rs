//! A set on disk: found, opened, looked into.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stillpoint_model::{
    Cancel, ComponentName, EpochNumber, ErrorKind, Grade, Monitor, Outcome, RunId, SiteCode, StoredComponent,
    StoredPrevious,
};

use crate::facts::{SetFacts, WriterWords};
use crate::heal::put_aside;
use crate::layout::{DATABASES_INSIDE, MANIFEST, MANIFEST_SUM, PART, kept_name};
use crate::manifest::{DatabasesPart, Manifest, Part};
use crate::verify::{self, Reading, Roots, VerifyReport};
use crate::{ArchiveError, Place};

/// A set on disk.
#[derive(Debug)]
pub struct BackupSet {
    roots: Roots,
    manifest: Manifest,
    facts: SetFacts,
}

impl BackupSet {
    /// Opens a set: the folder itself, or the destination folder that holds it; there the last one, not the complete one
    /// that is kept beside an incomplete one ([`BackupSet::complete_beside`]). Refuses what has no manifest, another
    /// format, or a list that does not fit the manifest. Changes nothing: a set that an interrupted swap put aside is
    /// opened where it is.
    ///
    /// # Errors
    /// `Usage` when there is no set, or several; `Environment` when it is of a newer format; `Damaged` when the set is
    /// not what was stored.
    pub fn open(folder: &Path) -> Result<Self, ArchiveError> {
        let folder = find(folder)?;
        let manifest = Manifest::read(&folder)?;
        let roots = locate(&folder, &manifest)?;
        let damaged = |path: &str, text: &str| {
            Err(ArchiveError::damaged(format!("the backup set {}: {path}: {text}", folder.display())))
        };
        let mut components = Vec::new();
        for part in &manifest.components {
            if let Some(text) = verify::list_trouble(&folder, part) {
                return damaged(&part.list.path, &text);
            }
            if let Some(text) = part.writer.trouble(&folder) {
                return damaged(&part.writer.path, &text);
            }
            let words = read_words(&folder.join(&part.writer.path))?;
            components.push((part.name.clone(), part.place, words.description, words.captured));
        }
        let facts = SetFacts {
            site: manifest.site.clone(),
            name: manifest.name.clone(),
            run: manifest.run.clone(),
            epoch: manifest.epoch,
            cut_at: manifest.cut_at,
            window_us: manifest.window_us,
            outcome: manifest.outcome,
            grade: manifest.grade,
            problems: manifest.problems.clone(),
            tools: manifest.tools.clone(),
            components,
        };
        Ok(Self { roots, manifest, facts })
    }

    /// The set that was just published.
    pub(crate) fn published(
        folder: PathBuf,
        manifest: Manifest,
        facts: SetFacts,
    ) -> Result<Self, ArchiveError> {
        let roots = locate(&folder, &manifest)?;
        Ok(Self { roots, manifest, facts })
    }

    /// Its folder, absolute.
    pub fn folder(&self) -> &Path {
        &self.roots.set
    }

    /// The complete set that was kept beside this one, because this one is incomplete.
    pub fn complete_beside(&self) -> Option<PathBuf> {
        let name = self.folder().file_name()?.to_str()?;
        Some(self.folder().with_file_name(kept_name(name))).filter(|kept| is_set(kept))
    }

    /// The separate folder with its databases, if they have one.
    pub fn databases_folder(&self) -> Option<&Path> {
        self.roots.databases.as_deref()
    }

    /// The site file in its recovery kit.
    pub fn site_file(&self) -> PathBuf {
        self.folder().join(crate::layout::KIT).join(crate::seal::KIT_SITE_FILE)
    }

    /// What the manifest says.
    pub fn facts(&self) -> &SetFacts {
        &self.facts
    }

    /// A component, for a restore.
    pub fn component(&self, name: &ComponentName) -> Option<StoredComponent> {
        let part = self.manifest.components.iter().find(|part| part.name == *name)?;
        let (.., captured) = self.facts.components.iter().find(|(found, ..)| found == name)?;
        Some(StoredComponent {
            name: name.clone(),
            folder: self.roots.of(part.place).join(part.folder()),
            index: self.roots.set.join(&part.list.path),
            facts: captured.facts.clone(),
            grade: part.grade,
            epoch: self.manifest.epoch,
        })
    }

    /// The content of a component, for sharing with the next set.
    pub fn previous(&self, name: &ComponentName) -> Option<StoredPrevious> {
        self.component(name).map(|stored| StoredPrevious { folder: stored.folder, index: stored.index })
    }

    /// The files and bytes of a component.
    pub fn size(&self, name: &ComponentName) -> Option<(u64, u64)> {
        self.manifest.components.iter().find(|part| part.name == *name).map(|part| (part.files, part.bytes))
    }

    /// Re-reads every byte.
    ///
    /// # Errors
    /// When it was cancelled, or could not go on; damage is no error but in the report.
    pub fn verify(&self, monitor: &Arc<dyn Monitor>, cancel: &Cancel) -> Result<VerifyReport, ArchiveError> {
        verify::check(&self.manifest, &self.roots, &Reading::Everything, monitor, cancel)
    }

    /// Re-reads every byte of these components, as a recovery needs it. What else is damaged in the set is not told.
    ///
    /// # Errors
    /// As [`BackupSet::verify`].
    pub fn verify_components(
        &self,
        names: BTreeSet<ComponentName>,
        monitor: &Arc<dyn Monitor>,
        cancel: &Cancel,
    ) -> Result<VerifyReport, ArchiveError> {
        verify::check(&self.manifest, &self.roots, &Reading::Components(names), monitor, cancel)
    }
}

/// Verifies the set in `folder` (found as [`BackupSet::open`] finds it), also when a list or a writer's words are damaged
/// so that it cannot be opened: as long as the manifest is whole, all damage is told.
///
/// # Errors
/// When there is no set, its manifest is damaged or of a newer format, or the work was cancelled.
pub fn verify(
    folder: &Path,
    monitor: &Arc<dyn Monitor>,
    cancel: &Cancel,
) -> Result<VerifyReport, ArchiveError> {
    let folder = find(folder)?;
    let manifest = Manifest::read(&folder)?;
    let roots = locate(&folder, &manifest)?;
    verify::check(&manifest, &roots, &Reading::Everything, monitor, cancel)
}

/// What a list of sets shows of one.
#[derive(Debug, Clone)]
pub struct SetSummary {
    /// Its folder.
    pub folder: PathBuf,
    /// What it says of itself; or what is wrong with it, in one sentence.
    pub content: Result<SetContent, String>,
}

/// What a set says of itself.
#[derive(Debug, Clone, serde::Serialize)]
pub struct SetContent {
    /// Site code.
    pub site: SiteCode,
    /// Name of the site.
    pub name: String,
    /// Run.
    pub run: RunId,
    /// Epoch.
    pub epoch: EpochNumber,
    /// Instant of the cut.
    pub cut_at: jiff::Timestamp,
    /// Complete or incomplete.
    pub outcome: Outcome,
    /// The lowest grade of what counts for it.
    pub grade: Option<Grade>,
    /// Components.
    pub components: usize,
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
}

/// The sets in a destination folder, by name, also under names that a hook gave them; or the one that the folder is. Looks
/// only at the manifests.
///
/// # Errors
/// When the folder cannot be read.
pub fn list(folder: &Path) -> Result<Vec<SetSummary>, ArchiveError> {
    let folders = if is_set(folder) { vec![folder.to_owned()] } else { sets_in(folder)? };
    Ok(folders.into_iter().map(|folder| SetSummary { content: summary(&folder), folder }).collect())
}

fn summary(folder: &Path) -> Result<SetContent, String> {
    let manifest = Manifest::read(folder).map_err(|error| error.to_string())?;
    Ok(SetContent {
        grade: manifest.grade,
        components: manifest.components.len(),
        files: manifest.components.iter().map(|part| part.files).sum(),
        bytes: manifest.components.iter().map(|part| part.bytes).sum(),
        site: manifest.site,
        name: manifest.name,
        run: manifest.run,
        epoch: manifest.epoch,
        cut_at: manifest.cut_at,
        outcome: manifest.outcome,
    })
}

fn is_set(folder: &Path) -> bool {
    [MANIFEST, MANIFEST_SUM].iter().any(|file| folder.join(file).exists())
}

/// The folders in `folder` that are sets, those that were put aside included.
fn sets_in(folder: &Path) -> Result<Vec<PathBuf>, ArchiveError> {
    let failed = |error| ArchiveError::io("read the folder", folder, error);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let waits = || {
            let set =
                name.strip_prefix('.').and_then(|name| name.split_once(".previous-")).map(|(set, _)| set);
            set.and_then(|set| put_aside(folder, set)).as_deref() == Some(path.as_path())
        };
        if is_set(&path) && (!name.starts_with('.') || waits()) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The folder of the set that `folder` is or holds, absolute.
fn find(folder: &Path) -> Result<PathBuf, ArchiveError> {
    let folder = std::path::absolute(folder).map_err(|error| ArchiveError::io("find", folder, error))?;
    if !folder.exists() {
        let name = folder.file_name().and_then(|name| name.to_str());
        let waiting = name.zip(folder.parent()).and_then(|(name, root)| put_aside(root, name));
        return waiting.ok_or_else(|| {
            ArchiveError::new(ErrorKind::Usage, format!("there is no backup set at {}", folder.display()))
                .with_hint(
                    "name the folder of a set, or the destination folder that holds it; is its disk mounted?",
                )
        });
    }
    if is_set(&folder) {
        return refuse_unpublished(folder);
    }
    let mut found = sets_in(&folder)?;
    // A complete set that is kept beside an incomplete one is asked for by its own name.
    let kept: Vec<PathBuf> = found
        .iter()
        .filter_map(|set| Some(set.with_file_name(kept_name(set.file_name()?.to_str()?))))
        .collect();
    found.retain(|set| !kept.contains(set));
    match (found.pop(), found.is_empty()) {
        (Some(set), true) => Ok(set),
        // No manifest, no set: the reading of it has the words for what is there.
        (None, _) => Ok(folder),
        (Some(_), false) => {
            let text = format!("there are {} backup sets in {}", found.len() + 1, folder.display());
            Err(ArchiveError::new(ErrorKind::Usage, text)
                .with_hint("name the one that you mean; `stillpoint list` shows them"))
        }
    }
}

/// A set under its building name was never published, or is what was replaced: it can vanish at any moment.
fn refuse_unpublished(folder: PathBuf) -> Result<PathBuf, ArchiveError> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    if !(name.starts_with('.') && name.contains("Backup.building-")) {
        return Ok(folder);
    }
    let text = format!("{} is not published: it is being built, or was just replaced", folder.display());
    Err(ArchiveError::new(ErrorKind::Usage, text).with_hint("name the published set beside it"))
}

/// Where the parts of the set are. A separate folder with databases is looked for where it was published, beside the set
/// (where a person puts it on a bare machine), and in it (where the archive puts it).
fn locate(folder: &Path, manifest: &Manifest) -> Result<Roots, ArchiveError> {
    let Some(part) = &manifest.databases else {
        return Ok(Roots { set: folder.to_owned(), databases: None });
    };
    let beside = folder.parent().zip(part.folder.file_name()).map(|(parent, name)| parent.join(name));
    let mut reason = "is not there".to_owned();
    let inside = folder.join(DATABASES_INSIDE);
    // What lies in the set was restored together with it, and cannot be mistaken.
    for place in [Some(inside), Some(part.folder.clone()), beside].into_iter().flatten() {
        match belongs(&place, part, manifest) {
            Ok(()) => return Ok(Roots { set: folder.to_owned(), databases: Some(place) }),
            Err(text) if place.exists() => reason = text,
            Err(_) => {}
        }
    }
    let text = format!(
        "the databases of the backup set {} are missing: {} {reason}",
        folder.display(),
        part.folder.display()
    );
    Err(ArchiveError::new(ErrorKind::Damaged, text)
        .with_hint("mount the disk that holds them, or put that folder beside the folder of the set, under the same name"))
}

fn belongs(place: &Path, part: &DatabasesPart, manifest: &Manifest) -> Result<(), String> {
    if let Some(text) = part.part.trouble(place) {
        return Err(format!("is not its part: {PART} {text}"));
    }
    let text = fs::read(place.join(PART)).map_err(|error| format!("cannot be read: {error}"))?;
    let said: Part =
        serde_json::from_slice(&text).map_err(|error| format!("is not a part of a set: {error}"))?;
    if said.run == manifest.run && said.site == manifest.site {
        Ok(())
    } else {
        Err(format!("belongs to run {} of site {}", said.run, said.site))
    }
}

fn read_words(path: &Path) -> Result<WriterWords, ArchiveError> {
    let text = fs::read(path).map_err(|error| ArchiveError::io("read", path, error))?;
    serde_json::from_slice(&text).map_err(|error| ArchiveError {
        source: Some(Box::new(error)),
        ..ArchiveError::damaged(format!("{} is not what a writer said", path.display()))
    })
}

/// The roots of the parts of a set, by place.
impl Roots {
    /// The top of the part that holds `place`.
    pub(crate) fn of(&self, place: Place) -> &Path {
        match (place, &self.databases) {
            (Place::SiteDbServer, Some(folder)) => folder,
            _ => &self.set,
        }
    }
}
