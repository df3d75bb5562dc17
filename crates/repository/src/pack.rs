//! Packs: many sealed blobs in one file, with a sealed list of them at its end (`doc/design.rst`, "Pack Format").

use std::ops::Range;

use crate::blob::{BlobKind, PLAIN_BYTES_MAX};
use crate::crypto::{CipherKey, OVERHEAD};
use crate::error::RepositoryError;
use crate::id::Id;
use crate::store::{FileKind, FileName, Store};

/// Type, length, name: an entry of the list for a blob that is stored as it is.
const ENTRY_BYTES: usize = 1 + 4 + 32;
/// The same with the length before compression.
const COMPRESSED_ENTRY_BYTES: usize = ENTRY_BYTES + 4;
/// The length of the list, at the very end.
const LENGTH_BYTES: usize = 4;

/// How much is read of the end of a pack at first: room for some 100 blobs.
const TAIL_BYTES: u64 = 4096;

/// One blob in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PackedBlob {
    pub kind: BlobKind,
    pub id: Id,
    /// Where its sealed bytes begin.
    pub offset: u32,
    /// How long its sealed bytes are.
    pub length: u32,
    /// How long it is before compression; 0 when it is not compressed.
    pub uncompressed: u32,
}

impl PackedBlob {
    /// The length of its plain text.
    pub fn plain_bytes(&self) -> u64 {
        let sealed = u64::from(self.length).saturating_sub(OVERHEAD as u64);
        if self.uncompressed == 0 { sealed } else { u64::from(self.uncompressed) }
    }

    /// How much of the list it takes.
    fn entry_bytes(&self) -> usize {
        if self.uncompressed == 0 { ENTRY_BYTES } else { COMPRESSED_ENTRY_BYTES }
    }
}

/// How long the list of these blobs is, sealed, with its length.
pub(crate) fn list_bytes<'b>(blobs: impl IntoIterator<Item = &'b PackedBlob>) -> u64 {
    let entries: usize = blobs.into_iter().map(PackedBlob::entry_bytes).sum();
    (entries + OVERHEAD + LENGTH_BYTES) as u64
}

/// Appends the list, which makes the bytes a pack.
pub(crate) fn finish(
    pack: &mut Vec<u8>,
    blobs: &[PackedBlob],
    key: &CipherKey,
) -> Result<(), RepositoryError> {
    let mut list = Vec::with_capacity(blobs.len() * COMPRESSED_ENTRY_BYTES);
    for blob in blobs {
        let kind = u8::from(blob.kind == BlobKind::Tree);
        let compressed = blob.uncompressed != 0;
        list.push(if compressed { kind + 2 } else { kind });
        list.extend_from_slice(&blob.length.to_le_bytes());
        if compressed {
            list.extend_from_slice(&blob.uncompressed.to_le_bytes());
        }
        list.extend_from_slice(blob.id.as_bytes());
    }
    let begin = pack.len();
    key.seal_onto(&list, pack)?;
    let length = u32::try_from(pack.len() - begin).unwrap_or(u32::MAX);
    pack.extend_from_slice(&length.to_le_bytes());
    Ok(())
}

/// Reads the list at the end of a pack of `size` bytes.
///
/// # Errors
///
/// The store fails, or the end of the file is not a list of blobs that fill it.
pub(crate) fn read_list(
    store: &dyn Store,
    key: &CipherKey,
    pack: Id,
    size: u64,
) -> Result<Vec<PackedBlob>, RepositoryError> {
    let name = FileName::Of(FileKind::Pack, pack);
    read_list_with(key, pack, size, |range| Ok(store.read(name, Some(range))?))
}

