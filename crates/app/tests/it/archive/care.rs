//! Several archives that help each other, and looking whether they are good.

use super::{objects, restic, site_with_archive};
use crate::site::Site;

/// A site with the archives `disk` and `away`, both made.
fn two_archives(more: &str) -> Site {
    let site = site_with_archive("");
    let top = site.folder.path().display().to_string();
    let table = |name: &str, place: &str| {
        let key = format!("key = {{ file = \"{top}/{name}.key\" }}");
        format!("[[archive]]\nname = \"{name}\"\nlocation = \"{top}/{place}\"\n{key}\n{more}\n")
    };
    site.write_site_file("", &(table("disk", "archive") + &table("away", "away")));
    for name in ["disk", "away"] {
        site.run(&["archive", "init", "-a", name]).exits(0);
    }
    site
}

/// The biggest pack of the archive `disk` gets one wrong byte.
fn damage_biggest_pack(site: &Site) -> std::path::PathBuf {
    let mut files = Vec::new();
    for folder in std::fs::read_dir(site.path("archive/data")).unwrap() {
        files.extend(std::fs::read_dir(folder.unwrap().path()).unwrap().map(|file| file.unwrap().path()));
    }
    let biggest = files.into_iter().max_by_key(|file| file.metadata().unwrap().len()).unwrap();
    let mut content = std::fs::read(&biggest).unwrap();
    content[1000] ^= 1;
    std::fs::set_permissions(&biggest, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(&biggest, content).unwrap();
    biggest
}

fn epochs(site: &Site, archive: &str) -> Vec<u64> {
    let versions = objects(&site.run(&["--json", "archive", "list", "-a", archive]).exits(0));
    versions.iter().map(|version| version["epoch"].as_u64().unwrap()).collect()
}

#[test]
fn what_an_archive_missed_while_it_was_away_comes_from_the_other_with_the_next_run() {
    let site = two_archives("");
    site.run(&["backup"]).exits(0);
    std::fs::rename(site.path("away"), site.path("unplugged")).unwrap();
    for number in 0..2 {
        std::fs::write(site.path("tree/number"), format!("{number}")).unwrap();
        site.run(&["backup"]).exits(3);
    }
    std::fs::rename(site.path("unplugged"), site.path("away")).unwrap();
    assert_eq!(epochs(&site, "away"), [1]);
    let run = site.run(&["backup"]).exits(0);
    assert_eq!(epochs(&site, "away"), [1, 2, 3, 4], "{}", run.out);
    let log = std::fs::read_to_string(site.path("backups/backup.log")).unwrap();
    assert!(log.contains("ID=5157") && log.contains("had missed 2 version(s)"), "{log}");
    let dumped = ["archive", "dump", "epoch=3", "number", "--component", "content", "-a", "away"];
    assert_eq!(site.run(&dumped).exits(0).out, "1");
}

#[test]
fn versions_are_copied_by_hand_and_what_the_rules_would_not_keep_is_not() {
    let site = two_archives("keep = { last = 2 }");
    let text = std::fs::read_to_string(site.path("site.toml")).unwrap();
    let without = text.replace("keep = { last = 2 }", "");
    std::fs::write(site.path("site.toml"), &without).unwrap();
    for number in 0..4 {
        std::fs::write(site.path("tree/number"), format!("{number}")).unwrap();
        site.run(&["backup"]).exits(0);
    }
    std::fs::remove_dir_all(site.path("away")).unwrap();
    site.run(&["archive", "init", "-a", "away"]).exits(0);
    std::fs::write(site.path("site.toml"), &text).unwrap();
    let plan = site.run(&["archive", "copy", "disk", "--dry-run"]).exits(0);
    assert!(plan.out.contains("archive away: 2 versions would be copied"), "{}", plan.out);
    assert!(epochs(&site, "away").is_empty());
    site.run(&["archive", "copy", "disk"]).exits(0);
    assert_eq!(epochs(&site, "away"), [3, 4]);
    site.run(&["archive", "copy", "disk", "epoch=1", "-a", "away"]).exits(0);
    assert_eq!(epochs(&site, "away"), [1, 3, 4]);
    let again = objects(&site.run(&["--json", "archive", "copy", "disk", "epoch=1"]).exits(0));
    assert!(again[0]["copied"].as_array().unwrap().is_empty(), "{again:?}");
    let itself = site.run(&["archive", "copy", "disk", "-a", "disk"]).exits(2);
    assert!(itself.err.contains("no other archive"), "{}", itself.err);
}

#[test]
fn verify_reads_all_of_it_in_time_and_names_what_a_damaged_pack_touches() {
    let site = site_with_archive("verify_every = \"2d\"");
    site.run(&["archive", "init"]).exits(0);
    std::fs::write(site.path("tree/a/precious"), vec![42_u8; 900_000]).unwrap();
    site.run(&["backup"]).exits(0);
    let verified = |arguments: &[&str], code: i32| {
        let done = site.run(&[&["--json", "archive", "verify"], arguments].concat()).exits(code);
        objects(&done).into_iter().find(|event| event["event"] == "archive-verified").unwrap()
    };
    let structure = verified(&["--structure"], 0);
    assert_eq!((&structure["read_packs"], &structure["all_read"]), (&0.into(), &serde_json::Value::Null));
    let packs = structure["packs"].as_u64().unwrap();
    let first = verified(&[], 0);
    assert!(first["read_packs"].as_u64().unwrap() <= packs, "{first}");
    let all = verified(&["--all"], 0);
    assert_eq!((all["read_packs"].as_u64().unwrap(), all["good"].as_bool()), (packs, Some(true)));
    assert!(all["all_read"].is_string(), "{all}");

    let biggest = damage_biggest_pack(&site);
    let damaged = verified(&["--all"], 14);
    assert_eq!(damaged["good"], false);
    let pack = &damaged["damaged_packs"][0];
    assert_eq!(pack["pack"].as_str(), biggest.file_name().unwrap().to_str());
    assert!(!pack["touched"][0]["files"].as_array().unwrap().is_empty(), "{damaged}");
    let told = site.run(&["archive", "verify", "--all"]).exits(14);
    assert!(
        told.out.contains("damaged:") && told.err.contains("archive repair"),
        "{}\n{}",
        told.out,
        told.err
    );
    assert_ne!(restic(&site, "disk.key", &["check", "--read-data"]).code, 0);
}

#[test]
fn a_damaged_archive_is_healed_from_the_other_and_from_the_set() {
    let site = two_archives("");
    std::fs::write(site.path("tree/a/precious"), vec![42_u8; 900_000]).unwrap();
    site.run(&["backup"]).exits(0);
    for sources in [&["--from", "away"][..], &["--folder", "set"], &[]] {
        damage_biggest_pack(&site);
        site.run(&["archive", "verify", "--all", "-a", "disk"]).exits(14);
        let set = site.set().display().to_string();
        let sources: Vec<&str> =
            sources.iter().map(|word| if *word == "set" { set.as_str() } else { word }).collect();
        let healed =
            site.run(&[&["--json", "archive", "repair", "-a", "disk"], &sources[..]].concat()).exits(0);
        let healed = objects(&healed).into_iter().find(|event| event["event"] == "repaired").unwrap();
        assert!(healed["unhealed"].as_array().unwrap().is_empty(), "{healed}");
        site.run(&["archive", "verify", "--all", "-a", "disk"]).exits(0);
        restic(&site, "disk.key", &["check", "--read-data"]).exits(0);
    }
    // Nothing to heal from: what is lost is told, and nothing good is removed.
    damage_biggest_pack(&site);
    let empty = site.path("empty").display().to_string();
    std::fs::create_dir(&empty).unwrap();
    let told = site.run(&["archive", "repair", "-a", "disk", "--folder", &empty]).exits(14);
    assert!(told.out.contains("damaged:") && told.err.contains("--from"), "{}\n{}", told.out, told.err);
    site.run(&["archive", "repair", "-a", "disk"]).exits(0);
}
