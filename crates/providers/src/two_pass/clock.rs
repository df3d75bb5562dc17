//! The time of a pass, in the terms of the change times that the kernel stamps.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use stillpoint_tree::Timestamp;

/// Kernels before 6.13 stamp with the time of the last tick (1 to 10 ms ago): a pass looks back this much.
const TICK: Duration = Duration::from_millis(12);
/// Where another machine stamps, its clock may differ from ours by this much.
const FOREIGN_CLOCK: Duration = Duration::from_secs(300);

const NANOSECONDS: i128 = 1_000_000_000;

/// A point in time, on the clock that stamps and on the clock that never steps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    real_ns: i128,
    steady: Instant,
}

impl Mark {
    /// Now, as a file changed now would be stamped at the earliest.
    pub(super) fn now() -> Self {
        let time = clock_gettime(ClockId::RealtimeCoarse);
        Self {
            real_ns: i128::from(time.tv_sec) * NANOSECONDS + i128::from(time.tv_nsec),
            steady: Instant::now(),
        }
    }

    /// Now, for a pass that begins: all that changes from now on is stamped after this.
    pub(super) fn of_pass(our_clock: bool) -> Self {
        let mark = Self::now();
        let back = if our_clock { TICK } else { FOREIGN_CLOCK };
        Self { real_ns: mark.real_ns - back.as_nanos() as i128, steady: mark.steady }
    }

    /// The change time from which on an entry may have changed after this point. When the clock was set back since, the
    /// same stretch of time is stamped twice, so the answer moves back by as much.
    pub(super) fn threshold(&self) -> Timestamp {
        let now = Self::now();
        let steady_ns = (now.steady - self.steady).as_nanos() as i128;
        let stepped_ns = (now.real_ns - self.real_ns - steady_ns).min(0);
        // The coarse clock may lag by a tick, which is no step.
        let stepped_ns = if -stepped_ns > TICK.as_nanos() as i128 { stepped_ns } else { 0 };
        timestamp(self.real_ns + stepped_ns)
    }
}

fn timestamp(real_ns: i128) -> Timestamp {
    Timestamp {
        seconds: real_ns.div_euclid(NANOSECONDS) as i64,
        nanoseconds: real_ns.rem_euclid(NANOSECONDS) as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_moves_the_threshold_back_as_far() {
        let mark = Mark::now();
        // The same point, on a clock that showed an hour more then: it was set back since.
        let ahead = Mark { real_ns: mark.real_ns + 3600 * NANOSECONDS, steady: mark.steady };
        let moved = mark.threshold().seconds - ahead.threshold().seconds;
        assert!((-1..=1).contains(&moved), "moved by {moved} s");
    }

    #[test]
    fn a_file_written_after_the_mark_is_stamped_at_or_after_it() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        for i in 0..200 {
            let mark = Mark::now();
            let path = folder.path().join(i.to_string());
            std::fs::write(&path, "x").unwrap();
            let stat = std::fs::metadata(&path).unwrap();
            let ctime = Timestamp { seconds: stat.ctime(), nanoseconds: stat.ctime_nsec() as u32 };
            assert!(ctime >= mark.threshold(), "{ctime:?} is before {:?}", mark.threshold());
        }
    }
}
