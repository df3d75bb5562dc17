//! How the site stands: the facts, what they mean, and what comes next. The console, the API, the metrics, the alerts and
//! `stillpoint status` all look here, with or without a service.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use stillpoint_alerts::{Condition, Expected, Facts, conditions};
use stillpoint_history::{History, HistoryError, Run, Task};
use stillpoint_model::site_file::SiteFile;
use stillpoint_model::{Outcome, SiteCode};

use crate::service::Service;
use crate::timetable::{Step, Timed, step};

/// How the site stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The site.
    pub site: SiteCode,
    /// What is known.
    pub facts: Facts,
    /// What is the matter, worst first.
    pub conditions: Vec<Condition>,
    /// What is under way.
    pub under_way: Vec<Run>,
    /// The tasks with a schedule.
    pub planned: Vec<Planned>,
    /// How many runs of each task ended with each verdict since the history began.
    pub totals: Vec<(Task, Outcome, u64)>,
}

/// A task with a schedule.
#[derive(Debug, Clone)]
pub struct Planned {
    /// What is to be done about it.
    pub step: Step,
    /// The task and its schedule.
    pub timed: Timed,
    /// The longest time between two due times in the year to come.
    pub interval: Option<Duration>,
}

impl Planned {
    /// When it begins next, if it does.
    pub fn next(&self) -> Option<Timestamp> {
        match &self.step {
            Step::Begin { due, .. } => Some(*due),
            Step::Retry { at } => Some(*at),
            Step::Missed { next, .. } | Step::Wait { next } => *next,
        }
    }
}

impl Standing {
    /// How the site of the service stands.
    ///
    /// # Errors
    ///
    /// When the history fails.
    pub fn of_service(service: &Service, history: &History, now: Timestamp) -> Result<Self, HistoryError> {
        let view = service.site();
        Self::of(&view.site.file, history, view.mistakes, now)
    }

    /// How a site stands. `mistakes` is what is wrong with its file, when the one in force is an older one.
    ///
    /// # Errors
    ///
    /// When the history fails.
    pub fn of(
        site: &SiteFile,
        history: &History,
        mistakes: Option<String>,
        now: Timestamp,
    ) -> Result<Self, HistoryError> {
        let planned = planned(site, history, now)?;
        let backup = planned.iter().find(|it| it.timed.task == Task::Backup);
        let expected = Expected {
            site_file_mistakes: mistakes,
            retry_at: backup.and_then(|it| match it.step {
                Step::Retry { at } => Some(at),
                _ => None,
            }),
            ..Expected::of(site, now)
        };
        let facts = Facts::gather(history, expected, now)?;
        let mut conditions = conditions(&facts);
        conditions.sort_by_key(|condition| std::cmp::Reverse(condition.severity));
        Ok(Self {
            site: site.site.code.clone(),
            facts,
            conditions,
            under_way: history.under_way()?,
            planned,
            totals: history.run_totals()?,
        })
    }

    /// How old the last backup is that published a set.
    pub fn age(&self) -> Option<SignedDuration> {
        self.facts.backup.last_good.as_ref().map(|run| self.facts.now.duration_since(run.started))
    }

    /// When a task begins next.
    pub fn next(&self, task: Task) -> Option<Timestamp> {
        self.planned.iter().find(|it| it.timed.task == task).and_then(Planned::next)
    }
}

fn planned(site: &SiteFile, history: &History, now: Timestamp) -> Result<Vec<Planned>, HistoryError> {
    let Some(settings) = &site.schedule else { return Ok(Vec::new()) };
    let mut planned = Vec::new();
    for timed in Timed::of(settings) {
        let since = since(history, &timed, now)?;
        let last = history.last_attempt(timed.task)?;
        let interval = timed.schedule.longest_gap(now);
        planned.push(Planned { step: step(&timed, last.as_ref(), since, now), timed, interval });
    }
    Ok(planned)
}

/// Since when the site has this schedule.
pub(crate) fn since(history: &History, timed: &Timed, now: Timestamp) -> Result<Timestamp, HistoryError> {
    history.since(&format!("schedule {}", timed.task), &timed.schedule.describe(), now)
}
