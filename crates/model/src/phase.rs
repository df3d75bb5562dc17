//! The phases of a run and the levels of a freeze.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The phases of one run, in order. `docs/glossary.md` and `ARCHITECTURE.md` tell what happens in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The site file, the destination, room, tools and rights are checked; leftovers are healed. The site works.
    Preflight,
    /// Every writer describes its component. The site works.
    Identify,
    /// Heavy work before the cut: base copies, first pass, sessions, tracking. The site works.
    Prepare,
    /// Components are made still, level by level. The site stands still from here.
    Freeze,
    /// Providers cut, databases pin their view.
    Snapshot,
    /// Components go on, in the reverse order. The site works again from here.
    Thaw,
    /// Data is read from the cuts and pinned views into the set being built.
    Capture,
    /// The set is written out, verified and swapped in.
    Seal,
    /// The hook runs, snapshots are released.
    After,
}

impl Phase {
    /// All phases in order.
    pub const ALL: [Phase; 9] = [
        Phase::Preflight,
        Phase::Identify,
        Phase::Prepare,
        Phase::Freeze,
        Phase::Snapshot,
        Phase::Thaw,
        Phase::Capture,
        Phase::Seal,
        Phase::After,
    ];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Phase::Preflight => "preflight",
            Phase::Identify => "identify",
            Phase::Prepare => "prepare",
            Phase::Freeze => "freeze",
            Phase::Snapshot => "snapshot",
            Phase::Thaw => "thaw",
            Phase::Capture => "capture",
            Phase::Seal => "seal",
            Phase::After => "after",
        })
    }
}

/// One call to a writer. A phase has one or more steps; within a step (and level) components act in parallel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// [`crate::Writer::identify`], phase identify.
    Identify,
    /// [`crate::Writer::prepare`], phase prepare.
    Prepare,
    /// [`crate::Writer::poise`], the end of phase prepare: everybody is ready, the freeze is next.
    Poise,
    /// [`crate::Writer::freeze`], phase freeze, level by level.
    Freeze,
    /// [`crate::Writer::cut`], phase snapshot.
    Cut,
    /// [`crate::Writer::thaw`], phase thaw, level by level in reverse.
    Thaw,
    /// [`crate::Writer::capture`], phase capture.
    Capture,
    /// [`crate::Writer::release`], at the end, however the run ends.
    Release,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Step::Identify => "identify",
            Step::Prepare => "prepare",
            Step::Poise => "poise",
            Step::Freeze => "freeze",
            Step::Cut => "cut",
            Step::Thaw => "thaw",
            Step::Capture => "capture",
            Step::Release => "release",
        })
    }
}

/// Application level: the freeze goes through the levels in this order, the thaw in the reverse. The last three are
/// those of the Volume Shadow Copy Service (`VSS_APPLICATION_LEVEL`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Locks that must be held before any application is stopped, because a stopped application may hold them itself
    /// (SQLite in rollback-journal mode).
    Lock,
    /// Applications that use other components: quiet before what they use.
    FrontEnd,
    /// Databases and other servers behind the applications.
    BackEnd,
    /// What is below all others: file trees.
    System,
}

impl Level {
    /// All levels in freeze order.
    pub const ALL: [Level; 4] = [Level::Lock, Level::FrontEnd, Level::BackEnd, Level::System];
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Level::Lock => "lock",
            Level::FrontEnd => "front-end",
            Level::BackEnd => "back-end",
            Level::System => "system",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EpochNumber, Grade, Outcome, ProviderKind, SiteCode};

    #[test]
    fn a_word_of_a_table_keeps_to_its_column() {
        let words = [
            format!("{:<10}", Phase::Seal),
            format!("{:<10}", Step::Cut),
            format!("{:<10}", Level::Lock),
            format!("{:<10}", Grade::Crash),
            format!("{:<10}", Outcome::Failed),
            format!("{:<10}", ProviderKind::Copy),
            format!("{:<10}", EpochNumber(7)),
            format!("{:<10}", "P01".parse::<SiteCode>().unwrap()),
        ];
        assert!(words.iter().all(|word| word.len() == 10), "{words:?}");
    }
}
