//! Copying a database with a rollback journal as the plain file that it is.
//!
//! Only a copy that is made under the shared lock is whole, and while that is held the site stands still. So where the file
//! system cannot clone, the file is copied *before*, without a lock and torn, and under the lock it is only compared with
//! its copy, block by block, and what differs is written again. Nothing is concluded from change counters or times: a
//! transaction that was rolled back meanwhile leaves the counter as it was and its pages in the torn copy.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::num::NonZero;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use stillpoint_model::{Cancel, Deadline, WriterError};

use super::worker::Session;

/// How much is compared between two looks at the clock, in bytes.
const BLOCK: usize = 1 << 20;
/// How much is written at once where something differs, in bytes: the largest page.
const PIECE: usize = 1 << 16;
/// More threads than this compare no faster than memory gives.
const THREADS_MAX: usize = 4;

/// What a raw copy did under the lock.
#[derive(Debug, Clone, Copy)]
pub struct RawCopy {
    /// The word for it.
    pub method: &'static str,
    /// What had to be written.
    pub written_bytes: u64,
}

impl Session {
    /// Opens the database as a plain file, too, and copies it ahead, unless it can be cloned at once when it is time.
    pub fn copy_ahead(
        &mut self,
        path: &Path,
        target: &Path,
        deadline: Deadline,
        cancel: &Cancel,
    ) -> Result<(), WriterError> {
        let source = self.raw.insert(File::open(path).map_err(io_failed("open", path))?);
        let copy = create(target)?;
        if rustix::fs::ioctl_ficlone(&copy, &*source).is_ok() {
            return fs::remove_file(target).map_err(io_failed("remove", target));
        }
        self.copy = Some(copy);
        self.catch_up(target, deadline, cancel)
    }

    /// Brings the copy that was made ahead up to date, and writes it out, so that little is left to be written under the
    /// lock. Nothing when there is none.
    pub fn catch_up(&self, target: &Path, deadline: Deadline, cancel: &Cancel) -> Result<(), WriterError> {
        let (Some(source), Some(copy)) = (&self.raw, &self.copy) else { return Ok(()) };
        equalize(source, copy, target, deadline, cancel)?;
        copy.sync_data().map_err(io_failed("write out", target))
    }

    /// Copies the file as it is, under the pinned view: a clone where the file system can, else what differs from the copy
    /// that was made ahead.
    pub fn copy_raw(
        &mut self,
        target: &Path,
        deadline: Deadline,
        cancel: &Cancel,
    ) -> Result<RawCopy, WriterError> {
        let source =
            self.raw.as_ref().ok_or_else(|| WriterError::Other("the database is not open".into()))?;
        let copy = match self.copy.take() {
            Some(copy) => copy,
            None => {
                let copy = create(target)?;
                if rustix::fs::ioctl_ficlone(&copy, source).is_ok() {
                    return Ok(RawCopy { method: "clone", written_bytes: 0 });
                }
                copy
            }
        };
        let written_bytes = equalize(source, &copy, target, deadline, cancel)?;
        Ok(RawCopy { method: "copy", written_bytes })
    }
}

/// Makes `copy` the same as `source`, on some threads; answers how much was written.
fn equalize(
    source: &File,
    copy: &File,
    target: &Path,
    deadline: Deadline,
    cancel: &Cancel,
) -> Result<u64, WriterError> {
    let length = source.metadata().map_err(io_failed("look at the database for", target))?.len();
    let (next, written) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        let (mut wanted, mut found) = (vec![0; BLOCK], vec![0; BLOCK]);
        loop {
            let offset = next.fetch_add(BLOCK as u64, Ordering::Relaxed);
            if offset >= length {
                return Ok(());
            }
            if cancel.is_cancelled() {
                return Err(WriterError::Cancelled);
            }
            if deadline.passed() {
                return Err(WriterError::Late { act: "copying the database".into() });
            }
            let read =
                read_full(source, &mut wanted, offset).map_err(io_failed("read the database for", target))?;
            let there = read_full(copy, &mut found, offset).map_err(io_failed("read", target))?;
            let count = write_different(copy, &wanted[..read], &found[..there], offset)
                .map_err(io_failed("write", target))?;
            written.fetch_add(count, Ordering::Relaxed);
        }
    };
    let blocks = length.div_ceil(BLOCK as u64);
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX);
    let threads = threads.min(usize::try_from(blocks).unwrap_or(usize::MAX));
    thread::scope(|scope| {
        // These share the descriptors of this thread and close none.
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        others.into_iter().fold(own, |done, other| {
            let other = other.join();
            done.and(other.unwrap_or_else(|_| Err(WriterError::Other("a copying thread panicked".into()))))
        })
    })?;
    if copy.metadata().map_err(io_failed("look at", target))?.len() > length {
        copy.set_len(length).map_err(io_failed("shorten", target))?;
    }
    Ok(written.into_inner())
}

/// As much as there is, up to the size of the buffer.
fn read_full(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Writes the pieces of `wanted` that are not in `found`.
fn write_different(copy: &File, wanted: &[u8], found: &[u8], offset: u64) -> io::Result<u64> {
    let mut written = 0;
    for (number, piece) in wanted.chunks(PIECE).enumerate() {
        let begin = number * PIECE;
        if found.get(begin..begin + piece.len()) != Some(piece) {
            copy.write_all_at(piece, offset + begin as u64)?;
            written += piece.len() as u64;
        }
    }
    Ok(written)
}

/// Creates the copy, readable and writable by us only.
pub fn create(path: &Path) -> Result<File, WriterError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    options.open(path).map_err(io_failed("create", path))
}

pub fn io_failed(act: &'static str, path: &Path) -> impl Fn(io::Error) -> WriterError + use<> {
    let path = path.to_owned();
    move |source| WriterError::Io { act, path: path.clone(), source }
}
