//! What the workers do: get blobs, prove them, and write them to where they belong.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, Sender};
use stillpoint_tree::{Target, Temporary, TreeError};

use super::file::{AtHand, Pending, Piece, State, Writing};
use super::{Shared, sparse};
use crate::error::RepositoryError;
use crate::fetch::Run;
use crate::watch::Amount;

/// Nothing is ever sent: the window that it stands for is done when all of them are gone.
pub(super) type Turn = Sender<Infallible>;

/// Work for any of the workers.
pub(super) enum Job {
    /// Get these blobs, and write them.
    Fetch(Run<Vec<Piece>>, Turn),
    /// Finish files of which no blob is needed.
    Finish(Vec<Arc<Writing>>, Turn),
    /// Find out what of a file is at hand.
    Compare(usize, Box<Pending>, Sender<(usize, Box<Pending>, AtHand)>),
}

/// One thread's part.
pub(super) struct Worker<'a> {
    pub shared: &'a Shared<'a>,
    pub target: Option<Target>,
    pub buffer: Vec<u8>,
}

impl<'a> Worker<'a> {
    pub fn new(shared: &'a Shared<'a>, target: Option<Target>) -> Self {
        Self { shared, target, buffer: Vec::new() }
    }

    pub fn run(mut self, jobs: &Receiver<Job>) {
        for job in jobs {
            // After an error the jobs are taken and dropped, so that nobody waits for room.
            if self.shared.is_stopped() {
                continue;
            }
            match job {
                Job::Fetch(run, _turn) => self.fetch(run),
                Job::Finish(files, _turn) => files.iter().for_each(|file| self.finish(file)),
                Job::Compare(number, pending, answer) => {
                    let at_hand = self.compare(&pending);
                    // Nobody waits for it any more when the restore ends early.
                    let _ = answer.send((number, pending, at_hand));
                }
            }
        }
    }

    fn fetch(&mut self, run: Run<Vec<Piece>>) {
        let shared = self.shared;
        let contents = shared.contents;
        let fetched = run.fetch(contents.repository(), contents.index(), |pieces, plain| {
            if shared.is_stopped() {
                return Err(RepositoryError::cancelled());
            }
            match plain {
                Ok(plain) => pieces.into_iter().for_each(|piece| self.write(piece, &plain)),
                Err(error) => pieces.into_iter().for_each(|piece| self.lose(&piece, &error)),
            }
            Ok(())
        });
        if let Err(error) = fetched {
            shared.fail(error);
        }
    }

    fn write(&mut self, piece: Piece, plain: &[u8]) {
        let Piece { file, at } = piece;
        let written = match self.open(&file) {
            Ok(Some(temporary)) => {
                file.wrote(at, plain);
                sparse::write(temporary.file(), plain, at).map_err(|errno| self.failed("write", &file, errno))
            }
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            self.give_up(&file, error);
        }
        self.shared.watcher.advance(Amount { items: 0, bytes: plain.len() as u64 });
        if file.piece_done() {
            self.finish(&file);
        }
    }

    fn failed(&self, act: &'static str, file: &Writing, errno: rustix::io::Errno) -> TreeError {
        match &self.target {
            Some(target) => target.failed(act, &file.entry.path, errno),
            None => TreeError::Cancelled,
        }
    }

    fn lose(&mut self, piece: &Piece, error: &RepositoryError) {
        if piece.file.fail() {
            self.shared.report().problem(&piece.file.entry.path, error.text.clone());
        }
        if piece.file.piece_done() {
            self.finish(&piece.file);
        }
    }

    /// The temporary file, made by whoever comes first; nothing when the file has failed.
    fn open(&mut self, file: &Writing) -> Result<Option<Arc<Temporary>>, TreeError> {
        let mut state = file.state();
        match &*state {
            State::Open(temporary) => Ok(Some(Arc::clone(temporary))),
            State::Failed(_) => Ok(None),
            State::Unopened => {
                let Some(target) = &mut self.target else { return Ok(None) };
                let temporary = Arc::new(target.create_again(&file.entry.path)?);
                *state = State::Open(Arc::clone(&temporary));
                Ok(Some(temporary))
            }
        }
    }

    fn give_up(&self, file: &Writing, error: TreeError) {
        if file.fail() {
            self.shared.entry_failed(&file.entry.path, error);
        }
    }

    /// All pieces are there, or lost.
    fn finish(&mut self, file: &Writing) {
        if let Err(error) = self.open(file) {
            self.give_up(file, error);
        }
        let state = std::mem::replace(&mut *file.state(), State::Failed(None));
        let Some(target) = &mut self.target else { return };
        match state {
            State::Open(temporary) => {
                let sized = if file.ends_in_data() {
                    Ok(())
                } else {
                    rustix::fs::ftruncate(temporary.file(), file.length)
                };
                let placed = match sized {
                    Ok(()) => target.place(&temporary, &file.entry),
                    Err(errno) => Err(target.failed("write", &file.entry.path, errno)),
                };
                match placed {
                    Ok(problems) => self.count(file, problems),
                    Err(error) => {
                        if let Some(group) = &file.group {
                            group.failed.store(true, Ordering::Relaxed);
                        }
                        self.shared.entry_failed(&file.entry.path, error);
                    }
                }
            }
            // When everything ends, the next restore goes on with it.
            State::Failed(Some(temporary)) if !self.shared.is_stopped() => {
                target.discard(&temporary, &file.entry.path);
            }
            State::Failed(_) | State::Unopened => {}
        }
    }

    fn count(&self, file: &Writing, problems: Vec<stillpoint_tree::FileProblem>) {
        self.shared.complain(problems);
        let mut report = self.shared.report();
        report.files += 1;
        report.bytes += file.length;
        drop(report);
        self.shared.watcher.advance(Amount { items: 1, bytes: 0 });
    }
}
