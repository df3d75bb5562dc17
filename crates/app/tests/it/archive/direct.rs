//! A site without a folder: what is captured goes straight into the archive.

use std::path::Path;

use super::{objects, restic, site_with_archive};
use crate::site::{Site, contents};

/// The site of the other tests, without a folder for its set.
fn site_without_folder() -> Site {
    let site = site_with_archive("");
    let path = site.path("site.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let folder = format!("folder = \"{}\"", site.path("backups").display());
    assert!(text.contains(&folder), "{text}");
    let staging = format!("staging = \"{}\"", site.path("work").display());
    std::fs::write(&path, text.replace(&folder, &staging)).unwrap();
    site.run(&["archive", "init"]).exits(0);
    site
}

/// All that lies below a folder, folders apart.
fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn a_site_without_a_folder_has_versions_that_restic_restores_to_whole_sets() {
    let site = site_without_folder();
    std::fs::write(site.path("tree/big"), vec![7_u8; 3 << 20]).unwrap();
    let run = site.run(&["backup"]).exits(0);
    assert!(run.out.contains("archive disk: version "), "{}", run.out);
    // Nothing stays but the log.
    let left = files_below(&site.path("work"));
    assert_eq!(left, [site.path("work/backup.log")]);
    restic(&site, "disk.key", &["check", "--read-data"]).exits(0);
    let target = site.path("restored");
    restic(&site, "disk.key", &["restore", "latest", "--target", target.to_str().unwrap()]).exits(0);
    let set = target.join("T01Backup");
    site.run(&["verify", set.to_str().unwrap()]).exits(0);
    let mut sums = std::process::Command::new("sha256sum");
    sums.args(["-c", "--strict", "--quiet", "SHA256SUMS"]).current_dir(&set);
    assert!(sums.status().unwrap().success());
    assert_eq!(contents(&set.join("SiteServer/content")), contents(&site.path("tree")));
    let output = files_below(&set.join("SiteServer/versions"));
    assert!(std::fs::read_to_string(&output[0]).unwrap().contains("Linux"), "{output:?}");

    // The site is lost and recovered from it.
    std::fs::remove_dir_all(site.path("tree")).unwrap();
    std::fs::remove_file(site.path("app.db")).unwrap();
    site.run(&["recover", set.to_str().unwrap()]).exits(0);
    assert_eq!(contents(&set.join("SiteServer/content")), contents(&site.path("tree")));
    assert!(site.path("app.db").exists());
}

#[test]
fn the_next_version_of_a_site_without_a_folder_adds_little() {
    let site = site_without_folder();
    std::fs::write(site.path("tree/big"), vec![7_u8; 3 << 20]).unwrap();
    let added = || {
        let run = site.run(&["--json", "backup"]).exits(0);
        let saved = objects(&run).into_iter().find(|event| event["event"] == "version-saved").unwrap();
        saved["stored_bytes"].as_u64().unwrap()
    };
    let first = added();
    std::fs::write(site.path("tree/a/new"), b"new").unwrap();
    let second = added();
    assert!(second * 4 < first, "{first} bytes, then {second}");
    assert_eq!(objects(&site.run(&["--json", "archive", "list"]).exits(0)).len(), 2);
}

#[test]
fn a_failed_run_of_a_site_without_a_folder_makes_no_version() {
    let site = site_without_folder();
    site.run(&["backup"]).exits(0);
    let path = site.path("site.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("[\"/bin/uname\", \"-a\"]", "[\"/bin/false\"]")).unwrap();
    assert_ne!(site.run(&["backup"]).code, 0);
    assert_eq!(objects(&site.run(&["--json", "archive", "list"]).exits(0)).len(), 1);
    restic(&site, "disk.key", &["check", "--read-data"]).exits(0);
    assert_eq!(files_below(&site.path("work")), [site.path("work/backup.log")]);
}
