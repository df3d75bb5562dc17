//! What the pages need of the history. All of it blocks, and is a few questions with an index.

use jiff::{SignedDuration, Timestamp};
use stillpoint_history::{
    Alert, AlertQuery, AlertState, AuditQuery, History, HistoryError, MessageQuery, Run, RunDetails,
    RunQuery, Task,
};
use stillpoint_model::Outcome;
use stillpoint_model::site_file::SiteFile;

use super::alerts::{AlertsData, ChannelLine};
use super::audit::AuditData;
use super::charts::{ChartPoint, ChartsData};
use super::components::{ComponentsData, WriterState};
use super::overview::{ArchiveState, OverviewData};
use super::people::PeopleData;
use super::run::RunData;
use super::runs::RunsData;
use super::site_facts;
use crate::standing::{Planned, since};
use crate::timetable::{Timed, step};

/// Verdicts of runs that published a set.
const PUBLISHED: [Outcome; 2] = [Outcome::Complete, Outcome::Incomplete];
/// Verdicts of runs that ended.
const ENDED: [Outcome; 3] = [Outcome::Complete, Outcome::Incomplete, Outcome::Failed];
/// How many runs a page of the list has.
const RUNS_PER_PAGE: usize = 50;
/// How many runs the overview shows.
const RUNS_ON_OVERVIEW: usize = 8;
/// How many messages the page of a run shows.
const MESSAGES_MAX: usize = 1000;
/// How many runs the charts show.
const RUNS_IN_CHARTS: usize = 60;
/// How many alerts that are over are shown.
const ALERTS_OVER: usize = 50;
/// How many entries a page of the audit log has.
const AUDIT_PER_PAGE: usize = 100;
/// For how long messages count for the status of a component.
const STATUS_HOURS: i64 = 24 * 7;
/// From how many published sets on that an archive lacks they are no more counted one by one.
const BEHIND_MAX: usize = 30;

/// For the overview of a site. The job under way and the queue are for the caller to add.
///
/// # Errors
///
/// When the database fails.
pub fn overview(history: &History, site: &SiteFile, now: Timestamp) -> Result<OverviewData, HistoryError> {
    let under_way = match history.under_way()?.pop() {
        Some(run) => history.run(&run.name)?,
        None => None,
    };
    let last_backup = history.last_run(Task::Backup, &PUBLISHED)?;
    let last_attempt = history.last_run(Task::Backup, &ENDED)?;
    let backing_up = under_way.as_ref().map(|it| &it.run).filter(|run| run.task == Task::Backup);
    let next_run = next_backup(history, site, backing_up.or(last_attempt.as_ref()), now)?;
    Ok(OverviewData {
        last_attempt,
        change_retention: site_facts::change_retention(site),
        next_run,
        under_way,
        job: None,
        queue: Vec::new(),
        alerts: active_alerts(history)?,
        last_verify: history.last_run(Task::Verify, &ENDED)?,
        archives: archive_states(history, site, last_backup.as_ref())?,
        last_backup,
        recent: history.runs(&RunQuery { limit: RUNS_ON_OVERVIEW, ..RunQuery::default() })?,
    })
}

/// When the backup task begins next: when it is due, or when one that failed is tried again.
fn next_backup(
    history: &History,
    site: &SiteFile,
    last: Option<&Run>,
    now: Timestamp,
) -> Result<Option<Timestamp>, HistoryError> {
    let timed = site.schedule.as_ref().map(Timed::of).unwrap_or_default();
    let Some(timed) = timed.into_iter().find(|it| it.task == Task::Backup) else { return Ok(None) };
    let step = step(&timed, last, since(history, &timed, now)?, now);
    Ok(Planned { step, timed, interval: None }.next())
}

/// The active alerts, the worst first.
fn active_alerts(history: &History) -> Result<Vec<Alert>, HistoryError> {
    let query = AlertQuery { states: vec![AlertState::Active], ..AlertQuery::default() };
    let mut alerts = history.alerts(&query)?;
    alerts.sort_by_key(|alert| std::cmp::Reverse(alert.severity));
    Ok(alerts)
}

