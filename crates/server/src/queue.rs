//! One thing at a time: orders wait in line, and the one in front is done.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use stillpoint_history::{History, Run};
use tokio::sync::{Notify, watch};

use crate::launcher::{Exit, LaunchError, Launcher, Order};

/// An order in the queue.
#[derive(Debug, Clone, Serialize)]
pub struct Job {
    /// Its number, unique while the service runs.
    pub id: u64,
    /// What is to be done.
    #[serde(flatten)]
    pub order: Order,
    /// Who asked: `schedule`, or the name of a person.
    pub asked_by: String,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// Which try it is, from 1.
    pub attempt: u32,
    /// When it began; missing while it waits.
    pub started: Option<Timestamp>,
}

/// What the queue looks like.
#[derive(Debug, Clone, Default, Serialize)]
pub struct QueueView {
    /// What is being done.
    pub running: Option<Job>,
    /// What waits, in its order.
    pub waiting: Vec<Job>,
    /// Whether the service is about to end: nothing new begins.
    pub closing: bool,
}

/// What a job came to.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The job.
    pub job: Job,
    /// How its process ended, or why it could not be started.
    pub result: Result<Exit, String>,
}

#[derive(Default)]
struct State {
    view: QueueView,
    waiting: VecDeque<Job>,
    last_id: u64,
}

/// The queue of a site. Cheap to clone.
#[derive(Clone)]
pub struct Queue {
    state: Arc<Mutex<State>>,
    wake: Arc<Notify>,
    changed: watch::Sender<u64>,
}

/// Why nothing was put into the queue.
#[derive(Debug, thiserror::Error)]
#[error("the service is about to end, and begins nothing new")]
pub struct Closing;

/// How long a run may take from its start until it says its name, so that it can be told to end.
const NAME_LIMIT: Duration = Duration::from_secs(20);

impl Default for Queue {
    fn default() -> Self {
        Self { state: Arc::default(), wake: Arc::default(), changed: watch::Sender::new(0) }
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// What it looks like now.
    pub fn view(&self) -> QueueView {
        let state = self.state();
        QueueView { waiting: state.waiting.iter().cloned().collect(), ..state.view.clone() }
    }

    /// Tells of every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Puts an order in line, and returns its number. An order that waits already is the same one.
    ///
    /// # Errors
    ///
    /// When the service is about to end.
    pub fn add(&self, order: Order, asked_by: &str, attempt: u32) -> Result<u64, Closing> {
        let mut state = self.state();
        if state.view.closing {
            return Err(Closing);
        }
        if let Some(same) = state.waiting.iter().find(|job| job.order == order) {
            return Ok(same.id);
        }
        state.last_id += 1;
        let id = state.last_id;
        let job = Job {
            id,
            order,
            asked_by: asked_by.to_owned(),
            asked_at: Timestamp::now(),
            attempt,
            started: None,
        };
        state.waiting.push_back(job);
        drop(state);
        self.wake.notify_one();
        self.tell();
        Ok(id)
    }

    /// Takes an order out of the line. `false` when it does not wait there.
    pub fn remove(&self, id: u64) -> bool {
        let mut state = self.state();
        let before = state.waiting.len();
        state.waiting.retain(|job| job.id != id);
        let removed = state.waiting.len() < before;
        drop(state);
        if removed {
            self.tell();
        }
        removed
    }

    /// Begins nothing new from now on, and empties the line.
    pub fn close(&self) {
        let mut state = self.state();
        state.view.closing = true;
        state.waiting.clear();
        drop(state);
        self.wake.notify_one();
        self.tell();
    }

    /// Does the orders, one after another, until the queue is closed and the last is done. `ended` is told of each.
    pub async fn work(&self, launcher: &Launcher, ended: impl Fn(Ended)) {
        loop {
            let Some(job) = self.begin_next() else {
                if self.state().view.closing {
                    return;
                }
                self.wake.notified().await;
                continue;
            };
            self.tell();
            let result = launcher.run(&job.order, &job.asked_by, job.attempt).await;
            self.state().view.running = None;
            self.tell();
            ended(Ended { job, result: result.map_err(|error| error.to_string()) });
        }
    }

    fn begin_next(&self) -> Option<Job> {
        let mut state = self.state();
        let mut job = state.waiting.pop_front()?;
        job.started = Some(Timestamp::now());
        state.view.running = Some(job.clone());
        Some(job)
    }

    /// Ends a job: takes it out of the line, or tells its run to end. Returns when that was told, not when it has ended.
    ///
    /// # Errors
    ///
    /// When there is no such job, or its run cannot be told to end.
    pub async fn cancel(
        &self,
        id: u64,
        launcher: &Launcher,
        history: &Arc<History>,
    ) -> Result<(), LaunchError> {
        if self.remove(id) {
            return Ok(());
        }
        let begun = tokio::time::Instant::now();
        loop {
            let running = self.view().running.filter(|job| job.id == id);
            let Some(job) = running else {
                return Err(LaunchError::text(format!("there is no job {id} in the queue")));
            };
            if let Some(run) = run_of(history, &job).await {
                return launcher.cancel(&run.name).await;
            }
            if begun.elapsed() > NAME_LIMIT {
                return Err(LaunchError::text("its run has not begun; try again"));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The run of a job that was begun: the one of its task that is under way and began after it.
async fn run_of(history: &Arc<History>, job: &Job) -> Option<Run> {
    let history = history.clone();
    let found = tokio::task::spawn_blocking(move || history.under_way()).await.ok()?.ok()?;
    found.into_iter().find(|run| job.is_of(run))
}

impl Job {
    /// Whether this run, which is under way, is that of the job: it does its task and began after it.
    pub fn is_of(&self, run: &Run) -> bool {
        let after = |began: Timestamp| run.started.as_millisecond() >= began.as_millisecond();
        run.task == self.order.task() && self.started.is_some_and(after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_that_waits_already_is_the_same_one() {
        let queue = Queue::default();
        let first = queue.add(Order::Backup, "schedule", 1).unwrap();
        assert_eq!(queue.add(Order::Backup, "anna", 1).unwrap(), first);
        let other = queue.add(Order::Verify, "anna", 1).unwrap();
        assert_ne!(other, first);
        assert_eq!(queue.begin_next().map(|job| job.id), Some(first));
        // One that runs is not one that waits: what changed since it began is in the next.
        let again = queue.add(Order::Backup, "anna", 1).unwrap();
        assert!(again != first && queue.view().waiting.len() == 2, "{:?}", queue.view());
        assert!(queue.remove(other) && !queue.remove(other));
    }

    #[test]
    fn a_queue_that_closes_takes_nothing_and_forgets_what_waits() {
        let queue = Queue::default();
        queue.add(Order::Backup, "schedule", 1).unwrap();
        queue.close();
        assert!(queue.view().waiting.is_empty() && queue.add(Order::Verify, "anna", 1).is_err());
    }
}
