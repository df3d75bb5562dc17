//! Killing a publish at each of its points, in a process of its own, with SIGKILL; then doing what a reconcile does, and
//! looking: the name of the set leads to the old set or to the new one, whole, and the next run is good.

#![allow(clippy::unwrap_used, clippy::panic, reason = "only tests use it")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::cmp::Ordering;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use stillpoint_model::site_file::Destination;
use stillpoint_model::{Cancel, ErrorKind};
use support::*;

use crate::publish::{Faults, NoFaults, Publication, PublishStep};
use crate::{ArchiveError, BackupSet};

const STEPS: [PublishStep; 11] = [
    PublishStep::Sealed,
    PublishStep::Synced,
    PublishStep::ManifestWritten,
    PublishStep::Verified,
    PublishStep::DatabasesNamed,
    PublishStep::OldMarked,
    PublishStep::SetAside,
    PublishStep::Swapped,
    PublishStep::SwapDurable,
    PublishStep::Unmarked,
    PublishStep::OldRemoved,
];

/// What is to happen at one point.
#[derive(Clone, Copy, PartialEq)]
enum Blow {
    Kill,
    Fail,
}

struct At {
    step: Option<PublishStep>,
    blow: Blow,
    can_exchange: bool,
}

impl Faults for At {
    fn reached(&self, step: PublishStep) -> Result<(), ArchiveError> {
        if Some(step) != self.step {
            return Ok(());
        }
        if self.blow == Blow::Kill {
            // SAFETY: a signal to this very process, which is the test's own child.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        }
        Err(ArchiveError::new(ErrorKind::Environment, format!("failed at {step:?}")))
    }

    fn can_exchange(&self) -> bool {
        self.can_exchange
    }
}

fn publish_with(
    ground: &Path,
    destination: &Destination,
    number: u64,
    at: &At,
) -> Result<BackupSet, ArchiveError> {
    let run = fill_version(ground, destination, number)?;
    let (facts, kit, monitor) = (run.facts(), run.kit().clone(), run.monitor());
    Publication::new(run.builder, facts, &monitor, at)?.run(&kit)
}

/// How the destination is made up.
#[derive(Debug, Clone, Copy)]
struct Form {
    apart: bool,
    can_exchange: bool,
    old_set: bool,
}

impl Form {
    fn all() -> impl Iterator<Item = Form> {
        (0..8).map(|bits| Form { apart: bits & 1 != 0, can_exchange: bits & 2 != 0, old_set: bits & 4 != 0 })
    }

    fn destination(self, ground: &Ground) -> Destination {
        let folder = ground.folder("backup");
        if self.apart { two_folders(&folder, &ground.folder("databases")) } else { one_folder(&folder) }
    }

    /// Whether a publish in this form comes by the point.
    fn passes(self, step: PublishStep) -> bool {
        match step {
            PublishStep::OldMarked => self.old_set,
            PublishStep::SetAside => self.old_set && !self.can_exchange,
            _ => true,
        }
    }
}

/// The process that is killed: the same test program, told by its environment what to do.
#[test]
fn publishes_and_dies_when_told_to() {
    let Ok(order) = std::env::var("STILLPOINT_TEST_PUBLISH") else { return };
    let words: Vec<&str> = order.split('|').collect();
    let [ground, apart, can_exchange, step] = words[..] else { panic!("{order}") };
    let form = Form { apart: apart == "true", can_exchange: can_exchange == "true", old_set: true };
    let ground = PathBuf::from(ground);
    let folder = ground.join("backup");
    let destination =
        if form.apart { two_folders(&folder, &ground.join("databases")) } else { one_folder(&folder) };
    let step = STEPS.into_iter().find(|found| format!("{found:?}") == step);
    let at = At { step, blow: Blow::Kill, can_exchange: form.can_exchange };
    publish_with(&ground, &destination, 2, &at).unwrap();
}

fn die_at(ground: &Ground, form: Form, step: PublishStep) {
    let order = format!("{}|{}|{}|{step:?}", ground.top.path().display(), form.apart, form.can_exchange);
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "publish_tests::publishes_and_dies_when_told_to", "--nocapture"])
        .env("STILLPOINT_TEST_PUBLISH", order)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.signal(), Some(libc::SIGKILL), "{form:?} {step:?}: {text}");
}

