//! A small living site for faults: few files and few rows, so that hundreds of runs over one site take minutes, but with
//! the real program, a real application in a real cgroup, and a real file system.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use stillpoint_ledger::app::LedgerSettings;
use stillpoint_ledger::{JournalMode, StoreSettings, control};

use crate::ledger_process::{LedgerProcess, kill_ledger};
use crate::ledger_site::{Backup, QuietKind, service_component};
use crate::loop_mount::{Filesystem, LoopMount};
use crate::program::{Finished, finish, own, succeed, wait_for};
use crate::{Cgroup, CgroupFreezer, SmallDisk};

/// Longer than any run of this site takes, in seconds; then it is killed and the test fails.
const RUN_LIMIT_S: u64 = 60;

/// Runs a program, with its arguments, for which the id of the machine's boot is the content of the file `$0`.
const OTHER_BOOT: &str = "mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec \"$@\"";

/// How long the acts of a run may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadlines {
    /// So long that a busy machine does not miss them.
    Patient,
    /// So short that a test waits for one that hangs.
    Hasty,
}

/// What the site is like.
#[derive(Debug, Clone, Copy)]
pub struct FaultForm {
    /// Where the site lives. btrfs is cut by snapshot, everything else by the two-pass copy.
    pub filesystem: Filesystem,
    /// How its application is brought to rest.
    pub quiet: QuietKind,
    /// Whether the application runs when a run finds it.
    pub runs: bool,
    /// Where destination and state of runs are.
    pub layout: Layout,
}

/// Where destination and state of runs are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// The destination beside the site, the state on the disk of the machine.
    Usual,
    /// Both on a disk of their own that can lose its power. The site's own disk does not: an application that syncs
    /// nothing would lose more than ours is to keep.
    Vault,
    /// Each on a small disk of its own, which can be filled.
    SmallDisks,
}

impl FaultForm {
    /// A running application that is held by the freezer, and everything on one disk.
    pub fn plain(filesystem: Filesystem) -> Self {
        Self { filesystem, quiet: QuietKind::Freeze, runs: true, layout: Layout::Usual }
    }
}

/// Small disks of the site's own.
#[derive(Debug)]
pub struct Disks {
    /// Has the destination.
    pub destination: SmallDisk,
    /// Has the state of runs.
    pub state: SmallDisk,
}

/// The site. What it consists of ends in the order of the fields.
#[derive(Debug)]
pub struct FaultSite {
    /// Nothing only while the machine is down.
    process: Option<LedgerProcess>,
    cgroup: Cgroup,
    disks: Option<Disks>,
    vault: Option<LoopMount>,
    mount: LoopMount,
    folder: tempfile::TempDir,
    form: FaultForm,
}

impl FaultSite {
    /// Makes the site on a file system of this kind and lets it live: an application held by the freezer, an SQLite
    /// database, content files.
    pub fn start(filesystem: Filesystem) -> Self {
        Self::with(FaultForm::plain(filesystem))
    }

    /// Makes a site of this form.
    pub fn with(form: FaultForm) -> Self {
        let mount = LoopMount::new(form.filesystem, 1024);
        let site = mount.path().join("site");
        if form.filesystem == Filesystem::Btrfs {
            succeed(Command::new("btrfs").args(["subvolume", "create"]).arg(&site));
        }
        let disks = (form.layout == Layout::SmallDisks)
            .then(|| Disks { destination: SmallDisk::new(64 << 10), state: SmallDisk::new(16 << 10) });
        let vault = (form.layout == Layout::Vault).then(|| LoopMount::new(form.filesystem, 512));
        succeed(Command::new("mkdir").arg("-p").arg(site.join("content")));
        let folder = tempfile::Builder::new().prefix("stillpoint-faults-").tempdir();
        let folder = folder.unwrap_or_else(|error| panic!("no temporary folder: {error}"));
        // Each set keeps a copy of the program; without symbols for debuggers it is a tenth as large.
        let strip = crate::capability::require_program("strip", "binutils");
        succeed(
            Command::new(strip).arg("-o").arg(folder.path().join("stillpoint")).arg(own("stillpoint-faulty")),
        );
        let cgroup = Cgroup::new(CgroupFreezer::V2);
        let settings = Self::settings(&site);
        let adopted = (form.quiet == QuietKind::Freeze).then_some(&cgroup);
        let mut process = LedgerProcess::start(&settings, adopted);
        if !form.runs {
            process.stop();
        }
        let made = Self { process: Some(process), cgroup, disks, vault, mount, folder, form };
        succeed(Command::new("mkdir").args(["-m", "0700"]).arg(made.backups()));
        for deadlines in [Deadlines::Patient, Deadlines::Hasty] {
            let path = made.site_file(deadlines);
            if let Err(error) = std::fs::write(&path, made.site_text(deadlines)) {
                panic!("{} cannot be written: {error}", path.display());
            }
        }
        made
    }

