use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::*;
use crate::secret::Secret;
use crate::store::{MemoryStore, Store};

#[path = "../../tests/support/acts.rs"]
mod acts;
use acts::{Act, ActStore, Verdict};

/// Short enough for a test, and no test depends on how short.
const QUICK: Rules = Rules {
    refresh: Duration::ZERO,
    retry: Duration::from_millis(5),
    trust: Duration::from_secs(600),
    stale: Duration::from_secs(1800),
    look: Duration::from_millis(20),
    settle: Duration::ZERO,
};

/// Nothing happens in the background.
const SLOW: Rules =
    Rules { refresh: Duration::from_secs(3600), retry: Duration::from_secs(3600), look: QUICK.look, ..RULES };

#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Watcher for Notes {
    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

impl Notes {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

struct Fixture {
    store: Arc<MemoryStore>,
    notes: Notes,
}

fn secret() -> Secret {
    Secret::new(b"secret".to_vec())
}

impl Fixture {
    fn new() -> (Self, Repository) {
        let fixture = Self { store: Arc::default(), notes: Notes::default() };
        let door = ActStore::open(fixture.store.clone());
        let repository = Repository::create(Box::new(door), &secret(), "test").unwrap();
        (fixture, repository)
    }

    /// The same repository through a door with a judge.
    fn through(&self, judge: impl FnMut(Act) -> Verdict + Send + 'static) -> Repository {
        Repository::open(Box::new(ActStore::new(self.store.clone(), judge)), &secret()).unwrap()
    }

    fn acquire(
        &self,
        at: &Repository,
        exclusive: bool,
        rules: Rules,
    ) -> Result<RepositoryLock, RepositoryError> {
        Acquirer::new(at, exclusive, rules, &self.notes).acquire(Duration::ZERO)
    }

    fn locks(&self) -> Vec<Id> {
        let mut found = Vec::new();
        self.store.list(FileKind::Lock, &mut |id, _| found.push(id)).unwrap();
        found
    }
}

/// A lock of somebody of whom nothing is known, of so many seconds ago.
fn of_another(at: &Repository, exclusive: bool, seconds_ago: i64) -> Id {
    let now = Moment::now().timestamp();
    let time = Moment::new(now - jiff::SignedDuration::from_secs(seconds_ago));
    let file = LockFile { time, hostname: "another".into(), process: None, ..LockFile::ours(exclusive) };
    at.save_json(FileKind::Lock, &file).unwrap()
}

/// Waits until it is so: the background needs its time, however long on this machine.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < Duration::from_secs(120), "never came: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn sharing_is_for_all_and_being_alone_for_one() {
    let (fixture, at) = Fixture::new();
    let one = fixture.acquire(&at, false, SLOW).unwrap();
    let two = fixture.acquire(&at, false, SLOW).unwrap();
    let busy = fixture.acquire(&at, true, SLOW).unwrap_err();
    assert_eq!(busy.kind, ErrorKind::Busy);
    assert!(busy.text.contains(&format!("process {}", std::process::id())), "{busy}");
    drop(one);
    assert_eq!(fixture.acquire(&at, true, SLOW).unwrap_err().kind, ErrorKind::Busy);
    drop(two);
    let alone = fixture.acquire(&at, true, SLOW).unwrap();
    for exclusive in [false, true] {
        assert_eq!(fixture.acquire(&at, exclusive, SLOW).unwrap_err().kind, ErrorKind::Busy);
    }
    alone.release(&fixture.notes);
    assert!(fixture.locks().is_empty() && fixture.notes.take().is_empty());
}

