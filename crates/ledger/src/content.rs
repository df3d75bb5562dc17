//! The files of a worker: `w<worker>/<group>/<number>.dat`, and its high-water marks `w<worker>/mark` and
//! `w<worker>/mapped-mark`. Nothing is synced: at one instant the kernel's view is whole whether it is on disk or not.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags};

use crate::LedgerError;
use crate::operation::{whole_content, written_in_place};

/// How many operations share a folder.
const GROUP: u64 = 256;

/// Bytes per write of a file that is written in place.
const PIECE: usize = 1024;

/// The folder of a worker.
pub(crate) fn worker_folder(content: &Path, worker: u32) -> PathBuf {
    content.join(format!("w{worker}"))
}

/// The files of one worker, for writing.
pub(crate) struct WorkerFiles {
    folder: PathBuf,
    mark: File,
    mapped: Option<MappedMark>,
}

impl WorkerFiles {
    /// Opens them, with folder and marks created when they are not there.
    pub(crate) fn open(content: &Path, worker: u32, mapped: bool) -> Result<Self, LedgerError> {
        let folder = worker_folder(content, worker);
        std::fs::create_dir_all(&folder).map_err(LedgerError::io("create the folder", &folder))?;
        let path = folder.join("mark");
        let mark = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(LedgerError::io("open", &path))?;
        let mapped = if mapped { Some(MappedMark::open(folder.join("mapped-mark"))?) } else { None };
        Ok(Self { folder, mark, mapped })
    }

    fn group(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{:06}", number / GROUP))
    }

    fn path(&self, number: u64) -> PathBuf {
        self.group(number).join(format!("{number}.dat"))
    }

    fn temporary(&self, number: u64) -> PathBuf {
        self.group(number).join(format!("{number}.tmp"))
    }

    /// Writes the content file of an operation, over what may be there.
    pub(crate) fn write(&self, number: u64, bytes: &[u8]) -> Result<(), LedgerError> {
        let in_place = written_in_place(number);
        let path = if in_place { self.path(number) } else { self.temporary(number) };
        let mut file = match File::create(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let group = self.group(number);
                std::fs::create_dir_all(&group).map_err(LedgerError::io("create the folder", group))?;
                File::create(&path)
            }
            opened => opened,
        }
        .map_err(LedgerError::io("create", &path))?;
        let pieces = if in_place { PIECE } else { bytes.len().max(1) };
        for piece in bytes.chunks(pieces) {
            file.write_all(piece).map_err(LedgerError::io("write", &path))?;
        }
        if !in_place {
            let last = self.path(number);
            std::fs::rename(&path, &last).map_err(LedgerError::io("rename to", last))?;
        }
        Ok(())
    }

    /// Whether the content file of an operation is there and whole.
    pub(crate) fn is_whole(&self, worker: u32, number: u64) -> Result<bool, LedgerError> {
        Ok(read_if_there(&self.path(number))?
            .is_some_and(|bytes| whole_content(worker, number, &bytes).is_some()))
    }

    /// Removes the content file of an operation, if it is there, and the folder that it leaves empty.
    pub(crate) fn remove(&self, number: u64) -> Result<(), LedgerError> {
        let path = self.path(number);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(LedgerError::io("remove", path)(error));
            }
            _ => {}
        }
        if number % GROUP == GROUP - 1 {
            // Not empty (a later number wrapped here never happens) or gone already: both are no harm.
            let _ = std::fs::remove_dir(self.group(number));
        }
        Ok(())
    }

    /// Rewrites the high-water mark in place.
    pub(crate) fn mark(&self, number: u64) -> Result<(), LedgerError> {
        self.mark
            .write_all_at(format!("{number:020}\n").as_bytes(), 0)
            .map_err(LedgerError::io("write", self.folder.join("mark")))
    }

    /// Moves the mapped high-water mark by one store to memory.
    pub(crate) fn map_mark(&self, number: u64) {
        if let Some(mapped) = &self.mapped {
            mapped.set(number);
        }
    }

    /// Removes what writes under way left, and tells the highest number that has a file.
    pub(crate) fn tidy(&self, worker: u32) -> Result<Option<u64>, LedgerError> {
        let found = ContentScan::names(&self.folder, worker)?;
        for number in found.temporaries {
            let path = self.temporary(number);
            std::fs::remove_file(&path).map_err(LedgerError::io("remove", path))?;
        }
        Ok(found.numbers.keys().next_back().copied())
    }
}

/// A number in a file that is mapped into memory: it changes without any system call, so without any event and, while its
/// page is dirty already, without a change time that moves.
struct MappedMark(*const AtomicU64);

// SAFETY: the pointer is to a mapping of its own that lives until the value is dropped, and is only used atomically.
unsafe impl Send for MappedMark {}

impl MappedMark {
    const LENGTH: usize = 4096;

