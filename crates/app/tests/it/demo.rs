//! `demo`: the first thing that a newcomer sees.

use std::process::Command;

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
    for part in ["A living site", "stood still for", "Destroyed", "Recovered", "It holds."] {
        assert!(done.out.contains(part), "{part} is missing in\n{}", done.out);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the demo left something");
}
