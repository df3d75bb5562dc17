//! The blobs of an index in the order in which they lie in the packs: 12 bytes each.

use std::ops::Range;

use crate::blob::BlobKind;
use crate::index::{Index, Location, PackNumber};

/// The most that is read of a pack at once, but for a blob that is longer.
const RUN_BYTES_MAX: u64 = 4 << 20;

/// What lies between two blobs is read with them when it is at most this long: asking once more takes longer.
const GAP_BYTES_MAX: u64 = 64 << 10;

/// Some of the blobs of an index, pack by pack and in the order of their offsets.
#[derive(Debug)]
pub(crate) struct ByPack<'i> {
    index: &'i Index,
    blobs: Vec<Numbered>,
    /// Where a pack begins in `blobs`.
    packs: Vec<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Numbered {
    pack: PackNumber,
    offset: u32,
    /// The kind is the lowest bit.
    number: u32,
}

fn number_of(kind: BlobKind, number: usize) -> Option<u32> {
    let number = u32::try_from(number).ok().filter(|number| *number < 1 << 31)?;
    Some(number << 1 | u32::from(kind == BlobKind::Tree))
}

fn kind_of(number: u32) -> (BlobKind, usize) {
    (if number & 1 == 0 { BlobKind::Data } else { BlobKind::Tree }, (number >> 1) as usize)
}

impl<'i> ByPack<'i> {
    /// Those places that are wanted, by kind, number and location.
    pub fn new(index: &'i Index, mut wanted: impl FnMut(BlobKind, usize, &Location) -> bool) -> Self {
        let mut blobs = Vec::new();
        for kind in BlobKind::ALL {
            for (number, location) in index.places(kind).enumerate() {
                if wanted(kind, number, &location)
                    && let Some(number) = number_of(kind, number)
                {
                    blobs.push(Numbered { pack: location.number, offset: location.blob.offset, number });
                }
            }
        }
        Self::sorted(index, blobs)
    }

    /// These places of one kind, by their numbers.
    pub fn of_numbers(index: &'i Index, kind: BlobKind, numbers: impl IntoIterator<Item = usize>) -> Self {
        let numbered = numbers.into_iter().filter_map(|number| {
            let location = index.place(kind, number);
            let number = number_of(kind, number)?;
            Some(Numbered { pack: location.number, offset: location.blob.offset, number })
        });
        Self::sorted(index, numbered.collect())
    }

    fn sorted(index: &'i Index, mut blobs: Vec<Numbered>) -> Self {
        blobs.sort_unstable();
        let begins = (0..blobs.len()).filter(|at| *at == 0 || blobs[at - 1].pack != blobs[*at].pack);
        let packs = begins.filter_map(|at| u32::try_from(at).ok()).collect();
        Self { index, blobs, packs }
    }

    /// How many packs they lie in.
    pub fn count(&self) -> usize {
        self.packs.len()
    }

    fn range(&self, pack: usize) -> Range<usize> {
        let end = self.packs.get(pack + 1).map_or(self.blobs.len(), |end| *end as usize);
        self.packs[pack] as usize..end
    }

    /// The number in the index of one of the packs.
    pub fn number(&self, pack: usize) -> PackNumber {
        self.blobs[self.packs[pack] as usize].pack
    }

    /// The blobs in one of the packs, with their numbers.
    pub fn blobs(&self, pack: usize) -> impl Iterator<Item = (usize, Location)> + '_ {
        self.blobs[self.range(pack)].iter().map(|blob| {
            let (kind, number) = kind_of(blob.number);
            (number, self.index.place(kind, number))
        })
    }

    /// What is read at once: blobs of one pack with little or nothing between them. See [`run`](Self::run).
    pub fn runs(&self, pack: usize) -> impl Iterator<Item = Range<usize>> + '_ {
        let range = self.range(pack);
        let mut at = range.start;
        std::iter::from_fn(move || {
            let begin = at;
            let first = self.blob(begin, range.end)?;
            let mut end = end_of(&first);
            at += 1;
            while let Some(next) = self.blob(at, range.end)
                && u64::from(next.blob.offset) <= end + GAP_BYTES_MAX
                && end_of(&next) - u64::from(first.blob.offset) <= RUN_BYTES_MAX
            {
                end = end.max(end_of(&next));
                at += 1;
            }
            Some(begin..at)
        })
    }

    fn blob(&self, at: usize, end: usize) -> Option<Location> {
        let (kind, number) = kind_of(self.blobs.get(at).filter(|_| at < end)?.number);
        Some(self.index.place(kind, number))
    }

    /// The blobs of a run, with their numbers.
    pub fn run(&self, run: Range<usize>) -> Vec<(usize, Location)> {
        let blobs = self.blobs.get(run).unwrap_or_default();
        let place = |blob: &Numbered| {
            let (kind, number) = kind_of(blob.number);
            (number, self.index.place(kind, number))
        };
        blobs.iter().map(place).collect()
    }
}

/// Where a blob ends in its pack.
pub(crate) fn end_of(location: &Location) -> u64 {
    u64::from(location.blob.offset) + u64::from(location.blob.length)
}

/// The part of its pack that a run takes.
pub(crate) fn span_of(run: &[(usize, Location)]) -> Range<u64> {
    let begin = run.first().map_or(0, |(_, location)| u64::from(location.blob.offset));
    begin..run.iter().map(|(_, location)| end_of(location)).max().unwrap_or(begin)
}

/// The sealed bytes of a blob in what was read for its run.
pub(crate) fn sealed_in<'b>(bytes: &'b [u8], span: &Range<u64>, location: &Location) -> Option<&'b [u8]> {
    let begin = usize::try_from(u64::from(location.blob.offset).checked_sub(span.start)?).ok()?;
    bytes.get(begin..begin.checked_add(location.blob.length as usize)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Id;
    use crate::pack::PackedBlob;

    #[test]
    fn blobs_come_pack_by_pack_and_neighbours_together() {
        let mut index = Index::default();
        let blob = |number: u32, kind, offset, length| {
            let id = Id::of(&number.to_le_bytes());
            PackedBlob { kind, id, offset, length, uncompressed: 0 }
        };
        let far = GAP_BYTES_MAX as u32 + 201;
        index
            .add_pack(
                Id::of(b"one"),
                [
                    blob(1, BlobKind::Data, 0, 100),
                    blob(2, BlobKind::Tree, 100, 100),
                    blob(3, BlobKind::Data, far, 100),
                    blob(4, BlobKind::Data, far + 100, RUN_BYTES_MAX as u32),
                ]
                .into_iter(),
            )
            .unwrap();
        index.add_pack(Id::of(b"two"), [blob(5, BlobKind::Data, 0, 100)].into_iter()).unwrap();
        index.sort();
        let all = ByPack::new(&index, |_, _, _| true);
        assert_eq!(all.count(), 2);
        let runs: Vec<Vec<u32>> = all
            .runs(0)
            .map(|run| all.run(run).iter().map(|(_, place)| place.blob.offset).collect())
            .collect();
        assert_eq!(runs, [vec![0, 100], vec![far], vec![far + 100]]);
        assert_eq!(all.blobs(1).count(), 1);
        for pack in 0..2 {
            for (number, place) in all.blobs(pack) {
                assert_eq!(index.place(place.blob.kind, number), place);
                assert_eq!(all.number(pack), place.number);
            }
        }
        let trees = ByPack::of_numbers(&index, BlobKind::Tree, [0]);
        assert_eq!((trees.count(), trees.blobs(0).count()), (1, 1));
    }
}
