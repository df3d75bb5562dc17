//! Made-up sites for the tests of the pages: one without any history, a lively one, and one where everything is bad and every
//! text is hostile.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use stillpoint_history::{
    Alert, AlertState, AuditRow, ChannelState, ComponentStatus, Message, Person, Role, Run, RunComponent,
    RunDetails, RunPhase, RunStep, RunVersion, Task, Token,
};
use stillpoint_model::site_file::AlertSeverity;
use stillpoint_model::status::{StatusMessage, definition, id};
use stillpoint_model::{Grade, Outcome, Problem};

use super::alerts::{AlertsData, ChannelLine};
use super::audit::AuditData;
use super::browse::{BrowseData, EntryKind, EntryLine};
use super::charts::{ChartPoint, ChartsData};
use super::components::{ComponentsData, Configured, WriterState};
use super::overview::{ArchiveState, OverviewData, Queued};
use super::people::PeopleData;
use super::run::RunData;
use super::runs::RunsData;
use super::schedule::{Planned, ScheduleData};
use super::settings::SettingsData;
use super::sign_in::{SignInData, WelcomeData};
use super::versions::{ArchiveLine, VersionLine, VersionsData};
use super::{Chrome, Notice, Place, Theme, UnderWay, Visitor};

/// What a file, a person or a program may be called by somebody who means harm.
pub const HOSTILE: &str = "\"><script>alert(1)</script><img src=x onerror=alert(2)> ' & </title></pre> \u{202e} Unbroken0123456789Unbroken0123456789Unbroken0123456789Unbroken0123456789Unbroken0123456789";

pub fn now() -> Timestamp {
    "2026-11-25T09:17:00Z".parse().unwrap()
}

pub fn before(minutes: i64) -> Timestamp {
    now() - SignedDuration::from_mins(minutes)
}

pub fn chrome(place: Place, role: Role) -> Chrome {
    Chrome {
        site_code: "P01".into(),
        site_name: "Head office".into(),
        zone: TimeZone::get("Europe/Berlin").unwrap(),
        now: now(),
        person: Some(Visitor { name: "anna".into(), role }),
        csrf: "0123456789abcdef".into(),
        place,
        path: "/".into(),
        version: "0.1.0".into(),
        alerts_active: 0,
        under_way: None,
        theme: Theme::System,
        notice: None,
    }
}

pub fn run(name: &str, minutes_ago: i64, outcome: Option<Outcome>) -> Run {
    let started = before(minutes_ago);
    let published = matches!(outcome, Some(Outcome::Complete | Outcome::Incomplete));
    Run {
        name: name.into(),
        task: Task::Backup,
        asked_by: "schedule".into(),
        attempt: 1,
        epoch: Some(4711),
        started,
        ended: outcome.map(|_| started + SignedDuration::from_secs(252)),
        outcome,
        grade: published.then_some(Grade::Frozen),
        window_us: Some(412_345),
        files: if published { 184_233 } else { 0 },
        bytes: if published { 51_876_543_210 } else { 0 },
        problems: 0,
        exit_code: outcome.map(|_| 0),
        failure: None,
        hook_failure: None,
        set: published.then(|| "/srv/backup/P01Backup".into()),
        free_bytes: Some(310_000_000_000),
        size_bytes: Some(1_000_000_000_000),
    }
}

fn step(component: &str, step: &str, level: Option<&str>, elapsed_us: u64) -> RunStep {
    RunStep {
        component: component.into(),
        step: step.into(),
        level: level.map(Into::into),
        elapsed_us,
        error: None,
    }
}

fn component(name: &str, grade: Grade, files: u64, bytes: u64, provider: Option<&str>) -> RunComponent {
    RunComponent { name: name.into(), grade, files, bytes, provider: provider.map(Into::into) }
}

