//! What becomes of each pack.
//!
//! A blob may lie in several packs. Each used blob is at home in one of them, and a pack in which none is at home can go.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::blob::BlobKind;
use crate::crypto::OVERHEAD;
use crate::error::RepositoryError;
use crate::id::Id;
use crate::index::{Index, PackNumber};
use crate::marks::Used;
use crate::pack;
use crate::save::packer::PACK_BYTES;
use crate::watch::Amount;

/// A pack below this size is worth to be put together with others, when they fill a whole one.
const SMALL_PACK_BYTES: u64 = PACK_BYTES as u64 / 4;

/// What becomes of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Keep,
    /// Its used blobs go into new packs, and then it is removed.
    Repack,
    Remove,
}

/// What is known of a pack. Bytes are those of sealed blobs.
#[derive(Debug, Clone, Copy, Default)]
struct Pack {
    /// The size of the file in the store, if there is one.
    listed: Option<u64>,
    /// Whether that is the size that the index gives it.
    fits: bool,
    total: u64,
    /// Of used blobs, wherever they are at home.
    used: u64,
    home: u64,
    has_data: bool,
    suspect: bool,
    fresh: bool,
}

impl Pack {
    /// In parts of a million.
    fn unused_share(&self, used: u64) -> u64 {
        let unused = u128::from(self.total.saturating_sub(used)) * 1_000_000;
        u64::try_from(unused / u128::from(self.total.max(1))).unwrap_or(u64::MAX)
    }

    fn unused(&self) -> u64 {
        self.total.saturating_sub(self.home)
    }
}

/// What the store has, against what the index says and the versions need.
pub(super) struct Survey<'s> {
    index: &'s Index,
    packs: Vec<Pack>,
    /// A pack that several index files name has several numbers; this is the first of them.
    first: Vec<PackNumber>,
    /// Packs that no index file names.
    pub unindexed: Vec<(Id, u64)>,
}

/// What the choice of homes should know of packs.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Written by this prune, to be the home of all that is in them.
    pub fresh: BTreeSet<Id>,
    /// Damaged: the last choice.
    pub suspect: BTreeSet<Id>,
}

impl<'s> Survey<'s> {
    /// Gives each used blob its home. `listed` is sorted.
    ///
    /// # Errors
    ///
    /// A used blob lies in no pack that is there and whole (`Damaged`).
    pub fn new(
        index: &'s Index,
        used: &Used,
        listed: &[(Id, u64)],
        known: &Known,
    ) -> Result<Self, RepositoryError> {
        let mut survey = Self {
            index,
            packs: vec![Pack::default(); index.packs().len()],
            first: first_numbers(index),
            unindexed: Vec::new(),
        };
        survey.weigh(used, listed, known);
        survey.settle(used)?;
        let mut indexed: Vec<Id> = index.packs().to_vec();
        indexed.sort_unstable();
        survey.unindexed =
            listed.iter().filter(|(id, _)| indexed.binary_search(id).is_err()).copied().collect();
        Ok(survey)
    }

    fn weigh(&mut self, used: &Used, listed: &[(Id, u64)], known: &Known) {
        let mut expected = vec![pack::list_bytes([]); self.packs.len()];
        for kind in BlobKind::ALL {
            let mut last = None;
            let mut is_used = false;
            for (number, location) in self.index.places(kind).enumerate() {
                if last != Some(location.blob.id) {
                    (last, is_used) = (Some(location.blob.id), used.of(kind).has(number));
                }
                let length = u64::from(location.blob.length);
                expected[location.number.get()] +=
                    length + pack::list_bytes([&location.blob]) - pack::list_bytes([]);
                let pack = &mut self.packs[location.number.get()];
                pack.total += length;
                pack.used += if is_used { length } else { 0 };
                pack.has_data |= kind == BlobKind::Data;
            }
        }
        for (number, id) in self.index.packs().iter().enumerate() {
            let at = listed.binary_search_by_key(id, |(listed, _)| *listed);
            let size = at.ok().map(|at| listed[at].1);
            self.packs[number].listed = size;
            self.packs[number].suspect = known.suspect.contains(id);
            self.packs[number].fresh = known.fresh.contains(id);
            self.packs[self.first[number].get()].fits |= size == Some(expected[number]);
        }
    }

    fn settle(&mut self, used: &Used) -> Result<(), RepositoryError> {
        for kind in BlobKind::ALL {
            let mut number = 0;
            while number < self.index.count(kind) {
                let end = self.end_of_group(kind, number);
                if used.of(kind).has(number) {
                    let home = self.home(kind, number, end).ok_or_else(|| self.homeless(kind, number))?;
                    let location = self.index.place(kind, home);
                    let first = self.first_of(location.number);
                    self.packs[first].home += u64::from(location.blob.length);
                }
                number = end;
            }
        }
        Ok(())
    }

    fn end_of_group(&self, kind: BlobKind, number: usize) -> usize {
        let id = self.index.place(kind, number).blob.id;
        let more =
            (number + 1..self.index.count(kind)).find(|next| self.index.place(kind, *next).blob.id != id);
        more.unwrap_or(self.index.count(kind))
    }

    fn first_of(&self, number: PackNumber) -> usize {
        self.first[number.get()].get()
    }