/// Opens what is published and verifies it. Answers its run.
fn whole(root: &Path, case: &str) -> Option<String> {
    match BackupSet::open(root) {
        Ok(set) => {
            assert_eq!(damage(&set), Vec::<String>::new(), "{case}");
            Some(set.facts().run.to_string())
        }
        Err(error) => {
            assert_eq!(error.kind, ErrorKind::Usage, "{case}: {}", error.text);
            None
        }
    }
}

fn check_after_reconcile(ground: &Ground, destination: &Destination, case: &str, allowed: &[Option<String>]) {
    let root = destination.folder.clone().or(destination.files.clone()).unwrap();
    // Whoever opens a set before anything is healed finds a whole one too.
    let before = whole(&root, case);
    assert!(allowed.contains(&before), "{case}: {before:?}");
    assert_eq!(whole(&root.join("P01Backup"), case), before, "{case}: by its name");
    Undos::reconcile(&ground.path("undos"));
    assert_eq!(whole(&root, case), before, "{case}: the undo changed what is published");
    mend(destination);
    assert_eq!(whole(&root, case), before, "{case}: healing changed what is published");
    let expected: &[&str] = if before.is_some() { &["P01Backup"] } else { &[] };
    assert_eq!(names_in(&root), expected, "{case}: leftovers");
    let part = |run: &str| [format!("P01Backup-db-{run}")];
    if destination.databases.is_some()
        && let Some(run) = &before
    {
        assert_eq!(names_in(&ground.path("databases")), part(run), "{case}: leftovers");
    }
    let next = publish_version(ground.top.path(), destination, 3).unwrap();
    assert_eq!(damage(&next), Vec::<String>::new(), "{case}: the next run");
    assert_eq!(names_in(&root), ["P01Backup"], "{case}: leftovers of the next run");
    mend(destination);
    if destination.databases.is_some() {
        // Without any published set, nothing says that a part belongs to none: it is removed once there is one.
        assert_eq!(
            names_in(&ground.path("databases")),
            part(run_id(3).as_str()),
            "{case}: leftovers of the next run"
        );
    }
}

#[test]
fn a_publish_killed_at_any_point_leaves_the_old_set_or_the_new_one_whole() {
    for form in Form::all() {
        for step in STEPS.into_iter().filter(|step| form.passes(*step)) {
            let ground = Ground::in_memory();
            let destination = form.destination(&ground);
            let old = form.old_set.then(|| {
                let set = publish_version(ground.top.path(), &destination, 1).unwrap();
                set.facts().run.to_string()
            });
            die_at(&ground, form, step);
            let swapped = matches!(
                step,
                PublishStep::Swapped
                    | PublishStep::SwapDurable
                    | PublishStep::Unmarked
                    | PublishStep::OldRemoved
            );
            let allowed = if swapped { Some(run_id(2).to_string()) } else { old };
            check_after_reconcile(&ground, &destination, &format!("{form:?} {step:?}"), &[allowed]);
        }
    }
}

#[test]
fn a_publish_that_fails_at_any_point_says_so_and_leaves_a_whole_set() {
    for form in Form::all() {
        for step in STEPS.into_iter().filter(|step| form.passes(*step)) {
            let ground = Ground::in_memory();
            let destination = form.destination(&ground);
            let old = form.old_set.then(|| {
                let set = publish_version(ground.top.path(), &destination, 1).unwrap();
                set.facts().run.to_string()
            });
            let at = At { step: Some(step), blow: Blow::Fail, can_exchange: form.can_exchange };
            let failed = publish_with(ground.top.path(), &destination, 2, &at).map(|_| ());
            let case = format!("{form:?} {step:?}");
            // The removal of the old set may fail without harm.
            assert!(failed.is_err() || step == PublishStep::Unmarked, "{case}");
            check_after_reconcile(&ground, &destination, &case, &[old, Some(run_id(2).to_string())]);
        }
    }
}

/// Copies the disk as it is at each point, without syncing anything: what a power cut at that moment leaves.
struct PowerCuts(PathBuf);

impl PowerCuts {
    fn image(&self, step: PublishStep) -> PathBuf {
        self.0.with_extension(format!("{step:?}"))
    }
}

