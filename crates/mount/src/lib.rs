//! The versions of an archive as folders of the file system, read-only (FUSE).
//!
//! The top has one folder a version, named by its time in UTC and its short name, and `latest`, a link to the newest. Memory
//! is bounded: what the kernel remembers of entries, and the folders and blobs that were used last. Versions that are
//! saved later are not seen.

mod attributes;
mod filesystem;
mod table;

use std::path::{Path, PathBuf};

use fuser::{BackgroundSession, Config, MountOption, SessionACL};
use stillpoint_model::ErrorKind;
use stillpoint_repository::{Repository, RepositoryError};

use filesystem::Archive;

/// A mounted archive. It is there until this is ended or dropped, or until somebody unmounts it.
#[derive(Debug)]
pub struct Mounted {
    session: Option<BackgroundSession>,
    at: PathBuf,
}

/// Mounts the archive at an existing folder. With `for_all`, other users than ours may look in, as far as modes and owners of
/// the entries let them; else only our own may.
///
/// # Errors
///
/// The archive has no version (`Usage`) or cannot be read, or the kernel or `fusermount3` does not mount it (`Environment`).
pub fn mount(repository: &Repository, at: &Path, for_all: bool) -> Result<Mounted, RepositoryError> {
    let archive = Archive::open(repository)?;
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoDev,
        MountOption::NoSuid,
        MountOption::NoExec,
        MountOption::NoAtime,
        MountOption::DefaultPermissions,
        MountOption::FSName("stillpoint".into()),
    ];
    config.acl = if for_all { SessionACL::All } else { SessionACL::Owner };
    let session = fuser::spawn_mount(archive, at, &config).map_err(|error| {
        let text = format!("the archive cannot be mounted at {}: {error}", at.display());
        RepositoryError::new(ErrorKind::Environment, text).with_hint(
            "It takes an existing folder, the kernel module fuse and, unless you are root, the package fuse3.",
        )
    })?;
    Ok(Mounted { session: Some(session), at: at.to_owned() })
}

impl Mounted {
    /// Whether somebody has unmounted it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.session.as_ref().is_none_or(|session| session.guard.is_finished())
    }

    /// Unmounts it.
    ///
    /// # Errors
    ///
    /// Somebody works in it (`Busy`). It is taken out of sight all the same, and ends with the last who does.
    pub fn end(mut self) -> Result<(), RepositoryError> {
        let Some(session) = self.session.take() else { return Ok(()) };
        if session.guard.is_finished() {
            return session.join().map_err(|error| {
                let text = format!("the mount at {} ended with an error: {error}", self.at.display());
                RepositoryError::new(ErrorKind::Environment, text)
            });
        }
        session.umount_and_join().map_err(|error| {
            detach(&self.at);
            let text = format!("{} is still in use: {error}", self.at.display());
            RepositoryError::new(ErrorKind::Busy, text)
                .with_hint("It is out of sight now, and ends when the last program there has ended.")
        })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(session) = self.session.take()
            && !session.guard.is_finished()
            && let Err(error) = session.umount_and_join()
        {
            tracing::debug!(%error, at = %self.at.display(), "the mount is in use and is taken out of sight");
            detach(&self.at);
        }
    }
}

/// Takes a mount out of sight that is in use.
fn detach(at: &Path) {
    if let Err(error) = rustix::mount::unmount(at, rustix::mount::UnmountFlags::DETACH) {
        tracing::warn!(%error, at = %at.display(), "cannot be unmounted");
    }
}
