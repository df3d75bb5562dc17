//! A site of real units under a real systemd: how they are quieted, that each is afterwards as it was found, and that they
//! work again whoever is killed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at what it did not expect")]

use std::collections::BTreeMap;
use std::time::Duration;

use stillpoint_ledger::check::Mode;
use stillpoint_ledger::{JournalMode, StoreSettings, control};
use stillpoint_testkit::program::{succeed, wait_for};
use stillpoint_testkit::{Backup, Machine, check_ledger};

/// How soon a unit must be as it should; the machine may be busy.
const SOON: Duration = Duration::from_secs(20);

const LEDGER: &str = "[Unit]
Description=The ledger
[Service]
Type=exec
ExecStart=/opt/bin/ledger-app run --sqlite /srv/site/ledger.db --content /srv/site/content \
    --control /srv/site/control --workers 2 --window 50
ExecStartPost=/bin/sh -c 'echo ledger starts >> /srv/order'
ExecStopPost=/bin/sh -c 'echo ledger stops >> /srv/order'
Restart=always
RestartSec=100ms
";

/// A unit that only runs.
fn sleeper(more: &str) -> String {
    format!("[Unit]\n{more}\n[Service]\nType=exec\nExecStart=/bin/sleep 100000\n")
}

/// A machine with the ledger, its files backed up.
struct Site {
    machine: Machine,
}

impl Site {
    /// Boots the machine with these units besides the ledger, starts the ledger and waits until it works.
    fn start(units: &[(&str, String)]) -> Self {
        let ledger = [("ledger.service", LEDGER.to_owned())];
        let machine = Machine::boot(&[&ledger, units].concat());
        succeed(std::process::Command::new("mkdir").arg("-p").arg(machine.outside("/srv/site/content")));
        machine.succeed(&["systemctl", "start", "ledger.service"]);
        let site = Self { machine };
        site.advance();
        site
    }

