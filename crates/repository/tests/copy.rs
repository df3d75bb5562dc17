//! Versions come into another archive as they are, once.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/acts.rs"]
mod acts;
mod support;
#[path = "support/versions.rs"]
mod versions;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use acts::{Act, ActStore, Verdict};
use stillpoint_model::ErrorKind;
use stillpoint_repository::store::{FileKind, FileName, LocalStore, StoreErrorKind};
use stillpoint_repository::{
    CheckOptions, CopyReport, DataShare, Id, ReadState, Repository, RepositoryError, Secret, Unwatched,
    check, copy, set_hold,
};
use support::{differences, open, restic, secret};
use versions::{Archive, bytes, files, flip, packs};

const AT_ONCE: Duration = Duration::ZERO;

fn other_secret() -> Secret {
    Secret::new(b"another".to_vec())
}

fn create_other(at: &Path) -> Repository {
    Repository::create(Box::new(LocalStore::new(at)), &other_secret(), "other").unwrap()
}

fn all(archive: &Archive, to: &Repository) -> Result<CopyReport, RepositoryError> {
    copy(&open(&archive.path()), to, &archive.versions, AT_ONCE, &Unwatched)
}

fn is_good(repository: &Repository) -> bool {
    let options = CheckOptions { data: DataShare::All, wait: AT_ONCE, ..CheckOptions::default() };
    check(repository, &options, &mut ReadState::default(), &Unwatched).unwrap().is_good()
}

/// Restic brings the versions back from the other archive.
fn judge(archive: &Archive, at: &Path, names: &[(usize, Id)]) {
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new("restic");
        command.args(["--no-cache", "-r"]).arg(at).args(arguments).env("RESTIC_PASSWORD", "another");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["check", "--read-data"]);
    for (number, id) in names {
        let target = tempfile::tempdir_in(archive.folder.path()).unwrap();
        run(&["restore", &id.to_string(), "--target", target.path().to_str().unwrap()]);
        let was = archive.folder.path().join(format!("was-{number}"));
        assert_eq!(differences(&was, &target.path().join("PS1Backup/data")), "");
    }
}

#[test]
fn versions_come_over_whole_and_only_once() {
    let archive = Archive::new(3);
    let at = archive.folder.path().join("other");
    let to = create_other(&at);
    let one = &archive.versions[1..2];
    let first = copy(&open(&archive.path()), &to, one, AT_ONCE, &Unwatched).unwrap();
    assert_eq!((first.copied.len(), first.copied[0].0), (1, one[0]));
    let rest = all(&archive, &to).unwrap();
    assert_eq!((rest.copied.len(), rest.there.as_slice()), (2, one));
    let names: Vec<(usize, Id)> =
        [(1, first.copied[0].1), (0, rest.copied[0].1), (2, rest.copied[1].1)].to_vec();
    judge(&archive, &at, &names);
    assert!(bytes(&at) < bytes(&archive.path()) + 10_000, "what versions share is stored once");
    for (id, there) in [first.copied[0], rest.copied[0], rest.copied[1]] {
        let (_, was) = open(&archive.path()).find_snapshot(&id.to_string()).unwrap();
        let (_, is) = to.find_snapshot(&there.to_string()).unwrap();
        assert_eq!((is.original, is.time, is.tree, is.tags), (Some(id), was.time, was.tree, was.tags));
    }
    let before = files(&at, "data");
    let again = all(&archive, &to).unwrap();
    assert!(again.copied.is_empty() && again.there.len() == 3 && files(&at, "data") == before);
    // A version that was held since has another name, and is the same.
    let held = set_hold(&open(&archive.path()), archive.versions[0], true, AT_ONCE, &Unwatched).unwrap();
    let again = copy(&open(&archive.path()), &to, &[held], AT_ONCE, &Unwatched).unwrap();
    assert_eq!(again.there, [held]);
    // And back: it came from there.
    let back = copy(&to, &open(&archive.path()), &[first.copied[0].1], AT_ONCE, &Unwatched).unwrap();
    assert_eq!(back.there, [first.copied[0].1]);
    assert_eq!((files(&at, "locks"), files(&archive.path(), "locks")), (0, 0));
}

#[test]
fn what_restic_wrote_comes_over_too() {
    let folder = tempfile::tempdir().unwrap();
    let (from, source) = (folder.path().join("from"), folder.path().join("source"));
    support::plant_everything(&source);
    restic::succeed("restic".as_ref(), &from, &["init"]);
    restic::succeed("restic".as_ref(), &from, &["backup", source.to_str().unwrap()]);
    let to = create_other(&folder.path().join("to"));
    let from = Repository::open(Box::new(LocalStore::new(&from)), &secret()).unwrap();
    let id = from.find_snapshot("latest").unwrap().0;
    assert_eq!(copy(&from, &to, &[id], AT_ONCE, &Unwatched).unwrap().copied.len(), 1);
    assert!(is_good(&to));
}

#[test]
fn a_copy_that_fails_at_any_act_is_good_and_goes_on_there() {
    let archive = Archive::new(2);
    for nth in 1.. {
        let at = archive.folder.path().join("other");
        drop(create_other(&at));
        let acts = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&acts);
        let store = ActStore::new(Arc::new(LocalStore::new(&at)), move |act| {
            let counts = matches!(act, Act::Write(FileName::Of(kind, _)) if kind != FileKind::Lock);
            let number = if counts { seen.fetch_add(1, Ordering::SeqCst) + 1 } else { 0 };
            // From then on nothing is stored.
            if number >= nth { Verdict::Fail(StoreErrorKind::Full) } else { Verdict::Pass }
        });
        let to = Repository::open(Box::new(store), &other_secret()).unwrap();
        let result = all(&archive, &to);
        if acts.load(Ordering::SeqCst) < nth {
            assert!(nth > 6 && result.is_ok());
            break;
        }
        assert_eq!(result.unwrap_err().kind, ErrorKind::Environment);
        assert!(is_good(&to), "{nth}");
        let (stored, to) =
            (files(&at, "data"), Repository::open(Box::new(LocalStore::new(&at)), &other_secret()).unwrap());
        let report = all(&archive, &to).unwrap();
        assert_eq!(report.copied.len() + report.there.len(), 2, "{nth}");
        assert!(is_good(&to), "{nth}");
        assert!(stored == 0 || report.stored.items < 40, "{nth}: all of it again: {report:?}");
        std::fs::remove_dir_all(&at).unwrap();
    }
}

#[test]
fn a_damaged_version_is_named_and_the_others_are_copied() {
    let archive = Archive::new(3);
    // The newest of the long packs has what only the last version has.
    let newest = packs(&archive.path())
        .into_iter()
        .take(3)
        .max_by_key(|path| path.metadata().unwrap().modified().unwrap());
    flip(&newest.unwrap(), 1000);
    let at = archive.folder.path().join("other");
    let to = create_other(&at);
    let report = all(&archive, &to).unwrap();
    assert_eq!((report.copied.len(), report.damaged.len()), (2, 1), "{report:?}");
    assert_eq!(report.damaged[0].0, archive.versions[2]);
    assert_eq!(report.damaged[0].1.kind, ErrorKind::Damaged);
    assert!(is_good(&to));
    judge(&archive, &at, &[(0, report.copied[0].1), (1, report.copied[1].1)]);
}

#[test]
fn a_version_that_is_not_there_is_an_error() {
    let archive = Archive::new(1);
    let to = create_other(&archive.folder.path().join("other"));
    let wrong = [archive.versions[0], Id::of(b"none")];
    let error = copy(&open(&archive.path()), &to, &wrong, AT_ONCE, &Unwatched).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Usage);
}
