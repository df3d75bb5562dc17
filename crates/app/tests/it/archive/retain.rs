//! Which versions stay: rules, holds, and what is removed.

use super::{objects, restic, site_with_archive};
use crate::site::Site;

fn with_versions(more: &str, count: usize) -> Site {
    let site = site_with_archive("");
    site.run(&["archive", "init"]).exits(0);
    for number in 0..count {
        std::fs::write(site.path("tree/number"), vec![number as u8; 300_000]).unwrap();
        site.run(&["backup"]).exits(0);
    }
    let text = std::fs::read_to_string(site.path("site.toml")).unwrap();
    std::fs::write(site.path("site.toml"), text + more + "\n").unwrap();
    site
}

fn epochs(site: &Site) -> Vec<u64> {
    let versions = objects(&site.run(&["--json", "archive", "list"]).exits(0));
    versions.iter().map(|version| version["epoch"].as_u64().unwrap()).collect()
}

#[test]
fn the_rules_say_what_goes_and_why_and_prune_removes_what_only_that_needed() {
    let site = with_versions("keep = { last = 2 }", 4);
    let held = site.run(&["archive", "hold", "epoch=1"]).exits(0);
    assert!(held.out.contains("on hold"), "{}", held.out);
    let plan = site.run(&["archive", "forget", "--dry-run"]).exits(0).out;
    assert!(plan.contains("of 4 versions, 1 would go"), "{plan}");
    assert!(plan.contains("on hold") && plan.contains("no rule keeps it") && plan.contains("last"), "{plan}");
    assert_eq!(epochs(&site), [1, 2, 3, 4]);
    site.run(&["archive", "forget"]).exits(0);
    assert_eq!(epochs(&site), [1, 3, 4]);
    // What is on hold goes by nobody's word but after its release.
    let refused = site.run(&["archive", "forget", "epoch=1"]).exits(2);
    assert!(refused.err.contains("on hold") && refused.err.contains("release"), "{}", refused.err);
    site.run(&["archive", "release", "epoch=1"]).exits(0);
    let done = objects(&site.run(&["--json", "archive", "forget", "--prune"]).exits(0));
    assert_eq!(epochs(&site), [3, 4]);
    let pruned = done.iter().find(|event| event["event"] == "pruned").unwrap();
    assert!(pruned["report"]["removed_bytes"].as_u64().unwrap() > 0, "{pruned}");
    restic(&site, "disk.key", &["check", "--read-data"]).exits(0);
    let again = objects(&site.run(&["--json", "archive", "prune", "--dry-run"]).exits(0));
    assert_eq!(again.last().unwrap()["report"]["packs_removed"], 0, "{again:?}");
}

#[test]
fn the_last_complete_version_is_not_let_go_by_hand_either() {
    let site = with_versions("", 2);
    let refused = site.run(&["archive", "forget", "epoch=1", "epoch=2"]).exits(15);
    assert!(refused.err.contains("last complete version"), "{}", refused.err);
    site.run(&["archive", "forget", "epoch=1"]).exits(0);
    site.run(&["archive", "forget", "latest"]).exits(15);
    assert_eq!(epochs(&site), [2]);
    let none = site.run(&["archive", "forget", "epoch=7"]).exits(2);
    assert!(none.err.contains("no version epoch=7"), "{}", none.err);
}

#[test]
fn a_run_lets_go_what_the_rules_do_not_keep() {
    let site = with_versions("keep = { last = 2 }", 2);
    site.run(&["backup"]).exits(0);
    assert_eq!(epochs(&site), [2, 3]);
    let log = std::fs::read_to_string(site.path("backups/backup.log")).unwrap();
    assert!(log.contains("ID=5154"), "{log}");
}

#[test]
fn an_append_only_machine_adds_and_reads_and_removes_nothing() {
    let site = with_versions("append_only = true", 2);
    site.run(&["backup"]).exits(0);
    assert_eq!(epochs(&site), [1, 2, 3]);
    for verb in
        [&["forget"][..], &["forget", "epoch=1"], &["prune"], &["hold", "latest"], &["release", "latest"]]
    {
        let answer = site.run(&[&["archive"], verb].concat());
        assert!(answer.code == 0 || answer.err.contains("append_only"), "{verb:?}: {}", answer.err);
    }
    assert_eq!(epochs(&site), [1, 2, 3]);
    let refused = site.run(&["archive", "prune"]).exits(2);
    assert!(refused.err.contains("removes nothing"), "{}", refused.err);
}
