//! SKETCH of the public face; to be split into modules.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use stillpoint_model::site_file::Destination;
use stillpoint_model::*;

/// What the archive could not do.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct ArchiveError {
    /// What kind of trouble.
    pub kind: ErrorKind,
    /// What failed, in one sentence.
    pub text: String,
    /// How to mend it.
    pub hint: Option<String>,
    /// Why.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// A finding about the destination.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Whether a run must not begin.
    pub fatal: bool,
    /// What was found, where.
    pub text: String,
    /// How to mend it.
    pub remedy: String,
}

/// Checks the destination: exists (or can be created), is mounted where it must be, create, write *and delete* work, not
/// inside a source (nor a source inside it), not group- or world-readable, same volume as a source (a warning), room.
pub fn check_destination(_destination: &Destination, _code: &SiteCode, _sources: &[PathBuf]) -> Vec<Finding> {
    todo!()
}

/// Where in the set a component lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// `SiteServer/`.
    SiteServer,
    /// `SiteDBServer/`.
    SiteDbServer,
}

/// A set being built, aside of the good one.
pub struct SetBuilder {}

impl SetBuilder {
    /// Creates the building folder (`.P01Backup.building-<run>` with the marker file); registers its undo first.
    pub fn create(
        _destination: &Destination,
        _code: &SiteCode,
        _run: &RunId,
        _undos: &dyn UndoLog,
    ) -> Result<Self, ArchiveError> {
        todo!()
    }

    /// Where the workspace of a component will be; known before `create`.
    pub fn workspace_path(_destination: &Destination, _code: &SiteCode, _run: &RunId, _place: Place, _component: &ComponentName) -> PathBuf {
        todo!()
    }

    /// The sink of a component.
    pub fn sink(&self, _place: Place, _component: &ComponentName) -> Box<dyn CaptureSink> {
        todo!()
    }

    /// Writes lists, writers' words, recovery kit and manifest; syncs, verifies what was written in this run, swaps the set
    /// in with one atomic exchange, and removes the old one.
    pub fn publish(self, _facts: SetFacts, _kit: &Kit, _monitor: &Arc<dyn Monitor>) -> Result<BackupSet, ArchiveError> {
        todo!()
    }
}

/// What the manifest says besides the files.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SetFacts {
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
    /// Freeze window in microseconds.
    pub window_us: u64,
    /// Complete or incomplete.
    pub outcome: Outcome,
    /// Problems.
    pub problems: Vec<Problem>,
    /// Versions of the tools that took part, by name.
    pub tools: std::collections::BTreeMap<String, String>,
    /// Components with place, description and what was captured.
    pub components: Vec<(ComponentName, Place, Description, Captured)>,
}

/// What goes into `CD.Latest`.
pub struct Kit {
    /// The running binary.
    pub program: PathBuf,
    /// The site file.
    pub site_file: PathBuf,
    /// The text of `RECOVER.md`.
    pub recover: String,
}

/// A set on disk.
pub struct BackupSet {}

impl BackupSet {
    /// Opens a set: the folder itself, or the destination folder that holds it. Refuses what has no manifest, another
    /// format, or a list that does not fit the manifest.
    pub fn open(_folder: &Path) -> Result<Self, ArchiveError> {
        todo!()
    }
    /// Its folder.
    pub fn folder(&self) -> &Path {
        todo!()
    }
    /// What the manifest says.
    pub fn facts(&self) -> &SetFacts {
        todo!()
    }
    /// A component, for a restore.
    pub fn component(&self, _name: &ComponentName) -> Option<StoredComponent> {
        todo!()
    }
    /// The content of a component, for sharing with the next set.
    pub fn previous(&self, _name: &ComponentName) -> Option<StoredPrevious> {
        todo!()
    }
    /// Re-reads every byte.
    pub fn verify(&self, _monitor: &Arc<dyn Monitor>, _cancel: &Cancel) -> Result<VerifyReport, ArchiveError> {
        todo!()
    }
}

/// What a verify found.
#[derive(Debug, Clone, Serialize)]
pub struct VerifyReport {
    /// Files read.
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// What is damaged, missing or too much: component, path and what is wrong.
    pub damage: Vec<Problem>,
}
