//! A cgroup of its own, with a freezer.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::capability::require_root;
use crate::program::wait_for;

/// The freezers that the kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupFreezer {
    /// `freezer.state`.
    V1,
    /// `cgroup.freeze`.
    V2,
}

/// A cgroup; at the end it is thawed, the processes in it and in those below it are killed, and all are removed.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    freezer: CgroupFreezer,
}

impl Cgroup {
    /// Makes an empty one.
    pub fn new(freezer: CgroupFreezer) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        require_root();
        let parent = match freezer {
            CgroupFreezer::V1 => {
                mounted("cgroup", |options| options.split(',').any(|option| option == "freezer"))
            }
            CgroupFreezer::V2 => mounted("cgroup2", |_| true),
        };
        let Some(parent) = parent else {
            panic!("no cgroup file system with a freezer of {freezer:?} is mounted on this machine")
        };
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let path = parent.join(format!("stillpoint-test-{}-{number}", std::process::id()));
        match std::fs::create_dir(&path) {
            Ok(()) => Self { path, freezer },
            Err(error) => panic!("the cgroup {} cannot be made: {error}", path.display()),
        }
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Moves a process with all its threads into it.
    pub fn adopt(&self, process: u32) {
        self.write("cgroup.procs", &process.to_string());
    }

    /// The processes in it.
    pub fn processes(&self) -> Vec<u32> {
        processes_of(&self.path)
    }

    /// Whether its processes are held.
    pub fn is_frozen(&self) -> bool {
        let read = |name| std::fs::read_to_string(self.path.join(name)).unwrap_or_default();
        match self.freezer {
            CgroupFreezer::V1 => read("freezer.state").trim() == "FROZEN",
            CgroupFreezer::V2 => read("cgroup.events").lines().any(|line| line == "frozen 1"),
        }
    }

    /// Holds its processes; returns when they are held.
    pub fn freeze(&self) {
        match self.freezer {
            CgroupFreezer::V1 => self.write("freezer.state", "FROZEN"),
            CgroupFreezer::V2 => self.write("cgroup.freeze", "1"),
        }
        wait_for("the cgroup is frozen", Duration::from_secs(10), || self.is_frozen().then_some(()));
    }

    /// Lets its processes run; returns when they do.
    pub fn thaw(&self) {
        self.begin_thaw();
        wait_for("the cgroup is thawed", Duration::from_secs(10), || (!self.is_frozen()).then_some(()));
    }

    fn begin_thaw(&self) {
        match self.freezer {
            CgroupFreezer::V1 => self.write("freezer.state", "THAWED"),
            CgroupFreezer::V2 => self.write("cgroup.freeze", "0"),
        }
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path.join(name);
        if let Err(error) = std::fs::write(&path, text) {
            panic!("{text} cannot be written to {}: {error}", path.display());
        }
    }
}

fn processes_of(group: &Path) -> Vec<u32> {
    let text = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// A cgroup and all below it, the innermost first.
pub(crate) fn with_groups_below(group: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(group).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut groups: Vec<PathBuf> = folders.flat_map(|entry| with_groups_below(&entry.path())).collect();
    groups.push(group.to_owned());
    groups
}

/// Where a cgroup hierarchy is mounted.
pub(crate) fn mounted(kind: &str, fits: impl Fn(&str) -> bool) -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (path, found, options) = (words.next()?, words.next()?, words.next()?);
        (found == kind && fits(options)).then(|| PathBuf::from(path))
    })
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        self.begin_thaw();
        while self.path.exists() && Instant::now() < deadline {
            for group in with_groups_below(&self.path) {
                for process in processes_of(&group) {
                    if let Some(pid) = Pid::from_raw(process.cast_signed()) {
                        // It may have ended by itself meanwhile.
                        let _ = kill_process(pid, Signal::KILL);
                    }
                }
                // Fails until the last of its processes is gone; then it is tried again.
                let _ = std::fs::remove_dir(group);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn processes_are_held_let_go_and_ended_with_the_value() {
        for freezer in [CgroupFreezer::V1, CgroupFreezer::V2] {
            let cgroup = Cgroup::new(freezer);
            let path = cgroup.path().to_owned();
            let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
            cgroup.adopt(child.id());
            assert_eq!(cgroup.processes(), [child.id()]);
            assert!(!cgroup.is_frozen());
            cgroup.freeze();
            assert!(cgroup.is_frozen());
            cgroup.thaw();
            cgroup.freeze();
            drop(cgroup);
            assert!(!path.exists());
            assert!(!child.wait().unwrap().success());
        }
    }
}
