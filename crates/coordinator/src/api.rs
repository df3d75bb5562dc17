//! The public face: what a run is given, and what comes of it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use stillpoint_model::site_file::Deadlines;
use stillpoint_model::{
    Cancel, CaptureSink, Captured, ComponentName, Description, EpochNumber, ErrorKind, Level, Monitor, Phase,
    RunId, SiteCode, StoredPrevious, UndoLog, Writer,
};

use crate::StateFolder;

/// One component in a run.
pub struct Participant {
    /// Its name.
    pub component: ComponentName,
    /// The level that the site file sets; without it the one of the writer's description.
    pub level: Option<Level>,
    /// Its writer.
    pub writer: Box<dyn Writer>,
    /// Its private folder in the set that is being built. Created after [`Stage::preflight`] when that did not do it.
    pub workspace: PathBuf,
    /// Its content in the last good set.
    pub previous: Option<StoredPrevious>,
}

/// What a run is given.
pub struct RunSettings {
    /// The site.
    pub site: SiteCode,
    /// The run.
    pub run: RunId,
    /// The epoch.
    pub epoch: EpochNumber,
    /// How long each phase may take.
    pub deadlines: Deadlines,
    /// Where the journal is.
    pub state: StateFolder,
    /// Program and arguments that start the guard (our own binary with its hidden verb).
    pub guard: Vec<OsString>,
    /// Who is told.
    pub monitor: Arc<dyn Monitor>,
    /// Set to end early.
    pub cancel: Cancel,
    /// Called around every act; in tests it fails, hangs or kills.
    pub hook: Arc<dyn ActHook>,
}

/// An act of the site's own failed.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct StageError {
    /// What kind of trouble.
    pub kind: ErrorKind,
    /// What failed, in one sentence.
    pub text: String,
    /// How to mend it, in one sentence.
    pub hint: Option<String>,
    /// Why.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What the site itself does in a run, at the places where it is not a writer's turn. The driver calls each on a thread of
/// its own and gives it up at its deadline (that of identify for the checks, that of capture for the seal): a destination
/// that does not answer must not hold the run for ever. One that was given up may come back late; no other is called after
/// it, and it must not register or publish anything then.
pub trait Stage: Send + Sync {
    /// Checks the destination and creates the set's building folder. Registers the undo for it first.
    fn preflight(&self, undos: &dyn UndoLog) -> Result<(), StageError>;
    /// All components are described: checks what needs the descriptions (room, destination inside a source).
    fn identified(&self, components: &[(ComponentName, Description)]) -> Result<(), StageError>;
    /// The sink for a component. Called by the driver itself: touches no disk.
    fn sink(&self, component: &ComponentName) -> Box<dyn CaptureSink>;
    /// Publishes the set (or refuses it, below the minimum grade). Called with what was captured. Once `cancel` is set
    /// nothing is published any more.
    fn seal(&self, report: &RunReport, cancel: &Cancel) -> Result<(), StageError>;
}

/// A component as it came out of a run.
#[derive(Debug, Clone)]
pub struct Component {
    /// Its name.
    pub name: ComponentName,
    /// What its writer said.
    pub description: Option<Description>,
    /// What was captured, with the final grade.
    pub captured: Option<Captured>,
}

/// What came of a run.
#[derive(Debug)]
pub struct RunReport {
    /// From before the first freeze to after the last thaw; nothing if nothing was frozen.
    pub window: Option<Duration>,
    /// The instant of the cut, UTC.
    pub cut_at: Option<jiff::Timestamp>,
    /// The components, in order.
    pub components: Vec<Component>,
    /// Time per phase.
    pub phases: Vec<(Phase, Duration)>,
    /// Why the run failed: the first veto, missed deadline or failed act. Nothing if it did not.
    pub failure: Option<StageError>,
    /// Undos that failed: the site may not work. Loud.
    pub not_undone: Vec<String>,
}

/// Called right before and right after each act of the driver. The name is `<step>/<component>` or `<act>` such as
/// `freeze/app`, `journal`, `arm`, `disarm`, `preflight`, `seal`. An error fails the act.
pub trait ActHook: Send + Sync {
    /// Right before.
    fn before(&self, _act: &str) -> Result<(), String> {
        Ok(())
    }
    /// Right after it succeeded.
    fn after(&self, _act: &str) -> Result<(), String> {
        Ok(())
    }
}

/// The hook that does nothing.
pub struct NoHook;
impl ActHook for NoHook {}
