//! Small acts on the file system that the format relies on: durable writes, atomic swaps, removal of what is ours.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::RenameFlags;
use sha2::{Digest, Sha256};
use stillpoint_model::Undo;

use crate::ArchiveError;
use crate::content::HASH_THREADS;

/// How a new set came to its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Swap {
    /// In one step.
    Done,
    /// This file system cannot do it in one step.
    Unsupported,
}

/// Exchanges the folders `one` and `other` of `parent` in one step.
pub(crate) fn exchange(parent: &Path, one: &Path, other: &Path) -> Result<Swap, ArchiveError> {
    rename_with(parent, one, other, RenameFlags::EXCHANGE)
}

/// Renames `from` to `to`, both in `parent`, unless `to` exists.
pub(crate) fn rename_new(parent: &Path, from: &Path, to: &Path) -> Result<(), ArchiveError> {
    if rename_with(parent, from, to, RenameFlags::NOREPLACE)? == Swap::Done {
        return Ok(());
    }
    // Network file systems know no flags. A plain rename never replaces a folder that is not empty, nor a file.
    fs::rename(from, to).map_err(|error| ArchiveError::io("rename the set to", to, error))
}

fn rename_with(parent: &Path, from: &Path, to: &Path, flags: RenameFlags) -> Result<Swap, ArchiveError> {
    let folder = File::open(parent).map_err(|error| ArchiveError::io("open the folder", parent, error))?;
    let name = |path: &Path| {
        path.file_name()
            .map(ToOwned::to_owned)
            .ok_or_else(|| ArchiveError::io("name", path, io::ErrorKind::InvalidInput.into()))
    };
    match rustix::fs::renameat_with(&folder, name(from)?, &folder, name(to)?, flags) {
        Ok(()) => Ok(Swap::Done),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP) => {
            Ok(Swap::Unsupported)
        }
        Err(error) => Err(ArchiveError::io("swap the set in at", to, error.into())),
    }
}

/// Creates a folder that only its owner can enter, with the parents that are missing.
pub(crate) fn create_folder(path: &Path) -> Result<(), ArchiveError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| ArchiveError::io("create the folder", path, error))
}

/// Writes a new file that only its owner can read. Not durable until the file system is synced.
pub(crate) fn write_new(path: &Path, content: &[u8]) -> Result<(), ArchiveError> {
    create_file(path)
        .and_then(|mut file| file.write_all(content))
        .map_err(|error| ArchiveError::io("write", path, error))
}

/// Writes a file under another name, makes it durable, and renames it into place.
pub(crate) fn write_durably(path: &Path, content: &[u8]) -> Result<(), ArchiveError> {
    let temporary = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|error| ArchiveError::io("write", path, error))?;
    sync_folder(path.parent().unwrap_or(path))
}

/// Creates a file that must not exist, readable by its owner only.
pub(crate) fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(path: &Path) -> Result<(), ArchiveError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| ArchiveError::io("make durable the folder", path, error))
}

/// Writes out the whole file system on which `folder` lies. `folder` should have been opened before the data was
/// written: then an error that happened in the background in between is told too (syncfs(2), since Linux 5.8).
pub(crate) fn sync_file_system(folder: impl AsFd, path: &Path) -> Result<(), ArchiveError> {
    rustix::fs::syncfs(folder)
        .map_err(|error| ArchiveError::io("write out the file system of", path, error.into()))
}

/// Writes the marker that says that a folder belongs to `run` and may be removed in its name. Under its own name at once:
/// a marker that a crash tore names no run, and that is harmless.
pub(crate) fn mark(folder: &Path, run: &str) -> Result<(), ArchiveError> {
    let path = folder.join(Undo::MARKER);
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(run.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error| ArchiveError::io("write", &path, error))?;
    sync_folder(folder)
}

/// The run that the marker in `folder` names, if there is a marker.
pub(crate) fn marker(folder: &Path) -> Option<String> {
    fs::read_to_string(folder.join(Undo::MARKER)).ok().map(|text| text.trim().to_owned())
}

/// Removes the marker; harmless when there is none.
pub(crate) fn unmark(folder: &Path) -> Result<(), ArchiveError> {
    let path = folder.join(Undo::MARKER);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ArchiveError::io("remove", &path, error))
        }
        _ => Ok(()),
    }
}

/// Removes a folder with all that is in it; harmless when it is not there. The marker goes last of all, so that what an
/// interrupted removal leaves can still be told for ours.
pub(crate) fn remove_marked(folder: &Path, run: &str) -> Result<(), ArchiveError> {
    if !folder.exists() {
        return Ok(());
    }
    if marker(folder).as_deref() != Some(run) {
        mark(folder, run)?;
    }
    let entries = fs::read_dir(folder).map_err(|error| ArchiveError::io("read the folder", folder, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| ArchiveError::io("read the folder", folder, error))?;
        if entry.file_name() != Undo::MARKER {
            remove_components(&entry.path())?;
            remove_tree(&entry.path())?;
        }
    }
    remove_tree(folder)
}

/// Removes what is in the folders in `place` by several threads: a set has millions of files, and each takes the kernel as
/// long as its copy by a hard link did.
fn remove_components(place: &Path) -> Result<(), ArchiveError> {
    let failed = |error| ArchiveError::io("read the folder", place, error);
    if !fs::symlink_metadata(place).is_ok_and(|facts| facts.is_dir()) {
        return Ok(());
    }
    for component in fs::read_dir(place).map_err(failed)? {
        let component = component.map_err(failed)?.path();
        // One that does not let itself be read is for `remove_tree` to force.
        let Ok(entries) = fs::read_dir(&component) else { continue };
        let entries = Mutex::new(entries);
        let next = || entries.lock().unwrap_or_else(PoisonError::into_inner).next();
        let remove = || -> Result<(), ArchiveError> {
            while let Some(entry) = next() {
                remove_tree(&entry.map_err(failed)?.path())?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..HASH_THREADS).map(|_| scope.spawn(remove)).collect();
            let own = remove();
            let joined = others.into_iter().filter_map(|other| other.join().ok()).collect::<Result<(), _>>();
            own.and(joined)
        })?;
    }
    Ok(())
}

/// Removes a file or a folder with all that is in it; harmless when it is not there. Follows no symbolic link.
pub(crate) fn remove_tree(path: &Path) -> Result<(), ArchiveError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(facts) if facts.is_dir() => fs::remove_dir_all(path).or_else(|error| {
            if error.kind() != io::ErrorKind::PermissionDenied {
                return Err(error);
            }
            // Stored folders carry the modes of the originals; one without `w` keeps its owner from emptying it.
            open_folders(path)?;
            fs::remove_dir_all(path)
        }),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ArchiveError::io("delete", path, error)),
        _ => Ok(()),
    }
}

fn open_folders(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_folders(&entry.path())?;
        }
    }
    Ok(())
}

/// The SHA-256 of a whole file and its length in bytes.
pub(crate) fn hash_whole(path: &Path) -> io::Result<([u8; 32], u64)> {
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

/// Whether both files hold the same bytes.
pub(crate) fn same_content(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut here, mut there) = (vec![0; 1 << 18], vec![0; 1 << 18]);
    loop {
        let count = one.read(&mut here)?;
        if count == 0 {
            return Ok(other.read(&mut there)? == 0);
        }
        match other.read_exact(&mut there[..count]) {
            Ok(()) if here[..count] == there[..count] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

/// Whether both are the same file.
pub(crate) fn same_file(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    one.dev() == other.dev() && one.ino() == other.ino()
}

/// Bytes in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let halves = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    halves.map(|half| char::from(DIGITS[usize::from(half)])).collect()
}
