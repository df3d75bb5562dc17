//! The content of one file as a stream.

use std::io::Write;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use stillpoint_model::ErrorKind;
use stillpoint_tree::RelPath;

use crate::contents::Contents;
use crate::error::RepositoryError;
use crate::fetch::{Run, locate, thread_count};
use crate::id::Id;
use crate::node::NodeKind;
use crate::watch::{Amount, Watcher};

type Plain = Result<Vec<Vec<u8>>, RepositoryError>;

impl Contents {
    /// Writes the content of the file at `path` to `out`, while the next parts are fetched. Each part is proven before it
    /// is written; what was written before an error is good. Returns the number of bytes.
    ///
    /// # Errors
    ///
    /// There is no such file (`Usage`), a part is damaged (`Damaged`), `out` fails (`Environment`), or the store fails.
    pub fn dump(
        &self,
        path: &RelPath,
        out: &mut dyn Write,
        watcher: &dyn Watcher,
    ) -> Result<u64, RepositoryError> {
        let node = self.node(path)?;
        if node.kind != NodeKind::File {
            let text = format!("{path} is not a file, and only files have content");
            return Err(RepositoryError::new(ErrorKind::Usage, text));
        }
        watcher.stage("dump", Amount { items: 1, bytes: node.size });
        let written = self.write_blobs(node.blobs(), out, watcher)?;
        // rustic names no size for a stream.
        if written != node.size && node.size != 0 {
            let text = format!("{path} is said to have {} bytes, and its content has {written}", node.size);
            return Err(RepositoryError::damaged(text));
        }
        Ok(written)
    }

    fn write_blobs(
        &self,
        blobs: &[Id],
        out: &mut dyn Write,
        watcher: &dyn Watcher,
    ) -> Result<u64, RepositoryError> {
        let threads = thread_count(self.repository());
        let (jobs, waiting) = bounded::<(Run<()>, Sender<Plain>)>(threads);
        // What is fetched and not yet written is bounded by this.
        let (turns, in_order) = bounded::<Receiver<Plain>>(threads);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                let waiting = waiting.clone();
                scope.spawn(move || {
                    for (run, answer) in waiting {
                        // Nobody waits for it any more when writing failed.
                        let _ = answer.send(self.fetch_all(run));
                    }
                });
            }
            drop(waiting);
            scope.spawn(move || self.plan(blobs, &jobs, &turns));
            // It takes the receiver: when it ends early, so does the planning, and with that the fetching.
            write_in_order(in_order, out, watcher)
        })
    }

    /// Cuts the list of blobs into runs. Ends early when nobody takes them any more.
    fn plan(&self, blobs: &[Id], jobs: &Sender<(Run<()>, Sender<Plain>)>, turns: &Sender<Receiver<Plain>>) {
        let pass_on = |run: Option<Run<()>>| {
            let Some(run) = run else { return true };
            let (answer, turn) = bounded(1);
            jobs.send((run, answer)).is_ok() && turns.send(turn).is_ok()
        };
        let mut run: Option<Run<()>> = None;
        for id in blobs {
            match (locate(self.index(), id), &mut run) {
                (Ok(location), Some(run)) if run.takes(&location) => run.blobs.push((location, ())),
                (Ok(location), _) => {
                    if !pass_on(run.replace(Run::of(location, ()))) {
                        return;
                    }
                }
                (Err(error), _) => {
                    let (answer, turn) = bounded(1);
                    if pass_on(run.take()) && answer.send(Err(error)).is_ok() {
                        // The writer ends with it, if it has not ended already.
                        let _ = turns.send(turn);
                    }
                    return;
                }
            }
        }
        pass_on(run);
    }

    fn fetch_all(&self, run: Run<()>) -> Plain {
        let mut parts = Vec::with_capacity(run.blobs.len());
        run.fetch(self.repository(), &Arc::clone(self.index()), |(), plain| {
            parts.push(plain?);
            Ok(())
        })?;
        Ok(parts)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "its end tells the planner to end")]
fn write_in_order(
    turns: Receiver<Receiver<Plain>>,
    out: &mut dyn Write,
    watcher: &dyn Watcher,
) -> Result<u64, RepositoryError> {
    let mut written = 0;
    for turn in &turns {
        watcher.check()?;
        let parts = turn.recv().map_err(|_| RepositoryError::cancelled())??;
        for part in parts {
            out.write_all(&part).map_err(|error| {
                let text = format!("the content could not be written out: {error}");
                RepositoryError::new(ErrorKind::Environment, text)
            })?;
            written += part.len() as u64;
            watcher.advance(Amount { items: 0, bytes: part.len() as u64 });
        }
    }
    Ok(written)
}
