//! What really lies in a stored folder, in canonical order, to hold it against a list.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use stillpoint_tree::RelPath;

/// One thing that was found: where, and what it is, or why that cannot be told.
pub(crate) type Found = (RelPath, io::Result<Metadata>);

/// Walks a folder, the top first, then in canonical order. Follows no symbolic link. Memory is that of the largest folder.
pub(crate) struct Names {
    root: PathBuf,
    /// For each folder on the way down: its path and what is still to be visited in it, backwards.
    open: Vec<(RelPath, Vec<OsString>)>,
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
        let read = || -> io::Result<Vec<OsString>> {
            fs::read_dir(folder.under(&self.root))?.map(|entry| Ok(entry?.file_name())).collect()
        };
        match read() {
            Ok(mut names) => {
                names.sort_unstable_by(|one, other| other.as_bytes().cmp(one.as_bytes()));
                self.open.push((folder, names));
            }
            Err(error) => self.failed = Some((folder, Err(error))),
        }
    }

    fn look(&mut self, path: RelPath) -> Found {
        let facts = fs::symlink_metadata(path.under(&self.root));
        if facts.as_ref().is_ok_and(Metadata::is_dir) {
            self.enter = Some(path.clone());
        }
        (path, facts)
    }
}

impl Iterator for Names {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        if std::mem::take(&mut self.top) {
            return Some(self.look(RelPath::top()));
        }
        if let Some(folder) = self.enter.take() {
            self.enter(folder);
            if let Some(failed) = self.failed.take() {
                return Some(failed);
            }
        }
        while let Some((folder, names)) = self.open.last_mut() {
            match names.pop() {
                Some(name) => {
                    let path = folder.child(name.as_bytes());
                    return Some(self.look(path));
                }
                None => {
                    self.open.pop();
                }
            }
        }
        None
    }
}