impl Faults for PowerCuts {
    fn reached(&self, step: PublishStep) -> Result<(), ArchiveError> {
        support::run(
            "cp",
            &["--sparse=always", self.0.to_str().unwrap(), self.image(step).to_str().unwrap()],
        );
        Ok(())
    }
}

#[test]
fn a_power_cut_at_any_point_leaves_the_old_set_or_the_new_one_whole() {
    for (mkfs, megabytes) in [(&["mkfs.ext4", "-q"][..], 24), (&["mkfs.xfs", "-q"][..], 320)] {
        let mut ground = Ground::in_memory();
        let disk = ground.image("disk", mkfs, megabytes);
        let destination = one_folder(&disk.join("backup"));
        publish_version(ground.top.path(), &destination, 1).unwrap();
        let cuts = PowerCuts(ground.path("disk.img"));
        let run = fill_version(ground.top.path(), &destination, 2).unwrap();
        let (facts, kit, monitor) = (run.facts(), run.kit().clone(), run.monitor());
        Publication::new(run.builder, facts, &monitor, &cuts).unwrap().run(&kit).unwrap();
        ground.unmount_image();
        let swapped = STEPS.iter().position(|step| *step == PublishStep::Swapped).unwrap();
        for (at, step) in STEPS.into_iter().enumerate().filter(|(_, step)| cuts.image(*step).exists()) {
            ground.mount_image(&cuts.image(step), &disk);
            let [old, new] = [1, 2].map(|number| Some(run_id(number).to_string()));
            let allowed = match at.cmp(&swapped) {
                Ordering::Less => vec![old],
                Ordering::Equal => vec![old, new],
                Ordering::Greater => vec![new],
            };
            check_after_reconcile(&ground, &destination, &format!("{} {step:?}", mkfs[0]), &allowed);
            ground.unmount_image();
        }
    }
}

#[test]
fn what_was_written_wrongly_is_never_published() {
    struct Corrupt(PathBuf);
    impl Faults for Corrupt {
        fn reached(&self, step: PublishStep) -> Result<(), ArchiveError> {
            if step == PublishStep::ManifestWritten {
                let path = self.0.join("SiteServer/web/folder/big");
                let mut content = fs::read(&path).unwrap();
                content[5] ^= 1;
                fs::write(&path, content).unwrap();
            }
            Ok(())
        }
    }
    let ground = Ground::in_memory();
    let destination = one_folder(&ground.folder("backup"));
    let old = publish_version(ground.top.path(), &destination, 1).unwrap();
    let run = fill_version(ground.top.path(), &destination, 2).unwrap();
    let (facts, kit, monitor) = (run.facts(), run.kit().clone(), run.monitor());
    let faults = Corrupt(run.builder.folder());
    let error = Publication::new(run.builder, facts, &monitor, &faults).unwrap().run(&kit).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Damaged);
    assert!(error.text.contains("folder/big"), "{}", error.text);
    assert_eq!(damage(&BackupSet::open(old.folder()).unwrap()), Vec::<String>::new());
}

#[test]
fn a_cancel_before_the_exchange_publishes_nothing() {
    /// Cancels when the new set is verified, the last moment.
    struct Late(Cancel);
    impl Faults for Late {
        fn reached(&self, step: PublishStep) -> Result<(), ArchiveError> {
            if step == PublishStep::Verified {
                self.0.cancel();
            }
            Ok(())
        }
    }
    let ground = Ground::in_memory();
    let destination = one_folder(&ground.folder("backup"));
    publish_version(ground.top.path(), &destination, 1).unwrap();
    for (late, number) in [(true, 2), (false, 3)] {
        let run = fill_version(ground.top.path(), &destination, number).unwrap();
        let (facts, kit, monitor) = (run.facts(), run.kit().clone(), run.monitor());
        let cancel = Cancel::default();
        let builder = run.builder.cancelled_by(&cancel);
        let faults: Box<dyn Faults> = if late {
            Box::new(Late(cancel))
        } else {
            cancel.cancel();
            Box::new(NoFaults)
        };
        let error = Publication::new(builder, facts, &monitor, &*faults).unwrap().run(&kit).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Cancelled);
        assert_eq!(BackupSet::open(&ground.folder("backup")).unwrap().facts().run, run_id(1));
    }
}