    /// Adds a component to the site file: a command that runs while the site stands still.
    fn add_command_in_freeze(&self, argv: &[&str]) {
        let path = self.machine.outside("/etc/stillpoint/site.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let component =
            "[[component]]\nname = \"command\"\ntype = \"command\"\nin_freeze = true\nlevel = \"system\"\n";
        std::fs::write(path, format!("{text}\n{component}run = {argv:?}\n")).unwrap();
    }

    /// Writes the site file: these services (level, quiet, unit), the ledger's database and its files.
    fn describe(&self, services: &[(&str, &str, &str)]) {
        let services: String = services
            .iter()
            .map(|(level, quiet, unit)| {
                let name = unit.split('.').next().unwrap_or_default().replace(['@', '\\'], "-");
                format!(
                    "[[component]]\nname = \"{name}\"\ntype = \"service\"\nlevel = \"{level}\"\nquiet = \"{quiet}\"\n\
                     unit = '{unit}'\n\n"
                )
            })
            .collect();
        let text = format!(
            "[site]\ncode = \"SYS\"\nname = \"Units\"\n\n[destination]\nfolder = \"/var/backups\"\n\n\
             [task]\nkeep_free_percent = 0\n\n[deadlines]\nfreeze = \"20s\"\nsnapshot = \"20s\"\nthaw = \"20s\"\n\
             window = \"40s\"\n\n{services}\
             [[component]]\nname = \"database\"\ntype = \"sqlite\"\npath = \"/srv/site/ledger.db\"\n\n\
             [[component]]\nname = \"content\"\ntype = \"files\"\npath = \"/srv/site/content\"\nprovider = \"copy\"\n"
        );
        self.machine.write("/etc/stillpoint/site.toml", &text);
    }

    /// Runs the program, with a fault if one is ordered.
    fn run(&self, fault: &str, arguments: &[&str]) -> Backup {
        let fault = format!("STILLPOINT_FAULT={fault}");
        let mut argv = vec!["env"];
        if !fault.ends_with('=') {
            argv.push(&fault);
        }
        argv.extend(["/opt/bin/stillpoint", "--json"]);
        argv.extend(arguments);
        Backup::of(self.machine.run(&argv))
    }

    /// Backs up under load; fails the test when the set is not complete.
    fn backup(&self) -> Backup {
        self.advance();
        let backup = self.run("", &["backup"]);
        assert_eq!(backup.finished.code, Some(0), "{:#?}", told(&backup));
        self.advance();
        backup
    }

    /// Waits until the ledger has done more.
    fn advance(&self) {
        let socket = self.machine.outside("/srv/site/control");
        wait_for("the ledger works", SOON, || control::wait_for_advance(&socket, SOON).ok());
    }

    /// Puts the set back over the site and checks the ledger in it, with nothing started; then lets the site work again.
    fn recover_and_check(&self, mode: Mode) {
        let recover = ["recover", "/var/backups/SYSBackup", "--overwrite"];
        let recovered = self.run("", &[&recover[..], &["--no-start"]].concat());
        assert_eq!(recovered.finished.code, Some(0), "{:#?}", told(&recovered));
        assert_ne!(self.state("ledger.service"), "active");
        let path = self.machine.outside("/srv/site/ledger.db");
        let stores = vec![StoreSettings::Sqlite { path, journal: JournalMode::Wal }];
        let report = check_ledger(stores, &self.machine.outside("/srv/site/content"), mode);
        assert!(report.is_whole() && report.rows > 0, "{report}");
        let recovered = self.run("", &recover);
        assert_eq!(recovered.finished.code, Some(0), "{:#?}", told(&recovered));
        self.advance();
    }

    fn state(&self, unit: &str) -> String {
        self.machine.property(unit, "ActiveState")
    }

    fn wait_for_state(&self, unit: &str, wanted: &str) {
        wait_for(&format!("{unit} is {wanted}"), SOON, || (self.state(unit) == wanted).then_some(()));
    }

    /// What of a unit must be as it was found. With `touched`, it may be another run of it.
    fn look(&self, unit: &str, touched: bool) -> BTreeMap<String, String> {
        let names = ["LoadState", "ActiveState", "SubState", "UnitFileState", "FreezerState", "Result"];
        let same_run = ["InvocationID", "MainPID", "NRestarts", "ActiveEnterTimestampMonotonic"];
        let mut found = self.machine.properties(unit);
        found.retain(|name, _| names.contains(&&**name) || (!touched && same_run.contains(&&**name)));
        found
    }

    fn order(&self) -> Vec<String> {
        let path = self.machine.outside("/srv/order");
        let lines = std::fs::read_to_string(&path).unwrap_or_default().lines().map(str::to_owned).collect();
        // There is none before the first note.
        let _ = std::fs::remove_file(path);
        lines
    }
}

/// What a run told, in words.
fn told(backup: &Backup) -> Vec<String> {
    let text = |event: &serde_json::Value| Some(event["text"].as_str()?.to_owned());
    backup.events.iter().filter_map(text).chain([backup.finished.stderr.clone()]).collect()
}

/// The units that were told to have been stopped or held, in the order in which they were let go.
fn held(backup: &Backup) -> Vec<String> {
    let told = backup.events.iter().filter(|event| event["event"] == "status" && event["id"] == 5005);
    told.map(|event| event["inserts"][0].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn units_that_are_stopped_in_their_order_give_a_set_of_one_instant() {
    let front = format!(
        "{}ExecStartPost=/bin/sh -c 'echo front starts >> /srv/order'\n\
         ExecStopPost=/bin/sh -c 'echo front stops >> /srv/order'\n",
        sleeper("")
    );
    let reader = sleeper("Requires=ledger.service\nAfter=ledger.service");
    let site = Site::start(&[("front.service", front), ("reader.service", reader)]);
    site.machine.succeed(&["systemctl", "start", "front.service", "reader.service"]);
    site.describe(&[("back-end", "stop", "ledger.service"), ("front-end", "stop", "front.service")]);
    let units = ["ledger.service", "front.service", "reader.service"];
    let found: Vec<_> = units.iter().map(|unit| site.look(unit, true)).collect();
    site.order();
    let backup = site.backup();
    assert_eq!(site.order(), ["front stops", "ledger stops", "ledger starts", "front starts"]);
    for (unit, found) in units.iter().zip(&found) {
        assert_eq!(site.look(unit, true), *found, "{unit}");
    }
    assert_eq!(backup.last("run-ended", "grade"), "frozen");
    assert_eq!(held(&backup), ["ledger.service", "front.service"]);
    site.recover_and_check(Mode::Strict);
    for (unit, found) in units.iter().zip(&found) {
        assert_eq!(site.look(unit, true), *found, "{unit} after the recovery");
    }
}

#[test]
fn units_that_are_held_by_the_freezer_give_a_set_of_one_instant_and_never_end() {
    // systemd writes such names into paths of control groups in ways of its own.
    let odd = ["my-app@1.service", "a\\x2db\\x20c.service"];
    let site = Site::start(&[("my-app@.service", sleeper("")), (odd[1], sleeper(""))]);
    for unit in odd {
        site.machine.succeed(&["systemctl", "start", unit]);
    }
    let mut services = vec![("back-end", "freeze", "ledger.service")];
    services.extend(odd.iter().map(|unit| ("front-end", "freeze", *unit)));
    site.describe(&services);
    let units: Vec<&str> = services.iter().map(|service| service.2).collect();
    let found: Vec<_> = units.iter().map(|unit| site.look(unit, false)).collect();
    site.order();
    let backup = site.backup();
    assert_eq!(backup.last("run-ended", "grade"), "crash");
    for (unit, found) in units.iter().zip(&found) {
        assert_eq!(site.look(unit, false), *found, "{unit}");
        assert!(!site.machine.is_frozen(unit));
    }
    assert_eq!(site.order(), [""; 0]);
    assert_eq!(held(&backup).len(), 3, "{:#?}", told(&backup));
    site.recover_and_check(Mode::PowerCut);
}

/// Units in every state that is not simply active, and who must have put them there.
struct States {
    site: Site,
    units: Vec<&'static str>,
}

impl States {
    fn start() -> Self {
        let socket = |port: u32| format!("[Socket]\nListenStream=127.0.0.1:{port}\n");
        let site = Site::start(&[
            ("stopped.service", sleeper("")),
            ("failed.service", "[Service]\nExecStart=/bin/false\n".to_owned()),
            ("masked.service", sleeper("")),
            ("dying.service", "[Service]\nExecStart=/bin/false\nRestart=always\nRestartSec=1h\n".to_owned()),
            ("waiting.service", sleeper("")),
            ("waiting.socket", socket(7001)),
            ("called.service", sleeper("")),
            ("called.socket", socket(7002)),
            ("held.service", sleeper("")),
        ]);
        let systemctl = |arguments: &[&str]| site.machine.run(&[&["systemctl"], arguments].concat());
        systemctl(&["start", "failed.service", "dying.service"]);
        site.wait_for_state("failed.service", "failed");
        site.wait_for_state("dying.service", "activating");
        systemctl(&["start", "waiting.socket", "called.socket", "called.service", "held.service"]);
        systemctl(&["freeze", "held.service"]);
        site.mask("masked.service");
        let units = [
            "stopped.service",
            "failed.service",
            "masked.service",
            "dying.service",
            "waiting.service",
            "waiting.socket",
            "called.service",
            "called.socket",
            "held.service",
        ];
        Self { site, units: units.into() }
    }
}

impl Site {
    /// As `systemctl mask`, which refuses a unit whose file is in `/etc`.
    fn mask(&self, unit: &str) {
        let path = self.machine.outside("/etc/systemd/system").join(unit);
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/null", path).unwrap();
        self.machine.succeed(&["systemctl", "daemon-reload"]);
    }
}

#[test]
fn every_unit_is_afterwards_in_the_state_in_which_it_was_found() {
    let States { site, units } = States::start();
    for quiet in ["stop", "freeze"] {
        let services: Vec<(&str, &str, &str)> = units
            .iter()
            .filter(|unit| unit.ends_with(".service"))
            .map(|unit| ("front-end", quiet, *unit))
            .chain([("back-end", quiet, "ledger.service")])
            .collect();
        site.describe(&services);
        let look = |unit: &&str| {
            let touched =
                quiet == "stop" && ["called.service", "called.socket", "dying.service"].contains(unit);
            site.look(unit, touched)
        };
        let found: Vec<_> = units.iter().map(look).collect();
        let backup = site.run("", &["backup"]);
        // That somebody else holds a unit is a problem, and makes the set incomplete.
        assert_eq!(backup.finished.code, Some(3), "{quiet}: {:#?}", told(&backup));
        assert!(backup.finished.stdout.contains("held.service was found frozen"), "{:#?}", told(&backup));
        for (unit, found) in units.iter().zip(&found) {
            assert_eq!(look(unit), *found, "{quiet}: {unit}");
        }
        site.advance();
    }
}

#[test]
fn a_unit_that_could_not_be_started_again_is_not_stopped() {
    let odd = format!("{}\n", sleeper("RefuseManualStart=yes"));
    let base = sleeper("Wants=refusing.service");
    let site =
        Site::start(&[("masked.service", sleeper("")), ("refusing.service", odd), ("base.service", base)]);
    site.machine.succeed(&["systemctl", "start", "masked.service", "base.service"]);
    site.wait_for_state("refusing.service", "active");
    site.mask("masked.service");
    for unit in ["masked.service", "refusing.service"] {
        let found = site.look(unit, false);
        site.describe(&[("front-end", "stop", unit)]);
        for verb in [&["backup", "--dry-run"][..], &["backup"]] {
            let backup = site.run("", verb);
            assert!(!matches!(backup.finished.code, Some(0 | 3)), "{:#?}", told(&backup));
            let text = format!("{}{}", backup.finished.stdout, backup.finished.stderr);
            assert!(text.contains("systemd would not start it again"), "{text}");
        }
        assert_eq!(site.look(unit, false), found);
        site.describe(&[("front-end", "freeze", unit), ("back-end", "stop", "ledger.service")]);
        site.backup();
        let recovered = site.run("", &["recover", "/var/backups/SYSBackup", "--overwrite"]);
        let text = format!("{}{}", recovered.finished.stdout, recovered.finished.stderr);
        assert!(
            recovered.finished.code != Some(0) && text.contains("systemd would not start it again"),
            "{text}"
        );
        assert_eq!(site.look(unit, false), found);
        site.assert_works();
    }
}

#[test]
fn a_service_behind_a_socket_rests_though_it_is_called_all_the_time() {
    let call = "while :; do exec 3<>/dev/tcp/127.0.0.1/7000; sleep 0.02; done";
    let site = Site::start(&[
        ("ledger.socket", "[Socket]\nListenStream=127.0.0.1:7000\n".to_owned()),
        ("caller.service", format!("[Service]\nExecStart=/bin/bash -c '{call}'\nStandardError=null\n")),
    ]);
    site.machine.succeed(&["systemctl", "stop", "ledger.service"]);
    site.machine.succeed(&["systemctl", "start", "ledger.socket", "caller.service"]);
    site.wait_for_state("ledger.service", "active");
    site.describe(&[("front-end", "stop", "ledger.service")]);
    for _ in 0..3 {
        let backup = site.backup();
        assert_eq!(held(&backup), ["ledger.service"]);
        assert_eq!(
            (site.state("ledger.socket"), site.state("ledger.service")),
            ("active".into(), "active".into())
        );
    }
    site.recover_and_check(Mode::Strict);
    site.wait_for_state("ledger.socket", "active");
}

#[test]
fn a_unit_that_wakes_while_it_should_rest_fails_the_run() {
    let site = Site::start(&[("asleep.service", sleeper(""))]);
    for (quiet, unit) in
        [("stop", "asleep.service"), ("freeze", "asleep.service"), ("stop", "ledger.service")]
    {
        site.machine.succeed(&["systemctl", "stop", "asleep.service"]);
        site.describe(&[("front-end", quiet, unit)]);
        site.add_command_in_freeze(&["/usr/bin/systemctl", "start", unit]);
        let backup = site.run("", &["backup"]);
        assert!(!matches!(backup.finished.code, Some(0 | 3)), "{quiet} {unit}: {:#?}", told(&backup));
        let text = told(&backup).join("\n");
        assert!(text.contains(&format!("{unit} was started while it should be at rest")), "{text}");
        assert!(!site.machine.outside("/var/backups/SYSBackup").exists());
        site.advance();
    }
}

/// The run stands still in the cut until it is killed.
const HANG: &str = "cut/content:before:hang";

impl Site {
    /// Waits until the ledger is brought to rest or held.
    fn wait_until_quiet(&self, quiet: &str) {
        let reached = || match quiet {
            "stop" => self.state("ledger.service") == "inactive",
            _ => self.machine.is_frozen("ledger.service"),
        };
        wait_for("the ledger is quiet", SOON, || reached().then_some(()));
    }

    fn assert_works(&self) {
        self.advance();
        assert_eq!(self.state("ledger.service"), "active");
        assert!(!self.machine.is_frozen("ledger.service"));
    }
}

#[test]
fn killed_in_the_freeze_the_guard_lets_the_units_go_on() {
    let slow = format!("{}ExecStop=/bin/sleep 3\n", sleeper(""));
    let site = Site::start(&[("slow.service", slow), ("reader.service", sleeper("PartOf=ledger.service"))]);
    site.machine.succeed(&["systemctl", "start", "slow.service", "reader.service"]);
    for quiet in ["stop", "freeze"] {
        site.describe(&[("back-end", quiet, "ledger.service")]);
        let killed = site.run("cut/content:before:kill", &["backup"]);
        assert!(killed.finished.code != Some(0), "{:#?}", told(&killed));
        site.assert_works();
        site.wait_for_state("reader.service", "active");
        let next = site.backup();
        assert!(told(&next).iter().any(|text| text.contains("guard")), "{:#?}", told(&next));
    }
    // In the middle of a stop, which goes on without whoever asked for it.
    site.describe(&[("front-end", "stop", "slow.service"), ("back-end", "stop", "ledger.service")]);
    let found = site.machine.property("slow.service", "InvocationID");
    let mut run = site.machine.command(&["/opt/bin/stillpoint", "backup"]);
    let mut run =
        run.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    site.wait_for_state("slow.service", "deactivating");
    site.machine.succeed(&["/bin/sh", "-c", "kill -KILL $(pgrep -x -o stillpoint)"]);
    run.wait().unwrap();
    site.wait_for_state("slow.service", "active");
    assert_ne!(site.machine.property("slow.service", "InvocationID"), found);
    site.assert_works();
}

/// The service that runs the backup, with a way in which systemd ends what is left of it.
fn nightly(mode: &str) -> String {
    format!(
        "[Service]\nType=oneshot\nExecStart=/opt/bin/stillpoint backup\nKillMode={mode}\nTimeoutStopSec=30\n\
         EnvironmentFile=/etc/stillpoint/fault\n"
    )
}

#[test]
fn run_by_a_service_that_is_killed_the_guard_lets_the_units_go_on() {
    let modes = ["process", "control-group", "mixed"];
    let units = modes.map(|mode| (format!("nightly-{mode}.service"), nightly(mode)));
    let units: Vec<(&str, String)> = units.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    let site = Site::start(&units);
    for (mode, quiet) in [("process", "stop"), ("process", "freeze"), ("control-group", "stop")] {
        let unit = format!("nightly-{mode}.service");
        site.describe(&[("back-end", quiet, "ledger.service")]);
        site.machine.write("/etc/stillpoint/fault", &format!("STILLPOINT_FAULT={HANG}\n"));
        site.machine.succeed(&["systemctl", "start", "--no-block", &unit]);
        site.wait_until_quiet(quiet);
        site.machine.succeed(&["systemctl", "kill", "--signal=KILL", "--kill-whom=main", &unit]);
        site.wait_for_state(&unit, "failed");
        site.assert_works();
        site.machine.write("/etc/stillpoint/fault", "");
        site.machine.succeed(&["systemctl", "start", &unit]);
        site.assert_works();
    }
    // There the guard would be killed as well, at once.
    assert_ne!(site.machine.run(&["systemctl", "start", "nightly-mixed.service"]).code, Some(0));
    let journal = site.machine.succeed(&["journalctl", "--no-pager", "-u", "nightly-mixed.service"]);
    assert!(journal.contains("KillMode=process"), "{journal}");
    site.assert_works();
}

#[test]
fn a_unit_whose_stop_would_end_the_run_is_not_stopped() {
    let nightly = format!("[Unit]\nRequires=ledger.service\nAfter=ledger.service\n{}", nightly("process"));
    let site = Site::start(&[("nightly.service", nightly)]);
    site.machine.write("/etc/stillpoint/fault", "");
    site.describe(&[("front-end", "stop", "ledger.service")]);
    let found = site.look("ledger.service", false);
    assert_ne!(site.machine.run(&["systemctl", "start", "nightly.service"]).code, Some(0));
    let journal = site.machine.succeed(&["journalctl", "--no-pager", "-u", "nightly.service"]);
    assert!(journal.contains("would stop nightly.service, which runs this backup"), "{journal}");
    assert_eq!(site.look("ledger.service", false), found);
    site.describe(&[("front-end", "freeze", "ledger.service")]);
    site.machine.succeed(&["systemctl", "start", "nightly.service"]);
    site.assert_works();
}

#[test]
fn after_the_end_of_run_and_guard_reconcile_lets_the_units_go_on() {
    let site = Site::start(&[("nightly.service", nightly("process"))]);
    for quiet in ["stop", "freeze"] {
        site.describe(&[("back-end", quiet, "ledger.service")]);
        site.machine.write("/etc/stillpoint/fault", &format!("STILLPOINT_FAULT={HANG}\n"));
        site.machine.succeed(&["systemctl", "start", "--no-block", "nightly.service"]);
        site.wait_until_quiet(quiet);
        // One signal reaches one process after the other, and a guard that outlives the run by a moment heals the site in
        // that moment. So both stand still before they end.
        for signal in ["--signal=STOP", "--signal=KILL"] {
            site.machine.succeed(&["systemctl", "kill", signal, "--kill-whom=all", "nightly.service"]);
        }
        site.wait_for_state("nightly.service", "failed");
        site.wait_until_quiet(quiet);
        let healed = site.run("", &["reconcile"]);
        assert_eq!(healed.finished.code, Some(0), "{:#?}", healed.finished);
        assert!(healed.finished.stdout.contains("ledger.service"), "{:#?}", healed.finished);
        site.assert_works();
        site.backup();
    }
}

#[test]
fn a_draft_has_the_units_of_the_site_and_is_a_site_that_can_be_backed_up() {
    let site = Site::start(&[("my-app@.service", sleeper("Description=An application"))]);
    site.machine.succeed(&["systemctl", "start", "my-app@1.service"]);
    let draft = site.run("", &["init", "/etc/stillpoint/draft.toml"]);
    assert_eq!(draft.finished.code, Some(0), "{:#?}", draft.finished);
    let text = std::fs::read_to_string(site.machine.outside("/etc/stillpoint/draft.toml")).unwrap();
    let units: Vec<&str> = text.lines().filter(|line| line.starts_with("unit = ")).collect();
    assert_eq!(units, ["unit = \"ledger.service\"", "unit = \"my-app@1.service\""], "{text}");
    assert!(text.contains("path = \"/srv/site/ledger.db\"") && text.contains("# An application"), "{text}");
    // How full the disk below the machine is, is not asked here.
    let roomy = text.replacen("[task]\n", "[task]\nkeep_free_percent = 0\n", 1);
    assert_ne!(roomy, text, "{text}");
    std::fs::write(site.machine.outside("/etc/stillpoint/draft.toml"), roomy).unwrap();
    let planned = site.run("", &["--config", "/etc/stillpoint/draft.toml", "backup", "--dry-run"]);
    assert_eq!(planned.finished.code, Some(0), "{:#?}", planned.finished);
}
