//! A number of bytes, as people read it.

use std::fmt;

/// A number of bytes. Shown as `512 B` or `12.3 MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
        if self.0 < 1024 {
            return f.pad(&format!("{} B", self.0));
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        // Rounded to one decimal, 1023.95 would read 1024.0.
        while value >= 1023.95 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        f.pad(&format!("{value:.1} {}", UNITS[unit]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_bytes_reads_as_people_write_it() {
        let shown = [0, 1023, 1536, 600_001, (1 << 20) - 1, 5 << 30].map(|count| Bytes(count).to_string());
        assert_eq!(shown, ["0 B", "1023 B", "1.5 KiB", "585.9 KiB", "1.0 MiB", "5.0 GiB"]);
    }
}
