//! Locks: who works in a repository writes a file, as restic does, so that nobody removes what another needs.
//!
//! Adding and reading are done under a shared lock; removing what others may need (the last step of a prune) under an exclusive
//! one. Who wants a lock looks whether another stands against it, writes his own, and looks again: of two that come at
//! once, at least one sees the other and steps back.
//!
//! A lock is refreshed every five minutes, and one that was not for half an hour is stale, as it is for restic. A stale
//! lock, and at once that of a dead process of this machine, is removed by whoever comes next. So a process that was
//! held up for long (a suspended machine, a store that did not answer) may have lost its lock while it slept: it asks
//! [`RepositoryLock::still_ours`] before each act that would harm others.

mod acquire;
mod owner;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use stillpoint_model::ErrorKind;

use crate::error::RepositoryError;
use crate::id::Id;
use crate::repository::Repository;
use crate::store::{FileKind, FileName, StoreErrorKind};
use crate::time::Moment;
use crate::watch::Watcher;
use acquire::Acquirer;
use owner::LockFile;

/// The times, which are restic's.
#[derive(Debug, Clone, Copy)]
struct Rules {
    /// How often a lock is refreshed.
    refresh: Duration,
    /// How often it is looked whether it is time, and how soon it is tried again after that failed.
    retry: Duration,
    /// Without a refresh for this long we no longer trust our own lock: well before it is stale to others.
    trust: Duration,
    /// Without a refresh for this long a lock is stale.
    stale: Duration,
    /// How often it is looked whether a lock that stands against ours has gone.
    look: Duration,
    /// How long somebody may take who saw our old lock as stale to look again and see the new one.
    settle: Duration,
}

const RULES: Rules = Rules {
    refresh: Duration::from_secs(5 * 60),
    retry: Duration::from_secs(30),
    trust: Duration::from_secs(22 * 60),
    stale: Duration::from_secs(30 * 60),
    look: Duration::from_secs(1),
    settle: Duration::from_millis(200),
};

/// How far the clock may be set forward between two refreshes before we ask the store whether we still have our lock: a
/// machine that was stopped from outside knows nothing of it but this.
const CLOCK_JUMP: Duration = Duration::from_secs(10 * 60);

/// Our lock on a repository, kept fresh until it is dropped.
#[derive(Debug)]
pub struct RepositoryLock {
    held: Arc<Held>,
    refresher: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Held {
    repository: Repository,
    exclusive: bool,
    rules: Rules,
    state: Mutex<State>,
    wake: Condvar,
    /// Held during a refresh, of which there is one at a time.
    refreshing: Mutex<()>,
}

#[derive(Debug)]
struct State {
    /// Our file.
    id: Id,
    refreshed: Clock,
    /// Why it is ours no longer.
    lost: Option<String>,
    /// What went wrong when it was last refreshed.
    failed: Option<String>,
    /// Files of ours that the store did not let us remove.
    left: Vec<Id>,
    ended: bool,
}

/// A point in time by two clocks: one that nobody sets and that goes on while the machine sleeps, and that of the wall.
#[derive(Debug, Clone, Copy)]
struct Clock {
    boot: Duration,
    wall: Moment,
}

impl Clock {
    fn now() -> Self {
        let boot = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(boot.tv_sec).unwrap_or_default();
        let nanoseconds = u32::try_from(boot.tv_nsec).unwrap_or_default();
        Self { boot: Duration::new(seconds, nanoseconds), wall: Moment::now() }
    }

    fn elapsed(self) -> Duration {
        Self::now().boot.saturating_sub(self.boot)
    }

    /// Whether the clock of the wall was set forward by this much since.
    fn jumped(self, by: Duration) -> bool {
        let wall = Moment::now().timestamp().duration_since(self.wall.timestamp());
        Duration::try_from(wall).is_ok_and(|wall| wall.saturating_sub(self.elapsed()) > by)
    }
}

impl RepositoryLock {
    /// The lock for reading and adding. Others may have one, too.
    ///
    /// # Errors
    ///
    /// Somebody has an exclusive one and did not give it back within `wait` (`Busy`), the work was cancelled, or the store
    /// fails.
    pub fn shared(
        repository: &Repository,
        wait: Duration,
        watcher: &dyn Watcher,
    ) -> Result<Self, RepositoryError> {
        Acquirer::new(repository, false, RULES, watcher).acquire(wait)
    }

