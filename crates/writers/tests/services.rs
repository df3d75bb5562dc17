//! Services with real processes in real control groups, and with a small stand-in for systemd that manages real processes
//! (systemd itself does not run in containers and is exercised elsewhere).
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Group, Hierarchy, Kept, Surroundings, Ticker, script, soon, wait_until};
use stillpoint_model::site_file::{Quiet, ServiceSettings};
use stillpoint_model::{
    CgroupVersion, Deadline, EpochNumber, Grade, Quieting, RestoreOptions, Restorer, StoredComponent, Undo,
    Writer, WriterError,
};
use stillpoint_writers::services::{ServiceRestorer, ServiceWriter, Systemctl};

fn settings(quiet: Quiet) -> ServiceSettings {
    ServiceSettings {
        quiet,
        unit: None,
        cgroup: None,
        freeze_command: None,
        thaw_command: None,
        running_command: None,
    }
}

fn of_group(group: &Group) -> ServiceWriter {
    ServiceWriter::new(&ServiceSettings { cgroup: Some(group.folder.clone()), ..settings(Quiet::Freeze) })
        .unwrap()
}

/// All that comes before the freeze.
fn make_ready(writer: &mut ServiceWriter, site: &Surroundings) -> Result<(), WriterError> {
    writer.identify(&site.context, soon())?;
    writer.prepare(&site.context, soon())?;
    writer.poise(&site.context, soon())
}

fn finish(writer: &mut ServiceWriter, site: &Surroundings) -> (Grade, serde_json::Value) {
    let captured = writer.capture(&site.context, soon(), &mut Kept::default()).unwrap();
    writer.release(&site.context).unwrap();
    (captured.grade, captured.facts)
}

#[test]
fn a_frozen_service_stands_still_and_goes_on_after_the_thaw() {
    for hierarchy in Hierarchy::BOTH {
        let site = Surroundings::new();
        let group = Group::new(hierarchy);
        let below = group.child("below");
        let (app, helper, outsider) = (
            Ticker::start(&site.path("app")),
            Ticker::start(&site.path("helper")),
            Ticker::start(&site.path("outsider")),
        );
        group.take(app.child.id());
        below.take(helper.child.id());
        let mut writer = of_group(&group);
        let description = writer.identify(&site.context, soon()).unwrap();
        assert_eq!(description.quieting, Some(Quieting::Hold));
        make_ready(&mut writer, &site).unwrap();
        let version = if hierarchy == Hierarchy::Unified { CgroupVersion::V2 } else { CgroupVersion::V1 };
        let undo = Undo::ThawCgroup { cgroup: group.folder.clone(), version };
        assert_eq!(site.undos.open(), [undo], "the undo is registered before the freeze");
        assert!(!group.is_frozen());

        writer.freeze(&site.context, soon()).unwrap();
        let counts = (app.count(), helper.count());
        assert!(group.is_frozen());
        writer.cut(&site.context, soon()).unwrap();
        outsider.wait_for_ticks();
        assert_eq!((app.count(), helper.count()), counts, "{hierarchy:?}: it went on while it was frozen");
        assert_eq!(site.undos.open().len(), 1, "the undo is needed while it is frozen");

        writer.thaw(&site.context, soon()).unwrap();
        assert!(!group.is_frozen() && site.undos.open().is_empty());
        app.wait_for_ticks();
        helper.wait_for_ticks();
        writer.thaw(&site.context, soon()).unwrap();
        let (grade, facts) = finish(&mut writer, &site);
        assert_eq!(grade, Grade::Crash);
        assert_eq!((facts["found"].as_str(), facts["way"]["processes"].as_u64()), (Some("working"), Some(2)));
        assert_eq!(site.events.status(), [5005, 5007]);
        assert_eq!(site.events.problems(), [""; 0]);
    }
}

