//! Writing content with holes where it has zeros.

use std::os::fd::BorrowedFd;

use rustix::fs::FallocateFlags;
use rustix::io::{Errno, Result};

/// What file systems have holes by.
const BLOCK_BYTES: usize = 4096;

static ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// Writes `bytes` at `at`, but for whole blocks of zeros, into a file that has zeros there.
pub(super) fn write(file: BorrowedFd<'_>, bytes: &[u8], at: u64) -> Result<()> {
    let mut begin = 0;
    while begin < bytes.len() {
        let (end, next) = data_run(bytes, begin, at);
        write_all(file, &bytes[begin..end], at + begin as u64)?;
        begin = next;
    }
    Ok(())
}

/// The data that begins at `begin`: where it ends, and where the next begins.
fn data_run(bytes: &[u8], begin: usize, at: u64) -> (usize, usize) {
    let mut block = begin;
    let mut end = None;
    while block < bytes.len() {
        let into = usize::try_from((at + block as u64) % BLOCK_BYTES as u64).unwrap_or_default();
        let next = (block + BLOCK_BYTES - into).min(bytes.len());
        // A part of a block at the begin or the end counts as one: whether the rest of it is data is for others to write.
        let is_hole = bytes[block..next] == ZEROS[..next - block];
        match end {
            None if is_hole => end = Some(block),
            Some(end) if !is_hole => return (end, block),
            _ => {}
        }
        block = next;
    }
    (end.unwrap_or(bytes.len()), bytes.len())
}

fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8], mut at: u64) -> Result<()> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(file, bytes, at) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => {
                bytes = &bytes[written..];
                at += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Makes zeros of what is there, so that [`write`] may be used.
pub(super) fn clear(file: BorrowedFd<'_>, at: u64, length: u64) -> Result<()> {
    if length == 0 {
        return Ok(());
    }
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match rustix::fs::fallocate(file, hole, at, length) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
        other => return other,
    }
    let (mut at, end) = (at, at + length);
    while at < end {
        let some = (end - at).min(BLOCK_BYTES as u64);
        write_all(file, &ZEROS[..usize::try_from(some).unwrap_or(BLOCK_BYTES)], at)?;
        at += some;
    }
    Ok(())
}

/// Fills `buffer` from `at`; less when the file ends.
pub(super) fn read(file: BorrowedFd<'_>, buffer: &mut [u8], at: u64) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::pread(file, &mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;

    #[test]
    fn zeros_stay_holes_and_everything_else_is_written() {
        let file = tempfile::tempfile().unwrap();
        let mut content = vec![0; 5 * BLOCK_BYTES + 100];
        content[BLOCK_BYTES + 5] = 1;
        content[4 * BLOCK_BYTES - 1] = 2;
        let length = content.len() as u64;
        // In pieces that begin in the middle of a block.
        let (first, second) = content.split_at(BLOCK_BYTES + 300);
        write(file.as_fd(), second, first.len() as u64).unwrap();
        write(file.as_fd(), first, 0).unwrap();
        file.set_len(length).unwrap();
        let mut back = vec![9; content.len()];
        file.read_exact_at(&mut back, 0).unwrap();
        assert!(back == content);
        assert!(file.metadata().unwrap().blocks() * 512 <= 3 * BLOCK_BYTES as u64);
        clear(file.as_fd(), 0, length).unwrap();
        file.read_exact_at(&mut back, 0).unwrap();
        assert!(back.iter().all(|&byte| byte == 0));
        assert_eq!(file.metadata().unwrap().len(), length);
    }

    #[test]
    fn every_way_to_cut_gives_the_same() {
        for (length, at) in [(1, 0), (4095, 1), (4096, 0), (4097, 4095), (20_000, 12_345)] {
            for fill in [0_u8, 7] {
                let file = tempfile::tempfile().unwrap();
                let mut content = vec![fill; length];
                content[length / 2] = 1;
                write(file.as_fd(), &content, at).unwrap();
                file.set_len(at + length as u64).unwrap();
                let mut back = vec![9; length];
                file.read_exact_at(&mut back, at).unwrap();
                assert!(back == content, "{length} at {at}");
            }
        }
    }
}
