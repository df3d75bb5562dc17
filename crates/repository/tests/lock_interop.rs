//! Locks between us and the stock restic: neither works where the other must be alone.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/stock.rs"]
mod stock;
mod support;

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use stillpoint_model::ErrorKind;
use stillpoint_repository::{RepositoryLock, Unwatched, Watcher};
use stock::Restic;
use support::restic::programs;

#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Watcher for Notes {
    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

const AT_ONCE: Duration = Duration::ZERO;

fn lock_count(folder: &Path) -> usize {
    // Restic writes under another, longer name first.
    let is_lock = |entry: &std::fs::DirEntry| entry.file_name().len() == 64;
    std::fs::read_dir(folder.join("locks")).unwrap().flatten().filter(is_lock).count()
}

fn until_locked(folder: &Path) {
    let begin = Instant::now();
    while lock_count(folder) == 0 {
        assert!(begin.elapsed() < Duration::from_secs(120), "restic wrote no lock");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// For each restic a repository of its own.
fn with_each(test: impl Fn(&Restic)) {
    for program in programs() {
        let folder = tempfile::tempdir().unwrap();
        let restic = Restic::with(&program, &folder.path().join("repository"));
        restic.init();
        test(&restic);
    }
}

#[test]
fn restic_does_not_work_where_we_are_alone_and_adds_where_we_share() {
    with_each(|restic| {
        let repository = restic.open();
        let file = tempfile::NamedTempFile::new().unwrap();
        let alone = RepositoryLock::exclusive(&repository, AT_ONCE, &Unwatched).unwrap();
        // It looks at each lock of its host whether the process lives, with a signal that would end us.
        restic.run(&["unlock"]);
        let refused = restic.refused(&["backup", file.path().to_str().unwrap()]);
        assert!(refused.contains("locked exclusively by PID"), "{refused}");
        assert!(refused.contains(&std::process::id().to_string()), "{refused}");
        drop(alone);

        let shared = RepositoryLock::shared(&repository, AT_ONCE, &Unwatched).unwrap();
        restic.run(&["unlock"]);
        restic.run(&["backup", file.path().to_str().unwrap()]);
        let refused = restic.refused(&["prune"]);
        assert!(refused.contains("already locked by PID"), "{refused}");
        shared.still_ours().unwrap();
        drop(shared);
        restic.run(&["prune"]);
        assert_eq!(lock_count(&restic.folder), 0);
    });
}

#[test]
fn we_add_beside_a_backup_of_restic_and_remove_nothing() {
    with_each(|restic| {
        let repository = restic.open();
        // It reads its standard input, which stays open.
        let backup = restic.start(&["backup", "--stdin"]);
        until_locked(&restic.folder);
        let busy = RepositoryLock::exclusive(&repository, AT_ONCE, &Unwatched).unwrap_err();
        assert_eq!(busy.kind, ErrorKind::Busy);
        assert!(busy.text.contains(&format!("process {}", backup.0.id())), "{busy}");
        drop(RepositoryLock::shared(&repository, AT_ONCE, &Unwatched).unwrap());
    });
}

#[test]
fn we_keep_away_from_a_prune_of_restic_and_heal_its_lock_when_it_died() {
    with_each(|restic| {
        let repository = restic.open();
        // An index that never ends keeps the prune at work, with its lock.
        let endless = restic.folder.join(format!("index/{:064}", 0));
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &endless,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        let prune = restic.start(&["prune"]);
        until_locked(&restic.folder);
        let busy = RepositoryLock::shared(&repository, AT_ONCE, &Unwatched).unwrap_err();
        assert_eq!(busy.kind, ErrorKind::Busy);
        assert!(busy.text.contains("who works alone"), "{busy}");
        let pid = prune.0.id();
        drop(prune);
        let notes = Notes::default();
        drop(RepositoryLock::exclusive(&repository, AT_ONCE, &notes).unwrap());
        let notes = notes.0.into_inner().unwrap();
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(notes[0].contains(&format!("process {pid}")) && notes[0].contains("is dead"), "{notes:?}");
        assert_eq!(lock_count(&restic.folder), 0);
    });
}
