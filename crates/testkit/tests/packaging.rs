//! What users install: the Debian package in a machine with a real systemd, the units as systemd judges them, and the alert rules
//! as Prometheus does.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at what it did not expect")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use stillpoint_testkit::Machine;
use stillpoint_testkit::capability::require_tool;
use stillpoint_testkit::program::{finish, own, succeed, wait_for};

/// How soon a unit must be as it should; the machine may be busy.
const SOON: Duration = Duration::from_secs(120);

/// What `systemd-analyze security` may say of the units that have no rights: 0 is shut, 10 open. With systemd 252 it is 1.2: what
/// remains is that they speak IP, to any address.
const EXPOSURE_MAX: f64 = 1.3;

/// The units that have no rights; all have the same fence.
const FENCED: [&str; 3] = ["stillpoint.service", "stillpoint-check.service", "stillpoint-failed@.service"];

/// All others.
const UNFENCED: [&str; 5] = [
    "stillpoint-launcher.service",
    "stillpoint-launcher.socket",
    "stillpoint-backup.service",
    "stillpoint-backup.timer",
    "stillpoint-check.timer",
];

/// What stands in a site file that can be backed up.
const SITE: &str = "[site]\ncode = \"SYS\"\nname = \"Packaged\"\n\n[destination]\nfolder = \"/var/backups\"\n\n\
    [task]\nkeep_free_percent = 0\n\n\
    [[component]]\nname = \"sleeper\"\ntype = \"service\"\nquiet = \"freeze\"\nunit = \"sleeper.service\"\n\n\
    [[component]]\nname = \"content\"\ntype = \"files\"\npath = \"/srv/content\"\nprovider = \"copy\"\n";

const SLEEPER: &str = "[Service]\nType=exec\nExecStart=/bin/sleep 100000\n";

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

fn unit_text(unit: &str) -> String {
    std::fs::read_to_string(top().join("packaging/systemd").join(unit)).unwrap()
}

/// The package, made once, of the program of these tests.
fn package() -> &'static Path {
    static MADE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = MADE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let mut made = Command::new(env!("CARGO"));
        made.args(["run", "--quiet", "--locked", "--package", "xtask", "--", "deb", "--binary"]);
        made.arg(own("stillpoint-faulty")).arg("--output").arg(folder.path()).current_dir(top());
        let path = PathBuf::from(succeed(&mut made).lines().last().unwrap());
        (folder, path)
    });
    path
}

/// A machine with the package, installed by `dpkg`.
struct Installed(Machine);

impl std::ops::Deref for Installed {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.0
    }
}

impl Installed {
    /// The machine before the package.
    fn bare() -> Self {
        let machine = Machine::boot(&[("sleeper.service", SLEEPER.to_owned())]);
        // Its `/usr` is this machine's. What is written to it lies above it and goes away with the machine.
        machine.succeed(&["mkdir", "-p", "/run/usr/changed", "/run/usr/work", "/var/lib/dpkg/info"]);
        let layers = "lowerdir=/usr,upperdir=/run/usr/changed,workdir=/run/usr/work";
        machine.succeed(&["mount", "-t", "overlay", "overlay", "-o", layers, "/usr"]);
        machine.succeed(&["mkdir", "-p", "/srv/content"]);
        machine.write("/srv/content/page", "what the site holds\n");
        Self(machine)
    }

    fn start() -> Self {
        let machine = Self::bare();
        // That libraries and systemd are there is what this machine knows of itself.
        let known = succeed(Command::new("dpkg-query").args(["-s", "libc6", "libgcc-s1", "systemd"]));
        machine.write("/var/lib/dpkg/status", &known);
        std::fs::copy(package(), machine.outside("/root/stillpoint.deb")).unwrap();
        machine.dpkg(&["--install", "/root/stillpoint.deb"]);
        machine
    }

    /// Runs `dpkg`; returns what it said.
    fn dpkg(&self, arguments: &[&str]) -> String {
        let done = self.run(&[&["dpkg"], arguments].concat());
        assert_eq!(done.code, Some(0), "{done:#?}");
        done.stdout + &done.stderr
    }