/// The alerts: those that hold, the worst first, and the newest that are over; and the channels of the site.
///
/// # Errors
///
/// When the database fails.
pub fn alerts(history: &History, site: &SiteFile) -> Result<AlertsData, HistoryError> {
    let mut alerts = active_alerts(history)?;
    for state in [AlertState::Postponed, AlertState::Cleared] {
        alerts.extend(history.alerts(&AlertQuery { states: vec![state], limit: ALERTS_OVER })?);
    }
    let mut states = history.channels()?;
    let channels = site_facts::channels(site).into_iter().map(|(name, kind)| {
        let known = states.iter().position(|it| it.name == name);
        ChannelLine { name, kind, state: known.map(|place| states.swap_remove(place)) }
    });
    let channels = channels.collect();
    Ok(AlertsData { alerts, channels })
}

/// The people and the tokens. What was just made and is shown once is for the caller to add.
///
/// # Errors
///
/// When the database fails.
pub fn people(history: &History) -> Result<PeopleData, HistoryError> {
    Ok(PeopleData { people: history.people()?, tokens: history.tokens()?, fresh: None })
}

/// One page of the audit log.
///
/// # Errors
///
/// When the database fails.
pub fn audit(history: &History, before: Option<i64>) -> Result<AuditData, HistoryError> {
    let query = AuditQuery { before, limit: AUDIT_PER_PAGE + 1, ..AuditQuery::default() };
    let mut rows = history.audit(&query)?;
    let more = rows.len() > AUDIT_PER_PAGE;
    rows.truncate(AUDIT_PER_PAGE);
    let older = rows.last().filter(|_| more).map(|row| row.row);
    Ok(AuditData { rows, older })
}

/// How far each archive is behind the newest published set. Only of one that is behind more is asked.
fn archive_states(
    history: &History,
    site: &SiteFile,
    newest: Option<&Run>,
) -> Result<Vec<ArchiveState>, HistoryError> {
    let mut states = Vec::new();
    for archive in &site.archives {
        let name = archive.name.as_str().to_owned();
        let (epoch, last) = history.newest_version(&name)?.unzip();
        let behind = match newest.and_then(|run| run.epoch) {
            Some(wanted) if epoch.is_none_or(|epoch| epoch < wanted) => published_after(history, epoch)?,
            _ => 0,
        };
        states.push(ArchiveState { name, last, behind });
    }
    Ok(states)
}

/// How many of the newest published sets are of a later epoch.
fn published_after(history: &History, epoch: Option<u64>) -> Result<u64, HistoryError> {
    let later = |run: &&Run| epoch.is_none_or(|epoch| run.epoch.is_some_and(|own| own > epoch));
    Ok(newest_backups(history, &PUBLISHED, BEHIND_MAX)?.iter().filter(later).count() as u64)
}

/// The newest runs of the backup task that ended so, newest first. Asked for each verdict on its own, because the index has them
/// in the order of time then.
fn newest_backups(history: &History, outcomes: &[Outcome], limit: usize) -> Result<Vec<Run>, HistoryError> {
    let mut runs = Vec::new();
    for outcome in outcomes {
        let query =
            RunQuery { task: Some(Task::Backup), outcomes: vec![*outcome], limit, ..RunQuery::default() };
        runs.extend(history.runs(&query)?);
    }
    runs.sort_by_key(|run| std::cmp::Reverse(run.started));
    runs.truncate(limit);
    Ok(runs)
}

/// One page of the list of runs.
///
/// # Errors
///
/// When the database fails.
pub fn runs(
    history: &History,
    task: Option<Task>,
    outcome: Option<Outcome>,
    before: Option<Timestamp>,
) -> Result<RunsData, HistoryError> {
    let query = RunQuery { task, outcomes: outcome.into_iter().collect(), before, limit: RUNS_PER_PAGE + 1 };
    let mut runs = history.runs(&query)?;
    let more = runs.len() > RUNS_PER_PAGE;
    runs.truncate(RUNS_PER_PAGE);
    let older = runs.last().filter(|_| more).map(|run| run.started);
    Ok(RunsData { runs, task, outcome, before, older })
}

