//! However a save ends, what was in the archive stays good, and the next save is good.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/acts.rs"]
mod acts;
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use acts::{Act, ActStore, Verdict};
use stillpoint_model::ErrorKind;
use stillpoint_repository::store::{LocalStore, StoreErrorKind};
use stillpoint_repository::{
    CheckOptions, DataShare, ReadState, Repository, RepositoryError, Saved, Saver, Unwatched, Watcher, check,
};
use stillpoint_tree::Filter;
use support::{create, differences, facts, noise, open, relative, restic, secret};

/// A folder that fills two packs, and an archive with an earlier version of it.
struct Ground {
    folder: tempfile::TempDir,
}

impl Ground {
    fn new() -> Self {
        let ground = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(ground.source().join("deep")).unwrap();
        for number in 0..40 {
            std::fs::write(ground.source().join(format!("deep/{number}")), noise(number, 10_000)).unwrap();
        }
        support::save(&create(&ground.archive()), &ground.source(), 1);
        std::fs::write(ground.source().join("big"), noise(99, 18 << 20)).unwrap();
        ground
    }

    fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    fn archive(&self) -> PathBuf {
        self.folder.path().join("archive")
    }

    /// A copy of the archive, to be ruined.
    fn copy(&self) -> PathBuf {
        let copy = self.folder.path().join("copy");
        let _ = std::fs::remove_dir_all(&copy);
        let copied = Command::new("cp").arg("-a").arg(self.archive()).arg(&copy).status();
        assert!(copied.unwrap().success());
        copy
    }
}

/// A door to the archive in this folder.
fn door(archive: &Path, judge: impl FnMut(Act) -> Verdict + Send + 'static) -> Repository {
    let store = ActStore::new(Arc::new(LocalStore::new(archive)), judge);
    Repository::open(Box::new(store), &secret()).unwrap()
}

fn try_save(
    repository: &Repository,
    source: &Path,
    watcher: Arc<dyn Watcher>,
) -> Result<Saved, RepositoryError> {
    let parent = repository.snapshots()?.pop();
    let saver = Saver::begin(repository, parent, watcher)?;
    let mut part = saver.part(&relative("data"))?;
    part.tree(source, Filter::default(), None)?;
    part.end()?;
    saver.finish(&facts(2))
}

/// The versions are as many as they should be, and the next save makes one that is whole.
fn judge(archive: &Path, source: &Path, versions: usize, what: &str) {
    assert_eq!(open(archive).snapshots().unwrap().len(), versions, "{what}");
    support::save(&open(archive), source, 3);
    let options = CheckOptions { data: DataShare::All, ..CheckOptions::default() };
    let report = check(&open(archive), &options, &mut ReadState::default(), &Unwatched).unwrap();
    assert!(report.is_good() && report.unfinished.is_none(), "{what}: {report:#?}");
}

fn is_write(act: Act) -> bool {
    matches!(act, Act::Write(_))
}

fn fail_everywhere(verdict: Verdict, lasting: bool) {
    let ground = Ground::new();
    for nth in 1.. {
        let archive = ground.copy();
        let mut writes = 0;
        let repository = door(&archive, move |act| {
            writes += u64::from(is_write(act));
            let hit = is_write(act) && (writes == nth || lasting && writes > nth);
            if hit { verdict } else { Verdict::Pass }
        });
        let what = format!("{verdict:?} at write {nth}, lasting: {lasting}");
        let saved = try_save(&repository, &ground.source(), Arc::new(Unwatched));
        let is_last = saved.is_ok();
        if let Err(error) = saved {
            assert_eq!(error.kind, ErrorKind::Environment, "{what}: {error}");
            assert!(error.store.is_some(), "{what}: what the store said is told: {error}");
        }
        // A snapshot that was stored although the answer got lost is a version, and a whole one.
        let found = open(&archive).snapshots().unwrap().len();
        assert!(found == 1 || matches!(verdict, Verdict::LoseAnswer(_)) || is_last, "{what}");
        judge(&archive, &ground.source(), found, &what);
        if is_last {
            assert!(nth > 4, "{what}");
            restic::check_all_data(&archive);
            break;
        }
    }
}

#[test]
fn a_store_that_fails_or_is_full_once_or_for_good_makes_no_version_and_the_next_save_is_good() {
    fail_everywhere(Verdict::Fail(StoreErrorKind::Unavailable), false);
    fail_everywhere(Verdict::Fail(StoreErrorKind::Full), true);
}

#[test]
fn a_store_whose_answers_are_lost_makes_no_version_that_is_not_whole() {
    fail_everywhere(Verdict::LoseAnswer(StoreErrorKind::Unavailable), false);
}

/// Where and when the process below kills itself.
const KILL: &str = "STILLPOINT_TEST_KILL_SAVE";

/// Not a test by itself: a process that saves and is killed, without a chance to tidy up, at the act that it was told.
#[test]
fn child_that_saves_and_is_killed() {
    let Ok(order) = std::env::var(KILL) else { return };
    let mut parts = order.split('\t');
    let nth: u64 = parts.next().unwrap().parse().unwrap();
    let (archive, source) = (PathBuf::from(parts.next().unwrap()), PathBuf::from(parts.next().unwrap()));
    let mut acts = 0;
    let repository = door(&archive, move |_| {
        acts += 1;
        if acts == nth {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
            // It comes at once, but not before the end of this instruction.
            loop {
                std::thread::park();
            }
        }
        Verdict::Pass
    });
    try_save(&repository, &source, Arc::new(Unwatched)).unwrap();
}

#[test]
fn a_save_that_is_killed_at_any_act_leaves_a_good_archive() {
    let ground = Ground::new();
    for nth in 1.. {
        let archive = ground.copy();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_saves_and_is_killed"])
            .env(KILL, format!("{nth}\t{}\t{}", archive.display(), ground.source().display()))
            .output()
            .unwrap();
        let is_last = child.status.success();
        judge(&archive, &ground.source(), 1 + usize::from(is_last), &format!("killed at act {nth}"));
        if is_last {
            assert!(nth > 12, "{nth}");
            restic::check_all_data(&archive);
            break;
        }
    }
}

/// Cancels after so many bytes.
struct CancelAfter(AtomicU64);

impl Watcher for CancelAfter {
    fn advance(&self, done: stillpoint_repository::Amount) {
        // Several threads tell.
        let less = |left: u64| Some(left.saturating_sub(done.bytes));
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).unwrap();
    }

    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 0
    }
}

#[test]
fn a_cancelled_save_makes_no_version_and_leaves_a_good_archive() {
    let ground = Ground::new();
    for bytes in [1, 10 << 20, (18 << 20) + 400_000] {
        let archive = ground.copy();
        let watcher = Arc::new(CancelAfter(bytes.into()));
        let cancelled = try_save(&open(&archive), &ground.source(), watcher).unwrap_err();
        assert_eq!(cancelled.kind, ErrorKind::Cancelled, "{cancelled}");
        judge(&archive, &ground.source(), 1, &format!("cancelled after {bytes}"));
    }
    let archive = ground.copy();
    support::save(&open(&archive), &ground.source(), 2);
    let target = ground.folder.path().join("target");
    restic::succeed(
        "restic".as_ref(),
        &archive,
        &["restore", "latest", "--target", target.to_str().unwrap()],
    );
    assert_eq!(differences(&ground.source(), &target.join("PS1Backup/data")), "");
}
