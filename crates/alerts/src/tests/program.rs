//! The program channel with real scripts.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::{PATIENT_MS, some_alert, tell};
use crate::{ChannelSettings, Program, Sendmail};

fn script(folder: &Path, text: &str) -> ChannelSettings {
    let program = folder.join("tell");
    std::fs::write(&program, format!("#!/bin/sh\ncd '{}'\n{text}\n", folder.display())).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    ChannelSettings::Program(Program { program, arguments: vec!["an argument".into()] })
}

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap()
}

#[tokio::test]
async fn a_program_gets_json_and_variables() {
    let folder = tempfile::tempdir().unwrap();
    let settings = script(folder.path(), "cat > input; env > variables; echo \"$1\" > argument");
    let mut alert = some_alert();
    alert.title = "two\nlines".into();
    tell(settings, &alert, PATIENT_MS).await.unwrap();
    let json: serde_json::Value = serde_json::from_str(&read(folder.path(), "input")).unwrap();
    assert_eq!(json["alert"]["kind"], "run-failed");
    assert_eq!(read(folder.path(), "argument"), "an argument\n");
    let variables = read(folder.path(), "variables");
    for line in [
        "STILLPOINT_SITE=P01",
        "STILLPOINT_ALERT_ID=7",
        "STILLPOINT_ALERT_NOTICE=begun",
        "STILLPOINT_ALERT_KIND=run-failed",
        "STILLPOINT_ALERT_SUBJECT=backup",
        "STILLPOINT_ALERT_SEVERITY=critical",
        "STILLPOINT_ALERT_STATE=active",
        "STILLPOINT_ALERT_TITLE=two\\nlines",
        "STILLPOINT_ALERT_REMEDY=Mend it.",
        "STILLPOINT_CONSOLE=https://backup.example.org:8470",
    ] {
        assert!(variables.lines().any(|it| it == line), "{line} is not in\n{variables}");
    }
}

#[tokio::test]
async fn a_program_that_fails_is_said_with_its_words_and_one_that_reads_nothing_is_fine() {
    let folder = tempfile::tempdir().unwrap();
    tell(script(folder.path(), "exec <&-; exit 0"), &some_alert(), PATIENT_MS).await.unwrap();
    let error = tell(script(folder.path(), "echo no paper >&2; exit 3"), &some_alert(), PATIENT_MS).await;
    assert_eq!(error.unwrap_err().what, "the program ended with exit code 3: no paper");
    let error = tell(script(folder.path(), "kill -9 $$"), &some_alert(), PATIENT_MS).await.unwrap_err();
    assert_eq!(error.what, "the program ended with signal 9");
    let gone = Program { program: "/no/such/program".into(), arguments: Vec::new() };
    let error = tell(ChannelSettings::Program(gone), &some_alert(), PATIENT_MS).await.unwrap_err();
    assert!(error.what.contains("/no/such/program cannot be started"), "{error}");
}

/// Whether a process is there and not only waiting to be looked after.
fn runs(pid: &str) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    state.is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

#[tokio::test]
async fn a_program_that_hangs_is_given_up_at_the_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let error = tell(script(folder.path(), "sleep 1000"), &some_alert(), 300).await.unwrap_err();
    assert_eq!(error.what, "it did not answer within 0.3 s");
}

/// What is given up is dropped, and that ends the group. Here as soon as the program has a process of its own.
#[tokio::test]
async fn a_program_that_is_given_up_is_ended_with_all_its_processes() {
    let folder = tempfile::tempdir().unwrap();
    let settings = script(folder.path(), "sleep 1000 & echo $! > child.new; mv child.new child; wait");
    let alert = some_alert();
    let has_child = async {
        while !folder.path().join("child").exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        told = tell(settings, &alert, PATIENT_MS) => panic!("{told:?}"),
        () = has_child => {}
    }
    let child = read(folder.path(), "child");
    for _ in 0..6000 {
        if !runs(child.trim()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("process {child} outlived its group");
}

#[tokio::test]
async fn what_a_program_leaves_behind_on_purpose_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    // It goes on when it is told to, and shows that by a file.
    let behind = "(until test -e go; do sleep 0.05; done; mv go done) & exit 0";
    tell(script(folder.path(), behind), &some_alert(), PATIENT_MS).await.unwrap();
    std::fs::write(folder.path().join("go"), "").unwrap();
    for _ in 0..6000 {
        if folder.path().join("done").exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it was ended");
}

#[tokio::test]
async fn sendmail_gets_a_whole_mail_and_the_addresses_apart() {
    let folder = tempfile::tempdir().unwrap();
    let ChannelSettings::Program(Program { program, .. }) =
        script(folder.path(), "cat > mail; printf '%s\\n' \"$@\" > arguments")
    else {
        unreachable!()
    };
    let sendmail = |to: &str| {
        let to = vec![to.to_owned(), "second@example.org".to_owned()];
        ChannelSettings::Sendmail(Sendmail {
            program: program.clone(),
            from: "backup@example.org".into(),
            to,
        })
    };
    tell(sendmail("first@example.org"), &some_alert(), PATIENT_MS).await.unwrap();
    let expected = "-i\n-f\nbackup@example.org\n--\nfirst@example.org\nsecond@example.org\n";
    assert_eq!(read(folder.path(), "arguments"), expected);
    let mail = read(folder.path(), "mail");
    assert!(mail.contains("Subject: [P01] critical: the backup failed\r\n"), "{mail}");
    for wrong in ["no address", "a@b\r\nBcc: c@d"] {
        let error = tell(sendmail(wrong), &some_alert(), PATIENT_MS).await.unwrap_err();
        assert!(error.what.contains("is no address of e-mail"), "{error}");
    }
}