/// One run, if it is there. The job and the log are for the caller to add.
///
/// # Errors
///
/// When the database fails.
pub fn run(history: &History, name: &str) -> Result<Option<RunData>, HistoryError> {
    let Some(details) = history.run(name)? else { return Ok(None) };
    let query = MessageQuery { run: Some(name.into()), limit: MESSAGES_MAX + 1, ..MessageQuery::default() };
    let mut messages = history.messages(&query)?;
    let messages_left_out = messages.len() > MESSAGES_MAX;
    messages.truncate(MESSAGES_MAX);
    messages.reverse();
    Ok(Some(RunData { details, messages, messages_left_out, job: None, log: None }))
}

/// The charts.
///
/// # Errors
///
/// When the database fails.
pub fn charts(history: &History) -> Result<ChartsData, HistoryError> {
    let mut points = Vec::new();
    for run in newest_backups(history, &ENDED, RUNS_IN_CHARTS)?.into_iter().rev() {
        let (Some(ended), Some(outcome)) = (run.ended, run.outcome) else { continue };
        let versions = history.run(&run.name)?.map(|details| details.versions).unwrap_or_default();
        let stored: Vec<u64> = versions.iter().filter_map(|version| version.stored_bytes).collect();
        let saved = (!stored.is_empty() && run.bytes > 0).then(|| {
            let mean = stored.iter().sum::<u64>() as f64 / stored.len() as f64;
            (1.0 - mean / run.bytes as f64).clamp(0.0, 1.0)
        });
        points.push(ChartPoint {
            run: run.name,
            started: run.started,
            outcome,
            window_us: run.window_us,
            took_us: u64::try_from(ended.duration_since(run.started).as_micros()).unwrap_or(0),
            bytes: (run.bytes > 0).then_some(run.bytes),
            saved,
        });
    }
    Ok(ChartsData { points })
}

/// The components of the site file with what the history knows of them.
///
/// # Errors
///
/// When the database fails.
pub fn components(
    history: &History,
    site: &SiteFile,
    now: Timestamp,
) -> Result<ComponentsData, HistoryError> {
    let details = |run: Option<Run>| match run {
        Some(run) => history.run(&run.name),
        None => Ok(None),
    };
    let last_set = details(history.last_run(Task::Backup, &PUBLISHED)?)?;
    let last_attempt = details(history.last_run(Task::Backup, &ENDED)?)?;
    let since = now.checked_sub(SignedDuration::from_hours(STATUS_HOURS)).unwrap_or(Timestamp::UNIX_EPOCH);
    Ok(ComponentsData {
        configured: site_facts::configured(site),
        last_set: last_set.map(|it| (it.run, it.components)),
        status: history.component_status(since)?,
        status_hours: STATUS_HOURS.unsigned_abs(),
        writers: last_attempt.map(|it| writers(&it)).unwrap_or_default(),
    })
}

