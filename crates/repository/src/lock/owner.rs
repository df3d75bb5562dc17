//! Who holds a lock, and whether he still lives.

use std::fmt;
use std::fs;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::Id;
use crate::time::Moment;
use crate::who;

/// A lock file, as restic has it, and what we add to know our own processes again. restic reads over what it does not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LockFile {
    /// When it was last refreshed.
    pub time: Moment,
    pub exclusive: bool,
    #[serde(default)]
    pub hostname: String,
    #[serde(default)]
    pub username: String,
    #[serde(default)]
    pub pid: i64,
    #[serde(default)]
    pub uid: u32,
    #[serde(default)]
    pub gid: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
}

/// What tells a process from all others, of other machines with the same name and of a later use of its number too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// The hash of the machine's id: the id itself is nobody's business.
    machine: String,
    /// The kernel's name for the time since the machine was started.
    boot: String,
    /// Processes of different containers may have the same number.
    pid_namespace: String,
    /// In clock ticks since the machine was started.
    started: u64,
}

/// The machine as our locks name it.
///
/// `restic unlock` sends SIGHUP to the process of each lock of its own host, to see whether there is one. That ends whoever does
/// not expect it. So ours is no host that it knows.
fn host() -> String {
    format!("{} (stillpoint)", who::host())
}

impl LockFile {
    /// A lock of this process, of now.
    pub fn ours(exclusive: bool) -> Self {
        let pid = std::process::id();
        Self {
            time: Moment::now(),
            exclusive,
            hostname: host(),
            username: who::user(),
            pid: i64::from(pid),
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            process: Process::of_pid(pid),
        }
    }

    /// How long ago it was refreshed by the clock of this machine; zero for what is dated in the future.
    pub fn age(&self) -> Duration {
        let now = Moment::now().timestamp();
        Duration::try_from(now.duration_since(self.time.timestamp())).unwrap_or_default()
    }

    /// Whether the process that wrote it is known to be dead.
    ///
    /// The number of a process alone says little: it may have been given to another since, and a machine or container may
    /// have the same name as ours. For a lock of restic, which says no more, we know what restic knows: there is no process of
    /// that number here.
    pub fn is_dead(&self) -> bool {
        let Some(pid) = u32::try_from(self.pid).ok().filter(|pid| *pid != 0) else { return false };
        let Some(theirs) = &self.process else {
            return self.hostname == who::host() && started(pid).is_none();
        };
        let Some(ours) = Process::of_pid(std::process::id()) else { return false };
        if theirs.machine != ours.machine {
            return false;
        }
        if theirs.boot != ours.boot {
            return true;
        }
        theirs.pid_namespace == ours.pid_namespace && started(pid) != Some(theirs.started)
    }
}

impl fmt::Display for LockFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { time, exclusive, hostname, username, pid, .. } = self;
        let alone = if *exclusive { ", who works alone" } else { "" };
        write!(f, "{username} on {hostname} (process {pid}, last heard of at {:.0}{alone})", time.timestamp())
    }
}

impl Process {
    fn of_pid(pid: u32) -> Option<Self> {
        let machine = fs::read("/etc/machine-id").ok().filter(|id| !id.is_empty())?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let pid_namespace = fs::read_link("/proc/self/ns/pid").ok()?;
        Some(Self {
            machine: Id::of(&machine).to_string(),
            boot: boot.trim().to_owned(),
            pid_namespace: pid_namespace.to_string_lossy().into_owned(),
            started: started(pid)?,
        })
    }
}

/// When this process was started, in clock ticks since the machine was; nothing when there is none. One that ended and
/// that nobody has asked about (a zombie) is none.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in brackets and may hold anything; the third is the state, the 22nd the start.
    let mut after_name = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = after_name.next()?;
    if matches!(state, "Z" | "X" | "x") { None } else { after_name.nth(18)?.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_this_machine_is_known_to_live_or_to_be_dead() {
        use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
        let ours = LockFile::ours(false);
        assert!(!ours.is_dead());
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let process = Process::of_pid(child.id());
        assert!(process.is_some(), "the system does not tell one process from another");
        let theirs = LockFile { pid: i64::from(child.id()), process, ..ours };
        let of_restic = LockFile { process: None, hostname: who::host(), ..theirs.clone() };
        assert!(!theirs.is_dead() && !of_restic.is_dead());
        child.kill().unwrap();
        // It is dead as soon as it has ended, also while nobody has asked for its exit status.
        waitid(WaitId::Pid(Pid::from_child(&child)), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
        assert!(theirs.is_dead() && of_restic.is_dead());
        child.wait().unwrap();
        assert!(theirs.is_dead() && of_restic.is_dead());
    }

    #[test]
    fn a_process_that_only_looks_like_another_is_told_apart() {
        let ours = LockFile::ours(false);
        let other = |change: &dyn Fn(&mut Process)| {
            let mut file = ours.clone();
            change(file.process.as_mut().unwrap());
            file.is_dead()
        };
        assert!(other(&|process| process.started -= 1));
        assert!(other(&|process| process.boot = "another".into()));
        assert!(!other(&|process| process.machine = "another".into()));
        assert!(!other(&|process| process.pid_namespace = "another".into()));
        let of_restic = LockFile { process: None, pid: 0x3fff_ffff, hostname: who::host(), ..ours.clone() };
        assert!(of_restic.is_dead());
        assert!(!LockFile { hostname: "another".into(), ..of_restic.clone() }.is_dead());
        assert!(!LockFile { pid: -1, ..of_restic }.is_dead());
    }
}