#[test]
fn of_two_who_come_at_once_never_both_are_alone() {
    let (fixture, _) = Fixture::new();
    let inside = Arc::new(AtomicBool::new(false));
    let doors: Vec<Repository> = (0..4).map(|_| fixture.through(|_| Verdict::Pass)).collect();
    std::thread::scope(|scope| {
        for (number, door) in doors.iter().enumerate() {
            let inside = Arc::clone(&inside);
            scope.spawn(move || {
                let mut done = 0;
                while done < 5 {
                    let notes = Notes::default();
                    let Ok(lock) = Acquirer::new(door, true, SLOW, &notes).acquire(Duration::ZERO) else {
                        // Both may step back. Who comes at another time gets it.
                        std::thread::sleep(Duration::from_micros(number as u64 * 700));
                        continue;
                    };
                    assert!(!inside.swap(true, Ordering::SeqCst), "two are alone");
                    std::thread::yield_now();
                    inside.store(false, Ordering::SeqCst);
                    drop(lock);
                    done += 1;
                }
            });
        }
    });
    assert!(fixture.locks().is_empty());
}

#[test]
fn a_lock_is_refreshed_while_it_is_held_and_then_gone() {
    let (fixture, at) = Fixture::new();
    let lock = fixture.acquire(&at, false, QUICK).unwrap();
    let first = fixture.locks();
    until("another file", || fixture.locks() != first && !fixture.locks().is_empty());
    lock.still_ours().unwrap();
    drop(lock);
    assert!(fixture.locks().is_empty());
}

#[test]
fn who_waits_gets_the_lock_when_it_is_given_back() {
    let (fixture, at) = Fixture::new();
    let lock = fixture.acquire(&at, true, SLOW).unwrap();
    let looks = Arc::new(Mutex::new(0));
    let seen = Arc::clone(&looks);
    let other = fixture.through(move |act| {
        *seen.lock().unwrap() += usize::from(act == Act::List(FileKind::Lock));
        Verdict::Pass
    });
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let acquirer = Acquirer::new(&other, false, SLOW, &fixture.notes);
            acquirer.acquire(Duration::from_secs(600)).map(drop)
        });
        until("two looks", || *looks.lock().unwrap() >= 2);
        drop(lock);
        waiting.join().unwrap().unwrap();
    });
    let notes = fixture.notes.take();
    assert!(notes.len() == 1 && notes[0].starts_with("waiting: "), "{notes:?}");
}

#[test]
fn a_lock_that_was_not_refreshed_for_half_an_hour_goes_by_itself() {
    let (fixture, at) = Fixture::new();
    of_another(&at, true, 31 * 60);
    let lock = fixture.acquire(&at, true, SLOW).unwrap();
    let notes = fixture.notes.take();
    assert!(notes.len() == 1 && notes[0].contains("another") && notes[0].contains("30 minutes"), "{notes:?}");
    assert_eq!(fixture.locks().len(), 1);
    drop(lock);
    for minutes in [29, -600] {
        let id = of_another(&at, true, minutes * 60);
        assert_eq!(fixture.acquire(&at, false, SLOW).unwrap_err().kind, ErrorKind::Busy);
        at.store().remove(FileName::Of(FileKind::Lock, id)).unwrap();
    }
}

#[test]
fn a_lock_from_the_future_is_stale_once_it_was_seen_unchanged_for_long_enough() {
    let (fixture, at) = Fixture::new();
    of_another(&at, true, -1_000_000);
    let rules = Rules { stale: Duration::from_millis(1), ..SLOW };
    Acquirer::new(&at, false, rules, &fixture.notes).acquire(Duration::from_secs(600)).unwrap();
    assert!(fixture.locks().is_empty());
}

#[test]
fn a_lock_file_that_cannot_be_read_is_never_passed_over_in_silence() {
    let (fixture, at) = Fixture::new();
    let id = of_another(&at, false, 0);
    fixture.store.damage(FileName::Of(FileKind::Lock, id), b"{}".to_vec());
    let error = fixture.acquire(&at, true, SLOW).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Damaged);
    assert!(error.hint.unwrap().contains(&id.to_string()));
    assert!(fixture.notes.take().is_empty());
    drop(fixture.acquire(&at, false, SLOW).unwrap());
    let notes = fixture.notes.take();
    assert!(notes.len() == 1 && notes[0].contains("cannot be read"), "{notes:?}");
    assert_eq!(fixture.locks(), [id]);
}