    /// How the application of a site in this folder is set.
    fn settings(site: &Path) -> LedgerSettings {
        let stores = vec![StoreSettings::Sqlite { path: site.join("ledger.db"), journal: JournalMode::Wal }];
        let settings = LedgerSettings::new(stores, site.join("content"), site.join("control"));
        // The leader also for the start by a command of the site file.
        let leader = Some(std::process::id());
        LedgerSettings { workers: 2, window: 20, rate: Some(100), leader, ..settings }
    }

    /// The site file with these deadlines.
    fn site_file(&self, deadlines: Deadlines) -> PathBuf {
        self.folder.path().join(format!("{deadlines:?}.toml"))
    }

    fn site_text(&self, deadlines: Deadlines) -> String {
        let waits = match deadlines {
            Deadlines::Patient => {
                "freeze = \"20s\"\nsnapshot = \"20s\"\nthaw = \"20s\"\nwindow = \"40s\"\nprepare = \"40s\""
            }
            Deadlines::Hasty => {
                "identify = \"1s\"\nprepare = \"1s\"\nfreeze = \"300ms\"\nsnapshot = \"300ms\"\nthaw = \"300ms\"\n\
                 window = \"900ms\"\ncapture = \"1s\""
            }
        };
        let provider = if self.mount.filesystem() == Filesystem::Btrfs { "btrfs" } else { "copy" };
        let site = self.mount.path().join("site");
        format!(
            "[site]\ncode = \"FLT\"\nname = \"Faults\"\n\n[destination]\nfolder = \"{backups}\"\n\n\
             [task]\nkeep_free_percent = 0\n\n[deadlines]\n{waits}\n\n{service}\n\
             [[component]]\nname = \"database\"\ntype = \"sqlite\"\npath = \"{site}/ledger.db\"\n\n\
             [[component]]\nname = \"content\"\ntype = \"files\"\npath = \"{site}/content\"\n\
             provider = \"{provider}\"\n",
            backups = self.backups().display(),
            service = service_component(self.form.quiet, self.cgroup.path(), &self.own_settings()),
            site = site.display(),
        )
    }

    /// Runs the program on this site, with a fault if one is ordered (as `STILLPOINT_FAULT` wants it).
    pub fn run(&self, deadlines: Deadlines, fault: Option<&str>, arguments: &[&str]) -> Backup {
        self.finish(self.command(deadlines, fault, arguments))
    }

    /// Runs a backup in which this disk is filled, when the order says so.
    pub fn run_filling(&self, disk: &SmallDisk, fault: &str) -> Backup {
        let mut command = self.command(Deadlines::Patient, Some(fault), &["backup"]);
        command.env("STILLPOINT_FAULT_FILL", disk.filler());
        self.finish(command)
    }

    fn command(&self, deadlines: Deadlines, fault: Option<&str>, arguments: &[&str]) -> Command {
        self.command_in(None, deadlines, fault, arguments)
    }

    /// A run of the program, in another boot of the machine if a file with its id is given.
    fn command_in(
        &self,
        boot: Option<&Path>,
        deadlines: Deadlines,
        fault: Option<&str>,
        arguments: &[&str],
    ) -> Command {
        let mut command = Command::new("timeout");
        command.args(["-s", "KILL", &RUN_LIMIT_S.to_string()]);
        if let Some(boot) = boot {
            command
                .args(["unshare", "--mount", "--propagation", "private", "sh", "-c", OTHER_BOOT])
                .arg(boot);
        }
        command.arg(self.program());
        command.arg("--state-dir").arg(self.state());
        command.arg("--config").arg(self.site_file(deadlines)).arg("--json").args(arguments);
        command.env_remove("STILLPOINT_FAULT").env("STILLPOINT_ACT_LOG", self.act_log());
        command.envs(fault.map(|order| ("STILLPOINT_FAULT", order)));
        command
    }

    fn finish(&self, mut command: Command) -> Backup {
        let begun = std::time::Instant::now();
        let finished = finish(&mut command);
        let limit = Duration::from_secs(RUN_LIMIT_S);
        assert!(begun.elapsed() < limit, "the program did not end within {limit:?}: {finished:#?}");
        Backup::of(finished)
    }

    /// The folder with the state of runs.
    fn state(&self) -> PathBuf {
        match (&self.disks, &self.vault) {
            (Some(disks), _) => disks.state.path().join("state"),
            (None, Some(vault)) => vault.path().join("state"),
            (None, None) => self.folder.path().join("state"),
        }
    }

    /// The power fails, and the machine starts again: every process has ended, and of the vault only what was synced is
    /// there. The application does not run.
    pub fn restart(&mut self) {
        // Ends whatever runs the application by now.
        self.process = None;
        let Some(vault) = &self.vault else { panic!("this site has no disk that can lose its power") };
        vault.cut_power();
        self.cgroup.thaw();
        self.assert_no_process_is_left();
        vault.mount_again();
    }