    fn open(path: PathBuf) -> Result<Self, LedgerError> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(LedgerError::io("open", &path))?;
        let length = file.metadata().map_err(LedgerError::io("stat", &path))?.len();
        if length < Self::LENGTH as u64 {
            // Written, not extended: a store to a hole on a full disk would kill the process.
            file.write_all_at(&[0; Self::LENGTH], 0).map_err(LedgerError::io("write", &path))?;
        }
        // SAFETY: a new mapping at an address that the kernel chooses touches no memory of ours.
        let address = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                Self::LENGTH,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &file,
                0,
            )
        }
        .map_err(|error| LedgerError::io("map", path)(error.into()))?;
        Ok(Self(address.cast()))
    }

    fn set(&self, number: u64) {
        // SAFETY: the mapping is page-aligned, as long as a page, and lives as long as self.
        unsafe { &*self.0 }.store(number.to_le(), Ordering::SeqCst);
    }
}

impl Drop for MappedMark {
    fn drop(&mut self) {
        // SAFETY: the address and length are those that mmap gave, and nobody else has the pointer.
        if let Err(error) = unsafe { rustix::mm::munmap(self.0.cast_mut().cast(), Self::LENGTH) } {
            debug_assert!(false, "a mapping of ours cannot be unmapped: {error}");
        }
    }
}

/// How a content file was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileState {
    /// Whole, with this hash at its end.
    Whole([u8; 32]),
    /// Not whole, or of another place.
    Torn,
}

/// What lies in the folder of a worker.
#[derive(Debug, Default)]
pub(crate) struct ContentScan {
    /// The content files, by number.
    pub numbers: BTreeMap<u64, FileState>,
    /// Numbers of writes that never came to their rename.
    pub temporaries: Vec<u64>,
    /// What the high-water mark says.
    pub mark: Option<u64>,
    /// What the mapped high-water mark says.
    pub mapped: Option<u64>,
    /// What does not belong here, one sentence each.
    pub strange: Vec<String>,
    /// Bytes of the content files; 0 when only names were read.
    pub bytes: u64,
}

impl ContentScan {
    /// Reads the names only; each file counts as torn.
    pub(crate) fn names(folder: &Path, worker: u32) -> Result<Self, LedgerError> {
        Self::scan(folder, worker, false)
    }

    /// Reads names and content.
    pub(crate) fn full(folder: &Path, worker: u32) -> Result<Self, LedgerError> {
        let mut scan = Self::scan(folder, worker, true)?;
        let path = folder.join("mark");
        scan.mark = read_if_there(&path)?
            .and_then(|bytes| std::str::from_utf8(&bytes).ok()?.strip_suffix('\n')?.parse().ok());
        let path = folder.join("mapped-mark");
        scan.mapped = read_if_there(&path)?
            .and_then(|bytes| Some(u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?)));
        Ok(scan)
    }

    fn scan(folder: &Path, worker: u32, full: bool) -> Result<Self, LedgerError> {
        let mut scan = Self::default();
        for (name, path) in list(folder)? {
            match name.as_str() {
                "mark" | "mapped-mark" => {}
                _ if path.is_dir() && name.parse::<u64>().is_ok() => {
                    scan.group(&name, &path, worker, full)?
                }
                _ => scan.strange.push(format!("{} is no file of the ledger", path.display())),
            }
        }
        Ok(scan)
    }

    fn group(&mut self, group: &str, folder: &Path, worker: u32, full: bool) -> Result<(), LedgerError> {
        for (name, path) in list(folder)? {
            let parsed =
                name.split_once('.').and_then(|(number, kind)| Some((number.parse::<u64>().ok()?, kind)));
            match parsed {
                Some((number, "dat")) if group.parse() == Ok(number / GROUP) => {
                    let mut state = FileState::Torn;
                    if full {
                        let bytes = std::fs::read(&path).map_err(LedgerError::io("read", &path))?;
                        self.bytes += bytes.len() as u64;
                        if let Some(hash) = whole_content(worker, number, &bytes) {
                            state = FileState::Whole(hash);
                        }
                    }
                    self.numbers.insert(number, state);
                }
                Some((number, "tmp")) if group.parse() == Ok(number / GROUP) => self.temporaries.push(number),
                _ => self.strange.push(format!("{} is no file of the ledger", path.display())),
            }
        }
        Ok(())
    }
}

/// The workers that have a folder, and what else lies beside them.
pub(crate) fn worker_folders(content: &Path) -> Result<(Vec<u32>, Vec<String>), LedgerError> {
    let (mut workers, mut strange) = (Vec::new(), Vec::new());
    for (name, path) in list(content)? {
        match name.strip_prefix('w').and_then(|number| number.parse().ok()) {
            Some(worker) if path.is_dir() => workers.push(worker),
            _ => strange.push(format!("{} is no file of the ledger", path.display())),
        }
    }
    workers.sort_unstable();
    Ok((workers, strange))
}

fn list(folder: &Path) -> Result<Vec<(String, PathBuf)>, LedgerError> {
    let entries = std::fs::read_dir(folder).map_err(LedgerError::io("list", folder))?;
    entries
        .map(|entry| {
            let entry = entry.map_err(LedgerError::io("list", folder))?;
            Ok((entry.file_name().to_string_lossy().into_owned(), entry.path()))
        })
        .collect()
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, LedgerError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LedgerError::io("read", path)(error)),
    }
}
