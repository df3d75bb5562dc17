//! Puts what is due into the queue, keeps an eye on the clock, and lets old history go.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};
use stillpoint_history::{Asked, Ending, History, HistoryError, Recorder, Run, Task};
use stillpoint_model::status::id;
use stillpoint_model::{ErrorKind, NoMonitor, Outcome, RunId};

use crate::launcher::Order;
use crate::queue::Ended;
use crate::service::Service;
use crate::timetable::{Step, Timed, step};

/// How often it is looked what is due. Nothing is remembered between two looks.
const EVERY: Duration = Duration::from_secs(2);

/// How far the clock may go off within one look before it counts as a jump.
const JUMP: SignedDuration = SignedDuration::from_secs(60);

/// How often old history is let go.
const LET_GO_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// Runs until the task is dropped.
pub(crate) async fn run(service: Service) {
    let mut clock = Watch::start();
    let mut let_go_at = Timestamp::now();
    loop {
        tokio::time::sleep(EVERY).await;
        if let Some(by) = clock.jumped() {
            service.tell(id::CLOCK_JUMPED, &[&by.as_secs().to_string()]);
        }
        let now = Timestamp::now();
        let again = service.clone();
        let looked = service.with_history(move |history| look(&again, history, now)).await;
        if let Err(error) = looked {
            tracing::warn!("what is due cannot be told: {error}");
        }
        if now >= let_go_at || let_go_at > now + LET_GO_EVERY {
            let_go_at = now + LET_GO_EVERY;
            let_go(&service, now).await;
        }
    }
}

async fn let_go(service: &Service, now: Timestamp) {
    let keep = service.site().site.file.history.keep.duration();
    let keep = SignedDuration::try_from(keep).unwrap_or(SignedDuration::MAX);
    let Ok(before) = now.checked_sub(keep) else { return };
    loop {
        match service.with_history(move |history| history.let_go(before)).await {
            Ok(true) => tokio::time::sleep(Duration::from_millis(50)).await,
            Ok(false) => break,
            Err(error) => {
                tracing::warn!("old history could not be let go: {error}");
                return;
            }
        }
    }
    let rest = service.with_history(move |history| {
        history.let_alerts_go(before)?;
        history.let_audit_go(before, now)
    });
    if let Err(error) = rest.await {
        tracing::warn!("old alerts and rows of the audit log could not be let go: {error}");
    }
}

fn look(service: &Service, history: &History, now: Timestamp) -> Result<(), HistoryError> {
    let view = service.site();
    let Some(settings) = &view.site.file.schedule else { return Ok(()) };
    for timed in Timed::of(settings) {
        let since = crate::standing::since(history, &timed, now)?;
        match step(&timed, history.last_attempt(timed.task)?.as_ref(), since, now) {
            Step::Begin { attempt, .. } => begin(service, timed.task, attempt),
            Step::Missed { due, next } => {
                let name = format!("missed {}", timed.task);
                if history.is_new(&name, &due.to_string(), now)? {
                    let zone = &timed.schedule.zone;
                    let goes_on = next.map_or_else(
                        || "its schedule has no other time".to_owned(),
                        |next| format!("it waits for {}", zone.at(next)),
                    );
                    let due = zone.at(due).to_string();
                    service.tell(id::SCHEDULE_MISSED, &[timed.task.as_str(), &due, &goes_on]);
                }
            }
            Step::Retry { .. } | Step::Wait { .. } => {}
        }
    }
    Ok(())
}

fn begin(service: &Service, task: Task, attempt: u32) {
    let queue = service.queue.view();
    if queue.running.iter().chain(&queue.waiting).any(|job| job.order.task() == task) {
        return;
    }
    let order = match task {
        Task::Backup => Order::Backup,
        Task::Verify => Order::Verify,
        Task::Retention => Order::Retention,
        Task::Restore => return,
    };
    // A service that is about to end begins nothing; the next one will find that it is due.
    if service.queue.add(order, "schedule", attempt).is_ok() {
        service.tell(id::TASK_QUEUED, &[task.as_str(), "schedule", &attempt.to_string()]);
    }
}

/// A job whose process could not even record a run is recorded here, as failed: what is due must not look as if it had never
/// been tried.
pub(crate) fn record_unrecorded(history: &History, ended: &Ended) -> Result<(), HistoryError> {
    let job = &ended.job;
    let recorded = |run: &Run| {
        job.started.is_some_and(|started| run.started.as_millisecond() >= started.as_millisecond())
    };
    if history.last_attempt(job.order.task())?.as_ref().is_some_and(recorded) {
        return Ok(());
    }
    let failure = match &ended.result {
        Ok(exit) if exit.said.is_empty() => "its process ended before it began".to_owned(),
        Ok(exit) => exit.said.clone(),
        Err(why) => why.clone(),
    };
    let code = ended.result.as_ref().ok().and_then(|exit| exit.code);
    let asked = Asked { task: job.order.task(), by: job.asked_by.clone(), attempt: job.attempt };
    let name = RunId::new(Timestamp::now(), std::process::id());
    let recorder = Recorder::begin(history.path(), name.as_str(), &asked, std::sync::Arc::new(NoMonitor))?;
    recorder.end(Ending {
        outcome: Outcome::Failed,
        exit_code: code.filter(|code| *code != 0).unwrap_or(ErrorKind::Environment.exit_code()),
        failure: Some(failure),
        hook_failure: None,
        grade: None,
        problems: 0,
        set: None,
        room: None,
    });
    Ok(())
}

/// Watches the clock against the one that nobody can set, and that goes on while the machine sleeps (`CLOCK_BOOTTIME`).
struct Watch {
    wall: Timestamp,
    steady: SignedDuration,
}

impl Watch {
    fn start() -> Self {
        Self { wall: Timestamp::now(), steady: steady() }
    }

    /// By how much the clock was set since the last call, if it was.
    fn jumped(&mut self) -> Option<SignedDuration> {
        let now = Self::start();
        let by = now.wall.duration_since(self.wall) - (now.steady - self.steady);
        *self = now;
        (by.abs() > JUMP).then_some(by)
    }
}

fn steady() -> SignedDuration {
    let time = clock_gettime(ClockId::Boottime);
    SignedDuration::new(time.tv_sec, i32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_seen_and_one_that_goes_is_not() {
        let mut watch = Watch::start();
        assert_eq!(watch.jumped(), None);
        // As if it had been an hour later at the last look.
        watch.wall += SignedDuration::from_hours(1);
        let by = watch.jumped().unwrap();
        assert!(by < SignedDuration::from_mins(-59) && by > SignedDuration::from_mins(-61), "{by}");
        assert_eq!(watch.jumped(), None);
    }
}