fn writers(details: &RunDetails) -> Vec<WriterState> {
    let mut states: Vec<WriterState> = Vec::new();
    for step in &details.steps {
        let known = states.iter().position(|it| it.component == step.component);
        let place = known.unwrap_or_else(|| {
            states.push(WriterState {
                component: step.component.clone(),
                step: String::new(),
                elapsed_us: 0,
                error: None,
            });
            states.len() - 1
        });
        let state = &mut states[place];
        state.step.clone_from(&step.step);
        state.elapsed_us = step.elapsed_us;
        // The first error is the cause; what fails after it follows from it.
        if let (None, Some(error)) = (&state.error, &step.error) {
            state.error = Some((step.step.clone(), error.clone()));
        }
    }
    states.sort_by(|one, other| one.component.cmp(&other.component));
    states
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stillpoint_history::{AlertWords, Asked, Ending, Recorder};
    use stillpoint_model::site_file::AlertSeverity;
    use stillpoint_model::{EpochNumber, Event, Grade, Monitor, NoMonitor, Phase, RunId, Step};

    use super::*;

    /// Records a run of the backup task: what it saved in archives, and the error of a step, if any.
    fn record(
        history: &History,
        (name, epoch): (&str, u64),
        archives: &[&str],
        error: Option<&str>,
        outcome: Outcome,
    ) {
        let asked = Asked { task: Task::Backup, by: "schedule".into(), attempt: 1 };
        let recorder = Recorder::begin(history.path(), name, &asked, Arc::new(NoMonitor)).unwrap();
        let component: stillpoint_model::ComponentName = "ledger".parse().unwrap();
        recorder.emit(Event::RunStarted {
            run: RunId::new(Timestamp::now(), 1),
            site: "P01".parse().unwrap(),
            epoch: EpochNumber(epoch),
        });
        recorder.emit(Event::PhaseStarted { phase: Phase::Freeze });
        for (step, error) in [(Step::Freeze, error), (Step::Release, None)] {
            let error = error.map(Into::into);
            let component = component.clone();
            recorder.emit(Event::StepEnded { component, step, level: None, elapsed_us: 7, error });
        }
        if outcome != Outcome::Failed {
            recorder.emit(Event::ComponentCaptured {
                component,
                grade: Grade::Frozen,
                files: 3,
                bytes: 1000,
            });
        }
        for archive in archives {
            recorder.emit(Event::VersionSaved {
                archive: archive.parse().unwrap(),
                version: "ab".repeat(32),
                epoch: EpochNumber(epoch),
                added_bytes: Some(100),
                stored_bytes: Some(50),
            });
        }
        recorder.end(Ending {
            outcome,
            exit_code: 0,
            failure: None,
            hook_failure: None,
            grade: Some(Grade::Frozen),
            problems: 0,
            set: None,
            room: Some((10, 100)),
        });
    }

    const SITE: &str = "[site]\ncode = \"P01\"\nname = \"Head office\"\ntype = \"primary\"\n[destination]\nfolder = \"/srv/backup\"\n[[component]]\nname = \"ledger\"\ntype = \"files\"\npath = \"/srv/ledger\"\n";

    fn site_with(archives: &[&str]) -> SiteFile {
        let mut text = SITE.to_owned();
        for name in archives {
            text += &format!(
                "[[archive]]\nname = \"{name}\"\nlocation = \"/mnt/{name}\"\nkey = {{ file = \"/etc/stillpoint/key\" }}\n"
            );
        }
        stillpoint_model::site_file::parse(&text).unwrap()
    }

    #[test]
    fn the_pages_get_what_the_runs_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::open(&folder.path().join("P01.db")).unwrap();
        let now = Timestamp::now();
        let site = site_with(&["nas", "cloud", "new"]);
        let empty = overview(&history, &site, now).unwrap();
        assert!(empty.last_backup.is_none() && empty.recent.is_empty() && empty.archives[0].behind == 0);

        record(&history, ("first", 1), &["nas", "cloud"], None, Outcome::Complete);
        record(&history, ("second", 2), &["cloud"], None, Outcome::Incomplete);
        record(&history, ("third", 3), &["cloud"], None, Outcome::Complete);
        record(&history, ("fourth", 4), &[], Some("no answer"), Outcome::Failed);

        let facts = overview(&history, &site, now).unwrap();
        assert_eq!(facts.last_backup.unwrap().name, "third");
        assert_eq!(facts.last_attempt.unwrap().name, "fourth");
        let behind: Vec<u64> = facts.archives.iter().map(|it| it.behind).collect();
        assert_eq!(behind, [2, 0, 3]);
        assert!(facts.archives[2].last.is_none() && facts.archives[0].last.is_some());

        let components = components(&history, &site, now).unwrap();
        let (newest, stored) = components.last_set.unwrap();
        assert_eq!((newest.name.as_str(), stored[0].name.as_str()), ("third", "ledger"));
        let writer = &components.writers[0];
        assert_eq!((writer.step.as_str(), writer.component.as_str()), ("release", "ledger"));
        assert_eq!(writer.error, Some(("freeze".to_owned(), "no answer".to_owned())));

        let planned = SITE.to_owned() + "[schedule]\nzone = \"UTC\"\ncron = \"0 3 1 1 *\"\nretries = 1\n";
        let planned = stillpoint_model::site_file::parse(&planned).unwrap();
        let failed = overview(&history, &planned, now).unwrap();
        let ended = failed.last_attempt.unwrap().ended.unwrap();
        assert_eq!(failed.next_run, Some(ended + SignedDuration::from_mins(10)), "a failure is tried again");
        assert_eq!(overview(&history, &site, now).unwrap().next_run, None);

        let charts = charts(&history).unwrap();
        let saved: Vec<Option<f64>> = charts.points.iter().map(|point| point.saved).collect();
        assert_eq!(saved, [Some(0.95), Some(0.95), Some(0.95), None]);
        assert_eq!(charts.points[0].run, "first");

        let page = run(&history, "third").unwrap().unwrap();
        assert_eq!(page.details.versions.len(), 1);
        assert!(run(&history, "fifth").unwrap().is_none());
    }

    #[test]
    fn alerts_come_by_their_weight_and_channels_with_their_state() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::open(&folder.path().join("P01.db")).unwrap();
        let now = Timestamp::now();
        for (kind, severity) in [
            ("one", AlertSeverity::Info),
            ("two", AlertSeverity::Critical),
            ("three", AlertSeverity::Warning),
            ("four", AlertSeverity::Critical),
        ] {
            let words = AlertWords { instance: "", severity, title: kind, text: "t", remedy: "r" };
            history.change_alerts(|book| book.open(kind, "", &words, now, now)).unwrap();
        }
        let fourth =
            history.alerts(&AlertQuery::default()).unwrap().iter().find(|it| it.kind == "four").unwrap().id;
        history.close_alert(fourth, "anna", "", now).unwrap();
        history.channel_did("phone", Some("no answer"), now).unwrap();
        let mut site = site_with(&[]);
        let program = "[[channel]]\nname = \"phone\"\ntype = \"program\"\ncommand = [\"/bin/true\"]\n[[channel]]\nname = \"new\"\ntype = \"program\"\ncommand = [\"/bin/true\"]\n";
        site.channels = stillpoint_model::site_file::parse(&(SITE.to_owned() + program)).unwrap().channels;

        let told = alerts(&history, &site).unwrap();
        let order: Vec<&str> = told.alerts.iter().map(|it| it.kind.as_str()).collect();
        assert_eq!(order, ["two", "three", "one", "four"]);
        assert_eq!(told.alerts[3].state, AlertState::Cleared);
        let of = |name: &str| told.channels.iter().find(|it| it.name == name).unwrap();
        assert_eq!(of("phone").state.as_ref().unwrap().error.as_deref(), Some("no answer"));
        assert!(of("new").state.is_none() && of("new").kind == "program");
        let active = overview(&history, &site, now).unwrap().alerts;
        assert_eq!(active.len(), 3);
    }

    #[test]
    fn a_list_that_goes_on_says_from_where() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::open(&folder.path().join("P01.db")).unwrap();
        record(&history, ("one", 1), &[], None, Outcome::Complete);
        let list = runs(&history, None, None, None).unwrap();
        assert!(list.older.is_none() && list.runs.len() == 1);
        let older = runs(&history, None, None, Some(list.runs[0].started)).unwrap();
        assert!(older.runs.is_empty());
        assert!(runs(&history, Some(Task::Verify), None, None).unwrap().runs.is_empty());
        assert!(runs(&history, None, Some(Outcome::Failed), None).unwrap().runs.is_empty());
    }
}
