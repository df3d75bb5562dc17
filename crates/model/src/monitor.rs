//! How the work tells what happens: events out, to the terminal, to `--json`, to the log, to a test.

use serde::Serialize;

use crate::status::StatusMessage;
use crate::{
    ArchiveName, ComponentName, EpochNumber, Grade, Level, Outcome, Phase, ProviderKind, RunId, SiteCode,
    Step,
};

/// A finding that does not stop the run but makes it incomplete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Problem {
    /// The component it belongs to, if to one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub component: Option<ComponentName>,
    /// The path it is about, lossily as text, if about one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path: Option<String>,
    /// What was found, in one sentence.
    pub text: String,
}

/// Something happened. In `--json` each is one line; fields are only ever added.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A run began.
    RunStarted {
        /// The run.
        run: RunId,
        /// The site.
        site: SiteCode,
        /// The epoch that it will make.
        epoch: EpochNumber,
    },
    /// A phase began.
    PhaseStarted {
        /// The phase.
        phase: Phase,
    },
    /// A phase ended.
    PhaseEnded {
        /// The phase.
        phase: Phase,
        /// How long it took, in microseconds.
        elapsed_us: u64,
    },
    /// A step of a component ended.
    StepEnded {
        /// The component.
        component: ComponentName,
        /// The step.
        step: Step,
        /// The level, where the step has one.
        #[serde(skip_serializing_if = "Option::is_none")]
        level: Option<Level>,
        /// How long it took, in microseconds.
        elapsed_us: u64,
        /// What went wrong, if something did.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// The way in which a component is cut was chosen.
    ProviderChosen {
        /// The component.
        component: ComponentName,
        /// The provider.
        provider: ProviderKind,
        /// Why it, and why not the better ones.
        reason: String,
    },
    /// The site stood still for this long: from before the first freeze to after the last thaw.
    FreezeWindow {
        /// In microseconds.
        window_us: u64,
    },
    /// Long work goes on. Sent at most a few times a second.
    Progress {
        /// The component, if of one.
        #[serde(skip_serializing_if = "Option::is_none")]
        component: Option<ComponentName>,
        /// What is being done, such as `first pass`.
        activity: String,
        /// Files done.
        files: u64,
        /// Bytes done.
        bytes: u64,
        /// Bytes in all, if known.
        #[serde(skip_serializing_if = "Option::is_none")]
        total_bytes: Option<u64>,
    },
    /// A component is in the set.
    ComponentCaptured {
        /// The component.
        component: ComponentName,
        /// Its grade.
        grade: Grade,
        /// Files in the set.
        files: u64,
        /// Bytes in the set.
        bytes: u64,
    },
    /// The set is in an archive, as a version.
    VersionSaved {
        /// The archive.
        archive: ArchiveName,
        /// The name of the version, 64 hexadecimal digits.
        version: String,
        /// Its epoch.
        epoch: EpochNumber,
        /// Bytes that were new to the archive, before compression; missing when the version was there already.
        #[serde(skip_serializing_if = "Option::is_none")]
        added_bytes: Option<u64>,
        /// Bytes that they take in it.
        #[serde(skip_serializing_if = "Option::is_none")]
        stored_bytes: Option<u64>,
    },
    /// A finding that does not stop the run.
    Problem(Problem),
    /// A numbered status message.
    Status(StatusMessage),
    /// The run ended.
    RunEnded {
        /// The verdict.
        outcome: Outcome,
        /// The lowest grade in the set, if one was published.
        #[serde(skip_serializing_if = "Option::is_none")]
        grade: Option<Grade>,
        /// How many problems there were.
        problems: u64,
        /// How long the run took, in milliseconds.
        elapsed_ms: u64,
        /// How the hook failed. It does not count for the verdict.
        #[serde(skip_serializing_if = "Option::is_none")]
        hook_failure: Option<String>,
    },
}

/// Takes events. Must not block for long and must not write to a file system of the site: the site may stand still.
pub trait Monitor: Send + Sync {
    /// Takes one event.
    fn emit(&self, event: Event);
}

/// A monitor that listens to nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoMonitor;

impl Monitor for NoMonitor {
    fn emit(&self, _event: Event) {}
}