    /// Reconciles in another boot of the machine than the run that died.
    pub fn reconcile_after_restart(&self) -> Backup {
        let boot = self.folder.path().join("boot-id");
        if let Err(error) = std::fs::write(&boot, "another-boot\n") {
            panic!("{} cannot be written: {error}", boot.display());
        }
        self.finish(self.command_in(Some(&boot), Deadlines::Patient, None, &["reconcile"]))
    }

    /// Whether the application runs.
    pub fn runs(&self) -> bool {
        matches!(stillpoint_ledger::app::holder(&self.control()), Ok(Some(_)))
    }

    /// Starts the application, as the machine does when it starts. One that runs is ended before.
    pub fn start_application(&mut self) {
        self.process = None;
        kill_ledger(&self.control());
        let adopted = (self.form.quiet == QuietKind::Freeze).then_some(&self.cgroup);
        self.process = Some(LedgerProcess::start(&self.own_settings(), adopted));
    }

    fn own_settings(&self) -> LedgerSettings {
        Self::settings(&self.mount.path().join("site"))
    }

    /// The control socket of the application.
    fn control(&self) -> PathBuf {
        self.own_settings().control
    }

    /// The small disks; fails the test when the site has none.
    pub fn disks(&self) -> &Disks {
        match &self.disks {
            Some(disks) => disks,
            None => panic!("this site has no small disks"),
        }
    }

    /// Whether SIGKILL ended the program.
    pub fn was_killed(finished: &Finished) -> bool {
        matches!(finished.code, None | Some(137))
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("stillpoint")
    }

    fn act_log(&self) -> PathBuf {
        self.folder.path().join("acts")
    }

    /// The acts of a whole run, in order, learnt from one.
    pub fn acts(&self) -> Vec<String> {
        // There is none before the first run.
        let _ = std::fs::remove_file(self.act_log());
        let backup = self.run(Deadlines::Patient, None, &["backup"]);
        assert!(backup.finished.code == Some(0), "a run without faults failed: {:#?}", backup.finished);
        let text = std::fs::read_to_string(self.act_log()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The published set.
    pub fn set(&self) -> PathBuf {
        self.backups().join("FLTBackup")
    }

    /// The destination.
    pub fn backups(&self) -> PathBuf {
        match (&self.disks, &self.vault) {
            (Some(disks), _) => disks.destination.path().join("backups"),
            (None, vault) => vault.as_ref().unwrap_or(&self.mount).path().join("backups"),
        }
    }

    /// What `backup.log` holds.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.backups().join("backup.log")).unwrap_or_default()
    }

    /// Whether the application is held.
    pub fn is_frozen(&self) -> bool {
        self.cgroup.is_frozen()
    }

    /// Fails the test unless the application is as it was found, within `limit`: it gets on with its work, or it does not
    /// run.
    pub fn assert_works(&self, limit: Duration) {
        wait_for("the site is thawed", limit, || (!self.cgroup.is_frozen()).then_some(()));
        let control = &self.control();
        if !self.form.runs {
            self.assert_no_process_is_left();
            assert!(!self.runs(), "an application that was found at rest was started");
            return;
        }
        wait_for("the application answers", limit, || control::status(control, limit).ok());
        if let Err(error) = control::wait_for_advance(control, limit) {
            panic!("the site does not work: {}", error.chain());
        }
    }

    /// What is there that a run must not leave: entries of the destination, btrfs subvolumes, mounts.
    pub fn leftovers(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let allowed = ["FLTBackup", "backup.log", "FLTBackup.complete"];
        for entry in std::fs::read_dir(self.backups()).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !allowed.contains(&name.as_str()) {
                found.insert(format!("{name} in the destination"));
            }
        }
        if self.mount.filesystem() == Filesystem::Btrfs {
            let list = succeed(Command::new("btrfs").args(["subvolume", "list"]).arg(self.mount.path()));
            found.extend(list.lines().filter(|line| !line.ends_with("path site")).map(str::to_owned));
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let top = self.mount.path();
        let ours = mounts.lines().filter(|line| line.contains(&*top.to_string_lossy()));
        found.extend(ours.skip(1).map(|line| format!("the mount {line}")));
        found
    }

    /// Waits until no process runs the program, and fails the test when one does not end.
    pub fn assert_no_process_is_left(&self) {
        let program = self.program();
        wait_for("every process of the program has ended", Duration::from_secs(20), || {
            let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
            let runs = |path: &Path| std::fs::read_link(path.join("exe")).is_ok_and(|exe| exe == program);
            processes.into_iter().all(|entry| !runs(&entry.path())).then_some(())
        });
    }
}

impl Backup {
    /// Whether a status message of this number was told.
    pub fn told(&self, number: u64) -> bool {
        self.events.iter().any(|event| event["event"] == "status" && event["id"] == number)
    }
}
