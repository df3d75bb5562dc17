//! A prune removes what nothing needs, and nothing else, however it ends.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/acts.rs"]
mod acts;
mod support;
#[path = "support/versions.rs"]
mod versions;

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use acts::{Act, ActStore, Verdict};
use stillpoint_model::ErrorKind;
use stillpoint_repository::store::{FileKind, LocalStore, StoreErrorKind};
use stillpoint_repository::{
    CheckOptions, DataShare, PruneOptions, ReadState, Repository, RepositoryLock, Unwatched, check, prune,
};
use support::{create, differences, noise, open, restic, save, secret};
use versions::{Archive, bytes, copy, files};

const AT_ONCE: Duration = Duration::ZERO;
const ALL_OF_IT: PruneOptions = PruneOptions { dry_run: false, unused_percent: 0, wait: AT_ONCE };

/// Acts that change something and are not about locks.
fn changes(act: Act) -> bool {
    use stillpoint_repository::store::FileName;
    match act {
        Act::Write(FileName::Of(kind, _)) | Act::Remove(FileName::Of(kind, _)) => kind != FileKind::Lock,
        _ => false,
    }
}

fn door(at: &Path, judge: impl FnMut(Act) -> Verdict + Send + 'static) -> Repository {
    let store = ActStore::new(Arc::new(LocalStore::new(at)), judge);
    Repository::open(Box::new(store), &secret()).unwrap()
}

#[test]
fn what_no_version_needs_goes_and_the_rest_is_as_it_was() {
    let archive = Archive::new(4);
    archive.keep(&[1, 3]);
    let before = bytes(&archive.path());
    let repository = open(&archive.path());
    let plan = prune(&repository, &PruneOptions { dry_run: true, ..ALL_OF_IT }, &Unwatched).unwrap();
    assert_eq!(bytes(&archive.path()), before);
    assert!(plan.packs_repacked > 0 && plan.blobs_unused >= 8, "{plan:?}");
    let done = prune(&repository, &ALL_OF_IT, &Unwatched).unwrap();
    assert_eq!((done.packs_removed, done.packs_repacked), (plan.packs_removed, plan.packs_repacked));
    // Two versions with their own 160 kB are gone.
    assert!(bytes(&archive.path()) < before - 300_000, "{} of {before}", bytes(&archive.path()));
    archive.judge(&archive.path(), &[1, 3], "after the prune");
    let again = prune(&repository, &ALL_OF_IT, &Unwatched).unwrap();
    assert_eq!((again.packs_removed, again.packs_repacked, again.blobs_unused), (0, 0, 0));
    assert_eq!(files(&archive.path(), "locks"), 0);
    // Restic agrees.
    let text = restic::succeed("restic".as_ref(), &archive.path(), &["prune", "--max-unused", "0"]);
    let words: Vec<&str> = text.split_whitespace().collect();
    assert!(words.join(" ").contains("total prune: 0 blobs / 0 B"), "{text}");
}

#[test]
fn a_little_that_is_unused_is_not_worth_the_work() {
    let archive = Archive::new(3);
    archive.keep(&[1, 2]);
    let repository = open(&archive.path());
    let some = PruneOptions { unused_percent: 60, ..ALL_OF_IT };
    let report = prune(&repository, &some, &Unwatched).unwrap();
    assert_eq!(report.packs_repacked, 0);
    assert!(report.unused_left_bytes > 100_000, "{report:?}");
    archive.judge(&archive.path(), &[1, 2], "tolerated");
}

#[test]
fn many_small_packs_and_index_files_are_put_together() {
    let folder = tempfile::tempdir().unwrap();
    let (at, source) = (folder.path().join("archive"), folder.path().join("source"));
    let repository = create(&at);
    std::fs::create_dir(&source).unwrap();
    for number in 0..22 {
        std::fs::write(source.join(number.to_string()), noise(number, 900_000)).unwrap();
        save(&repository, &source, 1_700_000_000 + i64::try_from(number).unwrap());
    }
    assert!(files(&at, "data") >= 44 && files(&at, "index") == 22);
    let report =
        prune(&repository, &PruneOptions { wait: AT_ONCE, ..PruneOptions::default() }, &Unwatched).unwrap();
    assert_eq!(report.blobs_unused, 0);
    // The folders do not fill a pack and stay.
    assert!(files(&at, "data") < 26 && files(&at, "index") == 1, "{} {report:?}", files(&at, "data"));
    restic::check_all_data(&at);
    let again = prune(&repository, &ALL_OF_IT, &Unwatched).unwrap();
    assert_eq!((again.packs_removed, again.packs_repacked), (0, 0), "{again:?}");
}

