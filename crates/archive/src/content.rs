//! Hashing stored content: the plain way for ordinary files, with as few calls to the kernel as possible, because a set
//! may have millions of them; by the tree crate's rule for files that are huge or have holes.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sha2::{Digest, Sha256};
use stillpoint_model::Cancel;
use stillpoint_tree::{BLOCK_RULE_SIZE, FileFacts, Progress, hash_file};

use crate::ArchiveError;

/// How many threads hash. More than two would take the machine from the site, which works again by now.
pub(crate) const HASH_THREADS: usize = 2;

const BUFFER_BYTES: usize = 1 << 18;

/// The size and hash of a file that was just put into the set.
pub(crate) fn hash(path: &Path) -> Result<FileFacts, ArchiveError> {
    let failed = |error| ArchiveError::io("read", path, error);
    let mut file = File::open(path).map_err(failed)?;
    let facts = file.metadata().map_err(failed)?;
    if !is_ordinary(&facts) {
        return Ok(hash_file(path)?);
    }
    let (sha256, size) = hash_to_end(&mut file, facts.len()).map_err(failed)?;
    Ok(FileFacts { size, sha256: Some(sha256) })
}

/// Neither huge nor with holes.
fn is_ordinary(facts: &std::fs::Metadata) -> bool {
    facts.len() < BLOCK_RULE_SIZE && facts.blocks().saturating_mul(512) >= facts.len()
}

fn hash_to_end(file: &mut File, size: u64) -> io::Result<([u8; 32], u64)> {
    let wanted = usize::try_from(size).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES);
    let mut buffer = vec![0; wanted];
    let mut hasher = Sha256::new();
    let mut bytes = 0;
    // Not read beyond its size only to learn that there is nothing: that is one call in three for a small file.
    while bytes != size {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                hasher.update(&buffer[..count]);
                bytes += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((hasher.finalize().into(), bytes))
}

/// Ends the reading of a huge file when somebody cancels.
pub(crate) struct Cancellable<'a>(pub &'a Cancel);

impl Progress for Cancellable<'_> {
    fn advance(&self, _files: u64, _bytes: u64) -> bool {
        !self.0.is_cancelled()
    }
}