#[test]
fn what_somebody_else_froze_stays_frozen_and_is_told() {
    for hierarchy in Hierarchy::BOTH {
        let site = Surroundings::new();
        let group = Group::new(hierarchy);
        let app = Ticker::start(&site.path("app"));
        group.take(app.child.id());
        group.freeze();
        let mut writer = of_group(&group);
        make_ready(&mut writer, &site).unwrap();
        writer.freeze(&site.context, soon()).unwrap();
        writer.thaw(&site.context, soon()).unwrap();
        let (grade, facts) = finish(&mut writer, &site);
        assert!(group.is_frozen(), "{hierarchy:?}: it was thawed though somebody else froze it");
        assert!(site.undos.all().is_empty());
        assert_eq!((grade, facts["found"].as_str()), (Grade::Crash, Some("held-by-others")));
        assert!(site.events.problems()[0].contains("found frozen"), "{:?}", site.events.problems());
    }
}

#[test]
fn a_group_that_is_held_from_above_is_left_alone() {
    for hierarchy in Hierarchy::BOTH {
        let site = Surroundings::new();
        let above = Group::new(hierarchy);
        let group = above.child("app");
        let app = Ticker::start(&site.path("app"));
        group.take(app.child.id());
        above.freeze();
        wait_until("the group below is frozen", || group.is_frozen());
        let mut writer = of_group(&group);
        make_ready(&mut writer, &site).unwrap();
        writer.freeze(&site.context, soon()).unwrap();
        writer.thaw(&site.context, soon()).unwrap();
        finish(&mut writer, &site);
        assert!(site.undos.all().is_empty());
        assert!(site.events.problems()[0].contains("above"));
        above.thaw();
        app.wait_for_ticks();
        drop(app);
        drop(group);
    }
}

#[test]
fn an_empty_group_is_at_rest_and_needs_no_undo() {
    for hierarchy in Hierarchy::BOTH {
        let site = Surroundings::new();
        let group = Group::new(hierarchy);
        let mut writer = of_group(&group);
        make_ready(&mut writer, &site).unwrap();
        writer.freeze(&site.context, soon()).unwrap();
        assert!(!group.is_frozen());
        writer.thaw(&site.context, soon()).unwrap();
        assert_eq!(finish(&mut writer, &site).0, Grade::Frozen);
        assert!(site.undos.all().is_empty());
        assert_eq!(site.events.status(), [5036]);
    }
}

#[test]
fn a_service_that_appears_between_the_last_look_and_the_freeze_is_a_veto() {
    let site = Surroundings::new();
    let group = Group::new(Hierarchy::Unified);
    let mut writer = of_group(&group);
    make_ready(&mut writer, &site).unwrap();
    let app = Ticker::start(&site.path("app"));
    group.take(app.child.id());
    let error = writer.freeze(&site.context, soon()).unwrap_err();
    assert!(error.to_string().contains("nothing was done"), "{error}");
    assert!(!group.is_frozen());
    writer.thaw(&site.context, soon()).unwrap();
    writer.release(&site.context).unwrap();
}

#[test]
fn a_freeze_that_is_not_done_in_time_is_a_veto_and_everything_is_thawed() {
    for hierarchy in Hierarchy::BOTH {
        let site = Surroundings::new();
        let group = Group::new(hierarchy);
        let apps: Vec<Ticker> =
            (0..20).map(|number| Ticker::start(&site.path(&format!("app{number}")))).collect();
        for app in &apps {
            group.take(app.child.id());
        }
        let mut writer = of_group(&group);
        make_ready(&mut writer, &site).unwrap();
        let result = writer.freeze(&site.context, Deadline::after(Duration::ZERO));
        assert!(matches!(result, Err(WriterError::Late { .. })), "{hierarchy:?}: {result:?}");
        assert_eq!(site.undos.open().len(), 1);
        writer.thaw(&site.context, soon()).unwrap();
        assert!(site.undos.open().is_empty());
        apps[0].wait_for_ticks();
        writer.release(&site.context).unwrap();
    }
}

