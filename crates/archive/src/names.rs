//! What really lies in a stored folder, in canonical order, to hold it against a list.

use std::ffi::OsString;
use std::fs::{self, FileType};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use stillpoint_tree::RelPath;

/// One thing that was found: where, and what kind of thing it is, or why that cannot be told.
pub(crate) type Found = (RelPath, io::Result<FileType>);

type Name = (OsString, io::Result<FileType>);

/// Walks a folder, the top first, then in canonical order. Follows no symbolic link. Memory is that of the largest folder.
pub(crate) struct Names {
    root: PathBuf,
    /// For each folder on the way down: its path and what is still to be visited in it, backwards.
    open: Vec<(RelPath, Vec<Name>)>,
    top: bool,
    failed: Option<Found>,
    /// Set when the last one found was a folder that is to be entered next.
    enter: Option<RelPath>,
}

impl Names {
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), open: Vec::new(), top: true, failed: None, enter: None }
    }

    /// Does not enter the folder that was found last.
    pub fn skip_folder(&mut self) {
        self.enter = None;
    }

    fn enter(&mut self, folder: RelPath) {
        // Most file systems tell the kind with the name.
        let read = || -> io::Result<Vec<_>> {
            fs::read_dir(folder.under(&self.root))?
                .map(|entry| entry.map(|entry| (entry.file_name(), entry.file_type())))
                .collect()
        };
        match read() {
            Ok(mut names) => {
                names.sort_unstable_by(|(one, _), (other, _)| other.as_bytes().cmp(one.as_bytes()));
                self.open.push((folder, names));
            }
            Err(error) => self.failed = Some((folder, Err(error))),
        }
    }

    fn meet(&mut self, path: RelPath, kind: io::Result<FileType>) -> Found {
        if kind.as_ref().is_ok_and(FileType::is_dir) {
            self.enter = Some(path.clone());
        }
        (path, kind)
    }
}

impl Iterator for Names {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        if std::mem::take(&mut self.top) {
            let kind = fs::symlink_metadata(&self.root).map(|facts| facts.file_type());
            return Some(self.meet(RelPath::top(), kind));
        }
        if let Some(folder) = self.enter.take() {
            self.enter(folder);
            if let Some(failed) = self.failed.take() {
                return Some(failed);
            }
        }
        while let Some((folder, names)) = self.open.last_mut() {
            match names.pop() {
                Some((name, kind)) => {
                    let path = folder.child(name.as_bytes());
                    return Some(self.meet(path, kind));
                }
                None => {
                    self.open.pop();
                }
            }
        }
        None
    }
}
