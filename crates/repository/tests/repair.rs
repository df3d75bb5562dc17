//! What is lost is found elsewhere, what is good is kept, and what cannot be healed is named.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/acts.rs"]
mod acts;
mod support;
#[path = "support/versions.rs"]
mod versions;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use acts::{Act, ActStore, Verdict};
use stillpoint_repository::store::{FileKind, FileName, LocalStore, StoreErrorKind};
use stillpoint_repository::{
    CheckOptions, DataShare, HealSource, PruneOptions, ReadState, RepairReport, Repository, RepositoryLock,
    Secret, Unwatched, check, copy as copy_versions, prune, repair,
};
use support::{open, secret};
use versions::{Archive, copy, files, flip, packs};

const AT_ONCE: Duration = Duration::ZERO;

/// An archive, and another one with the same versions.
struct Pair {
    archive: Archive,
    other: Repository,
}

impl Pair {
    fn new(count: u64) -> Self {
        let archive = Archive::new(count);
        let store = LocalStore::new(&archive.folder.path().join("other"));
        let other = Repository::create(Box::new(store), &Secret::new(b"another".to_vec()), "other").unwrap();
        copy_versions(&open(&archive.path()), &other, &archive.versions, AT_ONCE, &Unwatched).unwrap();
        Self { archive, other }
    }

    /// A copy of the archive to damage.
    fn victim(&self) -> PathBuf {
        let at = self.archive.folder.path().join("victim");
        if at.exists() {
            std::fs::remove_dir_all(&at).unwrap();
        }
        copy(&self.archive.path(), &at);
        at
    }

    fn healed_from(&self, at: &Path) -> RepairReport {
        repair(&open(at), &[HealSource::Archive(&self.other)], AT_ONCE, &Unwatched).unwrap()
    }

    fn judge(&self, at: &Path, what: &str) {
        let all: Vec<usize> = (0..self.archive.versions.len()).collect();
        self.archive.judge(at, &all, what);
        assert_eq!(files(at, "locks"), 0, "{what}");
    }
}

fn is_good(at: &Path) -> bool {
    let options = CheckOptions { data: DataShare::All, wait: AT_ONCE, ..CheckOptions::default() };
    check(&open(at), &options, &mut ReadState::default(), &Unwatched).unwrap().is_good()
}

fn is_healed(report: &RepairReport) -> bool {
    report.unhealed.is_empty() && report.damaged_files.is_empty() && report.postponed.is_none()
}

