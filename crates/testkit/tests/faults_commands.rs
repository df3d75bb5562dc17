//! The coordinator is killed while the application's own command is bringing it to rest: whatever the command had under
//! way must not bring the application to rest after the guard let it go on.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at what it did not expect")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use stillpoint_testkit::program::{finish, own, wait_for};

const LONG: Duration = Duration::from_secs(30);

/// A site whose application is a file that says what it does, and whose command takes its time in a step of its own.
fn write_site(top: &Path) {
    let state = top.join("application");
    fs::write(&state, "works\n").unwrap();
    fs::create_dir(top.join("tree")).unwrap();
    let backups = top.join("backups");
    fs::create_dir(&backups).unwrap();
    fs::set_permissions(&backups, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let freeze = format!("(echo begun >> {0}; sleep 3; echo rests >> {0}) & wait", state.display());
    let thaw = format!("echo goes on >> {}", state.display());
    let text = format!(
        "[site]\ncode = \"CMD\"\nname = \"Commands\"\n\n[destination]\nfolder = \"{top}/backups\"\n\n\
         [task]\nkeep_free_percent = 0\n\n\
         [[component]]\nname = \"app\"\ntype = \"service\"\nquiet = \"command\"\n\
         freeze_command = [\"/bin/sh\", \"-c\", {freeze:?}]\nthaw_command = [\"/bin/sh\", \"-c\", {thaw:?}]\n\n\
         [[component]]\nname = \"content\"\ntype = \"files\"\npath = \"{top}/tree\"\n",
        top = top.display()
    );
    fs::write(top.join("site.toml"), text).unwrap();
}

fn program(top: &Path, verb: &str) -> Command {
    let mut command = Command::new(own("stillpoint-faulty"));
    command.arg("--state-dir").arg(top.join("state")).arg("--config").arg(top.join("site.toml"));
    command.args(["--json", verb]);
    command
}

#[test]
fn a_step_of_the_freeze_command_does_not_outlive_the_thaw_of_the_guard() {
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path();
    write_site(top);
    let said = || fs::read_to_string(top.join("application")).unwrap();
    let mut backup = program(top, "backup").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the command's step", LONG, || said().contains("begun").then_some(()));
    backup.kill().unwrap();
    backup.wait().unwrap();
    wait_for("the guard's thaw", LONG, || said().contains("goes on").then_some(()));
    // Longer than the step would still have taken.
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(said(), "works\nbegun\ngoes on\n");
    let healed = finish(&mut program(top, "reconcile"));
    assert_eq!(healed.code, Some(0), "{healed:#?}");
}
