//! Work in parallel, results in order.
//!
//! One thread feeds, several work, the calling one collects in the order of feeding. What was fed and not yet collected is
//! bounded, so a slow file never lets memory grow. When collecting ends early, feeding and work end soon after.

use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::TreeError;
use crate::content::Meter;

/// How many results may wait for an earlier one.
const WAITING_MAX: usize = 512;

/// Collecting ended; there is no use in feeding on.
#[derive(Debug)]
pub(crate) struct Ended;

enum Turn<O> {
    Done(O),
    Worked(Receiver<O>),
}

/// Takes what is fed.
pub(crate) struct Feeder<J, O> {
    jobs: Sender<(J, Sender<O>)>,
    turns: Sender<Turn<O>>,
}

impl<J, O> Feeder<J, O> {
    /// Passes a result on that needs no work.
    pub fn done(&self, result: O) -> Result<(), Ended> {
        self.turns.send(Turn::Done(result)).map_err(|_| Ended)
    }

    /// Gives work to one of the workers.
    pub fn work(&self, job: J) -> Result<(), Ended> {
        let (sender, receiver) = bounded(1);
        self.jobs.send((job, sender)).map_err(|_| Ended)?;
        self.turns.send(Turn::Worked(receiver)).map_err(|_| Ended)
    }
}

/// Feeds, works with one thread for each of `workers`, and collects, until all is done or the first error.
pub(crate) fn run<J, O, W>(
    workers: Vec<W>,
    meter: &Meter<'_>,
    feed: impl FnOnce(&Feeder<J, O>) -> Result<(), Ended> + Send,
    mut collect: impl FnMut(O) -> Result<(), TreeError>,
) -> Result<(), TreeError>
where
    J: Send,
    O: Send,
    W: FnMut(J) -> O + Send,
{
    let (turn_sender, turns) = bounded(WAITING_MAX);
    let (job_sender, jobs) = bounded::<(J, Sender<O>)>(WAITING_MAX);
    thread::scope(|scope| {
        for mut worker in workers {
            let jobs = jobs.clone();
            scope.spawn(move || {
                for (job, answer) in jobs {
                    // Nobody waits for it any more when collecting ended early.
                    let _ = answer.send(worker(job));
                }
            });
        }
        drop(jobs);
        scope.spawn(move || {
            let feeder = Feeder { jobs: job_sender, turns: turn_sender };
            // It only ends early when collecting did, which has the reason.
            let _ = feed(&feeder);
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
    turns: &Receiver<Turn<O>>,
    collect: &mut impl FnMut(O) -> Result<(), TreeError>,
) -> Result<(), TreeError> {
    for turn in turns {
        match turn {
            Turn::Done(result) => collect(result)?,
            // No answer means that the worker panicked, and the end of the scope passes that on.
            Turn::Worked(answer) => match answer.recv() {
                Ok(result) => collect(result)?,
                Err(_) => return Err(TreeError::Cancelled),
            },
        }
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
        let feed = |feeder: &Feeder<u32, u32>| {
            for n in 0..300 {
                if n % 3 == 0 { feeder.done(n)? } else { feeder.work(n)? }
            }
            release.send(()).unwrap();
            Ok(())
        };
        run(workers, &Meter::new(&NoProgress), feed, |n| {
            seen.push(n);
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, (0..300).collect::<Vec<_>>());
    }

    #[test]
    fn an_error_while_collecting_ends_an_endless_feed() {
        let meter = Meter::new(&NoProgress);
        let feed = |feeder: &Feeder<u64, u64>| {
            for n in 0.. {
                feeder.work(n)?;
            }
            Ok(())
        };
        let collect = |n| if n == 1000 { Err(TreeError::Cancelled) } else { Ok(()) };
        assert!(matches!(run(vec![|n| n], &meter, feed, collect), Err(TreeError::Cancelled)));
        assert!(meter.is_stopped());
    }
}