pub fn details(run: Run) -> RunDetails {
    let took = [
        ("preflight", 1_200_000),
        ("identify", 800_000),
        ("prepare", 61_000_000),
        ("freeze", 91_000),
        ("snapshot", 240_000),
        ("thaw", 80_000),
        ("capture", 171_000_000),
        ("seal", 15_000_000),
        ("after", 2_500_000),
    ];
    let mut steps = Vec::new();
    for (name, level, freeze, cut, thaw) in [
        ("shop", "front-end", 61_000, 3_000, 50_000),
        ("ledger", "back-end", 21_000, 240_000, 12_000),
        ("documents", "system", 9_000, 180_000, 18_000),
    ] {
        steps.push(step(name, "prepare", None, 41_000_000));
        steps.push(step(name, "freeze", Some(level), freeze));
        steps.push(step(name, "cut", None, cut));
        steps.push(step(name, "thaw", Some(level), thaw));
        steps.push(step(name, "capture", None, 100_000_000));
    }
    RunDetails {
        phases: took
            .iter()
            .map(|(name, us)| RunPhase { phase: (*name).into(), elapsed_us: Some(*us) })
            .collect(),
        steps,
        components: vec![
            component("documents", Grade::Frozen, 184_000, 41_000_000_000, Some("btrfs")),
            component("ledger", Grade::Frozen, 212, 10_000_000_000, None),
            component("shop", Grade::Crash, 21, 876_543_210, Some("reflink")),
        ],
        versions: vec![RunVersion {
            archive: "nas".into(),
            version: "3fa9".repeat(16),
            epoch: 4711,
            added_bytes: Some(812_000_000),
            stored_bytes: Some(333_000_000),
        }],
        problem_list: Vec::new(),
        run,
    }
}

/// A run in the middle of its capture.
pub fn under_way() -> RunDetails {
    let mut whole = details(run("20261125T091500-7", 2, None));
    whole.phases.truncate(7);
    whole.phases[6].elapsed_us = None;
    whole.versions.clear();
    whole
}

pub fn message(row: i64, number: stillpoint_model::status::MessageId, inserts: &[&str]) -> Message {
    let inserts = inserts.iter().map(|it| (*it).to_owned()).collect();
    let known = definition(number);
    Message {
        row,
        run: Some("run".into()),
        message: StatusMessage::new(number, Some("ledger".parse().unwrap()), inserts, before(200 - row)),
        cause: known.and_then(|it| it.cause.as_deref()),
        remedy: known.and_then(|it| it.remedy.as_deref()),
    }
}

pub fn run_data(details: RunDetails) -> RunData {
    RunData {
        details,
        messages: vec![
            message(1, id::BACKUP_STARTED, &["P01", "20261125T061500-6"]),
            message(2, id::FREEZE_WINDOW, &["412"]),
            message(3, id::COMPONENT_CAPTURED, &["ledger", "frozen", "212", "10000000000"]),
            message(4, id::BACKUP_COMPLETED, &[]),
        ],
        messages_left_out: false,
        job: Some(11),
        log: Some("2026-11-25T06:15:00Z STATMSG: ID=5055\n2026-11-25T06:19:12Z Backup completed".into()),
    }
}

pub fn alert(id: i64, severity: AlertSeverity, state: AlertState, title: &str) -> Alert {
    Alert {
        id,
        kind: "archive-behind".into(),
        subject: "nas".into(),
        instance: "run".into(),
        severity,
        state,
        title: title.into(),
        text: format!("The last good backup is epoch 4711 ({title})."),
        remedy: "See that the archive can be reached.".into(),
        began: before(300),
        changed: before(20),
        told: before(20),
        occurrences: 3,
        postponed_until: (state == AlertState::Postponed).then(|| before(-480)),
        closed_by: (state != AlertState::Active).then(|| "anna".into()),
        holds: state != AlertState::Cleared,
        comment: if state == AlertState::Active { String::new() } else { "the share is moved today".into() },
    }
}

pub fn empty_overview() -> OverviewData {
    OverviewData {
        last_backup: None,
        last_attempt: None,
        change_retention: SignedDuration::from_hours(120),
        next_run: None,
        under_way: None,
        job: None,
        queue: Vec::new(),
        alerts: Vec::new(),
        last_verify: None,
        archives: Vec::new(),
        recent: Vec::new(),
    }
}

pub fn good_overview() -> OverviewData {
    let last = run("20261125T061500-6", 182, Some(Outcome::Complete));
    let mut verify = run("verify-3", 1900, Some(Outcome::Complete));
    verify.task = Task::Verify;
    OverviewData {
        last_backup: Some(last.clone()),
        last_attempt: Some(last.clone()),
        next_run: Some(before(-1258)),
        last_verify: Some(verify.clone()),
        archives: vec![ArchiveState { name: "nas".into(), last: Some(last.started), behind: 0 }],
        recent: vec![last, verify, run("20261124T061500-5", 1622, Some(Outcome::Complete))],
        ..empty_overview()
    }
}

