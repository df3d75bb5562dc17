//! How much content all cuts of this process together may hold in memory.

use std::sync::atomic::{AtomicU64, Ordering};

/// The limit, in bytes. A whole run must fit into 200 MiB.
const HELD_BYTES_MAX: u64 = 64 * 1024 * 1024;

static HELD_BYTES: AtomicU64 = AtomicU64::new(0);

/// A share of that memory, given back when it is dropped.
#[derive(Debug)]
pub(super) struct HeldBytes(u64);

impl HeldBytes {
    /// Takes a share, if there is room.
    pub(super) fn take(bytes: u64) -> Option<Self> {
        let fits = |held: u64| held.checked_add(bytes).filter(|sum| *sum <= HELD_BYTES_MAX);
        HELD_BYTES.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok().map(|_| Self(bytes))
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        HELD_BYTES.fetch_sub(self.0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_that_does_not_fit_is_refused_until_another_is_given_back() {
        let first = HeldBytes::take(HELD_BYTES_MAX - 10).expect("the memory is free");
        assert!(HeldBytes::take(11).is_none());
        drop(first);
        assert!(HeldBytes::take(11).is_some());
    }
}
