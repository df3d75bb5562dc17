//! `backup`, `list`, `show`, `verify`, `reconcile`.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::site::{Site, contents};

#[test]
fn a_backup_is_complete_and_all_verbs_agree_on_it() {
    let site = Site::new();
    let done = site.run(&["backup"]).exits(0);
    assert!(
        done.out.contains("The site stood still for") && done.out.contains("Backup complete"),
        "{}",
        done.out
    );
    for name in [
        "manifest.json",
        "SHA256SUMS",
        "CD.Latest/stillpoint",
        "CD.Latest/site.toml",
        "CD.Latest/RECOVER.md",
        "backup.log",
    ] {
        assert!(site.set().join(name).exists(), "{name} is missing");
    }
    let log = std::fs::read_to_string(site.path("backups/backup.log")).unwrap();
    assert!(log.contains("STATMSG: ID=5035") && log.matches("Backup completed").count() == 1, "{log}");
    assert_eq!(std::fs::metadata(site.set().join("backup.log")).unwrap().mode() & 0o777, 0o600);
    assert_eq!(contents(&site.set().join("SiteServer/content")), contents(&site.path("tree")));
    let backups = site.path("backups");
    let backups = backups.to_str().unwrap();
    assert!(site.run(&["verify", backups]).exits(0).out.contains("Every byte"));
    assert!(site.run(&["show", backups]).exits(0).out.contains("content"));
    assert!(site.run(&["list"]).exits(0).out.contains("T01"));
    assert!(site.run(&["reconcile"]).exits(0).out.contains("Nothing was left behind"));
    let left: Vec<_> = std::fs::read_dir(backups).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn events_come_as_json_lines_with_every_phase() {
    let site = Site::new();
    let done = site.run(&["--json", "backup"]).exits(0);
    let events: Vec<serde_json::Value> =
        done.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let phases: Vec<&str> = events
        .iter()
        .filter(|event| event["event"] == "phase-ended")
        .map(|event| event["phase"].as_str().unwrap())
        .collect();
    assert_eq!(
        phases,
        ["preflight", "identify", "prepare", "freeze", "snapshot", "thaw", "capture", "seal", "after"]
    );
    assert!(
        events.iter().any(|event| event["event"] == "freeze-window" && event["window_us"].as_u64() > Some(0))
    );
    let end = events.last().unwrap();
    assert_eq!((end["event"].as_str(), end["outcome"].as_str()), (Some("run-ended"), Some("complete")));
}

#[test]
fn the_second_set_shares_what_did_not_change_and_replaces_the_first() {
    let site = Site::new();
    site.run(&["backup"]).exits(0);
    let file = site.set().join("SiteServer/content/a/1.txt");
    // A change time inside the last pass is not trusted, so the second run stores the file once more and the third shares it.
    site.run(&["backup"]).exits(0);
    let second = std::fs::metadata(&file).unwrap().ino();
    std::fs::write(site.path("tree/a/2.txt"), "changed").unwrap();
    site.run(&["backup"]).exits(0);
    assert_eq!(std::fs::metadata(&file).unwrap().ino(), second, "an unchanged file was copied");
    assert_eq!(std::fs::read_to_string(site.set().join("SiteServer/content/a/2.txt")).unwrap(), "changed");
    site.run(&["verify", site.set().to_str().unwrap()]).exits(0);
}

#[test]
fn damage_is_named_and_has_its_own_exit_code() {
    let site = Site::new();
    site.run(&["backup"]).exits(0);
    std::fs::write(site.set().join("SiteServer/content/a/3.txt"), "FILE 3\n").unwrap();
    let done = site.run(&["verify", site.set().to_str().unwrap()]).exits(14);
    assert!(done.out.contains("a/3.txt") && done.err.contains("hint:"), "{}{}", done.out, done.err);
}

#[test]
fn a_wrong_path_of_a_set_is_a_wrong_command_line_and_no_wrong_site_file() {
    let site = Site::new();
    for arguments in [["verify", "/nonexistent"], ["show", "/nonexistent"], ["recover", "/nonexistent"]] {
        site.run(&arguments).exits(2);
    }
    site.run(&["verify", site.path("tree").to_str().unwrap()]).exits(2);
}

#[test]
fn a_dry_run_touches_nothing() {
    let site = Site::new();
    let before = contents(site.folder.path());
    let done = site.run(&["backup", "--dry-run"]).exits(0);
    assert!(done.out.contains("content") && done.out.contains("provider"), "{}", done.out);
    assert_eq!(contents(site.folder.path()), before);
}

#[test]
fn the_hook_runs_after_the_backup_and_its_failure_does_not_unmake_it() {
    let site = Site::new();
    let hook = site.path("after-backup");
    std::fs::write(&hook, "#!/bin/sh\nls \"$STILLPOINT_SET/manifest.json\"\nexit 7\n").unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let done = site.run(&["backup"]).exits(0);
    assert!(done.out.contains("Backup complete"), "{}", done.out);
    assert!(done.out.contains("after-backup ended with exit code 7"), "{}", done.out);
    let log = std::fs::read_to_string(site.path("backups/backup.log")).unwrap();
    for number in ["5035", "5040", "5111", "5113"] {
        assert!(log.contains(&format!("STATMSG: ID={number}")), "{number} is missing in\n{log}");
    }
    assert!(!log.contains("STATMSG: ID=5129"), "the backup was called incomplete\n{log}");
    site.run(&["verify", site.set().to_str().unwrap()]).exits(0);
    let events = site.run(&["--json", "backup"]).exits(0).out;
    let end: serde_json::Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
    assert_eq!((end["outcome"].as_str(), end["problems"].as_u64()), (Some("complete"), Some(0)));
    assert!(end["hook_failure"].as_str().unwrap().contains("exit code 7"));
}

#[test]
fn a_person_is_told_what_a_dead_run_left_and_what_is_odd_about_the_destination() {
    let site = Site::new();
    let (mut run, gate) = held_run(&site, site.command(&["backup"]));
    run.kill().unwrap();
    run.wait().unwrap();
    drop(gate);
    site.write_site_file("", "");
    let done = site.run(&["backup"]).exits(0);
    for words in ["what it left was healed", "warning: The destination: "] {
        assert!(done.out.contains(words), "{words} is missing in\n{}", done.out);
    }
    let again = site.run(&["backup"]).exits(0);
    assert!(!again.out.contains("healed"), "{}", again.out);
}

/// The lines of `STATMSG: ID=` in the log, as numbers.
fn logged(site: &Site) -> Vec<u16> {
    let log = std::fs::read_to_string(site.path("backups/backup.log")).unwrap();
    let numbers = log.split("STATMSG: ID=").skip(1);
    numbers.map(|rest| rest.split(' ').next().unwrap().parse().unwrap()).collect()
}

#[test]
fn a_run_that_fails_early_leaves_its_trace_in_the_log() {
    let site = Site::new();
    std::fs::set_permissions(site.path("backups"), PermissionsExt::from_mode(0o755)).unwrap();
    site.run(&["backup"]).exits(12);
    assert!(logged(&site).contains(&5026) && logged(&site).contains(&5060), "{:?}", logged(&site));

    let site = Site::new();
    std::fs::remove_dir_all(site.path("tree")).unwrap();
    let done = site.run(&["--json", "backup"]).exits(1);
    assert!(logged(&site).contains(&5060), "{:?}", logged(&site));
    assert!(done.out.contains("\"event\":\"run-ended\""), "{}", done.out);
}

#[test]
fn every_component_that_cannot_be_backed_up_is_named_at_once_and_so_is_missing_room() {
    let site = Site::new();
    let missing = "[[component]]\nname = \"NAME\"\ntype = \"files\"\npath = \"/nonexistent/NAME\"\n";
    let broken = "[[component]]\nname = \"last\"\ntype = \"command\"\nrun = [\"/nonexistent/program\"]\n";
    let parts = [missing.replace("NAME", "first"), missing.replace("NAME", "second"), broken.to_owned()];
    site.write_site_file("", &parts.concat());
    let plan = site.run(&["--json", "backup", "--dry-run"]).exits(1);
    let plan: serde_json::Value = serde_json::from_str(&plan.out).unwrap();
    let parts = plan["components"].as_array().unwrap().iter();
    let failing: Vec<_> = parts.filter(|part| !part["error"].is_null()).map(|part| &part["name"]).collect();
    assert_eq!(failing, ["first", "second", "last"], "{plan}");
    let done = site.run(&["backup"]).exits(1);
    assert!(done.err.contains("component first") && done.err.contains("component second"), "{}", done.err);

    site.write_site_file("", "");
    let text = std::fs::read_to_string(site.path("site.toml")).unwrap();
    let full = text.replace("keep_free_percent = 0", "keep_free_percent = 99");
    std::fs::write(site.path("site.toml"), full).unwrap();
    assert!(site.run(&["backup", "--dry-run"]).exits(12).out.contains("free"));
}

#[test]
fn a_path_steers_no_terminal() {
    let site = Site::new();
    let odd = "[[component]]\nname = \"odd\"\ntype = \"files\"\npath = \"/nonexistent/\\u001b[2Jx\"";
    site.write_site_file("", odd);
    let done = site.run(&["backup"]);
    assert!(done.code != 0 && done.err.contains("nonexistent"), "{}", done.err);
    assert!(!(done.out + &done.err).contains('\x1b'), "a path reached the terminal as it is");
}

fn signal(run: &Child) {
    let process = rustix::process::Pid::from_raw(run.id().cast_signed()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
}

/// Waits until the process is in the act of opening this pipe, which never ends.
fn wait_for_opener(run: &Child) {
    let tasks = format!("/proc/{}/task", run.id());
    let waits = || {
        std::fs::read_dir(&tasks).unwrap().flatten().any(|task| {
            std::fs::read_to_string(task.path().join("wchan"))
                .is_ok_and(|text| ["wait_for_partner", "fifo_open"].contains(&text.trim()))
        })
    };
    let until = Instant::now() + Duration::from_secs(20);
    while !waits() {
        assert!(Instant::now() < until, "nothing hangs");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn quietly(mut command: Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_destination_that_does_not_answer_ends_the_run_at_a_deadline_or_on_a_signal() {
    let site = Site::new();
    // What opens a pipe that nobody reads waits like what opens a file on a dead share.
    Command::new("mkfifo").arg(site.path("backups/backup.log")).status().unwrap();
    site.write_site_file("", "[deadlines]\nidentify = \"1s\"");
    let done = site.run(&["backup"]).exits(12);
    assert!(done.err.contains("was not done within 1s"), "{}", done.err);

    site.write_site_file("", "");
    let begun = Instant::now();
    let mut run = quietly(site.command(&["backup"]));
    wait_for_opener(&run);
    signal(&run);
    assert_eq!(run.wait().unwrap().code(), Some(130));
    assert!(begun.elapsed() < Duration::from_secs(30), "it waited for its deadline");
    std::fs::remove_file(site.path("backups/backup.log")).unwrap();
    site.run(&["backup"]).exits(0);
}

#[test]
fn a_second_signal_ends_the_run_at_once() {
    let site = Site::new();
    let left = site.path("backups/.T01Backup.building-20260101T000000Z-1");
    std::fs::create_dir(&left).unwrap();
    Command::new("mkfifo").arg(left.join(".stillpoint-run")).status().unwrap();
    site.write_site_file("", "[deadlines]\nthaw = \"1h\"\nwindow = \"1h\"");
    let mut run = quietly(site.command(&["backup"]));
    wait_for_opener(&run);
    signal(&run);
    std::thread::sleep(Duration::from_millis(200));
    assert!(run.try_wait().unwrap().is_none(), "what heals the site was not waited for");
    signal(&run);
    assert_eq!(run.wait().unwrap().code(), Some(130));
}

#[test]
fn a_component_that_fails_leaves_the_last_good_set_untouched() {
    let site = Site::new();
    site.run(&["backup"]).exits(0);
    let before = contents(&site.set());
    site.write_site_file("", "[[component]]\nname = \"broken\"\ntype = \"command\"\nrun = [\"/bin/false\"]");
    let done = site.run(&["backup"]).exits(1);
    assert!(done.err.contains("broken"), "{}", done.err);
    assert_eq!(contents(&site.set()), before);
    let log = std::fs::read_to_string(site.path("backups/backup.log")).unwrap();
    assert!(log.contains("STATMSG: ID=5060"), "{log}");
    let left = std::fs::read_dir(site.path("backups")).unwrap().count();
    assert_eq!(left, 2, "a half-built set was left");
}

#[test]
fn a_set_below_the_minimum_grade_is_not_published() {
    let site = Site::new();
    // Nothing quiets whoever writes to the tree, so its claim cannot be better than `crash`.
    site.write_site_file("minimum_grade = \"frozen\"", "");
    let done = site.run(&["backup"]).exits(13);
    assert!(done.err.contains("content"), "{}", done.err);
    assert!(!site.set().exists());
}

/// Starts a backup with a slow component; answers when that component is being captured, with what lets it go on.
fn held_run(site: &Site, mut program: Command) -> (Child, File) {
    let fifo = site.path("wait");
    Command::new("mkfifo").arg(&fifo).status().unwrap();
    let reads = format!(
        "[[component]]\nname = \"slow\"\ntype = \"command\"\nrun = [\"/bin/cat\", \"{}\"]",
        fifo.display()
    );
    site.write_site_file("", &reads);
    let run = program.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // Opens only when the command of the run reads.
    (run, File::options().write(true).open(&fifo).unwrap())
}

#[test]
fn a_second_run_at_the_same_time_is_told_who_holds_the_site() {
    let site = Site::new();
    let (mut first, mut gate) = held_run(&site, site.command(&["backup"]));
    let done = site.run(&["backup"]).exits(11);
    assert!(done.err.contains(&first.id().to_string()), "{}", done.err);
    std::io::Write::write_all(&mut gate, b"done").unwrap();
    drop(gate);
    assert!(first.wait().unwrap().success());
}

#[test]
fn an_interrupted_run_ends_cleanly_and_publishes_nothing() {
    let site = Site::new();
    let (mut run, gate) = held_run(&site, site.command(&["backup"]));
    signal(&run);
    assert_eq!(run.wait().unwrap().code(), Some(130));
    drop(gate);
    assert!(!site.set().exists());
    assert!(site.run(&["reconcile"]).exits(0).out.contains("Nothing was left behind"));
}

#[test]
fn the_set_holds_the_site_file_that_the_run_worked_by() {
    let site = Site::new();
    let (mut run, mut gate) = held_run(&site, site.command(&["backup"]));
    let worked_by = std::fs::read_to_string(site.path("site.toml")).unwrap();
    std::fs::write(site.path("site.toml"), "no site file any more").unwrap();
    std::io::Write::write_all(&mut gate, b"done").unwrap();
    drop(gate);
    assert_eq!(run.wait().unwrap().code(), Some(0));
    assert_eq!(std::fs::read_to_string(site.set().join("CD.Latest/site.toml")).unwrap(), worked_by);
}

#[test]
fn the_set_holds_the_program_that_made_it_also_when_that_was_replaced_meanwhile() {
    let site = Site::new();
    let program = site.path("program");
    // By another process: one of ours that has it open for writing would keep it from being started.
    let install =
        || assert!(Command::new("cp").arg(crate::site::PROGRAM).arg(&program).status().unwrap().success());
    for upgraded in [false, true] {
        install();
        let mut command = Command::new(&program);
        command.args(site.command(&["backup"]).get_args());
        let (mut run, mut gate) = held_run(&site, command);
        std::fs::remove_file(&program).unwrap();
        if upgraded {
            std::fs::write(&program, "another program").unwrap();
        }
        std::io::Write::write_all(&mut gate, b"done").unwrap();
        drop(gate);
        assert_eq!(run.wait().unwrap().code(), Some(0));
        let kept = std::fs::read(site.set().join("CD.Latest/stillpoint")).unwrap();
        assert!(kept == std::fs::read(crate::site::PROGRAM).unwrap(), "another program is in the set");
        std::fs::remove_file(site.path("wait")).unwrap();
        let _ = std::fs::remove_file(&program);
    }
}

#[test]
fn a_signal_ends_the_hook_and_leaves_the_backup_complete() {
    let site = Site::new();
    let (hook, fifo) = (site.path("after-backup"), site.path("started"));
    Command::new("mkfifo").arg(&fifo).status().unwrap();
    std::fs::write(&hook, format!("#!/bin/sh\necho > {}\nsleep 300\n", fifo.display())).unwrap();
    std::fs::set_permissions(&hook, PermissionsExt::from_mode(0o700)).unwrap();
    let begun = Instant::now();
    let mut run = quietly(site.command(&["backup"]));
    std::fs::read(&fifo).unwrap();
    signal(&run);
    assert_eq!(run.wait().unwrap().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(60), "it waited for the hook");
    assert!(logged(&site).contains(&5111) && logged(&site).contains(&5035));
}

#[test]
fn a_secondary_site_is_refused_with_the_reason() {
    let site = Site::new();
    let text = std::fs::read_to_string(site.path("site.toml")).unwrap();
    std::fs::write(
        site.path("site.toml"),
        text.replace("name = \"Test\"", "name = \"Test\"\ntype = \"secondary\"\nparent = \"P01\""),
    )
    .unwrap();
    let done = site.run(&["backup"]);
    assert!(done.code == 2 || done.code == 4, "{}", done.code);
    assert!(done.err.contains("parent"), "{}", done.err);
}

/// Writes an executable script and gives its path.
fn script(site: &Site, name: &str, text: &str) -> String {
    let path = site.path(name);
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    path.display().to_string()
}

/// Gives the site a service with these commands.
fn write_service(site: &Site, freeze: &str, thaw: &str) {
    let service = format!(
        "[[component]]\nname = \"app\"\ntype = \"service\"\nquiet = \"command\"\n\
         freeze_command = [\"{freeze}\"]\nthaw_command = [\"{thaw}\"]\n"
    );
    site.write_site_file("", &service);
}

#[test]
fn a_person_at_the_terminal_is_told_what_was_healed_of_a_run_that_died() {
    let site = Site::new();
    let (freeze, thaw) = (script(&site, "freeze", "kill -9 $PPID"), script(&site, "thaw", "true"));
    write_service(&site, &freeze, &thaw);
    assert_eq!(site.run(&["backup"]).code, -1, "the run was not killed");
    site.write_site_file("", "");
    let done = site.run(&["backup"]).exits(0);
    // Whether it or the guard was sooner is a race.
    assert!(done.out.contains("warning: Run ") && done.out.contains("had died"), "{}", done.out);
}

#[test]
fn what_can_never_be_put_back_blocks_until_it_is_dismissed() {
    let site = Site::new();
    let thaw = script(&site, "thaw", "true");
    let freeze = script(&site, "freeze", &format!("rm {thaw}; kill -9 $PPID"));
    write_service(&site, &freeze, &thaw);
    assert_eq!(site.run(&["backup"]).code, -1, "the run was not killed");
    let blocked = site.run(&["backup"]).exits(20);
    assert!(blocked.err.contains("--forget"), "{}", blocked.err);
    let told = site.run(&["reconcile"]).exits(20);
    let ticket = told.err.split("(ticket ").nth(1).and_then(|rest| rest.split(')').next()).unwrap();
    site.run(&["reconcile", "--forget", "4711"]).exits(2);
    let done = site.run(&["reconcile", "--forget", ticket]).exits(0);
    // An alert that the site stands still ends with it.
    let history = stillpoint_history::History::open(&site.path("state/history/T01.db")).unwrap();
    let healed = stillpoint_history::MessageQuery { number: Some(5100), ..Default::default() };
    let newest = history.messages(&healed).unwrap().remove(0);
    assert!(newest.message.text.contains("dismissed by hand"), "{newest:?}");
    assert!(done.out.contains("dismissed") && done.out.contains(&thaw), "{}", done.out);
    site.write_site_file("", "");
    site.run(&["backup"]).exits(0);
}

#[test]
fn the_list_for_programs_has_the_grade_of_the_run_and_says_what_cannot_be_read() {
    let site = Site::new();
    let done = site.run(&["--json", "backup"]).exits(0);
    let end: serde_json::Value = serde_json::from_str(done.out.lines().last().unwrap()).unwrap();
    let list = || -> serde_json::Value {
        serde_json::from_str(&site.run(&["--json", "list"]).exits(0).out).unwrap()
    };
    let listed = list();
    assert_eq!((&listed["grade"], &listed["outcome"]), (&end["grade"], &"complete".into()));
    assert_eq!(listed["set"].as_str(), site.set().to_str());
    std::fs::write(site.set().join("manifest.json"), "{}").unwrap();
    let broken = list();
    assert!(broken["error"].as_str().unwrap().contains("checksum") && broken["set"].is_string(), "{broken}");
}

#[test]
fn a_dry_run_has_the_exit_code_that_the_run_would_have() {
    let site = Site::new();
    std::fs::set_permissions(site.path("backups"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    site.run(&["backup", "--dry-run"]).exits(12);
    site.run(&["backup"]).exits(12);
}

#[test]
fn a_verify_names_the_set_that_it_read_whatever_it_was_asked_for() {
    let site = Site::new();
    site.run(&["backup"]).exits(0);
    let (set, backups) = (site.set().display().to_string(), site.path("backups").display().to_string());
    assert!(site.run(&["verify", &backups]).exits(0).out.contains(&format!("read from {set}")));
    let done = site.run(&["--json", "verify", &backups]).exits(0);
    let last: serde_json::Value = serde_json::from_str(done.out.lines().last().unwrap()).unwrap();
    assert_eq!(last["set"].as_str(), Some(set.as_str()));
}

#[test]
fn the_reason_for_a_provider_is_told_only_to_who_asks_and_a_missing_tree_only_once() {
    let site = Site::new();
    let brief = site.run(&["backup"]).exits(0).out;
    assert!(brief.contains("content: copy\n") || brief.contains("content: reflink\n"), "{brief}");
    assert!(site.run(&["-v", "backup"]).exits(0).out.contains("not btrfs: "));
    std::fs::remove_dir_all(site.path("tree")).unwrap();
    let done = site.run(&["backup"]).exits(1);
    assert_eq!(done.err.matches("No such file").count(), 1, "{}", done.err);
}
