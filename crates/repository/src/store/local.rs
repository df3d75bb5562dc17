//! A store in a folder, also one that another machine serves (NFS, SMB).

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{FileKind, FileName, Store, StoreError, StoreErrorKind};
use crate::id::Id;

/// Files in a folder.
#[derive(Debug)]
pub struct LocalStore {
    root: PathBuf,
    name: String,
}

/// What the name of a file that is being written has in it. Such a file is not part of the repository.
const UNFINISHED: &str = "-tmp-";

impl LocalStore {
    /// The store in this folder, which need not exist.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), name: format!("the archive in {}", root.display()) }
    }

    fn path(&self, file: FileName) -> PathBuf {
        self.root.join(file.to_string())
    }

    fn failed(&self, act: &'static str, what: impl std::fmt::Display, error: io::Error) -> StoreError {
        let error = StoreError::io(act, what, &self.name, error);
        if error.kind == StoreErrorKind::NotFound && !self.is_there() {
            let missing = StoreError { kind: StoreErrorKind::NoStore, source: None, ..error };
            return missing.with_hint("Is the disk or the share with the archive mounted?");
        }
        error
    }

    /// Whether a repository is there or the folders of one. A bare mount point is none.
    fn is_there(&self) -> bool {
        self.path(FileName::Config).exists() || self.root.join(FileKind::Key.folder()).exists()
    }

    fn has_config_but_not(&self, folder: &Path) -> bool {
        self.path(FileName::Config).exists() && !folder.exists()
    }

    /// Makes the folder of a file. Folders without a file in them get lost when a repository is copied.
    fn make_folder_again(&self, path: &Path) -> io::Result<()> {
        if !self.path(FileName::Config).exists() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let folder = path.parent().unwrap_or(&self.root);
        DirBuilder::new().recursive(true).mode(0o700).create(folder)
    }

    /// Writes aside and moves into place, so that the name never stands for a part.
    fn place(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!("{UNFINISHED}{:016x}", u64::from_le_bytes(random)));
        let aside = PathBuf::from(aside);
        let placed = write_through(&aside, content).and_then(|()| rename_new(&aside, path));
        if placed.is_err() {
            // It is no part of the repository, and the next sweep takes what remains here.
            let _ = fs::remove_file(&aside);
        }
        placed?;
        match path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }

    fn list_folder(&self, folder: &Path, found: &mut dyn FnMut(Id, u64)) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            match entry.metadata() {
                Ok(facts) if facts.is_file() => found(id, facts.len()),
                Ok(_) => {}
                // Removed since it was named.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn write_through(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // NFS and old SMB servers do not know the flag. All names but that of `config` are made of the content or of chance.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP) => {
            if to.try_exists()? {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(from, to)
        }
        other => other.map_err(io::Error::from),
    }
}

impl Store for LocalStore {
    fn name(&self) -> &str {
        &self.name
    }

    fn create(&self) -> Result<(), StoreError> {
        let make = |folder: &Path| {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|error| StoreError::io("make", folder.display(), &self.name, error))
        };
        for kind in FileKind::ALL {
            make(&self.root.join(kind.folder()))?;
        }
        (0..=255_u8).try_for_each(|byte| make(&self.root.join(format!("data/{byte:02x}"))))
    }

    fn read(&self, file: FileName, range: Option<Range<u64>>) -> Result<Vec<u8>, StoreError> {
        let path = self.path(file);
        let read = || match range {
            None => fs::read(&path),
            Some(range) => {
                let length =
                    usize::try_from(range.end.saturating_sub(range.start)).map_err(io::Error::other)?;
                let mut content = vec![0; length];
                File::open(&path)?.read_exact_at(&mut content, range.start)?;
                Ok(content)
            }
        };
        read().map_err(|error| self.failed("read", file, error))
    }

    fn write_new(&self, file: FileName, content: &[u8]) -> Result<(), StoreError> {
        let path = self.path(file);
        let placed = match self.place(&path, content) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_folder_again(&path).and_then(|()| self.place(&path, content))
            }
            other => other,
        };
        placed.map_err(|error| self.failed("write", file, error))
    }

    fn list(&self, kind: FileKind, found: &mut dyn FnMut(Id, u64)) -> Result<(), StoreError> {
        let top = self.root.join(kind.folder());
        let mut list = || -> io::Result<()> {
            if kind != FileKind::Pack {
                return self.list_folder(&top, found);
            }
            for folder in fs::read_dir(&top)? {
                let folder = folder?;
                if folder.file_type()?.is_dir() {
                    self.list_folder(&folder.path(), found)?;
                }
            }
            Ok(())
        };
        match list() {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.has_config_but_not(&top) => Ok(()),
            other => other.map_err(|error| self.failed("list", kind.folder(), error)),
        }
    }

    fn stat(&self, file: FileName) -> Result<u64, StoreError> {
        let facts = fs::metadata(self.path(file));
        facts.map(|facts| facts.len()).map_err(|error| self.failed("look at", file, error))
    }

    fn remove(&self, file: FileName) -> Result<(), StoreError> {
        fs::remove_file(self.path(file)).map_err(|error| self.failed("remove", file, error))
    }
}
