//! A check finds every damage, and tells whom it touches.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/acts.rs"]
mod acts;
mod support;
#[path = "support/versions.rs"]
mod versions;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use acts::{Act, ActStore, Verdict};
use stillpoint_model::ErrorKind;
use stillpoint_repository::store::{LocalStore, StoreErrorKind};
use stillpoint_repository::{
    Amount, CheckOptions, CheckReport, DamagedPack, DataShare, ReadState, Repository, Unwatched, Watcher,
    check,
};
use support::{create, noise, open, restic, save, secret};
use versions::{Archive, copy, files, flip, id_of, packs};

fn options(data: DataShare) -> CheckOptions {
    CheckOptions { data, wait: Duration::ZERO, ..CheckOptions::default() }
}

fn checked(at: &Path, data: DataShare) -> CheckReport {
    check(&open(at), &options(data), &mut ReadState::default(), &Unwatched).unwrap()
}

fn restic_finds_damage(at: &Path) -> bool {
    !restic::restic("restic".as_ref(), at, &["check", "--read-data"]).status.success()
}

/// The files of each version of `Archive` that lie in the longest packs: all with content.
fn own_files(number: usize) -> Vec<String> {
    let all = (0..4).map(|part| format!("/PS1Backup/data/all-{number}-{part}"));
    all.chain((0..4).map(|part| format!("/PS1Backup/data/own/deep/{part}"))).collect()
}

fn only(report: &CheckReport) -> &DamagedPack {
    assert_eq!(report.damaged_packs.len(), 1, "{report:?}");
    &report.damaged_packs[0]
}

#[test]
fn what_is_good_is_found_good_and_read_once() {
    let archive = Archive::new(3);
    let report = checked(&archive.path(), DataShare::All);
    assert!(report.is_good() && report.unfinished.is_none() && report.notes.is_empty(), "{report:?}");
    let bytes = packs(&archive.path()).iter().map(|pack| pack.metadata().unwrap().len()).sum();
    assert_eq!(report.packs, Amount { items: 6, bytes });
    assert_eq!(report.read, report.packs);
    assert_eq!((report.versions, files(&archive.path(), "locks")), (3, 0));
    let report = checked(&archive.path(), DataShare::Nothing);
    assert!(report.is_good() && report.read == Amount::default(), "{report:?}");
    archive.keep(&[1]);
    let report = checked(&archive.path(), DataShare::Nothing);
    assert!(report.is_good() && report.notes.len() == 1 && report.notes[0].contains("prune"), "{report:?}");
}

#[test]
fn what_restic_wrote_is_checked_too() {
    for program in restic::programs() {
        let folder = tempfile::tempdir().unwrap();
        let (at, source) = (folder.path().join("archive"), folder.path().join("source"));
        support::plant_everything(&source);
        restic::succeed(&program, &at, &["init"]);
        restic::succeed(&program, &at, &["backup", source.to_str().unwrap()]);
        let report = checked(&at, DataShare::All);
        assert!(report.is_good() && report.read.bytes > 9_000_000, "{report:?}");
        flip(&packs(&at)[0], 1000);
        let report = checked(&at, DataShare::All);
        let touched = &only(&report).touched[0];
        let names = ["/big", "/deep/er/again", "/text", "/sparse"];
        assert!(
            touched.files.iter().all(|file| names.iter().any(|name| file.ends_with(name))),
            "{touched:?}"
        );
    }
}

#[test]
fn any_flipped_bit_of_any_pack_is_found_and_told_with_whom_it_touches() {
    let archive = Archive::new(3);
    let at = archive.folder.path().join("copy");
    for (number, pack) in packs(&archive.path()).iter().enumerate() {
        let size = usize::try_from(pack.metadata().unwrap().len()).unwrap();
        for byte in [0, size / 3, size - 200, size - 20, size - 4, size - 1] {
            copy(&archive.path(), &at);
            let victim = at.join(pack.strip_prefix(archive.path()).unwrap());
            flip(&victim, byte);
            let report = checked(&at, DataShare::All);
            let what = format!("pack {number}, byte {byte} of {size}: {report:?}");
            let damaged = only(&report);
            assert_eq!(damaged.pack, Some(id_of(pack)), "{what}");
            assert!(restic_finds_damage(&at), "{what}");
            let is_data = size > 100_000;
            let in_list = byte >= size - if is_data { 332 } else { 40 };
            if in_list {
                // The blobs are good, and who has the index can read them.
                assert!((damaged.blobs, damaged.lost, damaged.touched.len()) == (0, 0, 0), "{what}");
            } else if is_data {
                assert!((damaged.blobs, damaged.lost) == (1, 1) && !damaged.touched.is_empty(), "{what}");
                let touched = &damaged.touched[0];
                assert_eq!((touched.files_count, &touched.components[..]), (1, &["data".to_owned()][..]));
                assert!((0..3).any(|n| own_files(n).contains(&touched.files[0])), "{what}");
            }
            std::fs::remove_dir_all(&at).unwrap();
        }
    }
}

