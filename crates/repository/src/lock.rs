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

mod owner;

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use stillpoint_model::ErrorKind;

use crate::error::RepositoryError;
use crate::id::Id;
use crate::repository::Repository;
use crate::store::{FileKind, FileName, StoreErrorKind};
use crate::time::Moment;
use crate::watch::Watcher;
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

/// What stands against our lock.
enum Conflict {
    Held(Box<LockFile>),
    /// Nobody can say whose it is.
    Unreadable(Id, RepositoryError),
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

/// Who wants a lock.
struct Acquirer<'r> {
    repository: &'r Repository,
    exclusive: bool,
    rules: Rules,
    watcher: &'r dyn Watcher,
    /// Files of ours, of attempts before this one too when they cannot be removed.
    own: Vec<Id>,
    /// Since when the files of others have been seen unchanged. A lock from the future is stale by this, if by nothing else.
    seen: BTreeMap<Id, Instant>,
    /// Files that the watcher was told of.
    told: Vec<Id>,
}

impl<'r> Acquirer<'r> {
    fn new(repository: &'r Repository, exclusive: bool, rules: Rules, watcher: &'r dyn Watcher) -> Self {
        let (own, seen, told) = (Vec::new(), BTreeMap::new(), Vec::new());
        Self { repository, exclusive, rules, watcher, own, seen, told }
    }

    fn acquire(mut self, wait: Duration) -> Result<RepositoryLock, RepositoryError> {
        let begin = Instant::now();
        let mut told = false;
        loop {
            let conflict = match self.attempt()? {
                Ok(lock) => return Ok(lock),
                Err(conflict) => conflict,
            };
            let left = wait.saturating_sub(begin.elapsed());
            if left.is_zero() {
                return Err(self.refusal(conflict));
            }
            if !told {
                self.watcher.note(&format!("waiting: {}", self.refusal(conflict)));
                told = true;
            }
            self.pause(left.min(self.rules.look))?;
        }
    }

    fn pause(&self, length: Duration) -> Result<(), RepositoryError> {
        let begin = Instant::now();
        loop {
            self.watcher.check()?;
            let left = length.saturating_sub(begin.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(Duration::from_millis(100)));
        }
    }

    /// Looks, writes, and looks again.
    fn attempt(&mut self) -> Result<Result<RepositoryLock, Conflict>, RepositoryError> {
        if let Some(conflict) = self.look()? {
            return Ok(Err(conflict));
        }
        let refreshed = Clock::now();
        let id = self.repository.save_json(FileKind::Lock, &LockFile::ours(self.exclusive))?;
        self.own.push(id);
        let looked = self.look();
        if !matches!(looked, Ok(None)) {
            if self.repository.store().remove(FileName::Of(FileKind::Lock, id)).is_ok() {
                self.own.pop();
            }
            return looked.map(|conflict| match conflict {
                Some(conflict) => Err(conflict),
                // It was matched above.
                None => Err(Conflict::Unreadable(id, RepositoryError::cancelled())),
            });
        }
        self.hold(id, refreshed).map(Ok)
    }

    fn hold(&mut self, id: Id, refreshed: Clock) -> Result<RepositoryLock, RepositoryError> {
        let left = self.own.iter().copied().filter(|own| *own != id).collect();
        let held = Arc::new(Held {
            repository: self.repository.clone(),
            exclusive: self.exclusive,
            rules: self.rules,
            state: Mutex::new(State { id, refreshed, lost: None, failed: None, left, ended: false }),
            wake: Condvar::new(),
            refreshing: Mutex::new(()),
        });
        let theirs = Arc::clone(&held);
        let refresher = std::thread::Builder::new().name("lock".into()).spawn(move || keep_fresh(&theirs));
        match refresher {
            Ok(refresher) => Ok(RepositoryLock { held, refresher: Some(refresher) }),
            Err(error) => {
                let _ = self.repository.store().remove(FileName::Of(FileKind::Lock, id));
                let text = format!("no thread could be started to keep a lock fresh: {error}");
                Err(RepositoryError::new(ErrorKind::Environment, text))
            }
        }
    }

    /// The first lock that stands against ours. Stale ones are removed on the way.
    fn look(&mut self) -> Result<Option<Conflict>, RepositoryError> {
        let files = self.repository.list(FileKind::Lock)?;
        self.seen.retain(|id, _| files.iter().any(|(listed, _)| listed == id));
        let mut conflict = None;
        for (id, _) in files {
            if self.own.contains(&id) {
                continue;
            }
            let since = *self.seen.entry(id).or_insert_with(Instant::now);
            let unchanged = since.elapsed() > self.rules.stale;
            match self.repository.load_json::<LockFile>(FileKind::Lock, id) {
                Ok(file) => {
                    if let Some(why) = stale(&file, self.rules, unchanged) {
                        self.clear(id, &format!("of {file} is stale: {why}"));
                    } else if self.exclusive || file.exclusive {
                        conflict.get_or_insert(Conflict::Held(Box::new(file)));
                    }
                }
                // Given back since it was named.
                Err(error) if error.is_missing() => {}
                Err(error) if error.kind != ErrorKind::Damaged => return Err(error),
                Err(error) if unchanged => self.clear(id, &format!("{} is stale: {error}", id.short())),
                Err(error) if self.exclusive => {
                    conflict.get_or_insert(Conflict::Unreadable(id, error));
                }
                // Its owner, if he lives, writes a new one within minutes. Until then we add, which harms nobody.
                Err(error) => {
                    self.tell(id, &format!("a lock file cannot be read and was passed over: {error}"))
                }
            }
        }
        Ok(conflict)
    }

    fn clear(&mut self, id: Id, what: &str) {
        let text = match self.repository.store().remove(FileName::Of(FileKind::Lock, id)) {
            Ok(()) => format!("removed: the lock {what}"),
            Err(error) if error.kind == StoreErrorKind::NotFound => return,
            Err(error) => format!("passed over: the lock {what}. It stays: {error}"),
        };
        self.tell(id, &text);
    }

    fn tell(&mut self, id: Id, text: &str) {
        if !self.told.contains(&id) {
            self.told.push(id);
            self.watcher.note(text);
        }
    }

    fn refusal(&self, conflict: Conflict) -> RepositoryError {
        let name = self.repository.store().name();
        match conflict {
            Conflict::Held(file) => {
                let text = format!("{name} is in use by {file}");
                RepositoryError::new(ErrorKind::Busy, text).with_hint(
                    "Try again when that work is done. The lock of a process that died goes by itself, at the latest \
                     half an hour after it was last heard of.",
                )
            }
            Conflict::Unreadable(id, error) => error.with_hint(format!(
                "Nobody can say whose lock that is. When no work goes on in the archive, remove the file {}.",
                FileName::Of(FileKind::Lock, id)
            )),
        }
    }
}

/// Why this lock need not be honoured.
fn stale(file: &LockFile, rules: Rules, unchanged: bool) -> Option<String> {
    if file.is_dead() {
        return Some("that process is dead".into());
    }
    // By the clock also when its process lives: a file may have been left behind by a refresh. Who is hit by a jump of the
    // clock learns it before he harms anybody, see `still_ours`.
    let minutes = rules.stale.as_secs() / 60;
    (unchanged || file.age() > rules.stale).then(|| format!("it was not refreshed for {minutes} minutes"))
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
