//! The keys of an archive: each is a password that opens it.

use std::path::{Path, PathBuf};

use stillpoint_model::site_file::{Archive, SecretSource};
use stillpoint_model::{Cancel, ErrorKind};
use stillpoint_repository::{Id, KeyFacts};

use super::key::{make_key_file, read_secret};
use super::open::{OpenArchive, about, open_with};
use super::recovery_key::RecoveryKey;
use crate::SiteError;

/// A key that was added.
#[derive(Debug)]
pub struct AddedKey {
    /// Its name.
    pub id: Id,
    /// The file that was made for it, if it was not there.
    pub made: Option<PathBuf>,
}

impl OpenArchive {
    /// All keys, oldest first.
    pub fn keys(&self) -> Result<Vec<KeyFacts>, SiteError> {
        self.repository.keys().map_err(|error| about(&self.settings, error))
    }

    /// Adds the password in this file as a key; makes the file when it is not there.
    pub fn add_key_file(&self, path: &Path, label: &str) -> Result<AddedKey, SiteError> {
        let is_there = path.try_exists().map_err(|error| {
            SiteError::new(ErrorKind::Environment, format!("cannot look for {}", path.display()))
                .because(error)
        })?;
        let (key, made) = if is_there {
            let source = SecretSource::File(path.to_owned());
            (read_secret(&source, "the new key", &Cancel::default())?, None)
        } else {
            (make_key_file(path)?, Some(path.to_owned()))
        };
        let id = self.repository.add_key(&key, label).map_err(|error| about(&self.settings, error))?;
        Ok(AddedKey { id, made })
    }

    /// Removes the key with this name or beginning of a name. The one in use stays.
    pub fn remove_key(&self, wanted: &str) -> Result<KeyFacts, SiteError> {
        let keys = self.keys()?;
        let mut fitting =
            keys.iter().filter(|key| !wanted.is_empty() && key.id.to_string().starts_with(wanted));
        let (first, second) = (fitting.next(), fitting.next());
        let refused = |text: String| {
            SiteError::new(ErrorKind::Usage, text).hint("`stillpoint archive key list` shows the keys")
        };
        match (first, second) {
            (Some(key), None) => {
                self.repository.remove_key(key.id).map_err(|error| about(&self.settings, error))?;
                Ok(key.clone())
            }
            (Some(_), Some(_)) => Err(refused(format!("several keys have a name that begins with {wanted}"))),
            (None, _) => Err(refused(format!("archive {} has no key {wanted}", self.settings.name))),
        }
    }

    /// Makes a recovery key and adds it. It is nowhere but in what is returned.
    pub fn add_recovery_key(&self) -> Result<(Id, RecoveryKey), SiteError> {
        let key = RecoveryKey::random().map_err(|error| {
            SiteError::new(ErrorKind::Environment, "the system gives no random numbers").because(error)
        })?;
        let label = format!("recovery key of {}", jiff::Timestamp::now().strftime("%Y-%m-%d"));
        let id =
            self.repository.add_key(key.password(), &label).map_err(|error| about(&self.settings, error))?;
        Ok((id, key))
    }
}

/// Tries whether a recovery key, as somebody typed it from paper, opens the archive, without the key of the site file.
/// Returns which key it is.
pub fn try_recovery_key(settings: &Archive, typed: &str) -> Result<KeyFacts, SiteError> {
    let key = RecoveryKey::parse(typed).map_err(|error| {
        SiteError::new(ErrorKind::Key, "this is not the recovery key as it was printed")
            .hint("compare it with the paper, line by line")
            .because(error)
    })?;
    let opened = open_with(settings, key.password(), &Cancel::default())?;
    let keys = opened.keys().map_err(|error| about(settings, error))?;
    let current = keys.into_iter().find(|key| key.current);
    current.ok_or_else(|| SiteError::new(ErrorKind::Bug, "the key opens the archive and is none of its keys"))
}