    /// Owner, group and mode of a path.
    fn access(&self, path: &str) -> String {
        self.succeed(&["stat", "--format=%U:%G %a", path]).trim().to_owned()
    }

    fn exists(&self, path: &str) -> bool {
        self.run(&["test", "-e", path]).code == Some(0)
    }

    fn property_is(&self, unit: &str, name: &str, wanted: &str) {
        wait_for(&format!("{unit} has {name}={wanted}"), SOON, || {
            (self.property(unit, name) == wanted).then_some(())
        });
    }

    fn journal(&self, unit: &str) -> String {
        self.succeed(&["journalctl", "--no-pager", "--output=cat", "-u", unit])
    }

    /// Runs a line of bash inside the fence of `stillpoint.service`, started as the unit is; returns whether it ended well.
    fn fenced(&self, line: &str) -> bool {
        self.succeed(&["mkdir", "-p", "/etc/systemd/system/stillpoint.service.d"]);
        self.write("/root/line", line);
        self.succeed(&["install", "-m", "0644", "/root/line", "/etc/line"]);
        self.write(
            "/etc/systemd/system/stillpoint.service.d/test.conf",
            "[Unit]\nOnFailure=\nStartLimitIntervalSec=0\n\
             [Service]\nType=oneshot\nExecStart=\nExecStart=/bin/bash -e /etc/line\nRestart=no\nWatchdogSec=0\n",
        );
        self.succeed(&["systemctl", "daemon-reload"]);
        self.run(&["systemctl", "start", "stillpoint.service"]).code == Some(0)
    }
}

#[test]
fn the_package_brings_program_pages_completions_and_a_user() {
    let machine = Installed::start();
    machine.succeed(&["stillpoint", "--version"]);
    let listed = machine.dpkg(&["--listfiles", "stillpoint"]);
    let files: Vec<&str> = listed.lines().filter(|path| !path.ends_with("/.")).collect();
    for path in &files {
        assert!(machine.exists(path), "{path}");
    }
    for unit in FENCED.iter().chain(&UNFENCED) {
        assert!(files.contains(&format!("/usr/lib/systemd/system/{unit}").as_str()), "{unit}");
    }
    for page in ["stillpoint", "stillpoint-backup", "stillpoint-archive-restore"] {
        let text = machine.succeed(&["zcat", &format!("/usr/share/man/man1/{page}.1.gz")]);
        assert!(text.contains(".TH") && text.contains("EXIT STATUS"), "{page}: {text}");
    }
    let complete = ". /usr/share/bash-completion/completions/stillpoint && complete -p stillpoint";
    machine.succeed(&["bash", "-c", complete]);
    for page in ["zsh/vendor-completions/_stillpoint", "fish/vendor_completions.d/stillpoint.fish"] {
        assert!(machine.succeed(&["cat", &format!("/usr/share/{page}")]).contains("reconcile"), "{page}");
    }
    let check = "/usr/share/doc/stillpoint/examples/site.toml";
    machine.succeed(&["stillpoint", "--config", check, "config", "check"]);
    for path in [
        "doc/stillpoint/install.md",
        "doc/stillpoint/copyright",
        "stillpoint/prometheus/stillpoint.rules.yml",
    ] {
        assert!(files.contains(&format!("/usr/share/{path}").as_str()), "{path}");
    }
    let notices = machine.succeed(&["zcat", "/usr/share/doc/stillpoint/third-party.gz"]);
    assert!(notices.contains("\nserde ") && notices.contains("Permission is hereby granted"));
    assert!(!notices.contains("\nstillpoint"), "what is ours is not a library of somebody else's");

    let user = machine.succeed(&["getent", "passwd", "stillpoint"]);
    assert!(user.trim().ends_with("/usr/sbin/nologin"), "{user}");
    assert_eq!(machine.access("/etc/stillpoint"), "root:stillpoint 2750");
    assert_eq!(machine.access("/var/lib/stillpoint"), "root:root 755");
    assert_eq!(machine.access("/var/lib/stillpoint/history"), "stillpoint:stillpoint 750");
}

