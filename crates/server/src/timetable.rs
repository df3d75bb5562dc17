//! What is to be begun now, and when next: a function of the site file, the last runs and the time.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use stillpoint_history::{Run, Task};
use stillpoint_model::site_file::ScheduleSettings;
use stillpoint_model::{ErrorKind, Outcome};
use stillpoint_schedule::{Decision, Due, Schedule};

/// A task with its schedule.
#[derive(Debug, Clone)]
pub struct Timed {
    /// The task.
    pub task: Task,
    /// When it is due.
    pub schedule: Schedule,
    /// How often it is tried again, and how long after a failure.
    pub retries: u32,
    /// How long after a failure it is tried again.
    pub retry_after: SignedDuration,
}

impl Timed {
    /// The tasks of a site file.
    pub fn of(settings: &ScheduleSettings) -> Vec<Self> {
        let retry_after =
            SignedDuration::try_from(settings.retry_after.duration()).unwrap_or(SignedDuration::MAX);
        let timed = |task, schedule: Option<Schedule>| {
            schedule.map(|schedule| Self { task, schedule, retries: settings.retries, retry_after })
        };
        let all = [
            timed(Task::Backup, settings.backup()),
            timed(Task::Verify, settings.verify()),
            timed(Task::Retention, settings.retention()),
        ];
        all.into_iter().flatten().collect()
    }
}

/// What is to be done about a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum Step {
    /// Begin it.
    Begin {
        /// Which try it is, from 1.
        attempt: u32,
        /// Which due time that is.
        due: Timestamp,
        /// Whether that time was missed and is caught up.
        late: bool,
    },
    /// It failed, and is tried again at this time, unless it is due before.
    Retry {
        /// When.
        at: Timestamp,
    },
    /// It missed its time and waits for the next.
    Missed {
        /// What it missed.
        due: Timestamp,
        /// When it goes on.
        next: Option<Timestamp>,
    },
    /// It is due next at this time, if at all.
    Wait {
        /// When.
        next: Option<Timestamp>,
    },
}

/// Whether a run failed in a way that may pass by itself. An exit code of no kind, and the end by a signal, may.
fn may_pass(run: &Run) -> bool {
    let lasts = |code: &u8| ErrorKind::ALL.iter().any(|kind| kind.exit_code() == *code && !kind.may_pass());
    run.outcome == Some(Outcome::Failed) && !run.exit_code.as_ref().is_some_and(lasts)
}

/// What is to be done about a task now. `last` is the run of it that was recorded last; `since` is when the site got this schedule.
pub fn step(timed: &Timed, last: Option<&Run>, since: Timestamp, now: Timestamp) -> Step {
    let begin = |due: Due, late: bool| Step::Begin { attempt: 1, due: due.begin, late };
    let decision = timed.schedule.due(now, last.map(|run| run.started), since);
    let next = match decision {
        Decision::Run(due) => return begin(due, false),
        Decision::CatchUp(due) => return begin(due, true),
        Decision::Missed { missed, next } => {
            return Step::Missed { due: missed.begin, next: next.map(|due| due.begin) };
        }
        Decision::Wait(next) => next.map(|due| due.begin),
    };
    match last.and_then(|run| retry(timed, run)) {
        Some((at, attempt)) if at <= now => Step::Begin { attempt, due: at, late: false },
        Some((at, _)) if next.is_none_or(|next| at < next) => Step::Retry { at },
        _ => Step::Wait { next },
    }
}

/// When a failed run is tried again, and as which try.
fn retry(timed: &Timed, last: &Run) -> Option<(Timestamp, u32)> {
    let ended = last.ended.filter(|_| may_pass(last) && last.attempt <= timed.retries)?;
    Some((ended.checked_add(timed.retry_after).ok()?, last.attempt + 1))
}

#[cfg(test)]
mod tests {
    use stillpoint_schedule::{Calendar, Missed};

    use super::*;

    fn nightly() -> Timed {
        let schedule = Schedule {
            calendar: Calendar::Cron("30 2 * * *".parse().unwrap()),
            zone: "Europe/Berlin".parse().unwrap(),
            missed: Missed::CatchUp,
        };
        Timed { task: Task::Backup, schedule, retries: 3, retry_after: SignedDuration::from_mins(10) }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn run(started: &str, exit_code: u8, attempt: u32) -> Run {
        let started = at(started);
        Run {
            name: "r".into(),
            task: Task::Backup,
            asked_by: "schedule".into(),
            attempt,
            epoch: None,
            started,
            ended: Some(started + SignedDuration::from_mins(1)),
            outcome: Some(if exit_code == 0 { Outcome::Complete } else { Outcome::Failed }),
            grade: None,
            window_us: None,
            files: 0,
            bytes: 0,
            problems: 0,
            exit_code: Some(exit_code),
            failure: None,
            hook_failure: None,
            set: None,
            free_bytes: None,
            size_bytes: None,
        }
    }

    #[test]
    fn a_failure_that_may_pass_is_tried_again_three_times_and_then_waits_for_the_next_night() {
        let timed = nightly();
        let since = at("2026-01-01T00:00:00Z");
        let mut now = at("2026-06-02T00:30:00Z");
        let Step::Begin { attempt: 1, late: false, .. } = step(&timed, None, since, now) else { panic!() };
        for attempt in 1..=3 {
            let last = run(&now.to_string(), 12, attempt);
            let ended = last.ended.unwrap();
            let again = ended + SignedDuration::from_mins(10);
            assert_eq!(step(&timed, Some(&last), since, ended), Step::Retry { at: again });
            assert_eq!(
                step(&timed, Some(&last), since, again),
                Step::Begin { attempt: attempt + 1, due: again, late: false }
            );
            now = again;
        }
        let last = run(&now.to_string(), 12, 4);
        let next = Some(at("2026-06-03T00:30:00Z"));
        assert_eq!(
            step(&timed, Some(&last), since, now + SignedDuration::from_hours(1)),
            Step::Wait { next }
        );
    }

    #[test]
    fn what_does_not_pass_by_itself_is_not_tried_again() {
        let (timed, since) = (nightly(), at("2026-01-01T00:00:00Z"));
        for kind in ErrorKind::ALL {
            let last = run("2026-06-02T00:30:00Z", kind.exit_code(), 1);
            let tried =
                matches!(step(&timed, Some(&last), since, at("2026-06-02T00:35:00Z")), Step::Retry { .. });
            let passes = [ErrorKind::Busy, ErrorKind::Environment, ErrorKind::Component, ErrorKind::Bug]
                .contains(&kind);
            assert_eq!(tried, passes, "{kind:?}");
        }
    }

    #[test]
    fn a_whole_year_in_a_loop_has_one_good_backup_each_night_also_when_every_first_try_fails() {
        let (timed, since) = (nightly(), at("2026-01-01T00:00:00Z"));
        let (mut now, mut last, mut good): (_, Option<Run>, _) = (since, None, Vec::new());
        while now < at("2027-01-01T00:00:00Z") {
            now = match step(&timed, last.as_ref(), since, now) {
                Step::Begin { attempt, .. } => {
                    let code = if attempt == 1 { 11 } else { 0 };
                    last = Some(run(&now.to_string(), code, attempt));
                    if code == 0 {
                        good.push(timed.schedule.zone.at(now).date());
                    }
                    now + SignedDuration::from_mins(1)
                }
                Step::Retry { at } | Step::Wait { next: Some(at) } => at,
                other => panic!("{other:?}"),
            };
        }
        assert_eq!(good.len(), 365);
        good.dedup();
        assert_eq!(good.len(), 365);
    }
}