pub fn lively_overview() -> OverviewData {
    OverviewData {
        under_way: Some(under_way()),
        job: Some(11),
        queue: vec![Queued {
            job: 12,
            task: "verify".into(),
            asked_by: "bert".into(),
            since: before(1),
            waits_for: "the backup of P01".into(),
        }],
        alerts: vec![alert(3, AlertSeverity::Warning, AlertState::Active, "archive nas is behind")],
        archives: vec![
            ArchiveState { name: "nas".into(), last: Some(before(3062)), behind: 2 },
            ArchiveState { name: "cloud".into(), last: Some(before(182)), behind: 0 },
        ],
        ..good_overview()
    }
}

pub fn bad_run() -> RunData {
    let mut bad = details(run(HOSTILE, 60 * 24 * 6, Some(Outcome::Incomplete)));
    bad.run.asked_by = HOSTILE.into();
    bad.run.problems = 2000;
    bad.run.grade = Some(Grade::Fuzzy);
    bad.run.set = Some(HOSTILE.into());
    bad.run.hook_failure = Some(HOSTILE.into());
    bad.run.failure = Some(HOSTILE.into());
    bad.run.free_bytes = Some(12_000_000_000);
    bad.phases.push(RunPhase { phase: HOSTILE.into(), elapsed_us: None });
    bad.steps.push(RunStep { error: Some(HOSTILE.into()), ..step(HOSTILE, HOSTILE, Some(HOSTILE), 7) });
    bad.components.push(component(HOSTILE, Grade::Fuzzy, 1, 1, Some(HOSTILE)));
    bad.versions[0].archive = HOSTILE.into();
    bad.problem_list = vec![Problem {
        component: Some("ledger".parse().unwrap()),
        path: Some(format!("var/{HOSTILE}\n")),
        text: HOSTILE.into(),
    }];
    RunData {
        messages: vec![
            message(1, id::SITE_NOT_THAWED, &[HOSTILE]),
            message(2, id::PROBLEM_RECORDED, &["ledger", HOSTILE, HOSTILE]),
        ],
        messages_left_out: true,
        job: None,
        log: Some(HOSTILE.into()),
        details: bad,
    }
}

pub fn bad_overview() -> OverviewData {
    let last = bad_run().details.run;
    let mut failed = run("failed", 30, Some(Outcome::Failed));
    failed.failure = Some(HOSTILE.into());
    OverviewData {
        last_backup: Some(last.clone()),
        last_attempt: Some(failed.clone()),
        alerts: vec![alert(9, AlertSeverity::Critical, AlertState::Active, HOSTILE)],
        archives: vec![ArchiveState { name: HOSTILE.into(), last: None, behind: 30 }],
        queue: vec![Queued {
            job: 12,
            task: "verify".into(),
            asked_by: HOSTILE.into(),
            since: before(1),
            waits_for: HOSTILE.into(),
        }],
        recent: vec![failed, last],
        ..empty_overview()
    }
}

/// A chrome with everything on it, and hostile.
pub fn bad_chrome(place: Place) -> Chrome {
    Chrome {
        site_name: HOSTILE.into(),
        person: Some(Visitor { name: HOSTILE.into(), role: Role::Administrator }),
        path: format!("/runs?x={HOSTILE}"),
        alerts_active: 3,
        under_way: Some(UnderWay { run: HOSTILE.into(), task: "backup".into() }),
        notice: Some(Notice { good: false, text: HOSTILE.into() }),
        ..chrome(place, Role::Administrator)
    }
}

pub fn runs(more: usize, text: &str) -> RunsData {
    let mut runs = vec![run("20261125T091500-7", 2, None)];
    let mut failed = run("failed", 30, Some(Outcome::Failed));
    failed.failure = Some(format!("the destination does not answer {text}"));
    failed.attempt = 2;
    runs.push(failed);
    let mut incomplete = run("incomplete", 90, Some(Outcome::Incomplete));
    incomplete.problems = 3;
    runs.push(incomplete);
    for number in 0..more {
        let name = format!("run-{number}");
        runs.push(run(&name, 182 + 1440 * i64::try_from(number).unwrap(), Some(Outcome::Complete)));
    }
    RunsData { runs, older: Some(before(9000)), before: Some(now()), ..RunsData::default() }
}

