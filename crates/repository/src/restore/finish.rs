//! What is done when all files of a window are there: later names, folders, and what is too much.

use std::convert::Infallible;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::Receiver;
use stillpoint_tree::{Entry, RelPath, Target, TreeError};

use super::file::Group;
use super::{Shared, sparse};
use crate::watch::Amount;

/// How much is copied at once.
const COPY_BYTES: usize = 1 << 20;

/// What has to wait for the files before it.
pub(super) enum After {
    /// A later name.
    Link(Arc<Group>, Box<Entry>),
    /// A folder in which everything is done, and the names in it that are too much. The top of a version has no entry.
    Leave { path: RelPath, entry: Option<Box<Entry>>, extra: Vec<Vec<u8>> },
}

/// A window: done when the other ends are gone.
pub(super) type Window = (Receiver<Infallible>, Vec<After>);

/// Finishes windows in their order.
pub(super) struct Finisher<'a> {
    shared: &'a Shared<'a>,
    target: Option<Target>,
}

impl<'a> Finisher<'a> {
    pub fn new(shared: &'a Shared<'a>, target: Option<Target>) -> Self {
        Self { shared, target }
    }

    pub fn run(mut self, windows: &Receiver<Window>) {
        for (turn, afters) in windows {
            // Nothing comes: it ends when the last job of the window is done.
            let _ = turn.recv();
            for after in afters {
                if self.shared.is_stopped() {
                    break;
                }
                match after {
                    After::Link(group, entry) => self.link(&group, &entry),
                    After::Leave { path, entry, extra } => self.leave(&path, entry.as_deref(), &extra),
                }
            }
        }
    }

    fn link(&mut self, group: &Group, entry: &Entry) {
        if group.failed.load(Ordering::Relaxed) {
            let text = format!("it is another name of {}, which could not be restored", group.first);
            self.shared.report().problem(&entry.path, text);
            return;
        }
        let unchanged = match self.try_link(group, entry) {
            Ok(unchanged) => unchanged,
            Err(error) => return self.shared.entry_failed(&entry.path, error),
        };
        let mut report = self.shared.report();
        report.files += 1;
        report.unchanged_files += u64::from(unchanged);
        drop(report);
        self.shared.watcher.advance(Amount { items: 1, bytes: 0 });
    }

    /// Whether it was there already.
    fn try_link(&mut self, group: &Group, entry: &Entry) -> Result<bool, TreeError> {
        let Some(target) = &mut self.target else { return Ok(false) };
        let identity = |target: &mut Target, path| Ok(target.look(path)?.map(|present| present.identity));
        let (there, first) = (identity(target, &entry.path)?, identity(target, &group.first)?);
        if there.is_some() && there == first {
            return Ok(true);
        }
        if self.shared.options.dry_run || target.link(&group.first, &entry.path)? {
            return Ok(false);
        }
        self.copy(group, entry)?;
        let text = format!("cannot be another name of {} here: it is a file of its own now", group.first);
        self.shared.report().problem(&entry.path, text);
        Ok(false)
    }

    /// For a file system that cannot link.
    fn copy(&mut self, group: &Group, entry: &Entry) -> Result<(), TreeError> {
        let Some(target) = &mut self.target else { return Ok(()) };
        if !matches!(entry.kind, stillpoint_tree::Kind::File(_)) {
            self.shared.complain(target.put_node(entry)?);
            return Ok(());
        }
        let first = target.open_file(&group.first)?;
        let temporary = target.create_again(&entry.path)?;
        let mut buffer = vec![0; COPY_BYTES];
        let mut at = 0;
        let copied = loop {
            match sparse::read(first.as_fd(), &mut buffer, at) {
                Ok(0) => break rustix::fs::ftruncate(temporary.file(), at),
                Ok(read) => {
                    if let Err(error) = sparse::write(temporary.file(), &buffer[..read], at) {
                        break Err(error);
                    }
                    at += read as u64;
                }
                Err(error) => break Err(error),
            }
        };
        if let Err(error) = copied {
            target.discard(&temporary, &entry.path);
            return Err(target.failed("copy to", &entry.path, error));
        }
        self.shared.complain(target.place(&temporary, entry)?);
        Ok(())
    }

    fn leave(&mut self, path: &RelPath, entry: Option<&Entry>, extra: &[Vec<u8>]) {
        for name in extra {
            let path = path.child(name);
            if self.shared.options.dry_run {
                self.shared.watcher.note(&format!("would remove {path}"));
            } else if let Some(target) = &mut self.target
                && let Err(error) = target.remove(&path)
            {
                self.shared.entry_failed(&path, error);
                continue;
            }
            self.shared.report().removed += 1;
        }
        if let (Some(target), Some(entry), false) = (&mut self.target, entry, self.shared.options.dry_run) {
            match target.finish_folder(entry) {
                Ok(problems) => self.shared.complain(problems),
                Err(error) => self.shared.entry_failed(path, error),
            }
        }
        self.shared.report().folders += u64::from(entry.is_some());
    }
}