#[test]
fn where_nothing_may_be_removed_work_goes_on_and_the_files_stay_until_they_are_stale() {
    let (fixture, at) = Fixture::new();
    of_another(&at, true, 31 * 60);
    let append_only = fixture.through(|act| match act {
        Act::Remove(_) => Verdict::Fail(StoreErrorKind::Denied),
        _ => Verdict::Pass,
    });
    let lock = fixture.acquire(&append_only, false, QUICK).unwrap();
    until("two refreshes", || fixture.locks().len() >= 4);
    lock.still_ours().unwrap();
    lock.release(&fixture.notes);
    let notes = fixture.notes.take();
    assert!(notes.len() == 2 && notes[0].contains("It stays"), "{notes:?}");
    assert!(notes[1].contains("until they are stale"), "{notes:?}");
    // The next run is not held up by what the last one left.
    drop(fixture.acquire(&append_only, false, SLOW).unwrap());
}

#[test]
fn who_was_held_up_for_too_long_knows_that_the_lock_may_be_lost() {
    let (fixture, _) = Fixture::new();
    let fails = Arc::new(AtomicBool::new(false));
    let failing = Arc::clone(&fails);
    let at = fixture.through(move |_| match failing.load(Ordering::SeqCst) {
        true => Verdict::Fail(StoreErrorKind::Unavailable),
        false => Verdict::Pass,
    });
    let lock = fixture.acquire(&at, false, Rules { trust: Duration::ZERO, ..SLOW }).unwrap();
    fails.store(true, Ordering::SeqCst);
    let error = lock.still_ours().unwrap_err();
    assert!(error.kind == ErrorKind::Busy && error.text.contains("does not answer"), "{error}");
    fails.store(false, Ordering::SeqCst);
    drop(lock);

    // The store answers again, and the lock is there: it was ours all the time.
    let lock = fixture.acquire(&at, false, SLOW).unwrap();
    lock.held.state().refreshed.boot = Duration::ZERO;
    let before = fixture.locks();
    lock.still_ours().unwrap();
    assert_ne!(fixture.locks(), before);

    // The same, but somebody took it for stale.
    lock.held.state().refreshed.boot = Duration::ZERO;
    for id in fixture.locks() {
        fixture.store.remove(FileName::Of(FileKind::Lock, id)).unwrap();
    }
    let error = lock.still_ours().unwrap_err();
    assert!(error.kind == ErrorKind::Busy && error.text.contains("somebody removed it"), "{error}");
    assert!(lock.still_ours().is_err(), "what is lost stays lost");
    assert!(fixture.locks().is_empty());
}

#[test]
fn a_clock_that_is_set_does_not_end_the_work() {
    let (fixture, at) = Fixture::new();
    let lock = fixture.acquire(&at, true, SLOW).unwrap();
    let before = fixture.locks();
    for (seconds, refreshed) in [(-86_400, false), (86_400, true)] {
        // Set forward by so much since the lock was refreshed.
        let now = Moment::now().timestamp();
        lock.held.state().refreshed.wall = Moment::new(now - jiff::SignedDuration::from_secs(seconds));
        lock.still_ours().unwrap();
        assert_eq!(fixture.locks() != before, refreshed, "{seconds}");
    }
    drop(lock);
    assert!(fixture.locks().is_empty());
}

#[test]
fn what_fails_on_the_way_leaves_no_lock_behind() {
    let (fixture, _) = Fixture::new();
    for nth in 1..=3 {
        let mut acts = 0;
        let at = fixture.through(move |act| {
            let counts = matches!(act, Act::List(FileKind::Lock) | Act::Write(_));
            acts += usize::from(counts);
            if counts && acts == nth { Verdict::Fail(StoreErrorKind::Unavailable) } else { Verdict::Pass }
        });
        assert_eq!(fixture.acquire(&at, true, SLOW).unwrap_err().kind, ErrorKind::Environment, "{nth}");
        assert!(fixture.locks().is_empty(), "{nth}");
    }
}
