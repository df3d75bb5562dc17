//! `recover`.

use crate::site::{Site, contents};

fn destroy(site: &Site) {
    std::fs::remove_dir_all(site.path("tree")).unwrap();
    std::fs::remove_file(site.path("app.db")).unwrap();
}

#[test]
fn a_destroyed_site_comes_back_as_it_was() {
    let site = Site::new();
    let before = contents(&site.path("tree"));
    site.run(&["backup"]).exits(0);
    destroy(&site);
    let set = site.set();
    let plan = site.run(&["recover", set.to_str().unwrap(), "--dry-run"]).exits(0);
    assert!(plan.out.contains("content") && !site.path("tree").exists(), "{}", plan.out);
    site.run(&["recover", set.to_str().unwrap()]).exits(0);
    assert_eq!(contents(&site.path("tree")), before);
    let database = rusqlite::Connection::open(site.path("app.db")).unwrap();
    let sum: i64 = database.query_row("select sum(x) from t", [], |row| row.get(0)).unwrap();
    assert_eq!(sum, 6);
}

#[test]
fn what_is_there_is_not_replaced_without_a_word() {
    let site = Site::new();
    site.run(&["backup"]).exits(0);
    std::fs::write(site.path("tree/a/1.txt"), "newer").unwrap();
    let set = site.set();
    let done = site.run(&["recover", set.to_str().unwrap()]).exits(15);
    assert!(done.err.contains("--overwrite") && done.err.contains("tree"), "{}", done.err);
    assert_eq!(std::fs::read_to_string(site.path("tree/a/1.txt")).unwrap(), "newer");
    site.run(&["recover", set.to_str().unwrap(), "--overwrite"]).exits(0);
    assert_eq!(std::fs::read_to_string(site.path("tree/a/1.txt")).unwrap(), "file 1\n");
}

#[test]
fn one_component_comes_back_alone() {
    let site = Site::new();
    site.run(&["backup"]).exits(0);
    destroy(&site);
    site.run(&["recover", site.set().to_str().unwrap(), "--component", "ledger"]).exits(0);
    assert!(site.path("app.db").exists() && !site.path("tree").exists());
    let done = site.run(&["recover", site.set().to_str().unwrap(), "--component", "nothing"]).exits(2);
    assert!(done.err.contains("nothing"), "{}", done.err);
}

/// A whole set of the site, in which one file of component `content` was changed since.
fn damaged_set(site: &Site) -> String {
    site.run(&["backup"]).exits(0);
    std::fs::write(site.set().join("SiteServer/content/a/3.txt"), "FILE 3\n").unwrap();
    site.set().to_str().unwrap().to_owned()
}

#[test]
fn a_damaged_set_is_refused_before_anything_of_a_living_site_is_replaced() {
    let site = Site::new();
    let set = damaged_set(&site);
    std::fs::write(site.path("tree/a/1.txt"), "newer").unwrap();
    let before = contents(&site.path("tree"));
    let done = site.run(&["recover", &set, "--overwrite"]).exits(14);
    assert!(done.err.contains("nothing was touched") && done.err.contains("a/3.txt"), "{}", done.err);
    assert_eq!(contents(&site.path("tree")), before);
    // What is undamaged can be put back alone.
    site.run(&["recover", &set, "--overwrite", "--component", "ledger"]).exits(0);
}

#[test]
fn damage_that_is_met_on_the_way_is_named_with_what_was_put_back_until_then() {
    let site = Site::new();
    let set = damaged_set(&site);
    let text = std::fs::read_to_string(site.path("site.toml")).unwrap();
    let (head, rest) = text.split_once("[[component]]").unwrap();
    let (content, others) = rest.split_once("[[component]]").unwrap();
    // The damaged component comes after the database.
    std::fs::write(site.path("site.toml"), format!("{head}[[component]]{others}\n[[component]]{content}"))
        .unwrap();
    let done = site.run(&["recover", &set, "--overwrite", "--no-verify", "--with-config"]).exits(14);
    for part in
        ["3.txt", "already put back: ledger", "partly put back, partly as it was: content", "--overwrite"]
    {
        assert!(done.err.contains(part), "{part} is missing in\n{}", done.err);
    }
}

#[test]
fn a_probe_that_never_succeeds_fails_the_recovery_and_is_named() {
    let site = Site::new();
    site.write_site_file("", "[[probe]]\nname = \"it answers\"\nrun = [\"/bin/false\"]\ntimeout = \"300ms\"");
    site.run(&["backup"]).exits(0);
    destroy(&site);
    let done = site.run(&["recover", site.set().to_str().unwrap()]).exits(1);
    assert!(done.err.contains("it answers"), "{}", done.err);
    assert!(site.path("tree").exists());
}

#[test]
fn what_is_no_set_is_refused() {
    let site = Site::new();
    for verb in ["recover", "verify", "show"] {
        let done = site.run(&[verb, site.path("tree").to_str().unwrap()]);
        assert!(
            done.code != 0 && done.err.contains("tree") && !done.err.contains("panicked"),
            "{verb}: {}",
            done.err
        );
    }
}
