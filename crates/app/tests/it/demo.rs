//! `demo`: the first thing that a newcomer sees.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::site::{Done, PROGRAM};

#[test]
fn the_demo_proves_itself_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let done = Command::new(PROGRAM)
        .args(["demo", "--warm-up", "0.5"])
        .env("TMPDIR", folder.path())
        .output()
        .unwrap();
    let done = Done::of(done).exits(0);
    let told =
        ["A living site", "stood still for", "DMOBackup", "Destroyed", "Recovered", "It holds.", "--keep"];
    for part in told {
        assert!(done.out.contains(part), "{part} is missing in\n{}", done.out);
    }
    assert_eq!(done.out.matches("hash chain").count(), 1, "one finding is shown as two");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the demo left something");
}

#[test]
fn a_program_gets_the_demo_as_one_object() {
    let folder = tempfile::tempdir().unwrap();
    let done = Command::new(PROGRAM)
        .args(["--json", "demo", "--warm-up", "0.2"])
        .env("TMPDIR", folder.path())
        .output()
        .unwrap();
    let done = Done::of(done).exits(0);
    let object: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!((&object["equal"], &object["outcome"]), (&true.into(), &"complete".into()), "{object}");
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what}: it did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A demo whose site lives long, and the process of the site.
fn demo_in(folder: &Path) -> (Child, u32) {
    let demo = Command::new(PROGRAM)
        .args(["demo", "--warm-up", "600"])
        .env("TMPDIR", folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let site = eventually("the site lives", || {
        let top: PathBuf = std::fs::read_dir(folder).unwrap().next()?.unwrap().path();
        std::fs::metadata(top.join("site/control.sock")).ok()?;
        std::fs::read_to_string(top.join("site/control.lock")).ok()?.trim().parse().ok()
    });
    (demo, site)
}

fn is_gone(process: u32) -> Option<()> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"));
    stat.map_or(true, |stat| stat.contains(") Z ")).then_some(())
}

#[test]
fn a_demo_that_is_interrupted_ends_its_site_and_removes_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (mut demo, site) = demo_in(folder.path());
    kill_process(Pid::from_child(&demo), Signal::INT).unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(130));
    eventually("the site ends", || is_gone(site));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the demo left something");
}

#[test]
fn the_site_of_a_demo_that_is_killed_does_not_live_on() {
    let folder = tempfile::tempdir().unwrap();
    let (mut demo, site) = demo_in(folder.path());
    demo.kill().unwrap();
    demo.wait().unwrap();
    eventually("the site ends", || is_gone(site));
}