#[test]
fn a_run_that_is_given_up_before_its_freeze_leaves_no_undo() {
    let site = Surroundings::new();
    let group = Group::new(Hierarchy::Unified);
    let app = Ticker::start(&site.path("app"));
    group.take(app.child.id());
    let mut writer = of_group(&group);
    make_ready(&mut writer, &site).unwrap();
    assert_eq!(site.undos.open().len(), 1);
    writer.release(&site.context).unwrap();
    assert!(site.undos.open().is_empty());
}

#[test]
fn a_group_that_vanished_while_it_was_frozen_needs_no_thaw() {
    let site = Surroundings::new();
    let group = Group::new(Hierarchy::Unified);
    let app = Ticker::start(&site.path("app"));
    group.take(app.child.id());
    let mut writer = of_group(&group);
    make_ready(&mut writer, &site).unwrap();
    writer.freeze(&site.context, soon()).unwrap();
    drop(app);
    wait_until("the group can be removed", || fs::remove_dir(&group.folder).is_ok());
    writer.thaw(&site.context, soon()).unwrap();
    assert!(site.undos.open().is_empty());
}

/// Not a test: a process of this program with the verb of the guard, for the test below.
#[test]
#[ignore = "a stand-in for a process, started by another test"]
fn stand_in_for_the_guard() {
    while std::env::args().nth(1).as_deref() == Some("guard") {
        std::thread::park();
    }
}

#[test]
fn a_group_that_holds_the_guard_is_refused() {
    let site = Surroundings::new();
    let group = Group::new(Hierarchy::Unified);
    let mut guard = Command::new(std::env::current_exe().unwrap())
        .args(["guard", "--ignored"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    group.take(guard.id());
    // Whoever starts a process goes on a moment before its arguments can be seen (execve(2) lets go of a vfork early).
    let arguments = format!("/proc/{}/cmdline", guard.id());
    wait_until("its arguments can be seen", || !fs::read(&arguments).unwrap().is_empty());
    let error = of_group(&group).identify(&site.context, soon()).unwrap_err();
    assert!(error.to_string().contains("holds the guard"), "{error}");
    guard.kill().unwrap();
    guard.wait().unwrap();
}

/// Not a test: runs in a process of its own, as no other test's child may be born in its group.
#[test]
#[ignore = "a part of the next test"]
fn looks_at_the_group_that_it_is_in() {
    let site = Surroundings::new();
    let Some(folder) = std::env::var_os("GROUP").map(PathBuf::from) else { return };
    fs::write(folder.join("cgroup.procs"), std::process::id().to_string()).unwrap();
    let settings = ServiceSettings { cgroup: Some(folder), ..settings(Quiet::Freeze) };
    let error = ServiceWriter::new(&settings).unwrap().identify(&site.context, soon()).unwrap_err();
    assert!(error.to_string().contains("this program itself"), "{error}");
}

#[test]
fn a_group_that_holds_this_very_program_is_refused() {
    let group = Group::new(Hierarchy::Unified);
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "looks_at_the_group_that_it_is_in", "--ignored"])
        .env("GROUP", &group.folder)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn what_is_no_group_with_a_freezer_is_told() {
    let site = Surroundings::new();
    for folder in [Hierarchy::Unified.root(), "/sys/fs/cgroup/nonexistent".into()] {
        let settings = ServiceSettings { cgroup: Some(folder), ..settings(Quiet::Freeze) };
        let error = ServiceWriter::new(&settings).unwrap().identify(&site.context, soon()).unwrap_err();
        assert!(error.to_string().contains("no control group with a freezer"), "{error}");
    }
    assert!(ServiceWriter::new(&settings(Quiet::Freeze)).is_err());
    assert!(ServiceWriter::new(&settings(Quiet::Stop)).is_err());
    assert!(ServiceWriter::new(&settings(Quiet::Command)).is_err());
}

/// A small stand-in for systemd: units are folders of files, and real processes.
struct Units {
    folder: PathBuf,
    program: PathBuf,
}

const SYSTEMCTL: &str = r#"
folder="${0%/*}"
alive() { [ -f "$folder/$1.pid" ] && kill -0 "$(cat "$folder/$1.pid")" 2>/dev/null; }
stop() {
    if alive "$1"; then kill -9 "$(cat "$folder/$1.pid")"; while alive "$1"; do :; done; fi
    for other in $(cat "$folder/$1.required-by" 2>/dev/null); do stop "$other"; done
}
while [ "${1#--}" != "$1" ]; do shift; done
verb=$1; shift
while [ "$1" != -- ]; do shift; done; shift
echo "$verb $*" >> "$folder/calls"
first=yes; status=0
for unit; do
    case $verb in
    show)
        [ $first = yes ] || echo
        first=no
        if [ -f "$folder/$unit.ticks" ]; then echo LoadState=loaded; else echo LoadState=not-found; fi
        if alive "$unit"; then echo ActiveState=active; else echo ActiveState=inactive; fi
        echo "CanStart=$(cat "$folder/$unit.can-start" 2>/dev/null || echo yes)"
        echo "InactiveExitTimestampMonotonic=$(cat "$folder/$unit.left-rest" 2>/dev/null)"
        echo "TriggeredBy=$(cat "$folder/$unit.triggered-by" 2>/dev/null)"
        echo "ControlGroup=$(cat "$folder/$unit.cgroup" 2>/dev/null)"
        echo "RequiredBy=$(cat "$folder/$unit.required-by" 2>/dev/null)" ;;
    stop) stop "$unit" ;;
    start)
        if [ -f "$folder/$unit.broken" ]; then echo "$unit is broken" >&2; status=1; continue; fi
        if ! alive "$unit"; then
            setsid sh -c 'while :; do printf x >> "$1"; done' ticker "$folder/$unit.ticks" >/dev/null 2>&1 &
            echo $! > "$folder/$unit.pid"
        fi ;;
    esac
