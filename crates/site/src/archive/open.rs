//! Opening an archive of a site by its name.

use std::time::Duration;

use stillpoint_model::site_file::Archive;
use stillpoint_model::{Cancel, ErrorKind};
use stillpoint_repository::{Repository, RepositoryError, RepositoryLock, Secret, Watcher};

use super::access::open_store;
use super::key::read_secret;
use super::recovery_key::RecoveryKey;
use crate::{LoadedSite, SiteError};

/// An archive of the site file, opened with its key.
#[derive(Debug, Clone)]
pub struct OpenArchive {
    /// What the site file says of it.
    pub settings: Archive,
    /// The repository.
    pub repository: Repository,
}

/// How long is waited for somebody who removes from the archive; the last step of a prune is short.
pub(super) const LOCK_PATIENCE: Duration = Duration::from_secs(30 * 60);

impl OpenArchive {
    /// The lock under which something is added.
    pub(crate) fn lock_for_adding(&self, watcher: &dyn Watcher) -> Result<RepositoryLock, SiteError> {
        RepositoryLock::shared(&self.repository, LOCK_PATIENCE, watcher)
            .map_err(|error| about(&self.settings, error))
    }

    /// The lock under which something is read. Who may not write to the archive reads without one.
    pub fn lock_for_reading(&self, watcher: &dyn Watcher) -> Result<Option<RepositoryLock>, SiteError> {
        RepositoryLock::reading(&self.repository, LOCK_PATIENCE, watcher)
            .map_err(|error| about(&self.settings, error))
    }

    /// An error of the engine, with the name of this archive.
    pub fn error(&self, error: RepositoryError) -> SiteError {
        about(&self.settings, error)
    }
}

/// The archive with this name; without one, the only one that there is.
pub fn find_archive<'s>(site: &'s LoadedSite, name: Option<&str>) -> Result<&'s Archive, SiteError> {
    let archives = &site.file.archives;
    let names: Vec<&str> = archives.iter().map(|archive| archive.name.as_str()).collect();
    match (name, archives.as_slice()) {
        (None, [only]) => Ok(only),
        (_, []) => {
            let text = format!("the site file {} has no archive", site.path.display());
            Err(SiteError::new(ErrorKind::Config, text)
                .hint("add a table [[archive]]; docs/site-file.md shows how"))
        }
        (None, _) => {
            let text = format!("site {} has several archives", site.file.site.code);
            Err(SiteError::new(ErrorKind::Usage, text)
                .hint(format!("say which with --archive: {}", names.join(", "))))
        }
        (Some(name), _) => archives.iter().find(|archive| archive.name.as_str() == name).ok_or_else(|| {
            SiteError::new(ErrorKind::Usage, format!("the site file has no archive {name}"))
                .hint(format!("its archives are: {}", names.join(", ")))
        }),
    }
}

/// Opens an archive with the key that the site file names.
pub fn open_archive(settings: &Archive, cancel: &Cancel) -> Result<OpenArchive, SiteError> {
    let key = read_secret(&settings.key, &format!("the key of archive {}", settings.name), cancel)?;
    let repository = open_with(settings, &key, cancel)?;
    Ok(OpenArchive { settings: settings.clone(), repository })
}

/// Opens it with this key. A recovery key opens it however it was typed.
pub(super) fn open_with(settings: &Archive, key: &Secret, cancel: &Cancel) -> Result<Repository, SiteError> {
    let opened = Repository::open(open_store(settings, cancel)?, key);
    let refused = match opened {
        Err(error) if error.kind == ErrorKind::Key => error,
        other => return other.map_err(|error| about(settings, error)),
    };
    let typed = std::str::from_utf8(key.expose()).ok().map(RecoveryKey::parse);
    match typed {
        Some(Ok(recovery)) if recovery.password().expose() != key.expose() => {
            Repository::open(open_store(settings, cancel)?, recovery.password())
                .map_err(|error| about(settings, error))
        }
        _ => Err(about(settings, refused)),
    }
}

/// An error of the engine, with the name of the archive.
pub(super) fn about(settings: &Archive, error: RepositoryError) -> SiteError {
    let RepositoryError { kind, text, hint, .. } = error;
    SiteError { kind, text: format!("archive {}: {text}", settings.name), hint, source: None }
}