type Harm = (&'static str, fn(&Path));

/// What may happen to a file.
const HARMS: [Harm; 4] = [
    ("gone", |file| std::fs::remove_file(file).unwrap()),
    ("flipped", |file| flip(file, 100)),
    ("cut", |file| {
        std::fs::write(file, &std::fs::read(file).unwrap()[..file.metadata().unwrap().len() as usize / 2])
            .unwrap()
    }),
    ("without its list", |file| flip(file, file.metadata().unwrap().len() as usize - 10)),
];

#[test]
fn what_is_good_is_left_alone() {
    let pair = Pair::new(2);
    let at = pair.victim();
    let report = pair.healed_from(&at);
    assert!(is_healed(&report) && report.files_removed + report.blobs_healed + report.blobs_salvaged == 0);
    assert_eq!(files(&at, "data"), files(&pair.archive.path(), "data"));
}

#[test]
fn an_index_that_is_lost_or_damaged_is_made_from_the_packs() {
    let pair = Pair::new(2);
    for (harm, harm_it) in HARMS {
        let at = pair.victim();
        for file in std::fs::read_dir(at.join("index")).unwrap() {
            harm_it(&file.unwrap().path());
        }
        let report = repair(&open(&at), &[], AT_ONCE, &Unwatched).unwrap();
        assert!(is_healed(&report) && report.packs_indexed == 4, "{harm}: {report:?}");
        pair.judge(&at, harm);
    }
}

#[test]
fn damaged_packs_are_healed_from_another_archive() {
    let pair = Pair::new(2);
    for (number, pack) in packs(&pair.archive.path()).iter().enumerate() {
        for (harm, harm_it) in HARMS {
            let at = pair.victim();
            let victim = at.join(pack.strip_prefix(pair.archive.path()).unwrap());
            harm_it(&victim);
            let report = pair.healed_from(&at);
            let what = format!("pack {number}, {harm}: {report:?}");
            assert!(is_healed(&report) && !victim.exists(), "{what}");
            assert!(is_good(&at), "{what}");
            if number % 2 == 0 {
                pair.judge(&at, &what);
            }
        }
    }
}

#[test]
fn all_packs_at_once_are_healed_from_another_archive() {
    let pair = Pair::new(2);
    let at = pair.victim();
    packs(&at).iter().for_each(|pack| std::fs::remove_file(pack).unwrap());
    let report = pair.healed_from(&at);
    assert!(is_healed(&report) && report.blobs_healed > 20, "{report:?}");
    pair.judge(&at, "nothing was left");
}

#[test]
fn lost_content_is_healed_from_a_folder_with_the_files() {
    let pair = Pair::new(2);
    let at = pair.victim();
    // The two long packs hold the content of the files.
    packs(&at).iter().take(2).for_each(|pack| std::fs::remove_file(pack).unwrap());
    let folder = |number: usize| pair.archive.folder.path().join(format!("was-{number}"));
    // The second version alone does not have what only the first had.
    let report = repair(&open(&at), &[HealSource::Folder(&folder(1))], AT_ONCE, &Unwatched).unwrap();
    assert!(report.blobs_healed == 12 && report.unhealed.len() == 1, "{report:?}");
    let touched = &report.unhealed[0].touched;
    assert_eq!((touched.len(), touched[0].version, touched[0].files_count), (1, pair.archive.versions[0], 4));
    assert!(touched[0].files[0].starts_with("/PS1Backup/data/own/deep/"), "{touched:?}");
    let report = repair(&open(&at), &[HealSource::Folder(&folder(0))], AT_ONCE, &Unwatched).unwrap();
    assert!(is_healed(&report) && report.blobs_healed == 4, "{report:?}");
    pair.judge(&at, "from two folders");
}

#[test]
fn what_is_good_in_a_damaged_pack_is_salvaged_and_the_rest_waits_for_another_try() {
    let pair = Pair::new(2);
    let at = pair.victim();
    let victim = packs(&at).swap_remove(0);
    flip(&victim, 100);
    let report = repair(&open(&at), &[], AT_ONCE, &Unwatched).unwrap();
    assert!(report.blobs_salvaged == 7 && report.unhealed.len() == 1 && victim.exists(), "{report:?}");
    let again = repair(&open(&at), &[], AT_ONCE, &Unwatched).unwrap();
    assert!(again.blobs_salvaged == 0 && again.unhealed.len() == 1, "salvaged twice: {again:?}");
    let report = pair.healed_from(&at);
    assert!(is_healed(&report) && report.blobs_healed == 1 && !victim.exists(), "{report:?}");
    pair.judge(&at, "in the end");
    prune(&open(&at), &PruneOptions { wait: AT_ONCE, ..PruneOptions::default() }, &Unwatched).unwrap();
    pair.judge(&at, "after a prune");
}

#[test]
fn a_damaged_version_file_comes_back_from_another_archive() {
    let pair = Pair::new(2);
    let at = pair.victim();
    let id = pair.archive.versions[0];
    flip(&at.join(format!("snapshots/{id}")), 60);
    let report = repair(&open(&at), &[], AT_ONCE, &Unwatched).unwrap();
    assert!(
        report.damaged_files.len() == 1 && report.damaged_files[0].contains(&id.to_string()),
        "{report:?}"
    );
    let report = pair.healed_from(&at);
    assert!(is_healed(&report) && report.versions_healed == 1, "{report:?}");
    let versions = open(&at).snapshots().unwrap();
    assert_eq!((versions.len(), versions[0].1.original), (2, Some(id)));
    pair.archive.judge(&at, &[1], "the other version");
    assert!(is_good(&at));
}

#[test]
fn a_repair_heals_beside_a_backup_and_removes_when_nobody_is_at_work() {
    let pair = Pair::new(2);
    let at = pair.victim();
    let victim = packs(&at).swap_remove(0);
    flip(&victim, 100);
    let at_work = RepositoryLock::shared(&open(&at), AT_ONCE, &Unwatched).unwrap();
    let report = pair.healed_from(&at);
    assert!(report.postponed.is_some() && report.blobs_healed == 1 && victim.exists(), "{report:?}");
    drop(at_work);
    let report = pair.healed_from(&at);
    assert!(is_healed(&report) && report.blobs_healed == 0 && !victim.exists(), "{report:?}");
    pair.judge(&at, "at last");
}

#[test]
fn a_repair_that_fails_at_any_act_is_finished_by_the_next() {
    let pair = Pair::new(2);
    for nth in 1.. {
        let at = pair.victim();
        let victims = packs(&at);
        flip(&victims[0], 100);
        flip(&victims[2], 100);
        std::fs::remove_file(&victims[3]).unwrap();
        for file in std::fs::read_dir(at.join("index")).unwrap().take(1) {
            flip(&file.unwrap().path(), 100);
        }
        let acts = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&acts);
        let store = ActStore::new(Arc::new(LocalStore::new(&at)), move |act| {
            let counts = match act {
                Act::Write(FileName::Of(kind, _)) | Act::Remove(FileName::Of(kind, _)) => {
                    kind != FileKind::Lock
                }
                _ => false,
            };
            let number = if counts { seen.fetch_add(1, Ordering::SeqCst) + 1 } else { 0 };
            if number >= nth { Verdict::Fail(StoreErrorKind::Full) } else { Verdict::Pass }
        });
        let failing = Repository::open(Box::new(store), &secret()).unwrap();
        let result = repair(&failing, &[HealSource::Archive(&pair.other)], AT_ONCE, &Unwatched);
        if acts.load(Ordering::SeqCst) < nth {
            assert!(nth > 5 && is_healed(&result.unwrap()), "{nth}");
            return;
        }
        result.unwrap_err();
        let report = pair.healed_from(&at);
        assert!(is_healed(&report) && is_good(&at), "{nth}: {report:?}");
        pair.judge(&at, &format!("after act {nth}"));
    }
}