done
exit $status"#;

impl Units {
    fn new(site: &Surroundings, names: &[&str]) -> Self {
        let folder = site.path("units");
        fs::create_dir(&folder).unwrap();
        let program = PathBuf::from(script(&folder.join("systemctl"), SYSTEMCTL));
        for name in names {
            fs::write(folder.join(format!("{name}.ticks")), "").unwrap();
        }
        let units = Self { folder, program };
        for name in names {
            units.call("start", name);
        }
        units
    }

    fn systemctl(&self) -> Systemctl {
        Systemctl::at(&self.program)
    }

    fn call(&self, verb: &str, unit: &str) {
        let status =
            Command::new(&self.program).args([verb, "--", unit]).stdout(Stdio::null()).status().unwrap();
        assert!(status.success());
        fs::write(self.folder.join("calls"), "").unwrap();
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).unwrap();
    }

    fn ticks(&self, unit: &str) -> u64 {
        fs::metadata(self.folder.join(format!("{unit}.ticks"))).unwrap().len()
    }

    fn pid(&self, unit: &str) -> u32 {
        fs::read_to_string(self.folder.join(format!("{unit}.pid"))).unwrap().trim().parse().unwrap()
    }

    fn is_alive(&self, unit: &str) -> bool {
        Path::new(&format!("/proc/{}", self.pid(unit))).exists()
    }

    fn wait_for_ticks(&self, unit: &str) {
        let before = self.ticks(unit);
        wait_until("the unit goes on", || self.ticks(unit) > before + 5);
    }

    fn acts(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.folder.join("calls")).unwrap();
        calls.lines().filter(|line| !line.starts_with("show")).map(str::to_owned).collect()
    }

    fn writer(&self, unit: &str) -> ServiceWriter {
        let settings = ServiceSettings { unit: Some(unit.into()), ..settings(Quiet::Stop) };
        ServiceWriter::with_systemctl(&settings, self.systemctl()).unwrap()
    }
}

impl Drop for Units {
    fn drop(&mut self) {
        for entry in fs::read_dir(&self.folder).unwrap().flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "pid") {
                let pid = fs::read_to_string(entry.path()).unwrap_or_default();
                if let Some(pid) = pid.trim().parse().ok().and_then(rustix::process::Pid::from_raw) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
        }
    }
}