/// Prunes copies of an archive with a failure at every act that changes something.
fn fail_everywhere(verdict: Verdict) {
    let archive = Archive::new(3);
    archive.keep(&[0, 2]);
    let copied = archive.folder.path().join("copy");
    for nth in 1.. {
        copy(&archive.path(), &copied);
        let acts = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&acts);
        let repository = door(&copied, move |act| {
            if changes(act) && seen.fetch_add(1, Ordering::SeqCst) + 1 == nth {
                verdict
            } else {
                Verdict::Pass
            }
        });
        let result = prune(&repository, &ALL_OF_IT, &Unwatched);
        let (what, done) = (format!("act {nth}, {verdict:?}"), acts.load(Ordering::SeqCst) < nth);
        if done {
            assert!(result.is_ok() && nth > 6, "{what}: {result:?}");
            std::fs::remove_dir_all(&copied).unwrap();
            return;
        }
        assert_eq!(files(&copied, "locks"), 0, "{what}");
        let options = CheckOptions { data: DataShare::All, wait: AT_ONCE, ..CheckOptions::default() };
        let found = check(&open(&copied), &options, &mut ReadState::default(), &Unwatched).unwrap();
        assert!(found.is_good(), "{what}: {found:?}");
        prune(&open(&copied), &ALL_OF_IT, &Unwatched).unwrap();
        archive.judge(&copied, &[0, 2], &what);
        let again = prune(&open(&copied), &ALL_OF_IT, &Unwatched).unwrap();
        assert_eq!((again.packs_removed, again.packs_unindexed, again.blobs_unused), (0, 0, 0), "{what}");
        std::fs::remove_dir_all(&copied).unwrap();
    }
}

#[test]
fn a_store_that_fails_at_any_act_loses_nothing() {
    fail_everywhere(Verdict::Fail(StoreErrorKind::Unavailable));
}

#[test]
fn a_store_that_is_full_at_any_act_loses_nothing() {
    fail_everywhere(Verdict::Fail(StoreErrorKind::Full));
}

#[test]
fn an_answer_that_is_lost_at_any_act_loses_nothing() {
    fail_everywhere(Verdict::LoseAnswer(StoreErrorKind::Unavailable));
}

/// Where and when the process below kills itself.
const KILL: &str = "STILLPOINT_TEST_KILL_PRUNE";

/// Not a test by itself: a process that prunes and is killed, without a chance to tidy up, at the act that it was told.
#[test]
fn child_that_prunes_and_is_killed() {
    let Ok(order) = std::env::var(KILL) else { return };
    let (nth, at) = order.split_once(' ').unwrap();
    let (nth, mut acts): (u64, u64) = (nth.parse().unwrap(), 0);
    let repository = door(Path::new(at), move |act| {
        acts += u64::from(matches!(act, Act::Write(_) | Act::Remove(_)));
        if acts == nth {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
            // It comes at once, but not before the end of this instruction.
            loop {
                std::thread::park();
            }
        }
        Verdict::Pass
    });
    prune(&repository, &ALL_OF_IT, &Unwatched).unwrap();
}

#[test]
fn a_prune_that_is_killed_at_any_act_loses_nothing_and_the_next_one_goes_on() {
    let archive = Archive::new(3);
    archive.keep(&[0, 2]);
    let copied = archive.folder.path().join("copy");
    for nth in 1.. {
        copy(&archive.path(), &copied);
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_prunes_and_is_killed"])
            .env(KILL, format!("{nth} {}", copied.display()))
            .output()
            .unwrap();
        if child.status.success() {
            assert!(nth > 8, "{nth}");
            break;
        }
        let what = format!("killed at act {nth}");
        // Its lock is that of a dead process. Restic would ask for `unlock`, and we do not.
        prune(&open(&copied), &ALL_OF_IT, &Unwatched).unwrap();
        assert_eq!(files(&copied, "locks"), 0, "{what}");
        archive.judge(&copied, &[0, 2], &what);
        std::fs::remove_dir_all(&copied).unwrap();
    }
}

#[test]
fn who_saves_meanwhile_keeps_what_he_relied_on() {
    let archive = Archive::new(2);
    archive.keep(&[1]);
    let at = archive.path();
    // While the prune repacks, the first version comes back: it needs what was found unused.
    let (back, source) = (archive.folder.path().join("was-0"), open(&at));
    let saved = Arc::new(Mutex::new(None));
    let (done, mut is_first) = (Arc::clone(&saved), true);
    let repository = door(&at, move |act| {
        if changes(act) && std::mem::take(&mut is_first) {
            *done.lock().unwrap() = Some(save(&source, &back, 1_800_000_000).id);
        }
        Verdict::Pass
    });
    prune(&repository, &ALL_OF_IT, &Unwatched).unwrap();
    let id = saved.lock().unwrap().unwrap();
    archive.judge(&at, &[1], "after the prune");
    let target = archive.folder.path().join("target");
    restic::succeed(
        "restic".as_ref(),
        &at,
        &["restore", &id.to_string(), "--target", target.to_str().unwrap()],
    );
    assert_eq!(differences(&archive.folder.path().join("was-0"), &target.join("PS1Backup/data")), "");
}