#[test]
fn a_pack_that_is_gone_or_cut_is_found_without_reading_data() {
    let archive = Archive::new(3);
    let at = archive.folder.path().join("copy");
    for (number, pack) in packs(&archive.path()).iter().enumerate() {
        for cut in [None, Some(0), Some(150)] {
            copy(&archive.path(), &at);
            let victim = at.join(pack.strip_prefix(archive.path()).unwrap());
            match cut {
                None => std::fs::remove_file(&victim).unwrap(),
                Some(length) => std::fs::write(&victim, &std::fs::read(&victim).unwrap()[..length]).unwrap(),
            }
            let report = checked(&at, DataShare::Nothing);
            let what = format!("pack {number}, {cut:?}: {report:?}");
            let damaged = only(&report);
            assert_eq!(damaged.pack, Some(id_of(pack)), "{what}");
            assert!(
                damaged.lost > 0 && damaged.lost == damaged.blobs && !damaged.touched.is_empty(),
                "{what}"
            );
            if pack.metadata().unwrap().len() > 100_000 {
                let mut names: Vec<&String> = damaged.touched.iter().flat_map(|t| &t.files).collect();
                names.sort();
                names.dedup();
                // The four that all have and the four of one version.
                assert_eq!(names.len(), 8, "{what}");
            }
            std::fs::remove_dir_all(&at).unwrap();
        }
    }
}

#[test]
fn names_are_bounded_and_counted() {
    let archive = Archive::new(1);
    std::fs::remove_file(&packs(&archive.path())[0]).unwrap();
    let options = CheckOptions { names_max: 3, ..options(DataShare::Nothing) };
    let report = check(&open(&archive.path()), &options, &mut ReadState::default(), &Unwatched).unwrap();
    let touched = &only(&report).touched[0];
    assert_eq!((touched.files.len(), touched.files_count), (3, 8));
}

#[test]
fn damaged_version_and_index_files_are_named_and_the_rest_is_checked() {
    let archive = Archive::new(2);
    let at = archive.folder.path().join("copy");
    for kind in ["snapshots", "index"] {
        for file in std::fs::read_dir(archive.path().join(kind)).unwrap() {
            let name = file.unwrap().file_name();
            copy(&archive.path(), &at);
            flip(&at.join(kind).join(&name), 60);
            let report = checked(&at, DataShare::All);
            assert_eq!(report.damaged_files.len(), 1, "{report:?}");
            assert!(report.damaged_files[0].contains(name.to_str().unwrap()), "{report:?}");
            if kind == "index" {
                assert!(only(&report).pack.is_none() && !only(&report).touched.is_empty(), "{report:?}");
            } else {
                assert!(report.damaged_packs.is_empty() && report.read.items == 4, "{report:?}");
            }
            assert!(restic_finds_damage(&at));
            std::fs::remove_dir_all(&at).unwrap();
        }
    }
}

#[test]
fn what_lies_in_a_second_place_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (at, source) = (folder.path().join("archive"), folder.path().join("source"));
    let repository = create(&at);
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("file"), noise(1, 300_000)).unwrap();
    save(&repository, &source, 1);
    // The second time without the index of the first: the same blobs again.
    let hidden = folder.path().join("hidden");
    std::fs::rename(at.join("index"), &hidden).unwrap();
    std::fs::create_dir(at.join("index")).unwrap();
    std::fs::rename(at.join("snapshots"), folder.path().join("first")).unwrap();
    std::fs::create_dir(at.join("snapshots")).unwrap();
    save(&repository, &source, 1);
    for file in std::fs::read_dir(&hidden).unwrap() {
        let file = file.unwrap();
        std::fs::rename(file.path(), at.join("index").join(file.file_name())).unwrap();
    }
    assert!(checked(&at, DataShare::All).is_good());
    flip(&packs(&at)[0], 1000);
    let report = checked(&at, DataShare::All);
    let damaged = only(&report);
    assert_eq!((damaged.blobs, damaged.lost, damaged.touched.len()), (1, 0, 0), "{damaged:?}");
}

/// Says stop after so many bytes.
struct StopAfter(AtomicU64);

impl Watcher for StopAfter {
    fn advance(&self, done: Amount) {
        // Several threads tell.
        let less = |left: u64| Some(left.saturating_sub(done.bytes));
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).unwrap();
    }

    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 0
    }
}

