//! Taking a version, or a part of it, out of the archive and into a folder.
//!
//! Four kinds of threads work: the *planner* walks through the version, makes the folders, and collects files into windows; for
//! each window it finds out what is at hand already and sorts the rest by where it lies, so that each pack is read once
//! and in order. *Workers* read, prove and write. The calling thread *finishes* the windows in order: later names of
//! files, metadata of folders, removal of what is too much. So memory is bounded by a few windows, however much is restored.
//!
//! A file is written under a temporary name, and renamed when it is whole and has its metadata. What is there under its
//! name is therefore whole, also after the process was killed; and what is there of a big file under its temporary name is
//! compared part by part and used by the next restore.

mod compare;
mod file;
mod finish;
mod plan;
mod precheck;
mod sparse;
mod work;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam_channel::bounded;
use rustix::io::Errno;
use stillpoint_model::ErrorKind;
use stillpoint_tree::{FileProblem, Filter, Permission, RelPath, Target, TreeError};

use crate::contents::Contents;
use crate::error::RepositoryError;
use crate::fetch::thread_count;
use crate::watch::{Amount, Watcher};

/// How many problems a report keeps.
const PROBLEMS_MAX: usize = 1000;

/// What happens to what is in the target already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overwrite {
    /// When anything but a folder stands where an entry goes, nothing is written at all. What has the kind, size, time, mode
    /// and owner of the entry is not counted: an interrupted restore, which left it, may go on.
    #[default]
    Refuse,
    /// Files that differ are replaced. Those whose content is the same, which is read and compared, are left alone.
    Replace,
}

/// What is restored, and how.
#[derive(Debug, Clone, Default)]
pub struct RestoreOptions {
    /// The folder of the version whose content goes into the target, or a file that goes into it; the top for everything.
    pub from: RelPath,
    /// What of it; the patterns are held against whole paths in the version.
    pub filter: Filter,
    /// What happens to what is there.
    pub overwrite: Overwrite,
    /// Whether what is in the target but not in the version is removed, as far as the filter takes it. Never what is
    /// mounted there, and nothing from a folder that could not be read from the archive.
    pub remove_extra: bool,
    /// Whether nothing is written: the report says what would be, and the watcher is told each file.
    pub dry_run: bool,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreReport {
    /// Files, links, pipes and devices that are now as they are in the version, each name counted.
    pub files: u64,
    /// Those of them that were so already, and were not written.
    pub unchanged_files: u64,
    /// Folders.
    pub folders: u64,
    /// The size of the files in bytes, holes included; of a file with several names once.
    pub bytes: u64,
    /// Bytes of content that were taken from the archive, zeros included: all that was not at hand.
    pub fetched_bytes: u64,
    /// Sockets, which are not restored: they mean nothing without the process that made them.
    pub sockets: u64,
    /// What was too much and was removed; a folder with all that was in it counts once.
    pub removed: u64,
    /// What could not be restored, or not fully. At most the first 1,000; `problem_count` has the number.
    pub problems: Vec<FileProblem>,
    /// How many problems there were.
    pub problem_count: u64,
}

impl RestoreReport {
    fn problem(&mut self, path: &RelPath, text: impl Into<String>) {
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(FileProblem { path: path.clone(), text: text.into() });
        }
    }
}

/// What all threads of one restore share.
struct Shared<'a> {
    contents: &'a Contents,
    options: &'a RestoreOptions,
    watcher: &'a dyn Watcher,
    report: Mutex<RestoreReport>,
    stopped: AtomicBool,
    failed: Mutex<Option<RepositoryError>>,
}

impl Shared<'_> {
    fn report(&self) -> MutexGuard<'_, RestoreReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something that ends the whole restore. The first such counts.
    fn fail(&self, error: RepositoryError) {
        self.stopped.store(true, Ordering::Relaxed);
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    fn is_stopped(&self) -> bool {
        if self.stopped.load(Ordering::Relaxed) {
            return true;
        }
        let cancelled = self.watcher.is_cancelled();
        if cancelled {
            self.fail(RepositoryError::new(
                ErrorKind::Cancelled,
                "the restore was cancelled; what is there under its name is whole, and the same command goes on",
            ));
        }
        cancelled
    }

    /// An entry could not be restored: a problem, or the end of everything when all others would fail, too.
    fn entry_failed(&self, path: &RelPath, error: TreeError) {
        if is_of_all(&error) {
            self.fail(target_error(error));
        } else {
            self.report().problem(path, explain(&error));
        }
    }

    fn complain(&self, problems: Vec<FileProblem>) {
        if !problems.is_empty() {
            let mut report = self.report();
            problems.into_iter().for_each(|problem| report.problem(&problem.path, problem.text));
        }
    }

    /// The path in the target of a path in the version.
    fn in_target(&self, path: &RelPath, is_folder: bool) -> RelPath {
        let from = self.options.from.as_bytes();
        let bytes = path.as_bytes();
        let rest = match bytes.strip_prefix(from) {
            _ if from.is_empty() => bytes,
            Some([b'/', rest @ ..]) => rest,
            // What `from` itself names: a folder is the target, a file goes into it.
            _ if is_folder => b"",
            _ => bytes.rsplit(|&b| b == b'/').next().unwrap_or_default(),
        };
        RelPath::from_bytes(rest.to_vec()).unwrap_or_default()
    }
}

