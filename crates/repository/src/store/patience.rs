//! How long a store on another machine is waited for, and how often it is asked again.

use std::time::Duration;

/// The limits of waiting. There is none on the time of a whole act: a large file over a slow line is no failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How long no byte may come or go before the line counts as dead.
    pub idle: Duration,
    /// How long a connection may take.
    pub connect: Duration,
    /// How often an act is tried, with the first time.
    pub tries: u32,
    /// The pause after the first failure; each further one is twice as long.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
}

impl Default for Patience {
    /// A server that starts anew within three quarters of a minute is not noticed but for the wait.
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(60),
            connect: Duration::from_secs(30),
            tries: 8,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(16),
        }
    }
}

impl Patience {
    /// The pauses between the tries, one fewer than these. Each is up to a quarter longer by chance, so that many who lost the same
    /// server do not come back at the same moment.
    pub(super) fn pauses(self) -> impl Iterator<Item = Duration> {
        (1..self.tries).map(move |number| {
            let factor = 1_u32.checked_shl(number - 1).unwrap_or(u32::MAX);
            let pause = self.first_pause.saturating_mul(factor).min(self.longest_pause);
            let mut chance = [0; 1];
            // Without randomness there is no spreading, and nothing else is lost.
            let _ = getrandom::fill(&mut chance);
            pause + pause / 1024 * u32::from(chance[0])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_end() {
        let patience = Patience { tries: 200, ..Patience::default() };
        let pauses: Vec<Duration> = patience.pauses().collect();
        assert_eq!(pauses.len(), 199);
        assert!(pauses[0] >= patience.first_pause && pauses[0] < patience.first_pause * 2);
        assert!(pauses[2] >= patience.first_pause * 4);
        assert!(pauses.iter().all(|pause| *pause < patience.longest_pause * 5 / 4));
        assert!(pauses[198] >= patience.longest_pause);
        assert_eq!(Patience { tries: 0, ..patience }.pauses().count(), 0);
    }
}
