//! What the pages need of the history. All of it blocks, and is a few questions with an index.

use jiff::{SignedDuration, Timestamp};
use stillpoint_history::{History, HistoryError, MessageQuery, Run, RunDetails, RunQuery, Task};
use stillpoint_model::Outcome;
use stillpoint_model::site_file::SiteFile;

use super::charts::{ChartPoint, ChartsData};
use super::components::{ComponentsData, WriterState};
use super::overview::{ArchiveState, OverviewData};
use super::run::RunData;
use super::runs::RunsData;
use super::site_facts;

/// Verdicts of runs that published a set.
const PUBLISHED: [Outcome; 2] = [Outcome::Complete, Outcome::Incomplete];
/// How many runs a page of the list has.
const RUNS_PER_PAGE: usize = 50;
/// How many runs the overview shows.
const RUNS_ON_OVERVIEW: usize = 8;
/// How many messages the page of a run shows.
const MESSAGES_MAX: usize = 1000;
/// How many runs the charts show.
const RUNS_IN_CHARTS: usize = 60;
/// For how long messages count for the status of a component.
const STATUS_HOURS: i64 = 24 * 7;
/// From how many published sets on that an archive lacks they are no more counted one by one.
const BEHIND_MAX: usize = 30;

/// For the overview of a site. The job under way, the queue and the alerts are for the caller to add.
///
/// # Errors
///
/// When the database fails.
pub fn overview(history: &History, site: &SiteFile, now: Timestamp) -> Result<OverviewData, HistoryError> {
    let all = [Outcome::Complete, Outcome::Incomplete, Outcome::Failed];
    let under_way = match history.under_way()?.pop() {
        Some(run) => history.run(&run.name)?,
        None => None,
    };
    let archives: Vec<String> = site.archives.iter().map(|it| it.name.as_str().to_owned()).collect();
    Ok(OverviewData {
        last_backup: history.last_run(Task::Backup, &PUBLISHED)?,
        last_attempt: history.last_run(Task::Backup, &all)?,
        change_retention: site_facts::change_retention(site),
        next_run: site_facts::next_backup(site, now),
        under_way,
        job: None,
        queue: Vec::new(),
        alerts: Vec::new(),
        last_verify: history.last_run(Task::Verify, &all)?,
        archives: archive_states(history, &archives)?,
        recent: history.runs(&RunQuery { limit: RUNS_ON_OVERVIEW, ..RunQuery::default() })?,
    })
}

/// How many of the newest published sets each archive lacks. Looks at runs from the newest on until each archive was met, so
/// that is one run as long as all is well.
fn archive_states(history: &History, archives: &[String]) -> Result<Vec<ArchiveState>, HistoryError> {
    let mut states: Vec<ArchiveState> =
        archives.iter().map(|name| ArchiveState { name: name.clone(), last: None, behind: 0 }).collect();
    if states.is_empty() {
        return Ok(states);
    }
    let query = RunQuery {
        task: Some(Task::Backup),
        outcomes: PUBLISHED.to_vec(),
        limit: BEHIND_MAX,
        ..RunQuery::default()
    };
    for run in history.runs(&query)? {
        if states.iter().all(|state| state.last.is_some()) {
            break;
        }
        let versions = history.run(&run.name)?.map(|details| details.versions).unwrap_or_default();
        for state in states.iter_mut().filter(|state| state.last.is_none()) {
            if versions.iter().any(|version| version.archive == state.name) {
                state.last = Some(run.started);
            } else {
                state.behind += 1;
            }
        }
    }
    Ok(states)
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
    let query = RunQuery { task: Some(Task::Backup), limit: RUNS_IN_CHARTS, ..RunQuery::default() };
    let mut points = Vec::new();
    for run in history.runs(&query)?.into_iter().rev() {
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
    let last_attempt = details(history.last_attempt(Task::Backup)?)?;
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

    use stillpoint_history::{Asked, Ending, Recorder};
    use stillpoint_model::{EpochNumber, Event, Grade, Monitor, NoMonitor, Phase, Step};

    use super::*;

    /// Records a run of the backup task: what it saved in archives, and the error of a step, if any.
    fn record(history: &History, name: &str, archives: &[&str], error: Option<&str>, outcome: Outcome) {
        let asked = Asked { task: Task::Backup, by: "schedule".into(), attempt: 1 };
        let recorder = Recorder::begin(history.path(), name, &asked, Arc::new(NoMonitor)).unwrap();
        let component: stillpoint_model::ComponentName = "ledger".parse().unwrap();
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
                epoch: EpochNumber(7),
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

    fn site_with(archives: &[&str]) -> SiteFile {
        let mut text = String::from(
            "[site]\ncode = \"P01\"\nname = \"Head office\"\ntype = \"primary\"\n[destination]\nfolder = \"/srv/backup\"\n[[component]]\nname = \"ledger\"\ntype = \"files\"\npath = \"/srv/ledger\"\n",
        );
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

        record(&history, "first", &["nas", "cloud"], None, Outcome::Complete);
        record(&history, "second", &["cloud"], None, Outcome::Incomplete);
        record(&history, "third", &["cloud"], None, Outcome::Complete);
        record(&history, "fourth", &[], Some("no answer"), Outcome::Failed);

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

        let charts = charts(&history).unwrap();
        let saved: Vec<Option<f64>> = charts.points.iter().map(|point| point.saved).collect();
        assert_eq!(saved, [Some(0.95), Some(0.95), Some(0.95), None]);
        assert_eq!(charts.points[0].run, "first");

        let page = run(&history, "third").unwrap().unwrap();
        assert_eq!(page.details.versions.len(), 1);
        assert!(run(&history, "fifth").unwrap().is_none());
    }

    #[test]
    fn a_list_that_goes_on_says_from_where() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::open(&folder.path().join("P01.db")).unwrap();
        record(&history, "one", &[], None, Outcome::Complete);
        let list = runs(&history, None, None, None).unwrap();
        assert!(list.older.is_none() && list.runs.len() == 1);
        let older = runs(&history, None, None, Some(list.runs[0].started)).unwrap();
        assert!(older.runs.is_empty());
        assert!(runs(&history, Some(Task::Verify), None, None).unwrap().runs.is_empty());
        assert!(runs(&history, None, Some(Outcome::Failed), None).unwrap().runs.is_empty());
    }
}
