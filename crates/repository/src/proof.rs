//! Proving a blob without taking it out.

use crate::codec;
use crate::id::Id;
use crate::pack::PackedBlob;
use crate::repository::Repository;

/// Opens a blob in its place and proves that it is the one of its name. Returns what was sealed: its plain text as it is or
/// compressed. `scratch` holds the plain text if it was compressed.
pub(crate) fn prove<'s>(
    repository: &Repository,
    blob: &PackedBlob,
    sealed: &'s mut [u8],
    scratch: &mut Vec<u8>,
) -> Result<&'s [u8], String> {
    let stored = repository.key().open(sealed).map_err(|_| "it is not what was written")?;
    let id = match blob.uncompressed {
        0 => Id::of(stored),
        length => {
            codec::expand_into(stored, length as usize, scratch)?;
            Id::of(scratch)
        }
    };
    if id == blob.id { Ok(stored) } else { Err("its content is not what its name says".into()) }
}