pub fn versions(text: &str) -> VersionsData {
    let one = |number: i64| VersionLine {
        version: format!("{number:02x}").repeat(32),
        time: before(182 + 1440 * number),
        epoch: Some(4711 - number.unsigned_abs()),
        run: Some("run".into()),
        complete: number != 2,
        held: number == 1,
        files: Some(184_233),
        bytes: Some(51_876_543_210),
        added_bytes: Some(812_000_000),
    };
    VersionsData {
        set: good_overview().last_backup,
        archives: vec![
            ArchiveLine {
                name: format!("nas{text}"),
                place: format!("/mnt/nas/P01{text}"),
                error: None,
                versions: (0..5).map(one).collect(),
            },
            ArchiveLine {
                name: "cloud".into(),
                place: "s3:https://s3.example.com/backup".into(),
                error: Some(format!("it does not answer{text}")),
                versions: Vec::new(),
            },
        ],
    }
}

pub fn browse(text: &str) -> BrowseData {
    let entry = |name: &[u8], kind| EntryLine {
        name: name.to_vec(),
        kind,
        bytes: 123_456,
        modified: Some(before(5000)),
        rights: "rw-r--r--".into(),
        owner: format!("www-data:www-data{text}"),
        target: (kind == EntryKind::Link).then(|| format!("../else/where{text}").into_bytes()),
    };
    BrowseData {
        archive: "nas".into(),
        version: "3fa9".repeat(16),
        made: before(182),
        path: format!("documents/var/lib/{text}x").into_bytes(),
        entries: vec![
            entry(format!("reports{text}").as_bytes(), EntryKind::Folder),
            entry(b"not \xff UTF-8 & odd?.txt", EntryKind::File),
            entry(format!("x{text}").as_bytes(), EntryKind::File),
            entry(format!("current{text}").as_bytes(), EntryKind::Link),
            entry(b"socket", EntryKind::Special),
        ],
        after: Some(b"socket".to_vec()),
        restored: "/var/lib/stillpoint/restored".into(),
        folder: "P01-4711".into(),
    }
}

pub fn components(text: &str) -> ComponentsData {
    let configured = |name: &str, kind: &str, source: &str| Configured {
        name: name.into(),
        kind: kind.into(),
        source: format!("{source}{text}"),
    };
    let status = |component: &str, warnings, errors, status| ComponentStatus {
        component: component.into(),
        infos: 120,
        warnings,
        errors,
        status,
    };
    let state = |component: &str, error: Option<(&str, &str)>| WriterState {
        component: component.into(),
        step: "release".into(),
        elapsed_us: 1200,
        error: error.map(|(step, why)| (step.into(), format!("{why}{text}"))),
    };
    let whole = details(run("20261125T061500-6", 182, Some(Outcome::Complete)));
    ComponentsData {
        configured: vec![
            configured("documents", "files", "/srv/documents"),
            configured("ledger", "postgres", "port 5432"),
            configured("mail", "files", "/var/mail"),
        ],
        last_set: Some((whole.run, whole.components)),
        status: vec![
            status("", 1, 0, "ok"),
            status("ledger", 12, 0, "warning"),
            status("shop", 0, 7, "critical"),
        ],
        status_hours: 168,
        writers: vec![state("documents", None), state("ledger", Some(("freeze", "no answer in 10 s")))],
    }
}

pub fn alerts(text: &str) -> AlertsData {
    AlertsData {
        alerts: vec![
            alert(1, AlertSeverity::Critical, AlertState::Active, &format!("the verify found damage{text}")),
            alert(2, AlertSeverity::Warning, AlertState::Active, "archive nas is behind"),
            alert(3, AlertSeverity::Warning, AlertState::Postponed, "9 % free at the destination"),
            alert(4, AlertSeverity::Critical, AlertState::Cleared, "the backup failed"),
        ],
        channels: vec![
            ChannelLine { name: "admins".into(), kind: "mail".into(), state: Some(channel("admins", None)) },
            ChannelLine {
                name: "phone".into(),
                kind: "ntfy".into(),
                state: Some(channel("phone", Some(format!("it does not answer{text}")))),
            },
            ChannelLine { name: format!("new{text}"), kind: "webhook".into(), state: None },
        ],
    }
}