#[test]
fn what_the_document_says_for_an_installation_from_source_gives_the_same() {
    let document = std::fs::read_to_string(top().join("docs/install.md")).unwrap();
    let block = document.split("**From source**").nth(1).unwrap().split("```").nth(1).unwrap();
    let (build, rest) = block.trim_start_matches("sh\n").split_once('\n').unwrap();
    assert!(
        build.starts_with("cargo install ") && build.ends_with("--root /usr/local/stillpoint"),
        "{build}"
    );
    let machine = Installed::bare();
    let source = machine.outside("/root/source");
    std::fs::create_dir(&source).unwrap();
    succeed(Command::new("cp").arg("-r").arg(top().join("packaging")).arg(&source));
    let program = "/usr/local/stillpoint/bin/stillpoint";
    machine.succeed(&["install", "-D", "/opt/bin/stillpoint", program]);
    machine.succeed(&["mkdir", "-p", "/etc/sysusers.d", "/etc/tmpfiles.d"]);
    machine.succeed(&["sh", "-e", "-c", &format!("cd /root/source\n{rest}")]);
    machine.succeed(&["stillpoint", "init", "--sample"]);
    assert_eq!(machine.access("/etc/stillpoint/site.toml"), "root:stillpoint 640");
    assert_eq!(machine.access("/var/lib/stillpoint/history"), "stillpoint:stillpoint 750");
    assert!(machine.fenced("stillpoint config check"), "{}", machine.journal("stillpoint.service"));
}

#[test]
fn nothing_starts_by_itself_and_without_a_site_file_nothing_fails() {
    let machine = Installed::start();
    let units = ["stillpoint.service", "stillpoint-launcher.socket", "stillpoint-backup.timer"];
    for unit in units {
        assert_eq!(machine.property(unit, "UnitFileState"), "disabled", "{unit}");
        assert_eq!(machine.property(unit, "ActiveState"), "inactive", "{unit}");
    }
    machine.succeed(&["systemctl", "enable", "stillpoint.service"]);
    assert_eq!(machine.property("stillpoint-launcher.socket", "UnitFileState"), "enabled");
    machine.succeed(&["systemctl", "start", "stillpoint.service"]);
    assert_eq!(machine.property("stillpoint.service", "ConditionResult"), "no");
    machine.property_is("stillpoint-launcher.socket", "ActiveState", "active");
    assert_eq!(machine.access("/run/stillpoint/launcher.sock"), "root:stillpoint 660");
    assert_eq!(machine.access("/run/stillpoint"), "root:root 755");
    assert_eq!(machine.succeed(&["systemctl", "is-system-running"]).trim(), "running");
}

#[test]
fn systemd_finds_no_fault_with_the_units_and_the_fence_is_shut() {
    let machine = Installed::start();
    let all = FENCED.iter().chain(&UNFENCED).map(|unit| format!("/usr/lib/systemd/system/{unit}"));
    let all: Vec<String> = all.map(|path| path.replace("@.", "@any.")).collect();
    let mut verify = vec!["systemd-analyze", "verify", "--man=no"];
    verify.extend(all.iter().map(String::as_str));
    let verified = machine.run(&verify);
    // What it says of others, it says with their names.
    let ours: Vec<&str> = verified.stderr.lines().filter(|line| line.contains("stillpoint")).collect();
    assert!(verified.code == Some(0) && ours.is_empty(), "{verified:#?}");
    for unit in FENCED {
        let security = ["systemd-analyze", "security", "--no-pager", &unit.replace("@.", "@any.")];
        let told = machine.succeed(&security);
        let verdict = told.lines().find(|line| line.contains("Overall exposure level")).unwrap();
        let level = verdict.rsplit(':').next().unwrap().split_whitespace().next().unwrap();
        assert!(level.parse::<f64>().unwrap() <= EXPOSURE_MAX, "{told}");
    }
}

