//! Work on many things with several threads.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::RepositoryError;
use crate::repository::Repository;

/// How many threads do it: one a processor, and as many as keep the store busy.
pub(crate) fn size(repository: &Repository) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    processors.max(repository.store().parallel()).clamp(2, 8)
}

/// Does this for all numbers below `count`, and ends soon after the first error, which it returns.
pub(crate) fn for_each(
    threads: usize,
    count: usize,
    work: impl Fn(usize) -> Result<(), RepositoryError> + Sync,
) -> Result<(), RepositoryError> {
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let failed = Mutex::new(None);
    let run = || {
        while !stop.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return;
            }
            if let Err(error) = work(number) {
                stop.store(true, Ordering::Relaxed);
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        }
    };
    std::thread::scope(|scope| {
        // The caller's thread works, too.
        for _ in 1..threads.min(count) {
            scope.spawn(run);
        }
        run();
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn all_is_done_once_or_the_error_is_told() {
        let sum = AtomicU64::new(0);
        for_each(3, 1000, |number| {
            sum.fetch_add(number as u64, Ordering::Relaxed);
            Ok(())
        })
        .unwrap();
        assert_eq!(sum.into_inner(), 499_500);
        let error = for_each(3, 1000, |number| match number {
            17 => Err(RepositoryError::damaged("seventeen")),
            _ => Ok(()),
        });
        assert_eq!(error.unwrap_err().text, "seventeen");
        for_each(3, 0, |_| Err(RepositoryError::damaged("none"))).unwrap();
    }
}
