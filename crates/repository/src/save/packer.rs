//! Filling packs with sealed blobs.

use crate::blob::BlobKind;
use crate::codec;
use crate::crypto::CipherKey;
use crate::error::RepositoryError;
use crate::id::Id;
use crate::pack::PackedBlob;

/// A pack is stored once it has so many bytes: as restic's default.
pub(crate) const PACK_BYTES: usize = 16 << 20;

/// A pack that is being filled, with blobs of one kind. Every thread fills its own.
#[derive(Debug)]
pub(crate) struct OpenPack {
    pub kind: BlobKind,
    pub bytes: Vec<u8>,
    pub blobs: Vec<PackedBlob>,
}

impl OpenPack {
    pub fn new(kind: BlobKind) -> Self {
        Self { kind, bytes: Vec::new(), blobs: Vec::new() }
    }

    /// Adds a blob, compressed where that makes it shorter. Returns how many bytes it takes.
    pub fn add(&mut self, id: Id, plain: &[u8], key: &CipherKey) -> Result<u64, RepositoryError> {
        let compressed = codec::compress(plain)?;
        let shorter = compressed.len() < plain.len();
        let begin = self.bytes.len();
        key.seal_onto(if shorter { &compressed } else { plain }, &mut self.bytes)?;
        let too_long =
            |_| RepositoryError::new(stillpoint_model::ErrorKind::Bug, "a blob is too long for a pack");
        let blob = PackedBlob {
            kind: self.kind,
            id,
            offset: u32::try_from(begin).map_err(too_long)?,
            length: u32::try_from(self.bytes.len() - begin).map_err(too_long)?,
            uncompressed: if shorter { u32::try_from(plain.len()).map_err(too_long)? } else { 0 },
        };
        self.blobs.push(blob);
        Ok(u64::from(blob.length))
    }

    /// Adds a blob that is sealed already.
    pub fn add_sealed(&mut self, blob: &PackedBlob, sealed: &[u8]) {
        // A pack ends soon after its full size, far below what an offset can say.
        let offset = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(sealed);
        self.blobs.push(PackedBlob { offset, ..*blob });
    }

    /// Adds what another one holds. Sealed bytes mean the same wherever they lie.
    pub fn absorb(&mut self, other: &OpenPack) {
        for blob in &other.blobs {
            let begin = blob.offset as usize;
            self.add_sealed(blob, &other.bytes[begin..begin + blob.length as usize]);
        }
    }

    pub fn is_full(&self) -> bool {
        self.bytes.len() >= PACK_BYTES
    }

    pub fn is_empty(&self) -> bool {
        self.blobs.is_empty()
    }

    /// Takes the content out and leaves an empty pack.
    pub fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new(self.kind))
    }
}
