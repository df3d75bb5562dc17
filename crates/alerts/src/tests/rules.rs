//! The rules as a table: one fact is changed, and what is found is compared.

use jiff::SignedDuration;
use stillpoint_history::{ChannelState, History, Run, Task};
use stillpoint_model::{ErrorKind, Outcome};

use super::{at, history, hours, run};
use crate::{AlertKind, AlertSeverity, ArchiveFacts, Expected, Facts, Room, TaskRuns, Trouble, conditions};

/// A site that is well: a backup a day, the last one five hours ago, verified last week.
fn well() -> Facts {
    let runs = |run: Run| TaskRuns { last_ended: Some(run.clone()), last_good: Some(run) };
    Facts {
        now: at(5),
        watched_since: at(-1000),
        expected: Expected {
            no_success_for: Some(hours(26)),
            longest_gap: Some(hours(24)),
            next_due: Some(at(24)),
            verify_within: Some(hours(35 * 24)),
            archives: vec!["vault".into()],
            ..Expected::default()
        },
        backup: runs(run(Task::Backup, at(0), Outcome::Complete)),
        verify: runs(run(Task::Verify, at(-168), Outcome::Complete)),
        retention: runs(run(Task::Retention, at(-20), Outcome::Complete)),
        archives: vec![ArchiveFacts { name: "vault".into(), newest: Some((7, at(0))) }],
        not_thawed: None,
        guard_thawed: None,
        reconciled: None,
        clock_jumped: None,
        channels: vec![channel("mail", 0)],
    }
}

fn channel(name: &str, failures: u64) -> ChannelState {
    let error = (failures > 0).then(|| "no route".to_owned());
    ChannelState { name: name.into(), last_good: None, last_failed: Some(at(4)), failures, error }
}

fn trouble(hours: i64) -> Option<Trouble> {
    Some(Trouble { at: at(hours), run: Some(format!("run-{hours}")), text: "it is so".into() })
}

/// The last backup is this one.
fn backup(facts: &mut Facts, last: Run) {
    if last.outcome != Some(Outcome::Failed) {
        facts.backup.last_good = Some(last.clone());
    }
    facts.backup.last_ended = Some(last);
}

type Change = fn(&mut Facts);
type Found = &'static [(&'static str, &'static str, AlertSeverity)];

use AlertSeverity::{Critical, Info, Warning};

