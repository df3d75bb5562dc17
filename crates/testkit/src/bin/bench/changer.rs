//! An application that rewrites files of a tree all the time and notes its longest wait.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::tree::{Noise, path};

/// One in so many files is rewritten again and again: 1 % of the tree changes, the rest is as it was the night before.
const CHANGED_ONE_IN: u64 = 100;

/// Rewrites part of the files that change, `rate` a second in no order, until it is ended. The longest time between two
/// rewrites since the file `stall` was last removed is kept in it, in microseconds.
pub fn change(top: &Path, files: u64, rate: u64, stall: &Path) {
    let mut noise = Noise::new(u64::from(std::process::id()));
    let mut buffer = vec![0_u8; 8 << 10];
    let interval = Duration::from_secs(1) / u32::try_from(rate.max(1)).unwrap_or(u32::MAX);
    let mut longest = 0;
    let mut last = Instant::now();
    let mut next = last;
    loop {
        noise.fill(&mut buffer);
        let file = path(top, noise.next() % (files / CHANGED_ONE_IN).max(1) * CHANGED_ONE_IN);
        if let Ok(open) = File::options().write(true).open(&file) {
            open.write_all_at(&buffer, 0).expect("rewrite a file");
        }
        let now = Instant::now();
        let waited = u64::try_from((now - last).as_micros()).unwrap_or(u64::MAX);
        if !stall.exists() {
            longest = 0;
        }
        if waited > longest || !stall.exists() {
            longest = longest.max(waited);
            std::fs::write(stall, longest.to_string()).expect("note the longest wait");
        }
        last = Instant::now();
        next += interval;
        // After a stop it does not hurry to catch up.
        if next < last {
            next = last;
        }
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}
