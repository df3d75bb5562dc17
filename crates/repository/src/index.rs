//! Which blobs lie in which packs: index files, and what is known of all of them (`doc/design.rst`, "Indexing").

use serde::{Deserialize, Serialize};

use crate::blob::{BlobKind, PLAIN_BYTES_MAX};
use crate::crypto::OVERHEAD;
use crate::error::RepositoryError;
use crate::id::Id;
use crate::marks::is_of_the_store;
use crate::pack::PackedBlob;
use crate::repository::Repository;
use crate::store::FileKind;

/// An index file.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct IndexFile {
    #[serde(default, deserialize_with = "none_is_empty")]
    pub packs: Vec<IndexedPack>,
}

/// A pack in an index file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct IndexedPack {
    pub id: Id,
    #[serde(deserialize_with = "none_is_empty")]
    pub blobs: Vec<IndexedBlob>,
}

/// A blob in an index file.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct IndexedBlob {
    pub id: Id,
    #[serde(rename = "type")]
    pub kind: BlobKind,
    pub offset: u32,
    pub length: u32,
    #[serde(default, deserialize_with = "none_is_zero", skip_serializing_if = "is_zero")]
    pub uncompressed_length: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// rustic writes `null` for what is not compressed.
fn none_is_zero<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    Option::<u32>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Go writes an empty list as `null`.
fn none_is_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<Vec<T>>::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl From<&PackedBlob> for IndexedBlob {
    fn from(blob: &PackedBlob) -> Self {
        let PackedBlob { kind, id, offset, length, uncompressed } = *blob;
        Self { id, kind, offset, length, uncompressed_length: uncompressed }
    }
}

impl From<IndexedBlob> for PackedBlob {
    fn from(blob: IndexedBlob) -> Self {
        let IndexedBlob { id, kind, offset, length, uncompressed_length } = blob;
        Self { kind, id, offset, length, uncompressed: uncompressed_length }
    }
}

/// Where a blob lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Location {
    pub pack: Id,
    /// The number of the pack in this index: cheaper to compare and to count by than its name.
    pub number: PackNumber,
    pub blob: PackedBlob,
}

/// A pack by its place in one [`Index`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PackNumber(u32);

impl PackNumber {
    pub fn get(self) -> usize {
        self.0 as usize
    }
}

/// One blob: 48 bytes, so that a million of them are 48 MB. Sorted by name.
#[derive(Debug, Clone, Copy)]
struct Slot {
    id: Id,
    pack: PackNumber,
    offset: u32,
    length: u32,
    uncompressed: u32,
}

/// All that the index files of a repository say.
#[derive(Debug, Default)]
pub(crate) struct Index {
    packs: Vec<Id>,
    data: Vec<Slot>,
    trees: Vec<Slot>,
    /// Where names that begin with certain bits begin among the slots: look-ups start close to what they look for.
    data_begins: Vec<u32>,
    tree_begins: Vec<u32>,
    files: Vec<Id>,
}

/// About so many slots begin with the same bits.
const SLOTS_PER_BEGIN: usize = 8;

/// The first so many bits of a name.
fn first_bits(id: &Id, bits: u32) -> usize {
    let first = id.as_bytes().first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
    // Not a shift by 32, which there is none.
    (first.checked_shr(32 - bits).unwrap_or(0)) as usize
}

/// Where the names begin that have the same first bits, for a number of bits that suits so many sorted slots; and the end.
fn begins_of(slots: &[Slot]) -> Vec<u32> {
    let bits = (slots.len() / SLOTS_PER_BEGIN).checked_ilog2().unwrap_or(0).min(24);
    let mut begins = Vec::with_capacity((1 << bits) + 1);
    for (at, slot) in slots.iter().enumerate() {
        let at = u32::try_from(at).unwrap_or(u32::MAX);
        begins.resize(begins.len().max(first_bits(&slot.id, bits) + 1), at);
    }
    begins.resize((1 << bits) + 1, u32::try_from(slots.len()).unwrap_or(u32::MAX));
    begins
}

impl Index {
    /// Reads all index files.
    ///
    /// # Errors
    ///
    /// The store fails, or an index file is damaged. It can be made anew from the packs, see `repair`.
    pub fn load(repository: &Repository) -> Result<Self, RepositoryError> {
        let mut index = Self::default();
        for (id, _) in repository.list(FileKind::Index)? {
            let file: IndexFile = match repository.load_json(FileKind::Index, id) {
                Ok(file) => file,
                // A prune that ran meanwhile put another in its place, which came into the list or is read below.
                Err(error) if error.is_missing() => return Self::load_again(repository),
                Err(error) => return Err(error),
            };
            index.add_file(id, file)?;
        }
        index.sort();
        Ok(index)
    }

    /// Index files went away while they were read: once more, and then it is an error.
    fn load_again(repository: &Repository) -> Result<Self, RepositoryError> {
        let mut index = Self::default();
        for (id, _) in repository.list(FileKind::Index)? {
            index.add_file(id, repository.load_json(FileKind::Index, id)?)?;
        }
        index.sort();
        Ok(index)
    }

