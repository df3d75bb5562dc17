//! Work in parallel, results in order.
//!
//! One thread feeds, several work, the calling one collects in the order of feeding. What was fed and not yet collected is
//! bounded, so a slow file never lets memory grow. When collecting ends early, feeding and work end soon after.

use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::TreeError;
use crate::content::Meter;

/// How many items go from thread to thread at once: small files take less time than waking a thread does.
const BATCH_ITEMS: usize = 32;

/// A batch may grow up to here while the folder stays the same: threads that make entries in one folder wait for each other.
const BATCH_ITEMS_MAX: usize = 256;

/// A batch is passed on when it has so much work, in bytes: big files are spread over the threads.
const BATCH_BYTES: u64 = 4 << 20;

/// How many batches may wait for an earlier one.
const WAITING_MAX: usize = 32;

/// Collecting ended; there is no use in feeding on.
#[derive(Debug)]
pub(crate) struct Ended;

enum Item<J, O> {
    Job(J),
    Done(O),
}

type Batch<J, O> = Vec<Item<J, O>>;

/// A batch, and where its results go.
type Work<J, O> = (Batch<J, O>, Sender<Vec<O>>);

/// Takes what is fed.
pub(crate) struct Feeder<J, O> {
    batch: Batch<J, O>,
    bytes: u64,
    jobs: Sender<Work<J, O>>,
    turns: Sender<Receiver<Vec<O>>>,
}

impl<J, O> Feeder<J, O> {
    /// Passes a result on that needs no work.
    pub fn done(&mut self, result: O) -> Result<(), Ended> {
        self.add(Item::Done(result), 0)
    }

    /// Gives work to one of the workers: about so many bytes.
    pub fn work(&mut self, job: J, bytes: u64) -> Result<(), Ended> {
        self.add(Item::Job(job), bytes)
    }

    fn add(&mut self, item: Item<J, O>, bytes: u64) -> Result<(), Ended> {
        self.batch.push(item);
        self.bytes = self.bytes.saturating_add(bytes);
        let full = self.batch.len() >= BATCH_ITEMS_MAX || self.bytes >= BATCH_BYTES;
        if full { self.pass_on() } else { Ok(()) }
    }

    /// What follows lies elsewhere.
    pub fn turn(&mut self) -> Result<(), Ended> {
        if self.batch.len() < BATCH_ITEMS { Ok(()) } else { self.pass_on() }
    }

    fn pass_on(&mut self) -> Result<(), Ended> {
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH_ITEMS));
        self.bytes = 0;
        let (answer, turn) = bounded(1);
        self.jobs.send((batch, answer)).map_err(|_| Ended)?;
        self.turns.send(turn).map_err(|_| Ended)
    }
}

/// Feeds, works with one thread for each of `workers`, and collects, until all is done or the first error.
pub(crate) fn run<J, O, W>(
    workers: Vec<W>,
    meter: &Meter<'_>,
    feed: impl FnOnce(&mut Feeder<J, O>) -> Result<(), Ended> + Send,
    mut collect: impl FnMut(O) -> Result<(), TreeError>,
) -> Result<(), TreeError>
where
    J: Send,
    O: Send,
    W: FnMut(J) -> O + Send,
{
    let (turn_sender, turns) = bounded(WAITING_MAX);
    let (job_sender, jobs) = bounded::<Work<J, O>>(WAITING_MAX);
    thread::scope(|scope| {
        for mut worker in workers {
            let jobs = jobs.clone();
            scope.spawn(move || {
                for (batch, answer) in jobs {
                    let results = batch.into_iter().map(|item| match item {
                        Item::Job(job) => worker(job),
                        Item::Done(result) => result,
                    });
                    // Nobody waits for it any more when collecting ended early.
                    let _ = answer.send(results.collect());
                }
            });
        }
        drop(jobs);
        scope.spawn(move || {
            let mut feeder = Feeder { batch: Vec::new(), bytes: 0, jobs: job_sender, turns: turn_sender };
            // It only ends early when collecting did, which has the reason.
            let _ = feed(&mut feeder).and_then(|()| feeder.pass_on());
        });
        let collected = collect_all(&turns, &mut collect);
        if collected.is_err() {
            meter.stop();
        }
        // The feeder notices that the turns are gone; the workers end with the feeder.
        drop(turns);
        collected
    })
}

fn collect_all<O>(
    turns: &Receiver<Receiver<Vec<O>>>,
    collect: &mut impl FnMut(O) -> Result<(), TreeError>,
) -> Result<(), TreeError> {
    for turn in turns {
        // No answer means that the worker panicked, and the end of the scope passes that on.
        let results = turn.recv().map_err(|_| TreeError::Cancelled)?;
        results.into_iter().try_for_each(&mut *collect)?;
    }
    Ok(())
}

/// How many threads to use when `asked` for: at least one; a few when nothing was asked.
pub(crate) fn thread_count(asked: usize) -> usize {
    if asked > 0 { asked } else { thread::available_parallelism().map_or(1, |n| n.get().min(8)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::NoProgress;

    #[test]
    fn results_come_in_the_order_of_feeding_whoever_is_faster() {
        let (release, held) = bounded::<()>(0);
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let held = held.clone();
                move |n: u32| {
                    if n == 1 {
                        held.recv().unwrap();
                    }
                    n
                }
            })
            .collect();
        let mut seen = Vec::new();
        let feed = |feeder: &mut Feeder<u32, u32>| {
            for n in 0..100 {
                if n % 3 == 0 { feeder.done(n)? } else { feeder.work(n, 1 << 18)? }
            }
            release.send(()).unwrap();
            Ok(())
        };
        run(workers, &Meter::new(&NoProgress), feed, |n| {
            seen.push(n);
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn an_error_while_collecting_ends_an_endless_feed() {
        let meter = Meter::new(&NoProgress);
        let feed = |feeder: &mut Feeder<u64, u64>| {
            for n in 0.. {
                feeder.work(n, 0)?;
            }
            Ok(())
        };
        let collect = |n| if n == 1000 { Err(TreeError::Cancelled) } else { Ok(()) };
        assert!(matches!(run(vec![|n| n], &meter, feed, collect), Err(TreeError::Cancelled)));
        assert!(meter.is_stopped());
    }
}
