//! What the requester of a set says of it, and what it brings for the recovery kit.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stillpoint_model::{
    Captured, ComponentName, Description, EpochNumber, Grade, Outcome, Problem, RunId, SiteCode,
};

use crate::Place;

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
    /// The lowest grade of what counts for the set.
    pub grade: Option<Grade>,
    /// Problems.
    pub problems: Vec<Problem>,
    /// Versions of the tools that took part, by name.
    pub tools: BTreeMap<String, String>,
    /// Components with place, description and what was captured.
    pub components: Vec<(ComponentName, Place, Description, Captured)>,
}

/// What goes into `CD.Latest`.
#[derive(Debug, Clone)]
pub struct Kit {
    /// The running binary; becomes `CD.Latest/stillpoint`.
    pub program: PathBuf,
    /// The text of the site file that the run worked by; becomes `CD.Latest/site.toml`. Not its path: the file may be
    /// edited while the run goes on.
    pub site_file: String,
    /// The text of `CD.Latest/RECOVER.md`.
    pub recover: String,
}

/// What a writer said of its component and of the capture: `writers/<component>.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WriterWords {
    pub description: Description,
    pub captured: Captured,
}