    /// Reads those index files that are good, and tells what is wrong with the others.
    ///
    /// # Errors
    ///
    /// The store fails.
    pub fn load_what_is_good(
        repository: &Repository,
        mut damaged: impl FnMut(Id, RepositoryError),
    ) -> Result<Self, RepositoryError> {
        let mut index = Self::default();
        for (id, _) in repository.list(FileKind::Index)? {
            let file = repository.load_json::<IndexFile>(FileKind::Index, id);
            match file.and_then(|file| index.add_file(id, file)) {
                Err(error) if is_of_the_store(&error) => return Err(error),
                Err(error) => damaged(id, error),
                Ok(()) => {}
            }
        }
        index.sort();
        Ok(index)
    }

    pub fn add_file(&mut self, id: Id, file: IndexFile) -> Result<(), RepositoryError> {
        self.files.push(id);
        for pack in file.packs {
            self.add_pack(pack.id, pack.blobs.into_iter().map(PackedBlob::from)).map_err(|why| {
                RepositoryError::damaged(format!("the index file {} is damaged: {why}", id.short()))
            })?;
        }
        Ok(())
    }

    /// Adds a pack; [`sort`](Self::sort) follows.
    pub fn add_pack(&mut self, id: Id, blobs: impl Iterator<Item = PackedBlob>) -> Result<(), String> {
        let number = u32::try_from(self.packs.len()).map_err(|_| "too many packs")?;
        self.packs.push(id);
        for blob in blobs {
            let impossible = (blob.length as usize) < OVERHEAD
                || blob.uncompressed > PLAIN_BYTES_MAX
                || blob.offset.checked_add(blob.length).is_none();
            if impossible {
                return Err(format!("the blob {} cannot lie where it says", blob.id.short()));
            }
            let PackedBlob { id, offset, length, uncompressed, .. } = blob;
            let slots = if blob.kind == BlobKind::Data { &mut self.data } else { &mut self.trees };
            slots.push(Slot { id, pack: PackNumber(number), offset, length, uncompressed });
        }
        Ok(())
    }

    /// Makes what was added findable.
    pub fn sort(&mut self) {
        for slots in [&mut self.data, &mut self.trees] {
            slots.sort_unstable_by_key(|slot| (slot.id, slot.pack, slot.offset));
            slots.shrink_to_fit();
        }
        (self.data_begins, self.tree_begins) = (begins_of(&self.data), begins_of(&self.trees));
    }

    fn slots(&self, kind: BlobKind) -> &[Slot] {
        match kind {
            BlobKind::Data => &self.data,
            BlobKind::Tree => &self.trees,
        }
    }

    fn locate(&self, kind: BlobKind, slot: &Slot) -> Location {
        let Slot { id, pack, offset, length, uncompressed } = *slot;
        let blob = PackedBlob { kind, id, offset, length, uncompressed };
        Location { pack: self.packs[pack.get()], number: pack, blob }
    }

    /// The number of the first slot of this blob, or where it would be.
    fn first(&self, kind: BlobKind, id: &Id) -> usize {
        let (slots, begins) = match kind {
            BlobKind::Data => (&self.data, &self.data_begins),
            BlobKind::Tree => (&self.trees, &self.tree_begins),
        };
        let bits = begins.len().saturating_sub(1).checked_ilog2().unwrap_or(0);
        let at = first_bits(id, bits);
        let begin = begins.get(at).map_or(0, |begin| *begin as usize);
        let end = begins.get(at + 1).map_or(slots.len(), |end| *end as usize);
        begin + slots[begin..end].partition_point(|slot| slot.id < *id)
    }

