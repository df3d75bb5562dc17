//! `archive`: a local archive of a small site, with stock restic as the judge.

mod care;
mod direct;
mod keys;
mod look;
mod mount;
mod retain;
mod save;

use std::io::Write;
use std::process::{Command, Stdio};

use crate::site::{Done, Site};

/// A site with the archive `disk`, and more text in its table.
pub fn site_with_archive(more: &str) -> Site {
    let site = Site::new();
    let top = site.folder.path().display();
    let table = format!(
        "[[archive]]\nname = \"disk\"\nlocation = \"{top}/archive\"\nkey = {{ file = \"{top}/disk.key\" }}\n{more}\n"
    );
    site.write_site_file("", &table);
    site
}

/// Stock restic on the archive of this site, with a password file.
pub fn restic(site: &Site, password_file: &str, arguments: &[&str]) -> Done {
    let output = Command::new("restic")
        .arg("--no-cache")
        .arg("-r")
        .arg(site.path("archive"))
        .arg("--password-file")
        .arg(site.path(password_file))
        .args(arguments)
        .output()
        .expect("restic judges our archives: apt-get install restic");
    Done::of(output)
}

/// Runs the program with something on its standard input.
pub fn run_with_input(site: &Site, arguments: &[&str], input: &str) -> Done {
    let mut command = site.command(arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Done::of(child.wait_with_output().unwrap())
}

/// The JSON objects on standard output, but for the progress.
pub fn objects(done: &Done) -> Vec<serde_json::Value> {
    let all = done.out.lines().map(|line| serde_json::from_str(line).unwrap());
    all.filter(|object: &serde_json::Value| object["event"] != "progress").collect()
}

#[test]
fn an_archive_is_made_once_with_a_private_key_file_and_restic_opens_it() {
    let site = site_with_archive("");
    let done = site.run(&["archive", "list"]).exits(16);
    assert!(done.err.contains("disk.key") && done.err.contains("archive init"), "{}", done.err);
    let done = site.run(&["archive", "init"]).exits(0);
    assert!(done.out.contains("disk.key") && done.out.contains("recovery-key"), "{}", done.out);
    let key = std::fs::read(site.path("disk.key")).unwrap();
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&site.path("disk.key").metadata().unwrap().permissions());
    assert_eq!(mode & 0o7777, 0o600);
    assert!(!done.out.contains(std::str::from_utf8(&key).unwrap().trim()));
    let listed = site.run(&["archive", "list"]).exits(0);
    assert!(listed.out.contains("0 versions"), "{}", listed.out);
    assert!(restic(&site, "disk.key", &["snapshots"]).exits(0).out.is_empty());
    restic(&site, "disk.key", &["check"]).exits(0);
    // Nothing is made twice, and the key stays.
    let again = site.run(&["archive", "init"]).exits(15);
    assert!(again.err.contains("there already"), "{}", again.err);
    assert_eq!(std::fs::read(site.path("disk.key")).unwrap(), key);
}

#[test]
fn a_wrong_key_a_missing_archive_and_a_damaged_one_are_told_apart() {
    let site = site_with_archive("");
    std::fs::write(site.path("disk.key"), "some password\n").unwrap();
    std::fs::set_permissions(site.path("disk.key"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    let none = site.run(&["archive", "list"]).exits(12);
    assert!(none.err.contains("disk"), "{}", none.err);
    site.run(&["archive", "init"]).exits(0);
    std::fs::write(site.path("disk.key"), "another password\n").unwrap();
    let wrong = site.run(&["archive", "list"]).exits(16);
    assert!(wrong.err.contains("not damaged") && wrong.err.contains("recovery key"), "{}", wrong.err);
    assert!(!wrong.err.contains("another password"));
    std::fs::set_permissions(site.path("disk.key"), std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .unwrap();
    let open = site.run(&["archive", "list"]).exits(16);
    assert!(open.err.contains("others may read") && open.err.contains("chmod 600"), "{}", open.err);
    std::fs::write(site.path("disk.key"), "some password\n").unwrap();
    std::fs::set_permissions(site.path("disk.key"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    let config = site.path("archive/config");
    let mut content = std::fs::read(&config).unwrap();
    content[40] ^= 1;
    std::fs::set_permissions(&config, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(&config, content).unwrap();
    let damaged = site.run(&["archive", "list"]).exits(14);
    assert!(damaged.err.contains("damaged"), "{}", damaged.err);
}

#[test]
fn which_archive_is_meant_is_asked_only_when_it_is_not_clear() {
    let site = Site::new();
    let none = site.run(&["archive", "list"]).exits(4);
    assert!(none.err.contains("[[archive]]"), "{}", none.err);
    let top = site.folder.path().display().to_string();
    let table = |name: &str| {
        format!(
            "[[archive]]\nname = \"{name}\"\nlocation = \"{top}/{name}\"\nkey = {{ file = \"{top}/{name}.key\" }}\n"
        )
    };
    site.write_site_file("", &(table("one") + &table("two")));
    let asked = site.run(&["archive", "init"]).exits(2);
    assert!(asked.err.contains("--archive: one, two"), "{}", asked.err);
    let wrong = site.run(&["archive", "init", "-a", "three"]).exits(2);
    assert!(wrong.err.contains("no archive three"), "{}", wrong.err);
    site.run(&["archive", "init", "-a", "two"]).exits(0);
    // The one that cannot be read hides nothing of the other.
    let listed = site.run(&["archive", "list"]).exits(16);
    assert!(
        listed.out.contains("two at") && listed.err.contains("one.key"),
        "{}\n{}",
        listed.out,
        listed.err
    );
}