/// The same, by a reader of parts of the pack.
pub(crate) fn read_list_with(
    key: &CipherKey,
    pack: Id,
    size: u64,
    mut read: impl FnMut(Range<u64>) -> Result<Vec<u8>, RepositoryError>,
) -> Result<Vec<PackedBlob>, RepositoryError> {
    let damaged =
        |why: &str| RepositoryError::damaged(format!("the pack {} is damaged: {why}", pack.short()));
    let too_short = (LENGTH_BYTES + OVERHEAD) as u64;
    if size < too_short {
        return Err(damaged("it is too short"));
    }
    let tail = read(size - TAIL_BYTES.min(size)..size)?;
    let (before, length) =
        tail.split_last_chunk::<LENGTH_BYTES>().ok_or_else(|| damaged("it is too short"))?;
    let length = u64::from(u32::from_le_bytes(*length));
    if length > size - LENGTH_BYTES as u64 || length < OVERHEAD as u64 {
        return Err(damaged("the length of its list is wrong"));
    }
    let mut list = match usize::try_from(length).ok().and_then(|length| before.len().checked_sub(length)) {
        Some(begin) => before[begin..].to_vec(),
        None => {
            let end = size - LENGTH_BYTES as u64;
            read(end - length..end)?
        }
    };
    let plain = key.open(&mut list).map_err(|_| damaged("its list is not what was written"))?;
    let blobs = parse_list(plain).ok_or_else(|| damaged("its list cannot be read"))?;
    let content: u64 = blobs.iter().map(|blob| u64::from(blob.length)).sum();
    if content + length + LENGTH_BYTES as u64 != size {
        return Err(damaged("its list is not that of its content"));
    }
    Ok(blobs)
}

fn parse_list(mut list: &[u8]) -> Option<Vec<PackedBlob>> {
    let mut blobs = Vec::new();
    let mut offset = 0_u32;
    while let Some((kind, rest)) = list.split_first() {
        let (length, mut rest) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length);
        let mut uncompressed = 0;
        if kind & 2 != 0 {
            let (bytes, after) = rest.split_first_chunk::<4>()?;
            uncompressed = u32::from_le_bytes(*bytes);
            rest = after;
        }
        let (id, rest) = rest.split_first_chunk::<32>()?;
        let kind = match kind {
            0 | 2 => BlobKind::Data,
            1 | 3 => BlobKind::Tree,
            _ => return None,
        };
        if (length as usize) < OVERHEAD || uncompressed > PLAIN_BYTES_MAX {
            return None;
        }
        blobs.push(PackedBlob { kind, id: Id::from_bytes(*id), offset, length, uncompressed });
        offset = offset.checked_add(length)?;
        list = rest;
    }
    Some(blobs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    fn stored(pack: Vec<u8>) -> (MemoryStore, Id, u64) {
        let store = MemoryStore::default();
        let (id, size) = (Id::of(&pack), pack.len() as u64);
        store.write_new(FileName::Of(FileKind::Pack, id), &pack).unwrap();
        (store, id, size)
    }

    #[test]
    fn a_list_reads_back_however_long_it_is() {
        let key = CipherKey::random().unwrap();
        for count in [0_u32, 1, 500] {
            let mut pack = Vec::new();
            let mut blobs = Vec::new();
            for number in 0..count {
                let offset = u32::try_from(pack.len()).unwrap();
                key.seal_onto(&number.to_le_bytes(), &mut pack).unwrap();
                blobs.push(PackedBlob {
                    kind: if number % 3 == 0 { BlobKind::Tree } else { BlobKind::Data },
                    id: Id::of(&number.to_le_bytes()),
                    offset,
                    length: 36,
                    uncompressed: number % 2 * 7,
                });
            }
            let content = pack.len() as u64;
            finish(&mut pack, &blobs, &key).unwrap();
            assert_eq!(pack.len() as u64, content + list_bytes(&blobs));
            let (store, id, size) = stored(pack);
            assert_eq!(read_list(&store, &key, id, size).unwrap(), blobs);
        }
    }

    #[test]
    fn what_is_not_a_pack_is_damaged_and_never_a_panic() {
        let key = CipherKey::random().unwrap();
        let mut good = key.seal(b"blob").unwrap();
        let blob = PackedBlob {
            kind: BlobKind::Data,
            id: Id::of(b"blob"),
            offset: 0,
            length: good.len() as u32,
            uncompressed: 0,
        };
        finish(&mut good, &[blob], &key).unwrap();
        let mut candidates: Vec<Vec<u8>> = (0..good.len()).map(|length| good[..length].to_vec()).collect();
        candidates.extend((good.len() - 60..good.len()).map(|at| {
            let mut touched = good.clone();
            touched[at] ^= 0x80;
            touched
        }));
        candidates.push([good.clone(), vec![0; 3]].concat());
        for pack in candidates {
            let (store, id, size) = stored(pack);
            let error = read_list(&store, &key, id, size).unwrap_err();
            assert_eq!(error.kind, stillpoint_model::ErrorKind::Damaged, "{error}");
        }
    }
}