#[test]
fn what_cannot_be_removed_now_is_left_for_the_next_prune() {
    let archive = Archive::new(3);
    archive.keep(&[0, 2]);
    let repository = open(&archive.path());
    let at_work = RepositoryLock::shared(&repository, AT_ONCE, &Unwatched).unwrap();
    let first = prune(&repository, &ALL_OF_IT, &Unwatched).unwrap();
    assert!(first.postponed.is_some() && first.packs_removed == 0 && first.packs_repacked > 0, "{first:?}");
    let second = prune(&repository, &ALL_OF_IT, &Unwatched).unwrap();
    assert!(second.postponed.is_some() && second.packs_repacked == 0, "repacked twice: {second:?}");
    drop(at_work);
    let third = prune(&repository, &ALL_OF_IT, &Unwatched).unwrap();
    assert!(third.postponed.is_none() && third.packs_removed > 0 && third.packs_repacked == 0, "{third:?}");
    archive.judge(&archive.path(), &[0, 2], "at last");
}

#[test]
fn where_something_is_missing_nothing_is_removed() {
    let archive = Archive::new(3);
    archive.keep(&[0, 2]);
    let copied = archive.folder.path().join("copy");
    let mut packs = Vec::new();
    for folder in std::fs::read_dir(archive.path().join("data")).unwrap() {
        packs.extend(std::fs::read_dir(folder.unwrap().path()).unwrap().map(|pack| pack.unwrap().path()));
    }
    let mut refused = 0;
    for pack in &packs {
        for cut in [false, true] {
            copy(&archive.path(), &copied);
            let victim = copied.join(pack.strip_prefix(archive.path()).unwrap());
            match cut {
                false => std::fs::remove_file(&victim).unwrap(),
                true => std::fs::write(&victim, &std::fs::read(&victim).unwrap()[1..]).unwrap(),
            }
            let before = files(&copied, "data") + files(&copied, "index");
            if let Err(error) = prune(&open(&copied), &ALL_OF_IT, &Unwatched) {
                refused += 1;
                assert_eq!(error.kind, ErrorKind::Damaged, "{error}");
                assert!(error.hint.unwrap().contains("Nothing was removed"));
                assert_eq!(files(&copied, "data") + files(&copied, "index"), before);
                assert_eq!(files(&copied, "locks"), 0);
            }
            std::fs::remove_dir_all(&copied).unwrap();
        }
    }
    // Each version has a pack with files and one with folders. The folders of the one that was forgotten are not missed.
    assert_eq!((packs.len(), refused), (6, 10));
}

#[test]
fn where_nothing_may_be_removed_the_archive_stays_good() {
    let archive = Archive::new(2);
    archive.keep(&[1]);
    let repository = door(&archive.path(), |act| match act {
        Act::Remove(_) => Verdict::Fail(StoreErrorKind::Denied),
        _ => Verdict::Pass,
    });
    let result = prune(&repository, &ALL_OF_IT, &Unwatched);
    // Our own shared lock cannot be removed, and so stands against us.
    assert!(matches!(&result, Ok(report) if report.postponed.is_some()), "{result:?}");
    restic::succeed("restic".as_ref(), &archive.path(), &["unlock", "--remove-all"]);
    archive.judge(&archive.path(), &[1], "append-only");
}

#[test]
fn a_pack_that_turns_out_damaged_stays_and_is_named() {
    let archive = Archive::new(3);
    archive.keep(&[0, 2]);
    let at = archive.path();
    let plan = prune(&open(&at), &PruneOptions { dry_run: true, ..ALL_OF_IT }, &Unwatched).unwrap();
    assert_eq!(plan.packs_repacked, 1);
    for folder in std::fs::read_dir(at.join("data")).unwrap() {
        for pack in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            let pack = pack.unwrap().path();
            let mut content = std::fs::read(&pack).unwrap();
            // The folders are needed to judge at all.
            if content.len() > 100_000 {
                content.iter_mut().step_by(1000).for_each(|byte| *byte ^= 1);
                std::fs::write(&pack, content).unwrap();
            }
        }
    }
    let before = files(&at, "data");
    let report = prune(&open(&at), &ALL_OF_IT, &Unwatched).unwrap();
    assert_eq!(report.damaged.len(), 1, "{report:?}");
    assert!(report.damaged[0].contains("is damaged"), "{report:?}");
    // What went is the folder of the version that nobody has any more.
    assert_eq!(files(&at, "data"), before - 1);
}
