//! Looking into versions, and taking out of them.

use super::{objects, site_with_archive};
use crate::site::{Site, contents};

/// A site with two versions: in the second a file is changed, one is new and one is gone.
fn two_versions() -> Site {
    let site = site_with_archive("");
    site.run(&["archive", "init"]).exits(0);
    site.run(&["backup"]).exits(0);
    std::fs::write(site.path("tree/a/1.txt"), "another content\n").unwrap();
    std::fs::write(site.path("tree/new.txt"), "new\n").unwrap();
    std::fs::remove_file(site.path("tree/a/3.txt")).unwrap();
    site.run(&["backup"]).exits(0);
    site
}

fn path(site: &Site, name: &str) -> String {
    site.path(name).display().to_string()
}

#[test]
fn versions_are_listed_searched_compared_and_dumped() {
    let site = two_versions();
    let listed = site.run(&["archive", "ls", "latest", "--component", "content"]).exits(0).out;
    assert!(
        listed.contains("T01Backup/SiteServer/content/new.txt") && !listed.contains("/3.txt\n"),
        "{listed}"
    );
    let before = site.run(&["archive", "ls", "epoch=1", "T01Backup/SiteServer/content/a"]).exits(0).out;
    assert_eq!(before.lines().count(), 21, "{before}");
    let long = objects(
        &site.run(&["--json", "archive", "ls", "-l", "latest", "a", "--component", "content"]).exits(0),
    );
    let one = long.iter().find(|entry| entry["path"].as_str().unwrap().ends_with("/1.txt")).unwrap();
    assert_eq!((&one["kind"], &one["size"]), (&"file".into(), &16.into()));
    let flat = |path: &str| site.run(&["archive", "ls", "--flat", "epoch=1", path]).exits(0).out;
    assert_eq!(flat("/"), "T01Backup/\n", "the top");
    let inside = flat("/T01Backup/SiteServer/content/a/");
    assert_eq!(inside.lines().count(), 20, "{inside}");
    let content = flat("T01Backup/SiteServer/content");
    assert!(content.contains("/content/a/\n") && !content.contains("1.txt"), "{content}");
    let file = "T01Backup/SiteServer/content/a/1.txt";
    assert_eq!(flat(file), format!("{file}\n"));
    let missing = site.run(&["archive", "ls", "latest", "no/such"]).exits(2);
    assert!(missing.err.contains("no/such"), "{}", missing.err);
    site.run(&["archive", "ls", "latest", "../x"]).exits(2);

    let found = objects(
        &site
            .run(&["--json", "archive", "find", "1.txt", "new.txt", "3.txt", "--component", "content"])
            .exits(0),
    );
    let told: Vec<(u64, &str)> = found
        .iter()
        .map(|one| (one["path"].as_str().unwrap().len() as u64, one["standing"].as_str().unwrap()))
        .collect();
    assert_eq!(told.len(), 4, "{found:#?}");
    assert_eq!(told.iter().filter(|(_, standing)| *standing == "changed").count(), 1, "{found:#?}");
    assert!(site.run(&["archive", "find", "nothing-like-it"]).exits(0).out.contains("No version"));

    let changes =
        objects(&site.run(&["--json", "archive", "diff", "epoch=1", "--component", "content"]).exits(0));
    let mut changes: Vec<(&str, &str)> = changes
        .iter()
        .map(|one| (one["path"].as_str().unwrap(), one["difference"].as_str().unwrap()))
        .map(|(path, how)| (path.strip_prefix("T01Backup/SiteServer/content").unwrap(), how))
        .filter(|(_, how)| *how != "metadata")
        .collect();
    changes.sort_unstable();
    assert_eq!(changes, [("/a/1.txt", "content"), ("/a/3.txt", "removed"), ("/new.txt", "added")]);

    let dumped = site.run(&["archive", "dump", "epoch=1", "a/1.txt", "--component", "content"]).exits(0);
    assert_eq!(dumped.out, "file 1\n");
    let only = site.run(&["archive", "dump", "latest", "--component", "versions"]).exits(0);
    assert!(only.out.starts_with("Linux "), "{}", only.out);
    let several = site.run(&["archive", "dump", "latest", "--component", "content"]).exits(2);
    assert!(several.err.contains("more than one file"), "{}", several.err);
}

#[test]
fn a_version_is_restored_whole_by_component_by_pattern_and_to_its_place() {
    let site = two_versions();
    let target = path(&site, "out");
    let whole = site.run(&["archive", "restore", "latest", "--target", &target]).exits(0);
    assert!(whole.out.contains("stillpoint recover"), "{}", whole.out);
    site.run(&["verify", &target]).exits(0);
    assert_eq!(contents(&site.path("out/T01Backup/SiteServer/content")), contents(&site.path("tree")));

    let part = path(&site, "part");
    let arguments =
        ["archive", "restore", "epoch=1", "--target", &part, "--component", "content", "--include"];
    site.run(&[&arguments[..], &["/a/1*.txt"]].concat()).exits(0);
    let names = contents(&site.path("part"));
    assert_eq!(names.iter().filter(|(_, what)| !what.ends_with("folder")).count(), 11, "{names:?}");

    // To its place: refused while something would be overwritten, and then only what differs is written.
    let in_place = ["archive", "restore", "epoch=1", "--in-place", "--component", "content"];
    let refused = site.run(&in_place).exits(15);
    assert!(refused.err.contains("1.txt"), "{}", refused.err);
    let rehearsed =
        objects(&site.run(&[&["--json"], &in_place[..], &["--overwrite", "--dry-run"]].concat()).exits(0));
    let rehearsed = rehearsed.last().unwrap();
    assert_eq!(std::fs::read_to_string(site.path("tree/a/1.txt")).unwrap(), "another content\n");
    let done =
        objects(&site.run(&[&["--json"], &in_place[..], &["--overwrite", "--delete"]].concat()).exits(0));
    let done = done.last().unwrap();
    assert_eq!(done["files"], rehearsed["files"]);
    assert_eq!(done["files"].as_u64().unwrap() - done["unchanged_files"].as_u64().unwrap(), 2, "{done}");
    assert_eq!(std::fs::read_to_string(site.path("tree/a/1.txt")).unwrap(), "file 1\n");
    assert!(site.path("tree/a/3.txt").exists() && !site.path("tree/new.txt").exists());
    let database =
        site.run(&["archive", "restore", "latest", "--in-place", "--component", "ledger"]).exits(2);
    assert!(database.err.contains("recover"), "{}", database.err);
}

#[test]
fn a_site_comes_back_from_an_archive_alone() {
    let site = two_versions();
    let before = contents(&site.path("tree"));
    for lost in ["tree", "backups"] {
        std::fs::remove_dir_all(site.path(lost)).unwrap();
    }
    std::fs::remove_file(site.path("app.db")).unwrap();
    let target = path(&site, "back");
    site.run(&["archive", "restore", "latest", "--target", &target]).exits(0);
    site.run(&["recover", &target]).exits(0);
    assert_eq!(contents(&site.path("tree")), before);
    let rows: i64 = rusqlite::Connection::open(site.path("app.db"))
        .unwrap()
        .query_row("select count(*) from t", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 3);
}