const TABLE: &[(&str, Change, Found)] = &[
    ("all is well", |_| {}, &[]),
    (
        "a backup failed",
        |facts| backup(facts, run(Task::Backup, at(3), Outcome::Failed)),
        &[("run-failed", "backup", Critical)],
    ),
    (
        "a backup was cancelled",
        |facts| {
            let exit_code = Some(ErrorKind::Cancelled.exit_code());
            backup(facts, Run { exit_code, ..run(Task::Backup, at(3), Outcome::Failed) });
        },
        &[("run-failed", "backup", Warning)],
    ),
    (
        "it is tried again soon",
        |facts| {
            backup(facts, run(Task::Backup, at(3), Outcome::Failed));
            facts.expected.retry_at = Some(at(6));
        },
        &[],
    ),
    (
        "the time for another try is over",
        |facts| {
            backup(facts, run(Task::Backup, at(3), Outcome::Failed));
            facts.expected.retry_at = Some(at(5));
        },
        &[("run-failed", "backup", Critical)],
    ),
    (
        "a backup left something out",
        |facts| backup(facts, Run { problems: 3, ..run(Task::Backup, at(3), Outcome::Incomplete) }),
        &[("run-incomplete", "", Warning)],
    ),
    (
        "the hook failed, and then the next backup",
        |facts| {
            let hook_failure = Some("the hook ended with exit code 3".into());
            backup(facts, Run { hook_failure, ..run(Task::Backup, at(2), Outcome::Complete) });
            backup(facts, run(Task::Backup, at(3), Outcome::Failed));
        },
        &[("run-failed", "backup", Critical), ("hook-failed", "", Warning)],
    ),
    (
        "retention failed",
        |facts| facts.retention.last_ended = Some(run(Task::Retention, at(3), Outcome::Failed)),
        &[("run-failed", "retention", Warning)],
    ),
    (
        "verify found damage",
        |facts| facts.verify.last_ended = Some(run(Task::Verify, at(3), Outcome::Failed)),
        &[("verify-failed", "", Critical)],
    ),
    (
        "verify had problems",
        |facts| {
            facts.verify.last_ended =
                Some(Run { problems: 1, ..run(Task::Verify, at(3), Outcome::Incomplete) });
        },
        &[("verify-failed", "", Warning)],
    ),
    ("just no success for too long", |facts| facts.now = at(26), &[("no-success", "", Critical)]),
    ("not quite", |facts| facts.now = at(26) - SignedDuration::from_secs(1), &[]),
    (
        "never a success since somebody looks",
        |facts| {
            facts.backup = TaskRuns::default();
            facts.watched_since = at(-25);
        },
        &[("no-success", "", Critical)],
    ),
    (
        "nobody asked for one",
        |facts| {
            facts.now = at(90);
            facts.expected.no_success_for = None;
        },
        &[],
    ),
    (
        "nearly too old",
        |facts| {
            facts.now = at(96);
            facts.expected.no_success_for = None;
        },
        &[("change-retention", "", Warning)],
    ),
    (
        "quite too old",
        |facts| {
            facts.now = at(121);
            facts.expected.no_success_for = None;
        },
        &[("change-retention", "", Critical)],
    ),
    (
        "nothing was verified for too long",
        |facts| facts.expected.verify_within = Some(hours(173)),
        &[("verify-overdue", "", Warning)],
    ),
    (
        "the schedule is too sparse",
        |facts| facts.expected.longest_gap = Some(hours(121)),
        &[("schedule-too-sparse", "", Warning)],
    ),
    (
        "the last backup found little room",
        |facts| {
            let room = run(Task::Backup, at(0), Outcome::Complete);
            backup(facts, Run { free_bytes: Some(9), ..room });
        },
        &[("destination-filling", "", Warning)],
    ),
    (
        "somebody made room since",
        |facts| {
            let room = run(Task::Backup, at(0), Outcome::Complete);
            backup(facts, Run { free_bytes: Some(4), ..room });
            facts.expected.room = Some(Room { free_bytes: 10, size_bytes: 100 });
        },
        &[],
    ),
    (
        "nearly no room",
        |facts| facts.expected.room = Some(Room { free_bytes: 49, size_bytes: 1000 }),
        &[("destination-filling", "", Critical)],
    ),
    (
        "nobody asks for room",
        |facts| {
            facts.expected.room = Some(Room { free_bytes: 0, size_bytes: 1000 });
            facts.expected.destination_free_percent = 0;
        },
        &[],
    ),
    (
        "an archive is behind",
        |facts| facts.archives[0].newest = Some((6, at(-24))),
        &[("archive-behind", "vault", Warning)],
    ),
    (
        "an archive is far behind",
        |facts| facts.archives[0].newest = Some((2, at(-120))),
        &[("archive-behind", "vault", Critical)],
    ),
    (
        "a new archive has nothing yet",
        |facts| {
            facts.archives[0].newest = None;
            facts.watched_since = at(0);
        },
        &[("archive-behind", "vault", Warning)],
    ),
    ("left frozen", |facts| facts.not_thawed = trouble(4), &[("site-frozen", "", Critical)]),
    (
        "left frozen, and tried in vain to heal it",
        |facts| {
            facts.not_thawed = trouble(4);
            facts.reconciled = trouble(4);
        },
        &[("site-frozen", "", Critical), ("site-reconciled", "", Info)],
    ),
    (
        "left frozen, and healed",
        |facts| {
            facts.not_thawed = trouble(3);
            facts.reconciled = trouble(4);
        },
        &[("site-reconciled", "", Info)],
    ),
    ("left frozen before the last good backup", |facts| facts.not_thawed = trouble(-1), &[]),
    (
        "the guard had to act",
        |facts| {
            facts.guard_thawed = trouble(4);
            facts.reconciled = trouble(4);
        },
        &[("site-reconciled", "", Warning)],
    ),
    ("a day later that is over", |facts| facts.reconciled = trouble(5 - 24), &[]),
    (
        "a bad site file",
        |facts| facts.expected.site_file_mistakes = Some("line 3: no".into()),
        &[("site-file", "", Warning)],
    ),
    ("the clock was set", |facts| facts.clock_jumped = trouble(4), &[("clock-jumped", "", Warning)]),
    ("the clock was set to next year and back", |facts| facts.clock_jumped = trouble(9000), &[]),
    ("a run is yet to come", |facts| facts.now = at(-1), &[("clock-jumped", "", Warning)]),
    ("a channel failed twice", |facts| facts.channels = vec![channel("mail", 2)], &[]),
    (
        "a channel failed three times",
        |facts| facts.channels = vec![channel("mail", 3), channel("ntfy", 0)],
        &[("channel-failed", "mail", Warning)],
    ),
];