    /// The best of the places of a blob.
    fn home(&self, kind: BlobKind, number: usize, end: usize) -> Option<usize> {
        let candidates = (number..end).filter(|place| {
            let pack = &self.packs[self.first_of(self.index.place(kind, *place).number)];
            pack.listed.is_some() && pack.fits
        });
        candidates.min_by_key(|place| {
            let first = self.first_of(self.index.place(kind, *place).number);
            let pack = &self.packs[first];
            (pack.suspect, !pack.fresh, pack.unused_share(pack.used), Reverse(pack.listed), first, *place)
        })
    }

    fn homeless(&self, kind: BlobKind, number: usize) -> RepositoryError {
        let location = self.index.place(kind, number);
        let why = match self.packs[self.first_of(location.number)].listed {
            None => "is not there".to_owned(),
            Some(size) => format!("has {size} bytes, which is not what its index says"),
        };
        let text = format!(
            "the {kind} blob {} is needed, and the pack {} that it lies in {why}",
            location.blob.id.short(),
            location.pack.short()
        );
        RepositoryError::damaged(text).with_hint(
            "Nothing was removed. `stillpoint archive verify` tells what is touched, and `archive repair` heals it.",
        )
    }

    /// Whether this is the place of a used blob, and the one where it is at home.
    pub fn is_home(&self, used: &Used, kind: BlobKind, place: usize) -> bool {
        let id = self.index.place(kind, place).blob.id;
        let Some(number) = self.index.number_of(kind, &id) else { return false };
        used.of(kind).has(number) && self.home(kind, number, self.end_of_group(kind, number)) == Some(place)
    }

    /// The packs in which nothing is at home, each once: whether they are there or only an index file says so.
    pub fn homeless_packs(&self) -> impl Iterator<Item = (Id, Option<u64>)> + '_ {
        self.firsts()
            .filter(|(_, pack)| pack.home == 0)
            .map(|(number, pack)| (self.index.packs()[number], pack.listed))
    }

    fn firsts(&self) -> impl Iterator<Item = (usize, &Pack)> {
        self.packs.iter().enumerate().filter(|(number, _)| self.first[*number].get() == *number)
    }

    /// What becomes of the packs when at most this share of what is kept may be unused, in percent.
    pub fn choose(&self, unused_percent: u8) -> Choice {
        let mut fates = vec![Fate::Keep; self.packs.len()];
        let (mut partly, mut home, mut unused) = (Vec::new(), 0, 0);
        for (number, pack) in self.firsts() {
            home += pack.home;
            if pack.home == 0 {
                fates[number] = Fate::Remove;
            } else if pack.unused() > 0 {
                unused += pack.unused();
                partly.push((Reverse(pack.unused_share(pack.home)), number));
            }
        }
        partly.sort_unstable();
        let percent = u64::from(unused_percent.min(99));
        let limit = home / (100 - percent) * percent;
        for (_, number) in partly {
            if unused <= limit {
                break;
            }
            fates[number] = Fate::Repack;
            unused -= self.packs[number].unused();
        }
        self.choose_small(&mut fates);
        Choice { fates, unused_left: unused }
    }

    fn choose_small(&self, fates: &mut [Fate]) {
        for has_data in [false, true] {
            let small: Vec<(usize, &Pack)> = self
                .firsts()
                .filter(|(number, pack)| {
                    let bytes = pack.listed.unwrap_or_default();
                    fates[*number] == Fate::Keep && pack.has_data == has_data && bytes < SMALL_PACK_BYTES
                })
                .collect();
            // Else the same ones would be moved again by every prune.
            if small.iter().map(|(_, pack)| pack.total).sum::<u64>() >= PACK_BYTES as u64 {
                small.iter().for_each(|(number, _)| fates[*number] = Fate::Repack);
            }
        }
    }

    /// The fate of the pack with this number, however many numbers it has.
    pub fn fate(&self, choice: &Choice, number: PackNumber) -> Fate {
        choice.fates[self.first_of(number)]
    }

    /// Packs and bytes of this fate, as stored.
    pub fn amount(&self, choice: &Choice, fate: Fate) -> Amount {
        let mut amount = Amount::default();
        for (_, pack) in self.firsts().filter(|(number, _)| choice.fates[*number] == fate) {
            if let Some(bytes) = pack.listed {
                amount.items += 1;
                amount.bytes += bytes;
            }
        }
        amount
    }

    /// The bytes that are moved when packs are repacked.
    pub fn moved_bytes(&self, choice: &Choice) -> u64 {
        let moved = self.firsts().filter(|(number, _)| choice.fates[*number] == Fate::Repack);
        moved.map(|(_, pack)| pack.home + OVERHEAD as u64).sum()
    }
}

/// The fates of all packs.
pub(super) struct Choice {
    fates: Vec<Fate>,
    /// Bytes that stay though nothing needs them.
    pub unused_left: u64,
}

/// For each number of a pack the first number of the same pack.
fn first_numbers(index: &Index) -> Vec<PackNumber> {
    let mut sorted: Vec<(Id, PackNumber)> = index.packs_numbered().collect();
    sorted.sort_unstable();
    let mut first: Vec<PackNumber> = index.packs_numbered().map(|(_, number)| number).collect();
    for pair in 1..sorted.len() {
        if sorted[pair].0 == sorted[pair - 1].0 {
            let known = first[sorted[pair - 1].1.get()];
            first[sorted[pair].1.get()] = known;
        }
    }
    first
}
