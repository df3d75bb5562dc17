//! Which packs are read this time.
//!
//! Packs are read in the order of their names, from where the last time ended. New packs get names anywhere in that order, so
//! each is read within as many nights as a whole round takes.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::id::Id;
use crate::time::Moment;

/// How much of the data is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataShare {
    /// None: the structure only.
    Nothing,
    /// All of it.
    All,
    /// So much that all of it is read every so many nights. What was not read in a night that was missed or cut short is spread
    /// over those that are left.
    Nights(u32),
}

/// How far the reading of all data has come. The caller keeps it, outside of the archive: so it works as well where nothing
/// may be changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadState {
    /// The last pack of this round that was read, and all before it.
    after: Option<Id>,
    /// When this round began.
    begun: Option<Moment>,
    /// When the last round was complete.
    completed: Option<Moment>,
    /// Packs that were found damaged. They are read again every time until they are good or gone.
    damaged: BTreeSet<Id>,
}

impl ReadState {
    /// When all data had last been read.
    #[must_use]
    pub fn completed(&self) -> Option<Moment> {
        self.completed
    }

    /// The packs to read now, of those that the store lists, sorted by name.
    pub(super) fn choose(&mut self, share: DataShare, listed: &[(Id, u64)], now: Moment) -> Chosen {
        let mut round = match share {
            DataShare::Nothing => Vec::new(),
            DataShare::All => {
                (self.after, self.begun) = (None, Some(now));
                listed.to_vec()
            }
            DataShare::Nights(nights) => {
                let begun = *self.begun.get_or_insert(now);
                let day = SignedDuration::from_hours(24).as_secs();
                let passed = now.timestamp().duration_since(begun.timestamp()).as_secs() / day;
                let left = i64::from(nights.max(1)).saturating_sub(passed).max(1);
                let rest = listed.iter().filter(|(id, _)| Some(*id) > self.after);
                let total: u64 = rest.clone().map(|(_, size)| size).sum();
                // At least so much, and at least one pack.
                let wanted = total.div_ceil(u64::try_from(left).unwrap_or(1));
                let mut taken = 0;
                rest.take_while(|(_, size)| {
                    let more = taken < wanted;
                    taken += size;
                    more
                })
                .copied()
                .collect()
            }
        };
        let ends_round =
            share != DataShare::Nothing && round.last().map(|(id, _)| id) == listed.last().map(|(id, _)| id);
        let in_round = round.len();
        let again = listed.iter().filter(|(id, _)| {
            self.damaged.contains(id) && round.binary_search_by_key(id, |(known, _)| *known).is_err()
        });
        let again: Vec<(Id, u64)> = again.copied().collect();
        round.extend(again);
        Chosen { packs: round, in_round, ends_round }
    }

    /// A pack was read.
    pub(super) fn found(&mut self, pack: Id, good: bool) {
        if good {
            self.damaged.remove(&pack);
        } else {
            self.damaged.insert(pack);
        }
    }

    /// So many of the chosen packs of the round were read without a gap.
    pub(super) fn advance(&mut self, chosen: &Chosen, done: usize, now: Moment) {
        if let Some(last) = done.min(chosen.in_round).checked_sub(1) {
            self.after = Some(chosen.packs[last].0);
        }
        if chosen.ends_round && done >= chosen.in_round {
            (self.after, self.begun, self.completed) = (None, None, Some(now));
        }
    }

    /// What is no longer there need not be read again.
    pub(super) fn forget_gone(&mut self, listed: &[(Id, u64)]) {
        self.damaged.retain(|id| listed.binary_search_by_key(id, |(listed, _)| *listed).is_ok());
    }
}

/// What is read this time.
#[derive(Debug)]
pub(super) struct Chosen {
    pub packs: Vec<(Id, u64)>,
    /// The first so many belong to the round; the others were damaged when they were last read.
    in_round: usize,
    ends_round: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(count: u32) -> Vec<(Id, u64)> {
        let mut all: Vec<(Id, u64)> = (0..count).map(|n| (Id::of(&n.to_le_bytes()), 100)).collect();
        all.sort_unstable();
        all
    }

    fn day(number: i64) -> Moment {
        Moment::of_file(stillpoint_tree::Timestamp {
            seconds: 1_700_000_000 + number * 86_400,
            nanoseconds: 0,
        })
    }

    /// A night in which `done` of the chosen packs are read; all of them when `None`.
    fn night(state: &mut ReadState, listed: &[(Id, u64)], number: i64, done: Option<usize>) -> Vec<Id> {
        let chosen = state.choose(DataShare::Nights(7), listed, day(number));
        let done = done.unwrap_or(chosen.packs.len());
        state.advance(&chosen, done, day(number));
        chosen.packs[..done].iter().map(|(id, _)| *id).collect()
    }

    #[test]
    fn everything_is_read_within_so_many_nights_and_then_again() {
        let (mut state, listed) = (ReadState::default(), listed(100));
        for round in 0..3 {
            let mut read = Vec::new();
            for number in 0..7 {
                let tonight = night(&mut state, &listed, round * 7 + number, None);
                assert!((14..=15).contains(&tonight.len()), "{}", tonight.len());
                read.extend(tonight);
            }
            assert!(read.iter().copied().eq(listed.iter().map(|(id, _)| *id)));
            assert_eq!(state.completed(), Some(day(round * 7 + 6)));
        }
    }

    #[test]
    fn what_was_cut_short_or_missed_is_caught_up() {
        let (mut state, listed) = (ReadState::default(), listed(100));
        let mut read = night(&mut state, &listed, 0, Some(3));
        read.extend(night(&mut state, &listed, 1, Some(0)));
        // Four nights without any.
        read.extend(night(&mut state, &listed, 5, None));
        read.extend(night(&mut state, &listed, 6, None));
        assert!(read.iter().copied().eq(listed.iter().map(|(id, _)| *id)));
        // A clock that goes back does no harm.
        assert!(!night(&mut state, &listed, -400, None).is_empty());
    }

    #[test]
    fn what_is_damaged_is_read_every_night_until_it_is_good_or_gone() {
        let (mut state, mut listed) = (ReadState::default(), listed(30));
        let bad = listed[0].0;
        night(&mut state, &listed, 0, None);
        state.found(bad, false);
        for number in 1..4 {
            assert!(night(&mut state, &listed, number, None).contains(&bad));
        }
        let text = serde_json::to_string(&state).unwrap();
        let mut good: ReadState = serde_json::from_str(&text).unwrap();
        assert_eq!(good, state);
        good.found(bad, true);
        assert!(!night(&mut good, &listed, 4, None).contains(&bad));
        listed.remove(0);
        state.forget_gone(&listed);
        assert!(state.damaged.is_empty());
    }

    #[test]
    fn an_archive_without_packs_is_soon_read() {
        let mut state = ReadState::default();
        assert!(night(&mut state, &[], 0, None).is_empty());
        assert_eq!(state.completed(), Some(day(0)));
    }
}