fn start_of(unit: &str) -> Undo {
    Undo::StartUnit { unit: unit.into(), timeout_ms: 90_000 }
}

#[test]
fn a_stopped_unit_is_started_again_with_all_that_stopped_with_it() {
    let site = Surroundings::new();
    let units = Units::new(&site, &["db.service", "app.service", "idle.service"]);
    units.write("db.service.required-by", "app.service idle.service");
    units.call("stop", "idle.service");
    let mut writer = units.writer("db.service");
    make_ready(&mut writer, &site).unwrap();
    assert_eq!(site.undos.open(), [start_of("app.service"), start_of("db.service")]);
    writer.freeze(&site.context, soon()).unwrap();
    assert!(!units.is_alive("db.service") && !units.is_alive("app.service"));
    assert_eq!(site.undos.open().len(), 2);
    writer.thaw(&site.context, soon()).unwrap();
    units.wait_for_ticks("db.service");
    units.wait_for_ticks("app.service");
    assert!(!units.is_alive("idle.service"), "what was found at rest was started");
    assert!(site.undos.open().is_empty());
    assert_eq!(units.acts(), ["stop db.service app.service", "start db.service app.service"]);
    let (grade, facts) = finish(&mut writer, &site);
    assert_eq!((grade, facts["way"]["stopped_with_it"][0].as_str()), (Grade::Frozen, Some("app.service")));
}

#[test]
fn a_unit_that_does_not_start_again_keeps_its_undo() {
    let site = Surroundings::new();
    let units = Units::new(&site, &["db.service", "app.service"]);
    units.write("db.service.required-by", "app.service");
    let mut writer = units.writer("db.service");
    make_ready(&mut writer, &site).unwrap();
    writer.freeze(&site.context, soon()).unwrap();
    units.write("app.service.broken", "");
    let error = writer.thaw(&site.context, soon()).unwrap_err();
    assert!(error.to_string().contains("app.service is broken"), "{error}");
    units.wait_for_ticks("db.service");
    assert_eq!(site.undos.open(), [start_of("app.service")], "the rest is the guard's");
    assert_eq!(site.events.status(), [5008]);
    writer.release(&site.context).unwrap();
    assert_eq!(site.undos.open(), [start_of("app.service")]);
    fs::remove_file(units.folder.join("app.service.broken")).unwrap();
    writer.thaw(&site.context, soon()).unwrap();
    assert!(site.undos.open().is_empty());
}

#[test]
fn a_unit_that_is_at_rest_stays_at_rest() {
    let site = Surroundings::new();
    let units = Units::new(&site, &["app.service"]);
    // One was at rest from the beginning, one was stopped by a person right before the freeze.
    for late in [false, true] {
        let mut writer = units.writer("app.service");
        if !late {
            units.call("stop", "app.service");
        }
        make_ready(&mut writer, &site).unwrap();
        assert_eq!(site.undos.open().len(), usize::from(late));
        if late {
            units.call("stop", "app.service");
        }
        writer.freeze(&site.context, soon()).unwrap();
        assert!(site.undos.open().is_empty());
        writer.thaw(&site.context, soon()).unwrap();
        assert!(!units.is_alive("app.service"));
        assert_eq!(units.acts(), [""; 0]);
        assert_eq!(finish(&mut writer, &site).1["found"].as_str(), Some("at-rest"));
        units.call("start", "app.service");
    }
    assert_eq!(site.events.status(), [5036, 5036]);
}

#[test]
fn a_unit_that_systemd_does_not_know_is_told_before_anything_is_done() {
    let site = Surroundings::new();
    let units = Units::new(&site, &[]);
    let error = units.writer("ap.service").identify(&site.context, soon()).unwrap_err();
    assert!(error.to_string().contains("knows no unit ap.service"), "{error}");
}

