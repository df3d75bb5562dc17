//! A machine of its own with a real systemd: a container of `systemd-nspawn`, up within seconds.
//!
//! Its `/usr` is this machine's, read-only, so nothing is downloaded and our programs find the libraries that they were
//! linked with. Everything else is its own and empty: only the units that a test names are enabled, besides what systemd
//! itself brings along. It has no network, may not set the clock, and is in one cgroup, with which it ends.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use crate::capability::{require_program, require_root};
use crate::cgroup::{mounted, with_groups_below};
use crate::program::{Finished, finish, own, succeed, wait_for};
use crate::{Cgroup, CgroupFreezer};

/// How long the machine may take to come up.
const BOOT_LIMIT: Duration = Duration::from_secs(60);
/// How long a program in it may take, in seconds; then it is killed and the test fails.
const PROGRAM_LIMIT_S: u64 = 120;

/// Folders of the machine that must be there before its systemd.
const FOLDERS: [&str; 12] = [
    "usr",
    "etc/systemd/system",
    "etc/stillpoint",
    "opt/bin",
    "root",
    "srv",
    "var/backups",
    "run",
    "tmp",
    "proc",
    "sys",
    "dev",
];

/// A running machine; ended, with all that runs in it, and removed with its value.
#[derive(Debug)]
pub struct Machine {
    supervisor: Child,
    /// The cgroup with its supervisor and all of its processes.
    cgroup: Cgroup,
    /// Process 1 of the machine, as it is numbered outside.
    leader: u32,
    /// Root file system and console.
    folder: tempfile::TempDir,
}

impl Machine {
    /// Boots a machine that has these unit files, not started, and waits until its systemd says that it runs. Our programs
    /// are in its `/opt/bin`: `stillpoint` (the faulty twin) and `ledger-app`.
    pub fn boot(units: &[(&str, String)]) -> Self {
        require_root();
        let folder = tempfile::Builder::new().prefix("stillpoint-machine-").tempdir();
        let folder = folder.unwrap_or_else(|error| panic!("no temporary folder: {error}"));
        let root = folder.path().join("root");
        furnish(&root);
        for (name, text) in units {
            write(&root.join("etc/systemd/system").join(name), text);
        }
        let cgroup = Cgroup::new(CgroupFreezer::V2);
        let supervisor = supervise(folder.path(), &cgroup);
        let mut machine = Self { supervisor, cgroup, leader: 0, folder };
        machine.leader = wait_for("the machine has a process 1", BOOT_LIMIT, || machine.find_leader());
        wait_for("the systemd of the machine runs", BOOT_LIMIT, || {
            machine.assert_supervised();
            let state = machine.run(&["systemctl", "is-system-running"]);
            assert!(
                state.stdout.trim() != "degraded",
                "not all of the machine came up:\n{}",
                machine.console()
            );
            (state.stdout.trim() == "running").then_some(())
        });
        machine
    }

    fn find_leader(&mut self) -> Option<u32> {
        self.assert_supervised();
        // systemd moves itself there before it does anything else.
        let scope =
            with_groups_below(self.cgroup.path()).into_iter().find(|group| group.ends_with("init.scope"))?;
        std::fs::read_to_string(scope.join("cgroup.procs")).ok()?.lines().next()?.parse().ok()
    }

    fn assert_supervised(&mut self) {
        let ended = self.supervisor.try_wait().ok().flatten();
        assert!(ended.is_none(), "the machine ended with {ended:?}:\n{}", self.console());
    }

    /// What it wrote to its console.
    pub fn console(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("console")).unwrap_or_default()
    }

    /// Where a path of the machine is outside of it. Not for what is mounted in it (`/usr`, `/tmp`, `/run`).
    pub fn outside(&self, path: &str) -> PathBuf {
        self.folder.path().join("root").join(path.trim_start_matches('/'))
    }

    /// Writes a file in the machine.
    pub fn write(&self, path: &str, text: &str) {
        write(&self.outside(path), text);
    }

    /// A command in the machine, as root, with a bounded time.
    pub fn command(&self, argv: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.args(["-s", "KILL", &PROGRAM_LIMIT_S.to_string()]);
        command.arg(require_program("nsenter", "util-linux")).args(["-t", &self.leader.to_string()]);
        command
            .args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd", "--"])
            .args(argv);
        command
    }

    /// Runs a program in the machine to its end.
    pub fn run(&self, argv: &[&str]) -> Finished {
        finish(&mut self.command(argv))
    }

    /// Runs a program in the machine that must succeed; returns what it wrote to standard output.
    pub fn succeed(&self, argv: &[&str]) -> String {
        succeed(&mut self.command(argv))
    }

    /// What its systemd says of a unit.
    pub fn properties(&self, unit: &str) -> BTreeMap<String, String> {
        let text = self.succeed(&["systemctl", "show", "--", unit]);
        let lines = text.lines().filter_map(|line| line.split_once('='));
        lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// One property of a unit.
    pub fn property(&self, unit: &str, name: &str) -> String {
        self.properties(unit).remove(name).unwrap_or_default()
    }

    /// Whether the freezer holds a unit.
    pub fn is_frozen(&self, unit: &str) -> bool {
        let groups = with_groups_below(self.cgroup.path());
        let group = groups.iter().find(|group| group.file_name().is_some_and(|name| name == unit));
        let events =
            group.map(|group| std::fs::read_to_string(group.join("cgroup.events")).unwrap_or_default());
        events.is_some_and(|events| events.lines().any(|line| line == "frozen 1"))
    }
}

