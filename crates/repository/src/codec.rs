//! Compression with zstd, as version 2 of the format has it (`doc/design.rst`, "Unpacked Data Format").

use std::cell::RefCell;
use std::io::Read as _;

use zstd::bulk::{Compressor, Decompressor};

use crate::error::RepositoryError;

/// restic's own default, too. Level 1 gave repositories that were larger than restic's.
const LEVEL: i32 = 3;

/// The first byte of the plain text of a sealed file that is compressed. Else it is the first of its JSON.
const COMPRESSED_FILE: u8 = 2;

/// A sealed file that expands to more is damaged: an index file is at most some 10 MB.
const FILE_BYTES_MAX: u64 = 1 << 31;

thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

fn failed(error: std::io::Error) -> RepositoryError {
    RepositoryError::new(stillpoint_model::ErrorKind::Bug, format!("zstd cannot compress: {error}"))
}

/// Compresses a blob.
pub(crate) fn compress(plain: &[u8]) -> Result<Vec<u8>, RepositoryError> {
    COMPRESSOR.with_borrow_mut(|kept| {
        let compressor = match kept {
            Some(compressor) => compressor,
            None => kept.insert(Compressor::new(LEVEL).map_err(failed)?),
        };
        compressor.compress(plain).map_err(failed)
    })
}

/// Expands a blob to its known length.
pub(crate) fn expand(compressed: &[u8], length: usize) -> Result<Vec<u8>, String> {
    DECOMPRESSOR.with_borrow_mut(|kept| {
        let decompressor = match kept {
            Some(decompressor) => decompressor,
            None => kept.insert(Decompressor::new().map_err(|error| error.to_string())?),
        };
        let plain = decompressor.decompress(compressed, length).map_err(|error| error.to_string())?;
        if plain.len() == length { Ok(plain) } else { Err("it has another length than was written".into()) }
    })
}

/// The same into a buffer that is used again and again; what was in it is gone.
pub(crate) fn expand_into(compressed: &[u8], length: usize, plain: &mut Vec<u8>) -> Result<(), String> {
    plain.clear();
    plain.reserve(length);
    DECOMPRESSOR.with_borrow_mut(|kept| {
        let decompressor = match kept {
            Some(decompressor) => decompressor,
            None => kept.insert(Decompressor::new().map_err(|error| error.to_string())?),
        };
        decompressor.decompress_to_buffer(compressed, plain).map_err(|error| error.to_string())?;
        if plain.len() == length { Ok(()) } else { Err("it has another length than was written".into()) }
    })
}

/// Compresses the plain text of a sealed file.
pub(crate) fn compress_file(plain: &[u8]) -> Result<Vec<u8>, RepositoryError> {
    let mut content = vec![COMPRESSED_FILE];
    content.extend_from_slice(&compress(plain)?);
    Ok(content)
}

/// The reverse, also of what was written without compression.
pub(crate) fn expand_file(content: &[u8]) -> Result<Vec<u8>, String> {
    match content.split_first() {
        Some((&COMPRESSED_FILE, compressed)) => {
            let decoder = zstd::Decoder::new(compressed).map_err(|error| error.to_string())?;
            let mut plain = Vec::new();
            let length =
                decoder.take(FILE_BYTES_MAX).read_to_end(&mut plain).map_err(|error| error.to_string())?;
            if length as u64 == FILE_BYTES_MAX { Err("it is longer than any".into()) } else { Ok(plain) }
        }
        Some((b'{' | b'[', _)) => Ok(content.to_vec()),
        _ => Err("it is neither JSON nor compressed".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compressed_expands_to_the_same() {
        let plain = b"the same again, ".repeat(1000);
        let compressed = compress(&plain).unwrap();
        assert!(compressed.len() < plain.len() / 10);
        assert_eq!(expand(&compressed, plain.len()).unwrap(), plain);
        assert!(
            expand(&compressed, plain.len() + 1).is_err() && expand(&compressed, plain.len() - 1).is_err()
        );
        assert_eq!(expand_file(&compress_file(&plain).unwrap()).unwrap(), plain);
        assert_eq!(expand_file(b"{}").unwrap(), b"{}");
        assert!(expand_file(b"").is_err() && expand_file(b"x").is_err() && expand_file(b"\x02x").is_err());
    }
}