fn channel(name: &str, error: Option<String>) -> ChannelState {
    let failures = if error.is_some() { 3 } else { 0 };
    ChannelState { name: name.into(), last_good: Some(before(300)), last_failed: None, failures, error }
}

pub fn schedule(old_because: Option<&str>) -> ScheduleData {
    ScheduleData {
        planned: vec![Planned {
            task: "backup".into(),
            words: "every day between 02:00 and 05:00".into(),
            zone: "Europe/Berlin".into(),
            missed: "it is caught up as soon as the machine is on".into(),
            next: (0..10).map(|day| before(-1000 - 1440 * day)).collect(),
        }],
        change_retention: SignedDuration::from_hours(120),
        longest_gap: Some(SignedDuration::from_hours(24)),
        old_because: old_because.map(Into::into),
    }
}

pub fn settings(text: &str) -> SettingsData {
    let mistakes = stillpoint_model::site_file::parse(&format!("[site]\ncode = \"{text}\"\nnmae = 1\n"));
    SettingsData {
        file: "/etc/stillpoint/site.toml".into(),
        checked: before(3),
        mistakes: mistakes.err().unwrap(),
        unreadable: None,
        effective: format!("[site]\ncode = \"P01\"\n# {text}\n"),
    }
}

pub fn people(text: &str) -> PeopleData {
    PeopleData {
        people: vec![
            Person {
                name: "anna".into(),
                role: Role::Administrator,
                created: before(90_000),
                last_seen: Some(before(1)),
            },
            Person {
                name: format!("bert{text}"),
                role: Role::Operator,
                created: before(80_000),
                last_seen: None,
            },
        ],
        tokens: vec![Token {
            id: 7,
            name: format!("grafana{text}"),
            role: Role::Reader,
            person: "anna".into(),
            created: before(4000),
            expires: before(-90_000),
            last_used: Some(before(2)),
        }],
        fresh: Some((
            "The one-time link of carla".into(),
            format!("https://p01.example.com/welcome/abcdef{text}"),
        )),
    }
}

pub fn audit(text: &str) -> AuditData {
    let line = |action: &str, result: &str| AuditRow {
        row: 42,
        at: before(12),
        person: "anna".into(),
        address: "192.0.2.7".into(),
        action: action.into(),
        subject: format!("run-7{text}"),
        result: result.into(),
    };
    AuditData {
        rows: vec![line("sign-in", "done"), line("cancel", "refused: nothing is under way")],
        older: Some(41),
    }
}

pub fn charts() -> ChartsData {
    let points = (0..60u64).map(|number| {
        let failed = number == 23 || number == 24;
        let outcome = match number {
            23 | 24 => Outcome::Failed,
            41 => Outcome::Incomplete,
            _ => Outcome::Complete,
        };
        ChartPoint {
            run: format!("run-{number}"),
            started: before(182 + 1440 * (59 - i64::try_from(number).unwrap())),
            outcome,
            window_us: (!failed).then(|| 300_000 + number * 4_000 + number * number * 7919 % 90_000),
            took_us: if failed { 31_000_000 } else { 240_000_000 + number * 1_000_000 },
            bytes: (!failed).then(|| 48_000_000_000 + number * 90_000_000),
            saved: (!failed && number > 3).then_some(0.97 + (number % 5) as f64 * 0.005),
        }
    });
    ChartsData { points: points.collect() }
}

pub fn sign_in(text: &str) -> SignInData {
    SignInData {
        name: format!("anna{text}"),
        error: Some(format!("name or password is wrong{text}")),
        next: format!("/runs{text}"),
        nobody_yet: false,
    }
}

pub fn welcome(text: &str) -> WelcomeData {
    WelcomeData {
        secret: format!("secret{text}"),
        role: "administrator".into(),
        name: format!("anna{text}"),
        name_is_free: text.is_empty(),
        password_min: 12,
        error: Some(format!("the two passwords differ{text}")),
    }
}