#[test]
fn the_group_of_a_unit_is_found_in_the_hierarchy_that_has_its_processes() {
    for hierarchy in Hierarchy::BOTH {
        let site = Surroundings::new();
        let units = Units::new(&site, &["app.service"]);
        let group = Group::new(hierarchy);
        // The other hierarchy has the same folder without processes, as on a hybrid machine.
        let other = Hierarchy::BOTH.into_iter().find(|other| *other != hierarchy).unwrap();
        let name = group.folder.file_name().unwrap().to_str().unwrap().to_owned();
        let empty = other.root().join(&name);
        fs::create_dir(&empty).unwrap();
        group.take(units.pid("app.service"));
        units.write("app.service.cgroup", &format!("/{name}"));
        let settings = ServiceSettings { unit: Some("app.service".into()), ..settings(Quiet::Freeze) };
        let mut writer = ServiceWriter::with_systemctl(&settings, units.systemctl()).unwrap();
        let ready = make_ready(&mut writer, &site);
        fs::remove_dir(&empty).unwrap();
        ready.unwrap();
        writer.freeze(&site.context, soon()).unwrap();
        assert!(group.is_frozen());
        writer.thaw(&site.context, soon()).unwrap();
        units.wait_for_ticks("app.service");
        drop(units);
    }
}

fn with_commands(site: &Surroundings, freeze: &str, thaw: &str, running: Option<&str>) -> ServiceSettings {
    let argv = |name: &str, text: &str| Some(vec![script(&site.path(name), text), "an argument".to_owned()]);
    ServiceSettings {
        freeze_command: argv("freeze", freeze),
        thaw_command: argv("thaw", thaw),
        running_command: running.and_then(|text| argv("running", text)),
        ..settings(Quiet::Command)
    }
}

#[test]
fn the_applications_own_commands_bring_it_to_rest_and_let_it_go_on() {
    let site = Surroundings::new();
    let note = site.path("note");
    let say = |word: &str| format!("echo {word} \"$1\" >> {}", note.display());
    let settings = with_commands(&site, &say("rest"), &say("go"), Some("exit 0"));
    let mut writer = ServiceWriter::new(&settings).unwrap();
    make_ready(&mut writer, &site).unwrap();
    let undo = Undo::RunCommand { argv: settings.thaw_command.clone().unwrap(), timeout_ms: 60_000 };
    assert_eq!(site.undos.open(), [undo]);
    assert!(!note.exists());
    writer.freeze(&site.context, soon()).unwrap();
    assert_eq!(fs::read_to_string(&note).unwrap(), "rest an argument\n");
    writer.thaw(&site.context, soon()).unwrap();
    writer.thaw(&site.context, soon()).unwrap();
    assert_eq!(fs::read_to_string(&note).unwrap(), "rest an argument\ngo an argument\n");
    assert!(site.undos.open().is_empty());
    assert_eq!(finish(&mut writer, &site).0, Grade::Frozen);
    assert_eq!(site.events.status(), [5001, 5003]);
}

#[test]
fn a_command_that_fails_or_hangs_is_a_veto_and_the_thaw_runs_all_the_same() {
    for (freeze, milliseconds) in [("echo no >&2; exit 3", 20_000), ("sleep 1000", 300)] {
        let site = Surroundings::new();
        let note = site.path("note");
        let thaw = format!("echo go >> {}", note.display());
        let mut writer = ServiceWriter::new(&with_commands(&site, freeze, &thaw, None)).unwrap();
        make_ready(&mut writer, &site).unwrap();
        let result = writer.freeze(&site.context, Deadline::after(Duration::from_millis(milliseconds)));
        assert!(matches!(result, Err(WriterError::Program { .. } | WriterError::Late { .. })), "{result:?}");
        writer.thaw(&site.context, soon()).unwrap();
        assert_eq!(fs::read_to_string(&note).unwrap(), "go\n");
        assert!(site.undos.open().is_empty());
        assert!(matches!(site.undos.all()[..], [Undo::RunCommand { .. }, Undo::EndGroup { .. }]));
        // Not brought to rest, and goes on: nobody says that it was brought to rest.
        assert_eq!(site.events.status(), [5002, 5003]);
        writer.release(&site.context).unwrap();
    }
}