    /// The lock for reading, where there can be one: a store that permits no writing has none to give, and the watcher is told.
    ///
    /// # Errors
    ///
    /// As for [`shared`](Self::shared).
    pub fn reading(
        repository: &Repository,
        wait: Duration,
        watcher: &dyn Watcher,
    ) -> Result<Option<Self>, RepositoryError> {
        match Self::shared(repository, wait, watcher) {
            // Nobody who works alone is kept away, and what he removes will be missed.
            Err(error) if error.store == Some(StoreErrorKind::Denied) => {
                watcher.note(&format!("the work goes on without a lock: {error}"));
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// The lock for removing: nobody else has one.
    ///
    /// # Errors
    ///
    /// Somebody has one and did not give it back within `wait` (`Busy`), there is a lock file that cannot be read (`Damaged`),
    /// the work was cancelled, or the store fails.
    pub fn exclusive(
        repository: &Repository,
        wait: Duration,
        watcher: &dyn Watcher,
    ) -> Result<Self, RepositoryError> {
        Acquirer::new(repository, true, RULES, watcher).acquire(wait)
    }

    /// Whether we can still rely on it. To be asked before each act that would harm others, and before a version is stored.
    ///
    /// # Errors
    ///
    /// It could not be refreshed for so long that others may take it for stale, or somebody removed it (`Busy`): the
    /// work must stop.
    pub fn still_ours(&self) -> Result<(), RepositoryError> {
        self.held.still_ours()
    }

    /// Gives it back, and tells the watcher if the store does not let us remove our files. They then stay until they are
    /// stale, which harms nobody who adds or reads.
    pub fn release(mut self, watcher: &dyn Watcher) {
        if let Some(text) = self.end() {
            watcher.note(&text);
        }
    }

    fn end(&mut self) -> Option<String> {
        let refresher = self.refresher.take()?;
        self.held.state().ended = true;
        self.held.wake.notify_all();
        let _ = refresher.join();
        let (id, mut left) = {
            let state = self.held.state();
            (state.id, state.left.clone())
        };
        let store = self.held.repository.store();
        let mut why = None;
        match store.remove(FileName::Of(FileKind::Lock, id)) {
            Ok(()) => {}
            Err(error) if error.kind == StoreErrorKind::NotFound => {}
            Err(error) => {
                left.push(id);
                why = Some(error.to_string());
            }
        }
        let count = left.len();
        (count > 0).then(|| {
            let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
            format!("{count} lock files of ours stay in {} until they are stale{why}", store.name())
        })
    }
}

impl Drop for RepositoryLock {
    fn drop(&mut self) {
        if let Some(text) = self.end() {
            tracing::warn!("{text}");
        }
    }
}

impl Held {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn still_ours(&self) -> Result<(), RepositoryError> {
        let doubt = {
            let state = self.state();
            state.refreshed.elapsed() > self.rules.trust || state.refreshed.jumped(CLOCK_JUMP)
        };
        if doubt {
            self.refresh();
        }
        let state = self.state();
        let name = self.repository.store().name();
        let gone = |why: &str| {
            RepositoryError::new(ErrorKind::Busy, format!("our lock on {name} is no longer safe: {why}"))
                .with_hint("The work was stopped before it could harm others. Nothing is lost: run it again.")
        };
        if let Some(why) = &state.lost {
            return Err(gone(why));
        }
        if state.refreshed.elapsed() > self.rules.trust {
            let why = state.failed.as_deref().unwrap_or("it could not be refreshed in time");
            return Err(gone(why));
        }
        Ok(())
    }

    /// Writes a new file, proves that nobody took the old one for stale, and removes the old one.
    fn refresh(&self) {
        let _one_at_a_time = self.refreshing.lock().unwrap_or_else(PoisonError::into_inner);
        let (old, late) = {
            let state = self.state();
            if state.lost.is_some() || state.ended {
                return;
            }
            (state.id, state.refreshed.elapsed() > self.rules.trust)
        };
        let began = Clock::now();
        let refreshed = self.replace(old, late);
        let mut state = self.state();
        match refreshed {
            Ok(Refreshed { id, left }) => {
                (state.id, state.refreshed, state.failed) = (id, began, None);
                state.left.extend(left);
            }
            Err(Refused::Lost(why)) => state.lost = Some(why),
            Err(Refused::Failed(why)) => {
                tracing::warn!("a lock could not be refreshed: {why}");
                state.failed = Some(why);
            }
        }
    }

    fn replace(&self, old: Id, late: bool) -> Result<Refreshed, Refused> {
        let store = self.repository.store();
        let file = LockFile::ours(self.exclusive);
        let id = self.repository.save_json(FileKind::Lock, &file);
        let id = id.map_err(|error| Refused::Failed(error.to_string()))?;
        if late {
            std::thread::sleep(self.rules.settle);
        }
        let back_out = |why: String| {
            // What remains of it is stale in half an hour.
            let _ = store.remove(FileName::Of(FileKind::Lock, id));
            why
        };
        let old_name = FileName::Of(FileKind::Lock, old);
        match store.stat(old_name) {
            Ok(_) => {}
            Err(error) if error.kind == StoreErrorKind::NotFound => {
                return Err(Refused::Lost(back_out("somebody removed it".into())));
            }
            Err(error) => return Err(Refused::Failed(back_out(error.to_string()))),
        }
        let stays = store.remove(old_name).is_err() && store.stat(old_name).is_ok();
        Ok(Refreshed { id, left: stays.then_some(old) })
    }
}

struct Refreshed {
    id: Id,
    /// The file before, when the store does not let us remove it.
    left: Option<Id>,
}

enum Refused {
    Lost(String),
    Failed(String),
}

fn keep_fresh(held: &Held) {
    let mut state = held.state();
    while !state.ended {
        let (awake, _) =
            held.wake.wait_timeout(state, held.rules.retry).unwrap_or_else(PoisonError::into_inner);
        state = awake;
        let due = state.failed.is_some() || state.refreshed.elapsed() >= held.rules.refresh;
        if !state.ended && (due || state.refreshed.jumped(CLOCK_JUMP / 10)) {
            drop(state);
            held.refresh();
            state = held.state();
        }
    }
}

#[cfg(test)]
#[path = "lock/tests.rs"]
mod tests;