    /// Where a blob lies: at several places when it was stored more than once.
    pub fn find(&self, kind: BlobKind, id: &Id) -> impl Iterator<Item = Location> + use<'_> {
        let (id, first) = (*id, self.first(kind, id));
        self.slots(kind)[first..]
            .iter()
            .take_while(move |slot| slot.id == id)
            .map(move |s| self.locate(kind, s))
    }

    /// Whether there is such a blob.
    pub fn has(&self, kind: BlobKind, id: &Id) -> bool {
        self.slots(kind).get(self.first(kind, id)).is_some_and(|slot| slot.id == *id)
    }

    /// A number for each blob of this kind, below [`count`](Self::count): of its first place, when there are several.
    pub fn number_of(&self, kind: BlobKind, id: &Id) -> Option<usize> {
        let first = self.first(kind, id);
        self.slots(kind).get(first).filter(|slot| slot.id == *id).map(|_| first)
    }

    /// How many places of blobs of this kind there are.
    pub fn count(&self, kind: BlobKind) -> usize {
        self.slots(kind).len()
    }

    /// All places of blobs of this kind, sorted by the name of the blob; the position is its number.
    pub fn places(&self, kind: BlobKind) -> impl Iterator<Item = Location> + '_ {
        self.slots(kind).iter().map(move |slot| self.locate(kind, slot))
    }

    /// The place with this number.
    pub fn place(&self, kind: BlobKind, number: usize) -> Location {
        self.locate(kind, &self.slots(kind)[number])
    }

    /// The length of a blob's plain text in bytes.
    pub fn plain_bytes(&self, kind: BlobKind, id: &Id) -> Option<u64> {
        self.find(kind, id).next().map(|location| location.blob.plain_bytes())
    }

    /// The packs, by number. A pack that several index files name is there several times.
    pub fn packs(&self) -> &[Id] {
        &self.packs
    }

    /// The packs with their numbers.
    pub fn packs_numbered(&self) -> impl Iterator<Item = (Id, PackNumber)> + '_ {
        (0..).map(PackNumber).zip(&self.packs).map(|(number, id)| (*id, number))
    }

    /// The index files that this was read from.
    pub fn files(&self) -> &[Id] {
        &self.files
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(kind: BlobKind, number: u8, offset: u32) -> PackedBlob {
        PackedBlob { kind, id: Id::of(&[number]), offset, length: 100, uncompressed: 0 }
    }

    #[test]
    fn blobs_are_found_wherever_they_lie_and_by_kind() {
        let mut index = Index::default();
        let (one, two) = (Id::of(b"pack one"), Id::of(b"pack two"));
        let data = |number, offset| blob(BlobKind::Data, number, offset);
        index.add_pack(one, [data(1, 0), data(2, 100)].into_iter()).unwrap();
        index.add_pack(two, [data(2, 0), blob(BlobKind::Tree, 1, 100)].into_iter()).unwrap();
        index.sort();
        let packs = |kind, number: u8| -> Vec<Id> {
            index.find(kind, &Id::of(&[number])).map(|location| location.pack).collect()
        };
        assert_eq!(packs(BlobKind::Data, 1), [one]);
        assert_eq!(packs(BlobKind::Data, 2), [one, two]);
        assert_eq!(packs(BlobKind::Tree, 1), [two]);
        assert!(packs(BlobKind::Tree, 2).is_empty());
        assert!(index.has(BlobKind::Data, &Id::of(&[2])) && !index.has(BlobKind::Data, &Id::of(&[3])));
        assert_eq!((index.count(BlobKind::Data), index.count(BlobKind::Tree)), (3, 1));
        assert_eq!(index.plain_bytes(BlobKind::Data, &Id::of(&[1])), Some(68));
    }

    #[test]
    fn among_many_blobs_each_is_found_and_nothing_else() {
        for count in [0_u32, 1, 7, 8, 16, 1000, 30_000] {
            let mut index = Index::default();
            let blobs = (0..count).map(|number| {
                let id = Id::of(&number.to_le_bytes());
                PackedBlob { kind: BlobKind::Data, id, offset: number * 100, length: 100, uncompressed: 0 }
            });
            index.add_pack(Id::of(b"pack"), blobs).unwrap();
            index.sort();
            for number in 0..count {
                let found: Vec<u32> = index
                    .find(BlobKind::Data, &Id::of(&number.to_le_bytes()))
                    .map(|location| location.blob.offset)
                    .collect();
                assert_eq!(found, [number * 100]);
            }
            let others = (count..count + 1000).map(|number| Id::of(&number.to_le_bytes()));
            let edges = [Id::from_bytes([0; 32]), Id::from_bytes([255; 32])];
            assert!(!others.chain(edges).any(|id| index.has(BlobKind::Data, &id)));
        }
    }

    #[test]
    fn a_place_that_no_pack_has_is_refused() {
        for (offset, length) in [(u32::MAX, 100), (0, 31)] {
            let bad = PackedBlob { offset, length, ..blob(BlobKind::Data, 1, 0) };
            assert!(Index::default().add_pack(Id::of(b""), [bad].into_iter()).is_err());
        }
    }

    #[test]
    fn one_blob_takes_no_more_than_it_should() {
        assert!(size_of::<Slot>() <= 48);
    }

    #[test]
    fn what_go_writes_is_read() {
        let id = Id::of(b"");
        let text = format!(
            r#"{{"supersedes":["{id}"],"packs":[{{"id":"{id}","blobs":[{{"id":"{id}","type":"tree","offset":0,
               "length":38,"uncompressed_length":112}}]}},{{"id":"{id}","blobs":null}}]}}"#
        );
        let file: IndexFile = serde_json::from_str(&text).unwrap();
        assert_eq!(file.packs[0].blobs[0].uncompressed_length, 112);
        assert!(file.packs[1].blobs.is_empty());
        assert!(serde_json::from_str::<IndexFile>(r#"{"packs":null}"#).unwrap().packs.is_empty());
        let by_rustic = text.replace(r#""uncompressed_length":112"#, r#""uncompressed_length":null"#);
        let file: IndexFile = serde_json::from_str(&by_rustic).unwrap();
        assert_eq!(file.packs[0].blobs[0].uncompressed_length, 0);
    }
}
