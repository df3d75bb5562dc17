//! A run saves its set as a version; stock restic lists, checks and restores it.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::{objects, restic, site_with_archive};
use crate::site::{Site, contents};

fn made(more: &str) -> Site {
    let site = site_with_archive(more);
    site.run(&["archive", "init"]).exits(0);
    site
}

#[test]
fn a_run_keeps_its_set_as_a_version_that_restic_checks_and_restores_with_the_original_metadata() {
    let site = made("");
    let odd = site.path("tree/a/1.txt");
    std::fs::set_permissions(&odd, PermissionsExt::from_mode(0o6751)).unwrap();
    std::os::unix::fs::chown(site.path("tree/a/2.txt"), Some(4711), Some(815)).unwrap();
    let run = site.run(&["backup"]).exits(0);
    assert!(run.out.contains("archive disk: version "), "{}", run.out);
    let listed = objects(&site.run(&["--json", "archive", "list"]).exits(0));
    assert_eq!(listed.len(), 1, "{listed:?}");
    let version = &listed[0];
    assert_eq!(
        (&version["site"], &version["complete"], &version["epoch"]),
        (&"T01".into(), &true.into(), &1.into())
    );

    let shown: serde_json::Value =
        serde_json::from_str(&restic(&site, "disk.key", &["snapshots", "--json"]).exits(0).out).unwrap();
    let snapshot = &shown[0];
    assert_eq!((&snapshot["hostname"], &snapshot["paths"][0]), (&"T01".into(), &"/T01Backup".into()));
    let tags: Vec<&str> =
        snapshot["tags"].as_array().unwrap().iter().filter_map(|tag| tag.as_str()).collect();
    assert!(
        tags.contains(&"site=T01") && tags.contains(&"epoch=1") && tags.contains(&"outcome=complete"),
        "{tags:?}"
    );
    restic(&site, "disk.key", &["check", "--read-data"]).exits(0);

    // What restic restores is a set, byte for byte, that we verify and could recover from.
    let target = site.path("restored");
    restic(&site, "disk.key", &["restore", "latest", "--target", target.to_str().unwrap()]).exits(0);
    let set = target.join("T01Backup");
    site.run(&["verify", set.to_str().unwrap()]).exits(0);
    assert_eq!(contents(&set.join("SiteServer/content")), contents(&site.path("tree")));
    let restored = set.join("SiteServer/content/a/1.txt").metadata().unwrap();
    assert_eq!(restored.mode() & 0o7777, 0o6751);
    assert_eq!(restored.mtime_nsec(), odd.metadata().unwrap().mtime_nsec());
    let owned = set.join("SiteServer/content/a/2.txt").metadata().unwrap();
    assert_eq!((owned.uid(), owned.gid()), (4711, 815));
    let log = std::fs::read_to_string(site.path("backups/backup.log")).unwrap();
    assert!(log.contains("ID=5151") && log.contains("The set is in archive disk"), "{log}");
}

#[test]
fn the_next_version_adds_little_and_the_same_set_is_not_saved_twice() {
    let site = made("");
    std::fs::write(site.path("tree/big"), vec![7_u8; 3 << 20]).unwrap();
    let added = |site: &Site| {
        let run = site.run(&["--json", "backup"]).exits(0);
        let saved = objects(&run).into_iter().find(|event| event["event"] == "version-saved").unwrap();
        saved["stored_bytes"].as_u64().unwrap()
    };
    let first = added(&site);
    std::fs::write(site.path("tree/a/new"), b"new").unwrap();
    let second = added(&site);
    assert!(second * 4 < first, "{first} bytes, then {second}");
    assert_eq!(objects(&site.run(&["--json", "archive", "list"]).exits(0)).len(), 2);
    let again = site.run(&["archive", "save"]).exits(0);
    assert!(again.out.contains("there already"), "{}", again.out);
    assert_eq!(objects(&site.run(&["--json", "archive", "list"]).exits(0)).len(), 2);
}

#[test]
fn an_archive_that_is_down_makes_the_run_incomplete_and_holds_up_neither_the_set_nor_the_others() {
    let site = site_with_archive("");
    let top = site.folder.path().display().to_string();
    let table = |name: &str| {
        format!(
            "[[archive]]\nname = \"{name}\"\nlocation = \"{top}/{name}\"\nkey = {{ file = \"{top}/{name}.key\" }}\n"
        )
    };
    site.write_site_file("", &(table("away") + &table("here")));
    for name in ["away", "here"] {
        site.run(&["archive", "init", "-a", name]).exits(0);
    }
    std::fs::rename(site.path("away"), site.path("unplugged")).unwrap();
    let run = site.run(&["backup"]).exits(3);
    assert!(
        run.out.contains("not in archive away") && run.out.contains("archive here: version"),
        "{}",
        run.out
    );
    site.run(&["verify", site.set().to_str().unwrap()]).exits(0);
    let log = std::fs::read_to_string(site.path("backups/backup.log")).unwrap();
    assert!(log.contains("ID=5152") && log.contains("ID=5151"), "{log}");
    // It is caught up by hand once it is back.
    std::fs::rename(site.path("unplugged"), site.path("away")).unwrap();
    site.run(&["archive", "save", "-a", "away"]).exits(0);
    assert_eq!(objects(&site.run(&["--json", "archive", "list", "-a", "away"]).exits(0)).len(), 1);
}

#[test]
fn a_damaged_set_never_becomes_a_version() {
    let site = site_with_archive("");
    site.run(&["backup"]).exits(3);
    site.run(&["archive", "init"]).exits(0);
    let file = site.set().join("SiteServer/content/a/5.txt");
    std::fs::write(&file, b"file 6\n").unwrap();
    let refused = site.run(&["archive", "save"]).exits(14);
    assert!(refused.err.contains("a/5.txt") && refused.err.contains("No version"), "{}", refused.err);
    assert!(objects(&site.run(&["--json", "archive", "list"]).exits(0)).is_empty());
    restic(&site, "disk.key", &["check"]).exits(0);
}
