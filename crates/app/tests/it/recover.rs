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
        for (place, named) in [(site.path("tree"), "tree"), ("/nowhere/at/all".into(), "/nowhere")] {
            let done = site.run(&[verb, place.to_str().unwrap()]).exits(2);
            assert!(done.err.contains(named) && !done.err.contains("panicked"), "{verb}: {}", done.err);
        }
    }
}

/// A site with a service in it whose commands keep its state in the file `works`.
fn site_with_a_service() -> Site {
    let site = Site::new();
    let works = site.path("works");
    std::fs::write(&works, "").unwrap();
    let works = works.display();
    site.write_site_file(
        "",
        &format!(
            "[[component]]\nname = \"app\"\ntype = \"service\"\nquiet = \"command\"\n\
             running_command = [\"/usr/bin/test\", \"-e\", \"{works}\"]\n\
             freeze_command = [\"/bin/rm\", \"{works}\"]\nthaw_command = [\"/usr/bin/touch\", \"{works}\"]\n"
        ),
    );
    site
}

#[test]
fn a_recovery_that_fails_half_way_names_the_services_that_it_leaves_stopped() {
    let site = site_with_a_service();
    let set = damaged_set(&site);
    let done = site.run(&["recover", &set, "--overwrite", "--no-verify"]).exits(14);
    assert!(done.err.contains("stopped, and not started again: app"), "{}", done.err);
    assert!(!site.path("works").exists());
}

#[test]
fn when_one_service_cannot_be_stopped_the_others_go_on_and_nothing_is_put_back() {
    let site = site_with_a_service();
    site.run(&["backup"]).exits(0);
    std::fs::write(site.path("tree/a/1.txt"), "newer").unwrap();
    let text = std::fs::read_to_string(site.path("site.toml")).unwrap();
    let stubborn = "[[component]]\nname = \"stubborn\"\ntype = \"service\"\nquiet = \"command\"\nlevel = \"back-end\"\n\
                    freeze_command = [\"/bin/false\"]\nthaw_command = [\"/bin/true\"]\n";
    // The set has it, too, with commands that work.
    let able = stubborn.replace("/bin/false", "/bin/true");
    std::fs::write(site.path("site.toml"), format!("{text}\n{able}")).unwrap();
    site.run(&["backup"]).exits(0);
    std::fs::write(site.path("site.toml"), format!("{text}\n{stubborn}")).unwrap();
    let set = site.set();
    let done = site.run(&["recover", set.to_str().unwrap(), "--overwrite", "--with-config"]).exits(1);
    assert!(done.err.contains("stubborn") && done.err.contains("nothing was put back"), "{}", done.err);
    assert!(site.path("works").exists(), "the other service was left stopped");
    assert_eq!(std::fs::read_to_string(site.path("tree/a/1.txt")).unwrap(), "newer");
}

#[test]
fn a_recovery_heals_what_a_dead_run_left() {
    let site = Site::new();
    site.run(&["backup"]).exits(0);
    let fifo = site.path("wait");
    std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    let slow = "[[component]]\nname = \"slow\"\ntype = \"command\"\nrun = [\"/bin/cat\", \"FIFO\"]";
    site.write_site_file("", &slow.replace("FIFO", fifo.to_str().unwrap()));
    let mut run = site
        .command(&["backup"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let gate = std::fs::File::options().write(true).open(&fifo).unwrap();
    // The guard first: it would heal, too.
    let guard = std::fs::read_to_string(site.path("state/T01/guard.lock")).unwrap_or_default();
    let guard: serde_json::Value = serde_json::from_str(&guard).unwrap_or_default();
    let kill = |process: u64| {
        let process = rustix::process::Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
        let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
    };
    guard["process"].as_u64().into_iter().for_each(kill);
    kill(run.id().into());
    run.wait().unwrap();
    drop(gate);
    let half_built = || {
        let names = std::fs::read_dir(site.path("backups")).unwrap().flatten().map(|entry| entry.file_name());
        names.filter(|name| name.to_string_lossy().contains("building")).count()
    };
    assert_eq!(half_built(), 1, "the run left nothing to heal");
    site.run(&["recover", site.set().to_str().unwrap(), "--overwrite"]).exits(0);
    assert_eq!(half_built(), 0);
}

/// Where the page for the worst day says that something is: the text between back-quotes that ends with `end`.
fn named<'a>(page: &'a str, end: &str) -> &'a str {
    page.split('`')
        .find(|part| part.ends_with(end))
        .unwrap_or_else(|| panic!("nothing ends with {end} in\n{page}"))
}

