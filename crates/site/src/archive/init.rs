//! Making an archive.

use std::path::PathBuf;

use stillpoint_model::site_file::{Archive, SecretSource};
use stillpoint_model::{Cancel, ErrorKind, SiteCode};
use stillpoint_repository::{Repository, Secret};

use super::access::open_store;
use super::key::{make_key_file, read_secret};
use super::open::{OpenArchive, about};
use crate::SiteError;

/// What making an archive did.
#[derive(Debug)]
pub struct MadeArchive {
    /// The new archive, open.
    pub archive: OpenArchive,
    /// The key file that was made, if there was none.
    pub key_file: Option<PathBuf>,
}

/// Makes the archive; `like` is another one of the site, whose way to cut content it takes over, so that what they have in common
/// is the same in both. Its key file is made too, when the site file names one that is not there. A key file that was made
/// stays, whatever happens afterwards: it may be what the archive is encrypted with.
pub fn make_archive(
    settings: &Archive,
    site: &SiteCode,
    like: Option<&OpenArchive>,
    cancel: &Cancel,
) -> Result<MadeArchive, SiteError> {
    let (key, key_file) = key_for(settings, cancel)?;
    let (store, label) = (open_store(settings, cancel)?, format!("site {site}"));
    let made = match like {
        Some(other) => other.repository.create_like(store, &key, &label),
        None => Repository::create(store, &key, &label),
    };
    let repository = made.map_err(|error| {
        let error = about(settings, error);
        match &key_file {
            Some(path) if error.hint.is_none() => {
                error.hint(format!("the key file {} was made and is used by the next try", path.display()))
            }
            _ => error,
        }
    })?;
    let archive = OpenArchive { settings: settings.clone(), repository };
    Ok(MadeArchive { archive, key_file })
}

fn key_for(settings: &Archive, cancel: &Cancel) -> Result<(Secret, Option<PathBuf>), SiteError> {
    if let SecretSource::File(path) = &settings.key {
        match path.try_exists() {
            Ok(true) => {}
            Ok(false) => return Ok((make_key_file(path)?, Some(path.clone()))),
            Err(error) => {
                let text = format!("cannot look for the key file {}", path.display());
                return Err(SiteError::new(ErrorKind::Environment, text).because(error));
            }
        }
    }
    Ok((read_secret(&settings.key, &format!("the key of archive {}", settings.name), cancel)?, None))
}