/// Makes what a root file system needs besides `/usr`.
fn furnish(root: &Path) {
    for folder in FOLDERS {
        succeed(Command::new("mkdir").arg("-p").arg(root.join(folder)));
    }
    succeed(Command::new("chmod").arg("0700").arg(root.join("var/backups")));
    for link in ["bin", "sbin", "lib", "lib64"] {
        succeed(Command::new("ln").args(["-s", &format!("usr/{link}")]).arg(root.join(link)));
    }
    write(&root.join("etc/os-release"), "ID=test\nNAME=\"A machine of a test\"\n");
    // An empty one would make this a first boot, in which systemd enables every unit that it finds in `/usr`.
    write(&root.join("etc/machine-id"), "7f0e21f6d3f44f5bb1d2c5a6e3b9a001\n");
    write(&root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n");
    write(&root.join("etc/group"), "root:x:0:\n");
    succeed(
        Command::new("ln")
            .args(["-s", "/lib/systemd/system/multi-user.target"])
            .arg(root.join("etc/systemd/system/default.target")),
    );
    // Each set keeps a copy of the program; without symbols for debuggers it is a tenth as large.
    let strip = require_program("strip", "binutils");
    for (name, program) in [("stillpoint", "stillpoint-faulty"), ("ledger-app", "ledger-app")] {
        succeed(Command::new(&strip).arg("-o").arg(root.join("opt/bin").join(name)).arg(own(program)));
    }
}

/// Starts the container; it ends with the test, however that ends.
fn supervise(folder: &Path, cgroup: &Cgroup) -> Child {
    let nspawn = require_program("systemd-nspawn", "systemd-container");
    let console = folder.join("console");
    let open = || File::options().create(true).append(true).open(&console);
    let (output, errors) = match open().and_then(|output| Ok((output, open()?))) {
        Ok(files) => files,
        Err(error) => panic!("no console at {}: {error}", console.display()),
    };
    let mut command = Command::new("sh");
    command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(cgroup.path().join("cgroup.procs"));
    // In a process namespace of its own, in which the container's supervisor is process 1: with it end all processes.
    command.args([
        "setpriv",
        "--pdeathsig",
        "KILL",
        "--",
        "unshare",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "--",
    ]);
    command.arg(nspawn);
    command.args(["--quiet", "--boot", "--register=no", "--keep-unit", "--private-network", "--settings=no"]);
    command.args(["--console=read-only", "--link-journal=no", "--resolv-conf=off", "--timezone=off"]);
    command.args(["--bind-ro=/usr", "--machine", &name(folder), "--directory"]).arg(folder.join("root"));
    command.env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1");
    command.stdin(std::process::Stdio::null()).stdout(output).stderr(errors);
    command.spawn().unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"))
}

/// A name that no other machine has: that of its folder, as host names may be.
fn name(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    name.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-').collect()
}

fn write(path: &Path, text: &str) {
    if let Err(error) = std::fs::write(path, text) {
        panic!("{} cannot be written: {error}", path.display());
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Its processes end with its supervisor.
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
        // What the supervisor itself would remove at an end in order.
        let name = name(self.folder.path());
        let propagate = Path::new("/run/systemd/nspawn/propagate");
        let _ = std::fs::remove_dir(propagate.join(&name));
        let _ = std::fs::remove_file(propagate.join(format!(".#{name}.lck")));
        if let Ok(root) = std::fs::metadata(self.folder.path().join("root")) {
            let lock = format!("/run/systemd/nspawn/locks/inode-{}:{}", root.dev(), root.ino());
            let _ = std::fs::remove_file(lock);
        }
        // Where systemd has a hierarchy of version 1 for its own use, the supervisor makes the same groups in it.
        if let Some(hierarchy) =
            mounted("cgroup", |options| options.split(',').any(|it| it == "name=systemd"))
            && let Some(group) = self.cgroup.path().file_name()
        {
            wait_for("the groups of the machine are empty", Duration::from_secs(10), || {
                let groups = with_groups_below(&hierarchy.join(group));
                groups.iter().all(|group| !group.exists() || std::fs::remove_dir(group).is_ok()).then_some(())
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_boots_runs_units_and_is_gone_with_its_value() {
        let unit = "[Service]\nType=exec\nExecStart=/bin/sleep 1000\n".to_owned();
        let machine = Machine::boot(&[("sleeper.service", unit)]);
        machine.succeed(&["systemctl", "start", "sleeper.service"]);
        assert_eq!(machine.property("sleeper.service", "ActiveState"), "active");
        assert!(!machine.is_frozen("sleeper.service"));
        machine.succeed(&["systemctl", "freeze", "sleeper.service"]);
        assert!(machine.is_frozen("sleeper.service"));
        assert_eq!(machine.succeed(&["hostname"]).trim(), name(machine.folder.path()));
        let (folder, group, leader) =
            (machine.folder.path().to_owned(), machine.cgroup.path().to_owned(), machine.leader);
        drop(machine);
        assert!(!folder.exists() && !group.exists());
        assert!(!Path::new(&format!("/proc/{leader}")).exists());
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(folder.to_str().unwrap()), "{mounts}");
        let name = name(&folder);
        for place in ["/run/systemd/nspawn/propagate", "/sys/fs/cgroup/systemd"] {
            let left: Vec<_> = std::fs::read_dir(place).into_iter().flatten().flatten().collect();
            let ours = |text: &str| text.contains(&name) || group.ends_with(text);
            assert!(!left.iter().any(|entry| ours(&entry.file_name().to_string_lossy())), "{left:?}");
        }
    }
}
