//! Reading packs: the whole file against its name, each blob against its own.
//!
//! A pack is read once, in parts of a few mebibytes, by one thread; several packs at a time. What is read is hashed and opened
//! while it is in the cache of the processor.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use super::damage::Damage;
use crate::by_pack::{ByPack, end_of};
use crate::error::RepositoryError;
use crate::id::Id;
use crate::index::Location;
use crate::marks::is_of_the_store;
use crate::pack::{self, PackedBlob};
use crate::proof::prove;
use crate::repository::Repository;
use crate::watch::{Amount, Watcher};

/// A part ends with the first blob that makes it so long.
const PART_BYTES: u64 = 2 << 20;

/// Reads packs.
pub(super) struct PackReader<'c> {
    pub repository: &'c Repository,
    pub blobs: &'c ByPack<'c>,
    pub damage: &'c Damage<'c>,
    pub watcher: &'c dyn Watcher,
    pub read_bytes: AtomicU64,
}

/// A part of a pack and the blobs in it.
struct Part {
    bytes: Range<u64>,
    blobs: Vec<(usize, Location)>,
}

impl PackReader<'_> {
    /// Reads a pack of this size; `at` is its place among the packs of the index, if it is in there. Whether it is good.
    pub fn read(&self, pack: Id, size: u64, at: Option<usize>) -> Result<bool, RepositoryError> {
        let all: Vec<(usize, Location)> = at.map(|at| self.blobs.blobs(at).collect()).unwrap_or_default();
        let (inside, outside): (Vec<_>, Vec<_>) =
            all.iter().copied().partition(|(_, location)| end_of(location) <= size);
        let mut good = outside.is_empty();
        for (number, location) in &outside {
            self.damage.blob(*number, location, "it should lie behind the end of the file");
        }
        let mut hash = Sha256::new();
        let mut scratch = Vec::new();
        let mut list = None;
        for part in parts(inside, size) {
            self.watcher.check()?;
            let mut bytes = match self.repository.read_pack(pack, part.bytes.clone()) {
                Err(error) if is_of_the_store(&error) => return Err(error),
                Err(error) => {
                    self.damage.pack(pack, &error.to_string());
                    for (number, location) in part.blobs {
                        self.damage.blob(number, &location, "it cannot be read");
                    }
                    good = false;
                    continue;
                }
                Ok(bytes) => bytes,
            };
            let begin = part.bytes.start;
            if part.bytes.end == size {
                list = Some(self.read_list(pack, size, begin, &bytes));
            }
            good &= self.read_part(&part, &mut bytes, &mut hash, &mut scratch);
            let length = part.bytes.end - begin;
            self.read_bytes.fetch_add(length, Ordering::Relaxed);
            self.watcher.advance(Amount { items: 0, bytes: length });
        }
        self.watcher.advance(Amount { items: 1, bytes: 0 });
        match list {
            Some(Err(error)) if is_of_the_store(&error) => return Err(error),
            Some(Err(error)) => {
                self.damage.pack(pack, &error.to_string());
                good = false;
            }
            Some(Ok(list)) if !lists_all(&list, &all) => {
                self.damage.pack(pack, "an index file says something else of it than its own list");
                good = false;
            }
            _ => {}
        }
        if good && Id::from_bytes(hash.finalize().into()) != pack {
            self.damage.pack(pack, "its content is not what its name says");
            good = false;
        }
        Ok(good)
    }

    fn read_part(&self, part: &Part, bytes: &mut [u8], hash: &mut Sha256, scratch: &mut Vec<u8>) -> bool {
        let mut good = true;
        let mut hashed = 0;
        for (number, location) in &part.blobs {
            let begin = to_index(u64::from(location.blob.offset) - part.bytes.start);
            let end = begin + location.blob.length as usize;
            let why = match bytes.get_mut(hashed..end) {
                // Hashed first: it is opened in its place.
                Some(until) if begin >= hashed => {
                    hash.update(&until);
                    let skip = begin - hashed;
                    hashed = end;
                    prove(self.repository, &location.blob, &mut until[skip..], scratch).err()
                }
                _ => Some("it lies over another".to_owned()),
            };
            if let Some(why) = why {
                self.damage.blob(*number, location, &why);
                good = false;
            }
        }
        hash.update(&bytes[hashed..]);
        good
    }

    /// The list at the end, from what was read of it.
    fn read_list(
        &self,
        pack: Id,
        size: u64,
        begin: u64,
        bytes: &[u8],
    ) -> Result<Vec<PackedBlob>, RepositoryError> {
        pack::read_list_with(self.repository.key(), pack, size, |range| {
            let at_hand = range.start.checked_sub(begin).map(to_index);
            let at_hand = at_hand.and_then(|from| bytes.get(from..to_index(range.end - begin)));
            match at_hand {
                Some(bytes) => Ok(bytes.to_vec()),
                None => self.repository.read_pack(pack, range),
            }
        })
    }
}

fn to_index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

/// Cuts a pack between blobs. The last part goes to the end of the file.
fn parts(blobs: Vec<(usize, Location)>, size: u64) -> Vec<Part> {
    let mut parts = Vec::new();
    let (mut begin, mut open) = (0, Vec::new());
    let count = blobs.len();
    for (at, blob) in blobs.into_iter().enumerate() {
        let end = end_of(&blob.1);
        open.push(blob);
        if at + 1 < count && end.saturating_sub(begin) >= PART_BYTES {
            parts.push(Part { bytes: begin..end, blobs: std::mem::take(&mut open) });
            begin = end;
        }
    }
    parts.push(Part { bytes: begin..size.max(begin), blobs: open });
    parts
}

/// Whether the list has all that the index has, where it has it.
fn lists_all(list: &[PackedBlob], indexed: &[(usize, Location)]) -> bool {
    let mut list = list.iter();
    indexed.iter().all(|(_, location)| list.any(|blob| *blob == location.blob))
}
