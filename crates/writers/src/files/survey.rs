//! How much there is: a walk that reads no content.

use std::os::unix::fs::MetadataExt;
use std::time::Instant;

use stillpoint_model::{Context, Deadline, TreeRequest, WriterError};
use stillpoint_tree::{Filter, Kind, Walk};

use crate::tree_work::tree_error;

/// From this size on it is looked whether a file has holes, in bytes.
const SPARSE_LOOK_BYTES: u64 = 1 << 20;
/// What `st_blocks` counts in, in bytes (stat(2)), whatever the file system's own blocks are.
const BLOCK_BYTES: u64 = 512;
/// How many entries pass between two looks at the clock.
const LOOK_ENTRIES: u64 = 1024;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Survey {
    /// Regular files, each content once.
    pub files: u64,
    /// At most how many bytes they are. When the walk was not done in time: what the file system has in use.
    pub estimate_bytes: Option<u64>,
    /// Whether the walk was done in half of the time that there was.
    pub is_complete: bool,
}

/// Walks the tree. Leaves half of the time for others: an estimate is not worth a missed deadline.
pub fn survey(request: &TreeRequest, context: &Context, deadline: Deadline) -> Result<Survey, WriterError> {
    let until = Deadline::at(Instant::now() + deadline.remaining() / 2);
    let filter = Filter::new(&request.include, &request.exclude).map_err(tree_error)?;
    let (mut files, mut bytes, mut entries) = (0, 0, 0_u64);
    // What cannot be read is told when it is captured.
    for entry in Walk::without_attributes(&request.source, filter).map_err(tree_error)?.flatten() {
        entries += 1;
        if entries.is_multiple_of(LOOK_ENTRIES) {
            if context.cancel.is_cancelled() {
                return Err(WriterError::Cancelled);
            }
            if until.passed() {
                let estimate_bytes = bytes_in_use(request);
                return Ok(Survey { files, estimate_bytes, is_complete: false });
            }
        }
        let Kind::File(facts) = &entry.kind else { continue };
        if entry.hard_link.is_some() {
            continue;
        }
        files += 1;
        bytes += match facts.size {
            size if size < SPARSE_LOOK_BYTES => size,
            size => std::fs::symlink_metadata(entry.path.under(&request.source))
                .map_or(size, |found| size.min(found.blocks() * BLOCK_BYTES)),
        };
    }
    Ok(Survey { files, estimate_bytes: Some(bytes), is_complete: true })
}

fn bytes_in_use(request: &TreeRequest) -> Option<u64> {
    let facts = rustix::fs::statvfs(&request.source).ok()?;
    Some(facts.f_blocks.saturating_sub(facts.f_bfree).saturating_mul(facts.f_frsize))
}
