//! The one folder that a provider makes on a file system of the site.
//!
//! The undo is registered before the folder exists. The undo removes a folder only when the marker in it names the run,
//! so a folder of the same name that is somebody else's is never touched, and neither do we use one that is there already.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use stillpoint_model::{Context, ProviderError, RunId, Ticket, Undo};

/// The pattern that leaves the folders of all components of one run out of an image.
pub(crate) fn exclude_pattern(run: &RunId) -> String {
    format!(".stillpoint-{}*", run.as_str())
}

/// A folder of ours beside or in the tree, with its undo.
#[derive(Debug)]
pub(crate) struct HiddenFolder {
    path: PathBuf,
    run: String,
    ticket: Option<Ticket>,
}

impl HiddenFolder {
    /// Registers the undo, then makes the folder (0700) in `parent`, with its marker.
    pub(crate) fn create(parent: &Path, context: &Context) -> Result<Self, ProviderError> {
        let run = context.run.as_str().to_owned();
        let path = parent.join(format!(".stillpoint-{run}-{}", context.component));
        let ticket = context.undos.intend(Undo::RemoveTree { path: path.clone(), run: run.clone() })?;
        let folder = Self { path, run, ticket: Some(ticket) };
        let made = fs::DirBuilder::new().mode(0o700).create(&folder.path).and_then(|()| folder.mark());
        match made {
            Ok(()) => Ok(folder),
            Err(source) => {
                // A folder that was there before is not ours: the undo finds no marker of this run in it.
                let path = folder.path.clone();
                if source.kind() != io::ErrorKind::AlreadyExists {
                    let _ = fs::remove_dir_all(&path);
                }
                context.undos.settle(ticket);
                Err(ProviderError::Io { act: "make the folder", path, source })
            }
        }
    }

    fn mark(&self) -> io::Result<()> {
        let marker = self.path.join(Undo::MARKER);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(marker)?;
        file.write_all(self.run.as_bytes())?;
        file.sync_all()
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it with all that is in it, and settles its undo. Idempotent; the undo stays registered on failure.
    pub(crate) fn remove(&mut self, context: &Context) -> Result<(), ProviderError> {
        let Some(ticket) = self.ticket else { return Ok(()) };
        match fs::remove_dir_all(&self.path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(ProviderError::Io { act: "remove the folder", path: self.path.clone(), source })
            }
            _ => {
                context.undos.settle(ticket);
                self.ticket = None;
                Ok(())
            }
        }
    }
}