#[test]
fn the_page_for_the_worst_day_names_the_folder_with_the_databases_and_what_it_says_works() {
    let site = Site::new();
    let databases = site.path("databases");
    std::fs::create_dir(&databases).unwrap();
    std::fs::set_permissions(&databases, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let top = site.folder.path().display().to_string();
    let text = std::fs::read_to_string(site.path("site.toml")).unwrap().replace(
        &format!("folder = \"{top}/backups\""),
        &format!("files = \"{top}/backups\"\ndatabases = \"{top}/databases\""),
    );
    std::fs::write(site.path("site.toml"), text).unwrap();
    site.run(&["backup"]).exits(0);
    let page = std::fs::read_to_string(site.set().join("CD.Latest/RECOVER.md")).unwrap();
    assert!(!page.contains("This whole folder"), "{page}");
    let ledger = site.set().join(named(&page, "SiteDBServer/ledger").replace("../", "../../databases/"));
    assert!(ledger.exists(), "{} is not there", ledger.display());
    // Another machine, on which only what the page says is copied.
    let part = std::fs::read_dir(&databases).unwrap().next().unwrap().unwrap().path();
    let name = part.file_name().unwrap().to_str().unwrap();
    assert!(page.contains(part.to_str().unwrap()) && page.contains(&format!("`/root/{name}`")), "{page}");
    let machine = site.path("machine");
    std::fs::create_dir(&machine).unwrap();
    std::fs::rename(site.set(), machine.join("T01Backup")).unwrap();
    std::fs::rename(&part, machine.join(name)).unwrap();
    destroy(&site);
    site.run(&["recover", machine.join("T01Backup").to_str().unwrap()]).exits(0);
    assert!(site.path("app.db").exists());
}

#[test]
fn of_an_incomplete_set_and_the_complete_one_beside_it_the_destination_stands_for_the_last() {
    let site = Site::new();
    site.run(&["backup"]).exits(0);
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([site.set(), site.path("backups/T01Backup.complete")])
        .status()
        .unwrap();
    assert!(copied.success());
    let backups = site.path("backups").display().to_string();
    site.run(&["verify", &backups]).exits(0);
    for verb in ["show", "recover"] {
        let done = site.run(&[verb, &backups, "--overwrite"][..if verb == "show" { 2 } else { 3 }]).exits(0);
        assert!(done.out.contains("T01Backup.complete"), "{verb}: {}", done.out);
    }
}

#[test]
fn a_dry_run_has_the_exit_code_that_the_recovery_would_have() {
    let site = Site::new();
    site.run(&["backup"]).exits(0);
    let set = site.set().display().to_string();
    let done = site.run(&["recover", &set, "--dry-run"]).exits(15);
    assert!(done.out.contains("in the way:"), "{}", done.out);
    site.run(&["recover", &set, "--dry-run", "--overwrite"]).exits(0);
    destroy(&site);
    site.run(&["recover", &set, "--dry-run"]).exits(0);
}

#[test]
fn a_file_with_two_names_is_one_file_in_the_set_and_when_it_is_put_back() {
    let site = Site::new();
    std::fs::hard_link(site.path("tree/a/1.txt"), site.path("tree/b/again")).unwrap();
    let taken = site.run(&["backup"]).exits(0);
    destroy(&site);
    let set = site.set().display().to_string();
    let plan = site.run(&["recover", &set, "--dry-run"]).exits(0);
    let back = site.run(&["recover", &set]).exits(0);
    // 20 of the loop and the one with the odd name.
    for (what, said) in [("taken", &taken.out), ("planned", &plan.out), ("put back", &back.out)] {
        assert!(said.contains("21 files"), "{what}: {said}");
    }
    assert!(!back.out.contains("0 µs") && plan.out.contains(" B)"), "{}{}", back.out, plan.out);
}
