//! `config` and `init`: what is said of a site file.

use crate::site::Site;

#[test]
fn all_mistakes_are_told_at_once_with_line_text_and_remedy() {
    let site = Site::new();
    let text = r#"[site]
code = "TOOLONG"
nmae = "x"

[destination]
folder = "relative/path"

[[component]]
name = "content"
type = "files"
path = "also/relative"
exclud = ["*.tmp"]
"#;
    std::fs::write(site.path("site.toml"), text).unwrap();
    let done = site.run(&["config", "check"]).exits(4);
    for part in
        ["site.toml:2:", "TOOLONG", "nmae", "site.toml:6:", "relative/path", "site.toml:11:", "exclud"]
    {
        assert!(done.err.contains(part), "{part} is missing in\n{}", done.err);
    }
    assert!(!done.err.contains("panicked"));
}

#[test]
fn a_missing_site_file_is_one_clear_error() {
    let site = Site::new();
    std::fs::remove_file(site.path("site.toml")).unwrap();
    let done = site.run(&["backup"]).exits(4);
    assert!(done.err.contains("site.toml") && done.err.contains("init"), "{}", done.err);
}

#[test]
fn the_effective_settings_and_the_schema_can_be_read_by_machines() {
    let site = Site::new();
    let shown = site.run(&["config", "show"]).exits(0).out;
    assert!(shown.contains("window") && shown.contains("minimum_grade"), "{shown}");
    std::fs::write(site.path("shown.toml"), &shown).unwrap();
    let again =
        site.command(&[]).arg("--config").arg(site.path("shown.toml")).args(["config", "show"]).output();
    drop(again);
    serde_json::from_str::<serde_json::Value>(&site.run(&["config", "schema"]).exits(0).out).unwrap();
}

#[test]
fn init_writes_a_valid_site_file_once() {
    let site = Site::new();
    let file = site.path("new.toml");
    for sample in [false, true] {
        let mut arguments = vec!["init", file.to_str().unwrap(), "--overwrite"];
        if sample {
            arguments.push("--sample");
        }
        site.run(&arguments).exits(0);
        let checked = std::process::Command::new(crate::site::PROGRAM)
            .arg("--config")
            .arg(&file)
            .args(["config", "check"])
            .output()
            .unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    }
    site.run(&["init", file.to_str().unwrap()]).exits(15);
}

#[test]
fn programs_get_each_mistake_as_an_object_and_a_word_when_there_is_none() {
    let site = Site::new();
    let check = |code: i32| -> serde_json::Value {
        serde_json::from_str(&site.run(&["--json", "config", "check"]).exits(code).out).unwrap()
    };
    let valid = check(0);
    assert_eq!(
        (&valid["valid"], &valid["site"], &valid["components"]),
        (&true.into(), &"T01".into(), &3.into())
    );
    let text = std::fs::read_to_string(site.path("site.toml")).unwrap();
    std::fs::write(site.path("site.toml"), text.replace("code = \"T01\"", "code = \"TOOLONG\"\nnmae = 1"))
        .unwrap();
    let wrong = check(4);
    let first = &wrong["mistakes"][0];
    assert_eq!(
        (&wrong["valid"], &first["line"], &first["key_path"]),
        (&false.into(), &2.into(), &"site.code".into())
    );
    assert!(first["remedy"].is_string() && wrong["mistakes"].as_array().unwrap().len() == 2, "{wrong}");
}

#[test]
fn what_should_be_known_of_a_valid_site_file_is_told_without_refusing_it() {
    let site = Site::new();
    assert!(!site.run(&["config", "check"]).exits(0).out.contains("note: "));
    let text = std::fs::read_to_string(site.path("site.toml")).unwrap();
    let seldom = "\n[schedule]\nzone = \"UTC\"\ncalendar = \"weekly\"\nverify = { cron = \"0 6 * * 0\" }\n";
    std::fs::write(site.path("site.toml"), text + seldom).unwrap();
    let told = site.run(&["config", "check"]).exits(0).out;
    assert!(told.contains("note: [schedule] leaves up to 7d between two backups"), "{told}");
    assert!(told.contains("note: there is no [[channel]]"), "{told}");
    let object: serde_json::Value =
        serde_json::from_str(&site.run(&["--json", "config", "check"]).exits(0).out).unwrap();
    assert_eq!((&object["valid"], object["advice"].as_array().unwrap().len()), (&true.into(), 2), "{object}");
}

#[test]
fn programs_are_told_what_was_found_for_a_draft() {
    let site = Site::new();
    let file = site.path("drafted.toml");
    let done = site.run(&["--json", "init", file.to_str().unwrap()]).exits(0);
    let object: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!((&object["event"], object["file"].as_str()), (&"drafted".into(), file.to_str()));
    assert!(object["found"]["sqlite"].is_array() && file.exists(), "{object}");
}

#[test]
fn a_site_file_that_cannot_be_read_is_answered_with_what_helps() {
    let site = Site::new();
    let check = |path: &std::path::Path| {
        let mut command = std::process::Command::new(crate::site::PROGRAM);
        crate::site::Done::of(command.arg("--config").arg(path).args(["config", "check"]).output().unwrap())
            .exits(4)
    };
    let folder = check(site.folder.path());
    assert!(folder.err.contains("not its folder") && !folder.err.contains("init"), "{}", folder.err);
    let latin = site.path("latin.toml");
    std::fs::write(&latin, b"[site]\ncode = \"P01\"\nname = \"Z\xfcrich\"\n").unwrap();
    let done = check(&latin);
    assert!(done.err.contains("line 3"), "{}", done.err);
}