impl Contents {
    /// Restores into the folder `target`, which is made when it is not there.
    ///
    /// Content comes back with holes where it has zeros, and with modes, owners, modification times, attributes, ACLs,
    /// hard links, symbolic links, pipes and devices. Nothing outside of the target is touched, whatever links are in it.
    /// Access times are not restored, and nothing is synced to the disk.
    ///
    /// A file that is damaged in the archive is a problem in the report, and the others come back.
    ///
    /// # Errors
    ///
    /// Something would be overwritten (`WouldOverwrite`: nothing was written), there is no such folder in the version
    /// (`Usage`), another restore is at work in the target (`Busy`), the disk is full or fails (`Environment`), or the store
    /// fails. What was restored until then stays, and the same call goes on from there.
    pub fn restore(
        &self,
        target: &Path,
        options: &RestoreOptions,
        watcher: &dyn Watcher,
    ) -> Result<RestoreReport, RepositoryError> {
        let shared = Shared {
            contents: self,
            options,
            watcher,
            report: Mutex::default(),
            stopped: AtomicBool::new(false),
            failed: Mutex::default(),
        };
        let steps = self.steps(&options.from, options.filter.clone())?;
        let is_new = is_empty(target)?;
        if options.overwrite == Overwrite::Refuse && !is_new {
            precheck::refuse_conflicts(&shared, target)?;
        }
        watcher.stage("restore", Amount::default());
        let permission = Permission {
            files: options.overwrite == Overwrite::Replace,
            folders: options.overwrite == Overwrite::Replace && options.remove_extra,
        };
        // A dry run does not even make the folder.
        let place = match options.dry_run && !target.exists() {
            true => None,
            false => Some(Target::open(target, permission).map_err(target_error)?),
        };
        let lock = match &place {
            Some(place) if !options.dry_run => Some(lock(place, target)?),
            _ => None,
        };
        run(&shared, place, steps, is_new);
        drop(lock);
        match shared.failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(shared.report.into_inner().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}

fn run(shared: &Shared<'_>, place: Option<Target>, steps: crate::trees::Steps, is_new: bool) {
    let threads = thread_count(shared.contents.repository());
    let (jobs, waiting) = bounded(threads * 2);
    let (windows, in_order) = bounded(1);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (waiting, target) = (waiting.clone(), place.as_ref().map(Target::another));
            scope.spawn(move || work::Worker::new(shared, target).run(&waiting));
        }
        drop(waiting);
        let target = place.as_ref().map(Target::another);
        scope.spawn(move || plan::Planner::new(shared, target, jobs, windows, is_new).run(steps));
        finish::Finisher::new(shared, place).run(&in_order);
    });
}

fn lock(place: &Target, path: &Path) -> Result<std::os::fd::OwnedFd, RepositoryError> {
    place.lock().map_err(target_error)?.ok_or_else(|| {
        let text = format!("another restore is at work in {}", path.display());
        RepositoryError::new(ErrorKind::Busy, text).with_hint("Nothing was changed. Wait until it has ended.")
    })
}

/// Whether nothing is in the folder, or no such folder is there.
fn is_empty(path: &Path) -> Result<bool, RepositoryError> {
    match std::fs::read_dir(path) {
        Ok(mut names) => Ok(names.next().is_none()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => {
            let text = format!("cannot read the folder {}: {error}", path.display());
            Err(RepositoryError::new(ErrorKind::Environment, text).with_hint("Nothing was changed."))
        }
    }
}

fn errno(error: &TreeError) -> Option<Errno> {
    match error {
        TreeError::Io { source, .. } => Errno::from_io_error(source),
        _ => None,
    }
}

/// Whether all other files would fail in the same way.
fn is_of_all(error: &TreeError) -> bool {
    let errors = [
        Errno::NOSPC,
        Errno::DQUOT,
        Errno::ROFS,
        Errno::IO,
        Errno::NODEV,
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOMEM,
    ];
    errno(error).is_some_and(|errno| errors.contains(&errno))
}

/// In one sentence.
fn explain(error: &TreeError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn target_error(error: TreeError) -> RepositoryError {
    let kind = match error {
        TreeError::Exists { .. } => ErrorKind::WouldOverwrite,
        TreeError::Cancelled => ErrorKind::Cancelled,
        _ => ErrorKind::Environment,
    };
    let text = explain(&error);
    match errno(&error) {
        Some(Errno::NOSPC | Errno::DQUOT) => {
            RepositoryError::new(kind, format!("no room is left: {text}")).with_hint(
                "What is there under its name is whole. Make room, and the same command goes on where it stopped.",
            )
        }
        _ => RepositoryError::new(kind, text),
    }
}

/// For messages: where the target is.
fn shown(target: &Path, path: &RelPath) -> PathBuf {
    path.under(target)
}

#[cfg(test)]
mod tests;