/// The lines of a unit that make its fence.
fn fence(unit: &str) -> Vec<String> {
    let own = ["Type=", "NotifyAccess=", "Exec", "WatchdogSec=", "Restart", "Timeout"];
    let text = unit_text(unit);
    let service = text.split("[Service]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let lines = service.lines().filter(|line| line.contains('=') && !line.starts_with('#'));
    let mut lines: Vec<String> =
        lines.filter(|line| !own.iter().any(|name| line.starts_with(name))).map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn whatever_looks_for_alerts_has_the_fence_of_the_service() {
    let first = fence(FENCED[0]);
    assert!(first.len() > 25 && first.contains(&"NoNewPrivileges=yes".to_owned()), "{first:#?}");
    for unit in FENCED {
        assert_eq!(fence(unit), first, "{unit}");
    }
}

#[test]
fn a_run_has_the_same_rights_whoever_starts_it() {
    let keys = ["CapabilityBoundingSet=", "KillMode=", "OOMPolicy=", "KeyringMode="];
    let lines = |unit: &str| -> Vec<String> {
        let mut lines: Vec<String> = unit_text(unit).lines().map(str::to_owned).collect();
        lines.retain(|line| keys.iter().any(|key| line.starts_with(key)));
        lines.sort();
        lines
    };
    assert_eq!(lines("stillpoint-launcher.service"), lines("stillpoint-backup.service"));
    assert_eq!(lines("stillpoint-launcher.service").len(), keys.len());
}

#[test]
fn behind_the_fence_the_site_file_is_read_the_history_written_and_the_launcher_called_and_nothing_else() {
    let machine = Installed::start();
    let site_file = "/etc/stillpoint/site.toml";
    machine.succeed(&["stillpoint", "init", "--sample", site_file]);
    assert_eq!(machine.access(site_file), "root:stillpoint 640");
    machine.succeed(&["sh", "-c", "umask 077 && echo secret > /etc/stillpoint/offsite.key"]);
    machine.succeed(&["systemctl", "start", "stillpoint-launcher.socket"]);
    let may = [
        "stillpoint config check",
        "echo new > /var/lib/stillpoint/history/P01.db",
        "test -w /run/stillpoint/launcher.sock",
        "test \"$(stat --format=%A /run/stillpoint/launcher.sock)\" = srw-rw----",
        "date > /tmp/scratch",
        "exec 3<>/dev/udp/127.0.0.1/9",
    ];
    for line in may {
        assert!(machine.fenced(line), "{line}:\n{}", machine.journal("stillpoint.service"));
    }
    assert_eq!(machine.access("/var/lib/stillpoint/history/P01.db"), "stillpoint:stillpoint 600");
    machine.succeed(&["install", "-d", "-m", "0777", "/srv/open"]);
    let may_not = [
        "touch /srv/open/here",
        "cat /etc/stillpoint/offsite.key",
        "echo more >> /etc/stillpoint/site.toml",
        "mkdir /var/lib/stillpoint/P01",
        "touch /var/backups/here",
        "touch /usr/bin/here",
        "mount -t tmpfs tmpfs /tmp",
        "kill -0 1",
        "unshare --user true",
        "ls /root",
        "test -e /proc/1/cmdline",
    ];
    for line in may_not {
        assert!(!machine.fenced(line), "{line}");
    }
}

#[test]
fn a_site_with_the_package_and_a_schedule_is_backed_up_by_the_fenced_service() {
    let machine = Installed::start();
    let often = "[schedule]\nzone = \"Europe/Berlin\"\ncalendar = \"*-*-* *:*:0/5\"\n";
    machine.write("/etc/stillpoint/site.toml", &format!("{SITE}\n{often}"));
    machine.succeed(&["chown", "root:stillpoint", "/etc/stillpoint/site.toml"]);
    machine.succeed(&["chmod", "640", "/etc/stillpoint/site.toml"]);
    machine.succeed(&["systemctl", "enable", "--now", "sleeper.service", "stillpoint.service"]);
    machine.property_is("stillpoint.service", "ActiveState", "active");
    // The link for the administrator is in the journal, once.
    let link = machine.journal("stillpoint.service");
    assert!(link.contains("http://127.0.0.1:8470/welcome/"), "{link}");
    let fields = ["journalctl", "--no-pager", "--output=json", "--unit=stillpoint.service"];
    wait_for("the journal has the number of a status message", SOON, || {
        machine.succeed(&fields).contains("\"STILLPOINT_MESSAGE_ID\":\"5170\"").then_some(())
    });
    let status = wait_for("a backup by the schedule", SOON, || {
        let told = machine.run(&["stillpoint", "status", "--json"]);
        let told: serde_json::Value = serde_json::from_str(&told.stdout).ok()?;
        (told["last_backup"]["outcome"] == "complete").then_some(told)
    });
    assert_eq!(status["last_backup"]["asked_by"], "schedule", "{status}");
    assert!(machine.succeed(&["cat", "/var/backups/backup.log"]).contains("STATMSG: ID=5035"));
    assert_eq!(machine.property("sleeper.service", "FreezerState"), "running");
    machine.succeed(&["systemctl", "reload", "stillpoint.service"]);
    machine.property_is("stillpoint.service", "ActiveState", "active");
    assert!(machine.succeed(&["stillpoint", "console", "reset-link"]).contains("/welcome/"));
    machine.succeed(&["systemctl", "stop", "stillpoint.service"]);
    assert_eq!(machine.property("stillpoint.service", "Result"), "success");
    assert_eq!(machine.property("stillpoint.service", "ExecMainStatus"), "0");
    let history = "/var/lib/stillpoint/history/SYS.db";
    assert_eq!(machine.access(history), "stillpoint:stillpoint 640");
}

#[test]
fn the_timer_backs_up_without_a_service_and_a_failure_is_told() {
    let machine = Installed::start();
    machine.write("/etc/stillpoint/site.toml", SITE);
    machine.succeed(&["systemctl", "enable", "--now", "sleeper.service", "stillpoint-backup.timer"]);
    assert_eq!(machine.property("stillpoint-check.timer", "UnitFileState"), "enabled");
    assert_ne!(machine.property("stillpoint-backup.timer", "NextElapseUSecRealtime"), "");
    machine.succeed(&["systemctl", "start", "stillpoint-backup.service"]);
    machine.succeed(&["stillpoint", "verify", "/var/backups"]);
    assert!(machine.succeed(&["cat", "/var/backups/backup.log"]).contains("STATMSG: ID=5035"));
    assert_eq!(machine.property("sleeper.service", "FreezerState"), "running");
    wait_for("success is looked at", SOON, || {
        (!machine.property("stillpoint-check.service", "ExecMainStartTimestamp").is_empty()).then_some(())
    });

    machine.succeed(&["rm", "-r", "/srv/content"]);
    assert_ne!(machine.run(&["systemctl", "start", "stillpoint-backup.service"]).code, Some(0));
    wait_for("the failure is told", SOON, || {
        let told = machine.property("stillpoint-failed@stillpoint-backup.service", "ExecMainStartTimestamp");
        (!told.is_empty()).then_some(())
    });
    machine.succeed(&["stillpoint", "verify", "/var/backups"]);
}

#[test]
fn an_upgrade_leaves_a_run_alone_and_takes_up_the_new_program_when_there_is_none() {
    let machine = Installed::start();
    let launcher = "stillpoint-launcher.service";
    machine.succeed(&["mkdir", "-p", "/etc/systemd/system/stillpoint-launcher.service.d"]);
    machine.write(
        "/etc/systemd/system/stillpoint-launcher.service.d/test.conf",
        "[Service]\nExecStart=\nExecStart=/usr/bin/flock --no-fork /var/lib/stillpoint/epoch.lock /bin/sleep 100000\n",
    );
    machine.succeed(&["systemctl", "daemon-reload"]);
    machine.succeed(&["systemctl", "start", "stillpoint-launcher.socket", launcher]);
    wait_for("the lock is held", SOON, || {
        let free = ["flock", "--nonblock", "/var/lib/stillpoint/epoch.lock", "true"];
        (machine.run(&free).code == Some(1)).then_some(())
    });
    let found = machine.property(launcher, "InvocationID");
    let told = machine.dpkg(&["--install", "/root/stillpoint.deb"]);
    assert!(told.contains("a run goes on with the old program"), "{told}");
    assert_eq!(machine.property(launcher, "InvocationID"), found);
    machine.property_is(launcher, "ActiveState", "active");

    machine.write(
        "/etc/systemd/system/stillpoint-launcher.service.d/test.conf",
        "[Service]\nExecStart=\nExecStart=/bin/sleep 100000\n",
    );
    machine.succeed(&["systemctl", "daemon-reload"]);
    machine.succeed(&["systemctl", "restart", launcher]);
    machine.dpkg(&["--install", "/root/stillpoint.deb"]);
    machine.property_is(launcher, "ActiveState", "inactive");
    machine.property_is("stillpoint-launcher.socket", "SubState", "listening");
}

#[test]
fn removal_keeps_all_data_and_a_purge_removes_the_history_only() {
    let machine = Installed::start();
    machine.write("/etc/stillpoint/site.toml", SITE);
    machine.succeed(&["sh", "-c", "umask 077 && echo secret > /etc/stillpoint/offsite.key"]);
    machine.succeed(&["systemctl", "enable", "--now", "sleeper.service", "stillpoint-backup.timer"]);
    machine.succeed(&["systemctl", "start", "stillpoint-launcher.socket", "stillpoint-backup.service"]);
    let history = "/var/lib/stillpoint/history/SYS.db";
    machine.succeed(&["touch", history, &format!("{history}-wal")]);
    machine.succeed(&[
        "install",
        "-D",
        "/root/stillpoint.deb",
        "/var/lib/stillpoint/history/of-a-person/file",
    ]);
    // Installed over itself, as by an upgrade.
    machine.dpkg(&["--install", "/root/stillpoint.deb"]);
    assert_eq!(machine.property("stillpoint-backup.timer", "ActiveState"), "active");

    machine.dpkg(&["--remove", "stillpoint"]);
    for unit in ["stillpoint-backup.timer", "stillpoint-launcher.socket"] {
        assert_eq!(machine.property(unit, "LoadState"), "not-found", "{unit}");
        assert_eq!(machine.property(unit, "ActiveState"), "inactive", "{unit}");
    }
    let enabled = machine.succeed(&["find", "/etc/systemd/system", "-name", "stillpoint*"]);
    assert_eq!(enabled, "", "no unit is left enabled");
    let kept = [
        "/etc/stillpoint/site.toml",
        "/etc/stillpoint/offsite.key",
        "/var/lib/stillpoint/SYS/epoch",
        "/var/backups/SYSBackup/manifest.json",
        "/var/backups/backup.log",
        "/var/lib/stillpoint/history/of-a-person/file",
    ];
    for path in kept.iter().chain([&history]) {
        assert!(machine.exists(path), "{path} after the removal");
    }
    let told = machine.dpkg(&["--purge", "stillpoint"]);
    assert!(told.contains("/etc/stillpoint is kept"), "{told}");
    for path in kept {
        assert!(machine.exists(path), "{path} after the purge");
    }
    assert!(!machine.exists(history) && !machine.exists(&format!("{history}-wal")));
}

#[test]
fn the_alert_rules_say_what_they_should_of_sites_that_work_and_of_others() {
    let rules = top().join("packaging/prometheus");
    let promtool = require_tool("promtool");
    succeed(Command::new(&promtool).args(["check", "rules", "stillpoint.rules.yml"]).current_dir(&rules));
    let tested = finish(
        Command::new(&promtool).args(["test", "rules", "stillpoint.rules.test.yml"]).current_dir(&rules),
    );
    assert_eq!(tested.code, Some(0), "{}{}", tested.stdout, tested.stderr);
}