#[test]
fn a_share_a_night_finds_a_damage_within_the_round_and_does_not_lose_sight_of_it() {
    let archive = Archive::new(4);
    let repository = open(&archive.path());
    let mut state = ReadState::default();
    let all = packs(&archive.path());
    flip(&all[0], 1000);
    let (mut found, mut read) = (0, 0);
    // All on one day: that the nights go by is not needed for the round to go on.
    for _ in 0..50 {
        let report = check(&repository, &options(DataShare::Nights(30)), &mut state, &Unwatched).unwrap();
        read += report.read.items;
        found += u64::from(!report.is_good());
        assert!(report.is_good() == (found == 0), "it was found and then lost sight of");
        if state.completed().is_some() {
            break;
        }
    }
    assert!(found > 0 && state.completed().is_some());
    assert_eq!(read, all.len() as u64 + found - 1);
    // It is good again.
    flip(&all[0], 1000);
    assert!(check(&repository, &options(DataShare::Nights(30)), &mut state, &Unwatched).unwrap().is_good());
    assert!(!serde_json::to_string(&state).unwrap().contains(&id_of(&all[0]).to_string()));
}

#[test]
fn a_check_that_is_cut_short_tells_what_it_found_and_goes_on_there() {
    let archive = Archive::new(4);
    let repository = open(&archive.path());
    std::fs::remove_file(&packs(&archive.path())[0]).unwrap();
    let mut state = ReadState::default();
    let stop = StopAfter(AtomicU64::new(400_000));
    let report = check(&repository, &options(DataShare::Nights(1)), &mut state, &stop).unwrap();
    assert_eq!(report.unfinished.as_ref().unwrap().kind, ErrorKind::Cancelled);
    assert!(!report.is_good() && state.completed().is_none(), "{report:#?} {:?}", state.completed());
    let rest = check(&repository, &options(DataShare::Nights(1)), &mut state, &Unwatched).unwrap();
    assert!(state.completed().is_some());
    assert!(rest.read.items < 7 && rest.read.items + report.read.items >= 7, "{report:?} {rest:?}");
}

fn door(at: &Path, judge: impl FnMut(Act) -> Verdict + Send + 'static) -> Repository {
    let store = ActStore::new(Arc::new(LocalStore::new(at)), judge);
    Repository::open(Box::new(store), &secret()).unwrap()
}

#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Watcher for Notes {
    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

#[test]
fn where_nothing_may_be_removed_or_written_a_check_works() {
    let archive = Archive::new(1);
    for denied in ["remove", "write"] {
        let repository = door(&archive.path(), move |act| match act {
            Act::Remove(_) if denied == "remove" => Verdict::Fail(StoreErrorKind::Denied),
            Act::Write(_) if denied == "write" => Verdict::Fail(StoreErrorKind::Denied),
            _ => Verdict::Pass,
        });
        let notes = Notes::default();
        let report = check(&repository, &options(DataShare::All), &mut ReadState::default(), &notes).unwrap();
        assert!(report.is_good() && report.read.items == 2, "{report:?}");
        let notes = notes.0.into_inner().unwrap();
        assert!(notes.len() == 1 && notes[0].contains("lock"), "{notes:?}");
    }
}

#[test]
fn a_store_that_does_not_answer_is_not_taken_for_damage() {
    let archive = Archive::new(2);
    let acts = Arc::new(AtomicU64::new(0));
    for nth in 1.. {
        acts.store(0, Ordering::SeqCst);
        let seen = Arc::clone(&acts);
        let mut opened = false;
        let repository = door(&archive.path(), move |act| {
            opened |= act == Act::List(stillpoint_repository::store::FileKind::Lock);
            let counts = opened && matches!(act, Act::Read(_) | Act::List(_));
            let number = if counts { seen.fetch_add(1, Ordering::SeqCst) + 1 } else { 0 };
            if number == nth { Verdict::Fail(StoreErrorKind::Unavailable) } else { Verdict::Pass }
        });
        let result = check(&repository, &options(DataShare::All), &mut ReadState::default(), &Unwatched);
        if acts.load(Ordering::SeqCst) < nth {
            assert!(nth > 10 && result.unwrap().unfinished.is_none());
            return;
        }
        match result {
            Err(error) => assert_eq!(error.kind, ErrorKind::Environment, "{nth}: {error}"),
            Ok(report) => {
                assert!(report.is_good(), "{nth}: {report:?}");
                assert_eq!(report.unfinished.unwrap().kind, ErrorKind::Environment, "{nth}");
            }
        }
    }
}
