//! Keys of an archive, and the one on paper.

use super::{objects, restic, run_with_input, site_with_archive};

fn write_private(site: &crate::site::Site, name: &str, text: &str) {
    std::fs::write(site.path(name), text).unwrap();
    std::fs::set_permissions(site.path(name), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

#[test]
fn keys_are_added_listed_and_removed_and_restic_agrees() {
    let site = site_with_archive("");
    site.run(&["archive", "init"]).exits(0);
    let file = site.path("second.key");
    let added =
        site.run(&["archive", "key", "add", "--file", file.to_str().unwrap(), "--label", "the office"]);
    assert!(added.exits(0).out.contains("made just now"));
    restic(&site, "second.key", &["snapshots"]).exits(0);
    let listed = objects(&site.run(&["--json", "archive", "key", "list"]).exits(0));
    assert_eq!(listed.len(), 2);
    let second = listed.iter().find(|key| key["hostname"] == "the office").unwrap()["id"].as_str().unwrap();
    let first = listed.iter().find(|key| key["current"] == true).unwrap()["id"].as_str().unwrap();
    let used = site.run(&["archive", "key", "remove", first]).exits(2);
    assert!(used.err.contains("the one in use"), "{}", used.err);
    site.run(&["archive", "key", "remove", "no"]).exits(2);
    site.run(&["archive", "key", "remove", &second[..10]]).exits(0);
    assert_eq!(objects(&site.run(&["--json", "archive", "key", "list"]).exits(0)).len(), 1);
    assert_ne!(restic(&site, "second.key", &["snapshots"]).code, 0);
    restic(&site, "disk.key", &["snapshots"]).exits(0);
}

#[test]
fn a_recovery_key_opens_the_archive_for_us_and_for_restic_when_the_key_is_lost() {
    let site = site_with_archive("");
    site.run(&["archive", "init"]).exits(0);
    let made = objects(&site.run(&["--json", "archive", "recovery-key"]).exits(0)).remove(0);
    let password = made["password"].as_str().unwrap();
    let lines: Vec<&str> =
        made["lines"].as_array().unwrap().iter().filter_map(|line| line.as_str()).collect();
    assert!(password.len() == 40 && lines.len() == 4 && !made["qr"].as_array().unwrap().is_empty());
    // With restic: the line that the page tells to write.
    write_private(&site, "paper.txt", password);
    restic(&site, "paper.txt", &["snapshots"]).exits(0);
    // With us: as it was printed, typed in capitals and with the look-alikes.
    let typed = lines.join("\n").to_uppercase().replace('0', "O").replace('1', "I");
    std::fs::remove_file(site.path("disk.key")).unwrap();
    let checked = run_with_input(&site, &["archive", "recovery-key", "--check"], &typed).exits(0);
    assert!(checked.out.contains("opens the archive"), "{}", checked.out);
    write_private(&site, "disk.key", &(typed + "\n"));
    site.run(&["archive", "list"]).exits(0);
    // A typing mistake is found in its line, and what was typed is not shown.
    let mut wrong = lines.join("\n");
    let replaced = if wrong.ends_with('7') { "8" } else { "7" };
    wrong.replace_range(wrong.len() - 1.., replaced);
    let told = run_with_input(&site, &["archive", "recovery-key", "--check"], &wrong).exits(16);
    assert!(told.err.contains("line 4 is not as it was printed"), "{}", told.err);
    assert!(!told.err.contains(&lines[3][..5]), "{}", told.err);
}

#[test]
fn the_page_of_a_recovery_key_says_all_that_is_needed_without_us() {
    let site = site_with_archive("");
    site.run(&["archive", "init"]).exits(0);
    let page = site.run(&["archive", "recovery-key"]).exits(0).out;
    let location = site.path("archive").display().to_string();
    for part in ["T01 (Test)", "archive   disk", &location, "--password-file", "restic -r", "█"] {
        assert!(page.contains(part), "{part} is missing in\n{page}");
    }
    assert!(!site.run(&["archive", "recovery-key", "--no-qr"]).exits(0).out.contains('█'));
    assert_eq!(objects(&site.run(&["--json", "archive", "key", "list"]).exits(0)).len(), 3);
}
