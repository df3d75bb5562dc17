//! Undos: what must be done when a run dies, as data that any process can carry out.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Which cgroup freezer a group is held by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupVersion {
    /// `freezer.state` (kernel documentation, cgroup-v1/freezer-subsystem).
    V1,
    /// `cgroup.freeze` (kernel documentation, cgroup-v2).
    V2,
}

/// How soon an undo must be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Urgency {
    /// The site stands still until it is done: first, at once.
    Thaw,
    /// Something lies about that should not: afterwards.
    Release,
}

/// One act that takes back one act of ours. Registered *before* the act it takes back, so it must be harmless when that
/// act never happened, and harmless when done twice.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "undo", rename_all = "kebab-case")]
pub enum Undo {
    /// Let the processes of a cgroup run again.
    ThawCgroup {
        /// The folder of the cgroup, absolute.
        cgroup: PathBuf,
        /// Which freezer.
        version: CgroupVersion,
    },
    /// Let stopped processes run again with SIGCONT. The start time (field 22 of `/proc/PID/stat`, clock ticks since
    /// boot) guards against a process id that was used anew.
    ContinueProcess {
        /// Process id.
        pid: u32,
        /// Start time of that process, in clock ticks since boot.
        start_ticks: u64,
    },
    /// Start a systemd unit that was found active and that we stop.
    StartUnit {
        /// Name of the unit.
        unit: String,
        /// How long the start may take, in milliseconds.
        timeout_ms: u64,
    },
    /// Run a command: the application's own way to go on.
    RunCommand {
        /// Program and arguments; the program is an absolute path.
        argv: Vec<String>,
        /// How long it may take, in milliseconds; then its process group is killed.
        timeout_ms: u64,
    },
    /// End what is left of a command that was to bring an application to rest, before the application goes on: a step of
    /// it that ends later would bring it to rest for good. Registered after the undo that lets the application go on, so
    /// it is carried out before it.
    EndGroup {
        /// The process group: the process id of the command.
        leader: u32,
        /// Start time of that process, in clock ticks since boot.
        start_ticks: u64,
    },
    /// Thaw a frozen file system (`FITHAW`).
    ThawFilesystem {
        /// Where it is mounted, absolute.
        mount_point: PathBuf,
    },
    /// End a child of ours that may outlive us.
    KillProcess {
        /// Process id.
        pid: u32,
        /// Start time of that process, in clock ticks since boot.
        start_ticks: u64,
    },
    /// Delete a btrfs snapshot of ours.
    DeleteSubvolume {
        /// Its path, absolute.
        path: PathBuf,
    },
    /// Remove a folder of ours, which is only done when a file `.stillpoint-run` in it names the run.
    RemoveTree {
        /// Its path, absolute.
        path: PathBuf,
        /// The run that the marker file must name.
        run: String,
    },
}

impl Undo {
    /// The file whose content (a run id) shows that a folder is ours to remove.
    pub const MARKER: &str = ".stillpoint-run";

    /// How soon it must be done.
    pub fn urgency(&self) -> Urgency {
        match self {
            Undo::ThawCgroup { .. }
            | Undo::ContinueProcess { .. }
            | Undo::StartUnit { .. }
            | Undo::RunCommand { .. }
            | Undo::EndGroup { .. }
            | Undo::ThawFilesystem { .. } => Urgency::Thaw,
            Undo::KillProcess { .. } | Undo::DeleteSubvolume { .. } | Undo::RemoveTree { .. } => {
                Urgency::Release
            }
        }
    }
}

impl fmt::Display for Undo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Undo::ThawCgroup { cgroup, .. } => write!(f, "thaw cgroup {}", cgroup.display()),
            Undo::ContinueProcess { pid, .. } => write!(f, "continue process {pid}"),
            Undo::StartUnit { unit, .. } => write!(f, "start unit {unit}"),
            Undo::RunCommand { argv, .. } => write!(f, "run {}", argv.join(" ")),
            Undo::EndGroup { leader, .. } => write!(f, "end what process {leader} started"),
            Undo::ThawFilesystem { mount_point } => write!(f, "thaw file system {}", mount_point.display()),
            Undo::KillProcess { pid, .. } => write!(f, "end process {pid}"),
            Undo::DeleteSubvolume { path } => write!(f, "delete snapshot {}", path.display()),
            Undo::RemoveTree { path, .. } => write!(f, "remove folder {}", path.display()),
        }
    }
}