#[test]
fn each_fact_makes_its_condition_and_no_other() {
    for (what, change, expected) in TABLE {
        let mut facts = well();
        change(&mut facts);
        let found = conditions(&facts);
        let told: Vec<_> =
            found.iter().map(|it| (it.kind.as_str(), it.subject.as_str(), it.severity)).collect();
        assert_eq!(told, *expected, "{what}");
        for condition in found {
            assert!(!condition.title.contains('\n') && condition.title.chars().count() < 80, "{condition:?}");
            assert!(condition.text.ends_with(['.', 'o']) && !condition.text.contains(".."), "{condition:?}");
            assert!(condition.since <= facts.now, "{what}: {condition:?}");
        }
    }
    for kind in AlertKind::ALL {
        let is_there = TABLE.iter().any(|(_, _, found)| found.iter().any(|it| it.0 == kind.as_str()));
        assert!(is_there, "the table has no {kind}");
    }
}

#[test]
fn a_condition_says_how_long_and_what_to_do() {
    let mut facts = well();
    facts.now = at(30);
    let found = conditions(&facts).pop().unwrap();
    assert_eq!(found.title, "no good backup for 30 h");
    assert!(found.text.contains("There should be one every 26 h."), "{}", found.text);
    assert!(found.text.contains("The next one is due at"), "{}", found.text);
    assert_eq!((found.remedy.as_str(), found.since), (crate::remedy(AlertKind::NoSuccess), at(0)));
}

#[test]
fn facts_come_from_the_history() {
    use std::sync::Arc;
    use stillpoint_history::{Asked, Ending, Recorder};
    use stillpoint_model::status::{StatusMessage, id};
    use stillpoint_model::{EpochNumber, Event, Monitor, NoMonitor};

    let (_folder, history) = history();
    let record = |name: &str, task: Task, outcome: Outcome, exit_code: u8| {
        let asked = Asked { task, by: "schedule".into(), attempt: 1 };
        let recorder = Recorder::begin(history.path(), name, &asked, Arc::new(NoMonitor)).unwrap();
        if task == Task::Backup && outcome == Outcome::Complete {
            recorder.emit(Event::VersionSaved {
                archive: "vault".parse().unwrap(),
                version: "v".into(),
                epoch: EpochNumber(4),
                added_bytes: None,
                stored_bytes: None,
            });
        }
        let inserts = vec!["x".to_owned()];
        let now = jiff::Timestamp::now();
        recorder.emit(Event::Status(StatusMessage::new(id::SITE_NOT_THAWED, None, inserts, now)));
        recorder.end(Ending {
            outcome,
            exit_code,
            failure: None,
            hook_failure: None,
            grade: None,
            problems: 0,
            set: None,
            room: Some((5, 100)),
        });
    };
    record("one", Task::Backup, Outcome::Complete, 0);
    record("two", Task::Backup, Outcome::Failed, 1);
    record("in-the-way-of-another", Task::Backup, Outcome::Failed, ErrorKind::Busy.exit_code());
    record("three", Task::Verify, Outcome::Incomplete, 3);
    history.channel_did("mail", Some("no route"), at(0)).unwrap();
    let expected = Expected { archives: vec!["vault".into(), "other".into()], ..Expected::default() };
    let facts = Facts::gather(&history, expected, jiff::Timestamp::now()).unwrap();
    let name = |run: &Option<Run>| run.as_ref().map(|run| run.name.clone()).unwrap_or_default();
    assert_eq!((name(&facts.backup.last_ended), name(&facts.backup.last_good)), ("two".into(), "one".into()));
    assert_eq!(
        (name(&facts.verify.last_ended), name(&facts.verify.last_good)),
        ("three".into(), "three".into())
    );
    assert_eq!(facts.retention, TaskRuns::default());
    assert_eq!(facts.archives[0].newest.map(|it| it.0), Some(4));
    assert_eq!(facts.archives[1].newest, None);
    assert_eq!(facts.not_thawed.as_ref().and_then(|it| it.run.as_deref()), Some("three"));
    assert_eq!((facts.guard_thawed, facts.reconciled, facts.clock_jumped), (None, None, None));
    assert_eq!(facts.channels[0].failures, 1);
}

#[test]
fn since_when_a_site_is_watched_is_remembered() {
    let (folder, history) = history();
    let since =
        |history: &History, now| Facts::gather(history, Expected::default(), now).unwrap().watched_since;
    assert_eq!(since(&history, at(0)), at(0));
    drop(history);
    let again = History::open(&folder.path().join("P01.db")).unwrap();
    assert_eq!(since(&again, at(50)), at(0));
}
