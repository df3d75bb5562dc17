//! Getting a lock: look, write, look again.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use stillpoint_model::ErrorKind;

use super::owner::LockFile;
use super::{Clock, Held, RepositoryLock, Rules, State, keep_fresh};
use crate::error::RepositoryError;
use crate::id::Id;
use crate::repository::Repository;
use crate::store::{FileKind, FileName, StoreErrorKind};
use crate::watch::Watcher;

/// What stands against our lock.
enum Conflict {
    Held(Box<LockFile>),
    /// Nobody can say whose it is.
    Unreadable(Id, RepositoryError),
}

/// Who wants a lock.
pub(super) struct Acquirer<'r> {
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
    pub fn new(repository: &'r Repository, exclusive: bool, rules: Rules, watcher: &'r dyn Watcher) -> Self {
        let (own, seen, told) = (Vec::new(), BTreeMap::new(), Vec::new());
        Self { repository, exclusive, rules, watcher, own, seen, told }
    }

    pub fn acquire(mut self, wait: Duration) -> Result<RepositoryLock, RepositoryError> {
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
