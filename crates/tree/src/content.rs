//! Moving and hashing the content of one file. Holes are found by asking, never by looking for zeros: what was written as
//! zeros stays written, and a hole costs no time and no space.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::Progress;
use crate::hash::ContentHash;

/// How much is read and written at once.
pub(crate) const BUFFER_BYTES: usize = 1 << 20;

/// How often progress is told within a file.
const PROGRESS_BYTES: u64 = 16 << 20;

/// Why content did not get where it should.
#[derive(Debug)]
pub(crate) enum ContentError {
    /// The source could not be read.
    Source(Errno),
    /// The target could not be written.
    Target(Errno),
    /// Somebody cancelled.
    Cancelled,
}

/// Tells progress, and whether to go on.
pub(crate) struct Meter<'a> {
    progress: &'a dyn Progress,
    stopped: AtomicBool,
}

impl<'a> Meter<'a> {
    pub fn new(progress: &'a dyn Progress) -> Self {
        Self { progress, stopped: AtomicBool::new(false) }
    }

    /// Adds to what was done; `false` means that the work is to end.
    pub fn advance(&self, files: u64, bytes: u64) -> bool {
        if self.is_stopped() {
            return false;
        }
        let go_on = self.progress.advance(files, bytes);
        if !go_on {
            self.stop();
        }
        go_on
    }

    /// Ends the work of all threads soon.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

/// Tells nobody.
pub(crate) struct NoProgress;

impl Progress for NoProgress {
    fn advance(&self, _files: u64, _bytes: u64) -> bool {
        true
    }
}

/// What was read of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moved {
    /// Bytes up to the end, holes included: less than asked for when the file ended before.
    pub length: u64,
    /// Bytes that were no holes.
    pub data: u64,
    /// Bytes that progress was not told of yet.
    pub untold: u64,
    /// The hash, if one was asked for and the file had the size that it should have.
    pub sha256: Option<[u8; 32]>,
}

/// What is to be moved.
pub(crate) struct Content<'a> {
    /// The file, open for reading, at its beginning.
    pub source: BorrowedFd<'a>,
    /// Its size.
    pub size: u64,
    /// How much room it takes, in units of 512 bytes.
    pub blocks: u64,
    /// An empty file, open for writing; without it the content is only hashed.
    pub target: Option<BorrowedFd<'a>>,
    /// Whether to hash.
    pub hash: bool,
}

impl Content<'_> {
    /// Moves the content. `buffer` is for the use of this call.
    pub fn transfer(&self, buffer: &mut [u8], meter: &Meter<'_>) -> Result<Moved, ContentError> {
        let mut hash = self.hash.then(|| ContentHash::new(self.size));
        let mut moved = Moved { length: 0, data: 0, untold: 0, sha256: None };
        let mut at = 0;
        let mut ends_in_hole = false;
        while at < self.size {
            let (begin, end) = self.next_data(at, buffer.len())?;
            ends_in_hole = begin == self.size;
            if let Some(hash) = &mut hash {
                hash.take_zeros(begin - at);
            }
            at = begin;
            while at < end {
                let wanted = usize::try_from(end - at).map_or(buffer.len(), |left| left.min(buffer.len()));
                let bytes = &mut buffer[..wanted];
                let read = read_at(self.source, bytes, at).map_err(ContentError::Source)?;
                if read == 0 {
                    break;
                }
                let bytes = &bytes[..read];
                if let Some(target) = self.target {
                    write_at(target, bytes, at).map_err(ContentError::Target)?;
                }
                if let Some(hash) = &mut hash {
                    hash.take(bytes);
                }
                at += read as u64;
                moved.data += read as u64;
                moved.untold += read as u64;
                if moved.untold >= PROGRESS_BYTES && at < self.size {
                    if !meter.advance(0, moved.untold) {
                        return Err(ContentError::Cancelled);
                    }
                    moved.untold = 0;
                }
            }
            if at < end {
                break;
            }
        }
        moved.length = at;
        if let (true, Some(target)) = (ends_in_hole, self.target) {
            rustix::fs::ftruncate(target, at).map_err(ContentError::Target)?;
        }
        moved.sha256 = hash.filter(|_| at == self.size).map(ContentHash::finish);
        Ok(moved)
    }

    /// Where the next data lies at or behind `at`. When there is none, an empty range at the end.
    fn next_data(&self, at: u64, whole: usize) -> Result<(u64, u64), ContentError> {
        // A small file that takes the room of its size has no holes worth two calls.
        if self.size <= whole as u64 && self.blocks.saturating_mul(512) >= self.size {
            return Ok((at, self.size));
        }
        let begin = match rustix::fs::seek(self.source, SeekFrom::Data(at)) {
            Ok(begin) => begin.min(self.size),
            Err(Errno::NXIO) => return Ok((self.size, self.size)),
            // This file system does not tell.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok((at, self.size)),
            Err(error) => return Err(ContentError::Source(error)),
        };
        match rustix::fs::seek(self.source, SeekFrom::Hole(begin)) {
            Ok(end) => Ok((begin, end.min(self.size))),
            // It was cut off in between: reading will find the end.
            Err(Errno::NXIO) => Ok((begin, self.size)),
            Err(error) => Err(ContentError::Source(error)),
        }
    }
}

fn read_at(file: BorrowedFd<'_>, buffer: &mut [u8], at: u64) -> rustix::io::Result<usize> {
    loop {
        match rustix::io::pread(file, &mut *buffer, at) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

fn write_at(file: BorrowedFd<'_>, mut bytes: &[u8], mut at: u64) -> rustix::io::Result<()> {
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

/// Whether the file system as a whole has failed or is full, so that it is not this one file's trouble.
pub(crate) fn is_volume_failure(error: Errno) -> bool {
    matches!(error, Errno::IO | Errno::NOSPC | Errno::DQUOT | Errno::ROFS | Errno::NODEV)
}
