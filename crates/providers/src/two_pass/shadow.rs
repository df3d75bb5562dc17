//! Acts on the shadow, the private copy of the tree.
//!
//! Names come from the source, which may turn a folder into a symbolic link at any moment; nothing here follows one, so
//! nothing outside the shadow is ever touched. And a file that we did not just create ourselves is never changed in its
//! place, because it may be shared with the last good set by a hard link: it is removed and made anew.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use stillpoint_model::ProviderError;
use stillpoint_tree::{Entry, Kind, RelPath};

use super::reader::{Reader, is_absence};

/// The shadow.
pub(super) struct Shadow {
    reader: Reader,
    path: PathBuf,
}

impl Shadow {
    /// Opens it.
    pub(super) fn open(path: &Path) -> Result<Self, ProviderError> {
        let reader = Reader::open(path).map_err(|source| ProviderError::Io {
            act: "open the folder",
            path: path.to_path_buf(),
            source,
        })?;
        Ok(Self { reader, path: path.to_path_buf() })
    }

    /// Makes a folder and those above it, in place of whatever is there that is none.
    pub(super) fn make_folder(&mut self, path: &RelPath) -> Result<(), ProviderError> {
        let is_folder =
            self.reader.stat(path).map_err(|e| self.failed("look at", path, e))?.map(|s| s.is_folder());
        if is_folder == Some(true) {
            return Ok(());
        }
        if is_folder.is_some() {
            self.clear(path)?;
        }
        if let Some(parent) = path.parent() {
            self.make_folder(&parent)?;
        }
        let folder = self.parent_of(path)?;
        let made = rustix::fs::mkdirat(&folder, name_of(path), Mode::RWXU);
        made.map_err(|e| self.failed("make the folder", path, e.into()))
    }

    /// Removes whatever is there, with all that is in it. Nothing there is fine.
    pub(super) fn clear(&mut self, path: &RelPath) -> Result<(), ProviderError> {
        self.reader.forget();
        if path.is_top() {
            return Ok(());
        }
        let Some(parent) = path.parent() else { return Ok(()) };
        let folder = match self.reader.open_folder(parent.as_bytes()) {
            Ok(folder) => folder,
            Err(error) if is_absence(&error) => return Ok(()),
            Err(error) => return Err(self.failed("open the folder of", path, error)),
        };
        let removed = match rustix::fs::unlinkat(&folder, name_of(path), AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => {
                // The descriptor's link leads to the very folder; the removal itself follows no links.
                let mut place = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
                place.push(RelPath::top().child(name_of(path)).as_path());
                fs::remove_dir_all(place)
            }
            removed => removed.map_err(io::Error::from),
        };
        match removed {
            Err(error) if !is_absence(&error) => Err(self.failed("remove", path, error)),
            _ => Ok(()),
        }
    }

    /// Writes a new file.
    pub(super) fn write(&mut self, path: &RelPath, bytes: &[u8]) -> Result<(), ProviderError> {
        let folder = self.vacate(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let written = rustix::fs::openat(&folder, name_of(path), flags, Mode::RUSR | Mode::WUSR)
            .map_err(io::Error::from)
            .and_then(|file| io::Write::write_all(&mut fs::File::from(file), bytes));
        written.map_err(|e| self.failed("write", path, e))
    }

    /// Moves a file of ours in.
    pub(super) fn adopt(&mut self, path: &RelPath, from: &Path) -> Result<(), ProviderError> {
        let folder = self.vacate(path)?;
        let moved = rustix::fs::renameat(rustix::fs::CWD, from, &folder, name_of(path));
        moved.map_err(|e| self.failed("move a file to", path, e.into()))
    }

    /// Moves a file within.
    pub(super) fn rename(&mut self, from: &RelPath, to: &RelPath) -> Result<(), ProviderError> {
        let target = self.vacate(to)?;
        let source = self.parent_of(from)?;
        let moved = rustix::fs::renameat(&source, name_of(from), &target, name_of(to));
        moved.map_err(|e| self.failed("move a file to", to, e.into()))
    }

    /// Makes a symbolic link.
    pub(super) fn symlink(&mut self, path: &RelPath, target: &[u8]) -> Result<(), ProviderError> {
        let folder = self.vacate(path)?;
        let made = rustix::fs::symlinkat(target, &folder, name_of(path));
        made.map_err(|e| self.failed("make the symbolic link", path, e.into()))
    }

    /// Puts the metadata of an entry on what is stored at its place, as far as our rights and the file system go: the list
    /// has the truth. Not on the top, which is the set's.
    pub(super) fn dress(&mut self, entry: &Entry) {
        if entry.path.is_top() {
            return;
        }
        let Ok(folder) = self.parent_of(&entry.path) else { return };
        let name = name_of(&entry.path);
        let is_link = matches!(entry.kind, Kind::Symlink(_));
        let mut place = format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes();
        place.extend_from_slice(name);
        let (uid, gid) = (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)));
        // The owner first: changing it clears set-user-id bits and capabilities.
        let _ = rustix::fs::chownat(&folder, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW);
        for xattr in &entry.xattrs {
            let name = xattr.name.as_slice();
            let _ = rustix::fs::lsetxattr(place.as_slice(), name, &xattr.value, XattrFlags::empty());
        }
        if !is_link {
            // Not a link, because we made it ourselves and nobody else writes here.
            let _ = rustix::fs::chmodat(&folder, name, Mode::from_raw_mode(entry.mode), AtFlags::empty());
        }
        let mtime = Timespec { tv_sec: entry.mtime.seconds, tv_nsec: i64::from(entry.mtime.nanoseconds) };
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
            last_modification: mtime,
        };
        let _ = rustix::fs::utimensat(&folder, name, &times, AtFlags::SYMLINK_NOFOLLOW);
    }

    /// Clears a place and opens its folder.
    fn vacate(&mut self, path: &RelPath) -> Result<OwnedFd, ProviderError> {
        if let Some(parent) = path.parent() {
            self.make_folder(&parent)?;
        }
        self.clear(path)?;
        self.parent_of(path)
    }

    fn parent_of(&mut self, path: &RelPath) -> Result<OwnedFd, ProviderError> {
        self.reader.forget();
        let opened = match path.parent() {
            Some(parent) => self.reader.open_folder(parent.as_bytes()),
            None => self.reader.top().as_fd().try_clone_to_owned(),
        };
        opened.map_err(|e| self.failed("open the folder of", path, e))
    }

    fn failed(&self, act: &'static str, path: &RelPath, source: io::Error) -> ProviderError {
        ProviderError::Io { act, path: path.under(&self.path), source }
    }
}

fn name_of(path: &RelPath) -> &[u8] {
    path.as_bytes().rsplit(|&b| b == b'/').next().unwrap_or_default()
}