#[test]
fn a_thaw_that_fails_keeps_its_undo() {
    let site = Surroundings::new();
    let mut writer = ServiceWriter::new(&with_commands(&site, "exit 0", "exit 1", None)).unwrap();
    make_ready(&mut writer, &site).unwrap();
    writer.freeze(&site.context, soon()).unwrap();
    writer.thaw(&site.context, soon()).unwrap_err();
    writer.release(&site.context).unwrap();
    assert_eq!(site.undos.open().len(), 1);
}

#[test]
fn an_application_that_does_not_run_is_not_touched() {
    let site = Surroundings::new();
    let fail = format!("touch {}", site.path("touched").display());
    let mut writer = ServiceWriter::new(&with_commands(&site, &fail, &fail, Some("exit 1"))).unwrap();
    make_ready(&mut writer, &site).unwrap();
    writer.freeze(&site.context, soon()).unwrap();
    writer.thaw(&site.context, soon()).unwrap();
    finish(&mut writer, &site);
    assert!(!site.path("touched").exists());
    assert_eq!(site.events.status(), [5037]);
}

fn stored(found: &str) -> StoredComponent {
    StoredComponent {
        name: "part".parse().unwrap(),
        folder: "/nonexistent".into(),
        index: "/nonexistent".into(),
        facts: serde_json::json!({ "found": found }),
        grade: Grade::Frozen,
        epoch: EpochNumber(1),
    }
}

#[test]
fn a_restore_stops_the_unit_and_starts_it_with_all_that_stopped_with_it() {
    let site = Surroundings::new();
    let units = Units::new(&site, &["db.service", "app.service"]);
    units.write("db.service.required-by", "app.service");
    let settings = ServiceSettings { unit: Some("db.service".into()), ..settings(Quiet::Freeze) };
    let mut restorer = ServiceRestorer::with_systemctl(&settings, units.systemctl()).unwrap();
    assert!(restorer.obstacles(&stored("working")).unwrap().is_empty());
    restorer.stop(&site.context, soon()).unwrap();
    assert!(!units.is_alive("db.service") && !units.is_alive("app.service"));
    restorer.restore(&site.context, &stored("working"), &RestoreOptions::default(), soon()).unwrap();
    restorer.start(&site.context, soon()).unwrap();
    units.wait_for_ticks("db.service");
    units.wait_for_ticks("app.service");
}

#[test]
fn a_restore_starts_what_worked_in_the_backup_and_not_what_was_at_rest() {
    for (found, starts) in [("working", true), ("at-rest", false)] {
        let site = Surroundings::new();
        let units = Units::new(&site, &["app.service"]);
        units.call("stop", "app.service");
        let settings = ServiceSettings { unit: Some("app.service".into()), ..settings(Quiet::Stop) };
        let mut restorer = ServiceRestorer::with_systemctl(&settings, units.systemctl()).unwrap();
        restorer.stop(&site.context, soon()).unwrap();
        restorer.restore(&site.context, &stored(found), &RestoreOptions::default(), soon()).unwrap();
        restorer.start(&site.context, soon()).unwrap();
        assert_eq!(units.is_alive("app.service"), starts);
        if starts {
            units.wait_for_ticks("app.service");
        }
    }
}

#[test]
fn a_restore_under_an_application_that_nobody_can_stop_is_refused() {
    let site = Surroundings::new();
    let group = Group::new(Hierarchy::Unified);
    let app = Ticker::start(&site.path("app"));
    group.take(app.child.id());
    let settings = ServiceSettings { cgroup: Some(group.folder.clone()), ..settings(Quiet::Freeze) };
    let mut restorer = ServiceRestorer::new(&settings).unwrap();
    assert!(restorer.obstacles(&stored("working")).unwrap()[0].contains("stop it by hand"));
    assert!(restorer.stop(&site.context, soon()).is_err());
    app.wait_for_ticks();
}
