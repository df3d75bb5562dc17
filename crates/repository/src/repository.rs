//! A repository: opened with a key, its files are read and written through here and nowhere else.

use std::ops::Range;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use stillpoint_model::ErrorKind;

use crate::blob::BlobKind;
use crate::codec;
use crate::crypto::CipherKey;
use crate::error::RepositoryError;
use crate::id::Id;
use crate::index::{Index, Location};
use crate::keys::{self, KeyFacts};
use crate::polynomial;
use crate::secret::Secret;
use crate::store::{FileKind, FileName, Store, StoreErrorKind};

/// The version of the format: 2 brought compression.
const FORMAT: u32 = 2;

/// The file `config`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Config {
    version: u32,
    id: Id,
    chunker_polynomial: String,
}

/// An open repository. Cheap to clone, and good for several threads.
#[derive(Clone)]
pub struct Repository(Arc<Inner>);

struct Inner {
    store: Box<dyn Store>,
    key: CipherKey,
    key_id: Id,
    id: Id,
    polynomial: u64,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository")
            .field("store", &self.0.store)
            .field("id", &self.0.id)
            .finish_non_exhaustive()
    }
}

impl Repository {
    /// Makes a repository in a store that has none.
    ///
    /// # Errors
    ///
    /// There is one (`WouldOverwrite`), or the store fails. What was written by then does not make a repository.
    pub fn create(store: Box<dyn Store>, password: &Secret, label: &str) -> Result<Self, RepositoryError> {
        Self::create_cutting(store, password, label, polynomial::random()?)
    }

    /// The same, for one that cuts content as this other one does: what is copied between the two, or lost in the one and
    /// there in the other, is the same blob in both.
    ///
    /// # Errors
    ///
    /// As for [`create`](Self::create).
    pub fn create_like(
        &self,
        store: Box<dyn Store>,
        password: &Secret,
        label: &str,
    ) -> Result<Self, RepositoryError> {
        Self::create_cutting(store, password, label, self.polynomial())
    }

    fn create_cutting(
        store: Box<dyn Store>,
        password: &Secret,
        label: &str,
        polynomial: u64,
    ) -> Result<Self, RepositoryError> {
        let taken = || {
            let text = format!("{} is there already", store.name());
            RepositoryError::new(ErrorKind::WouldOverwrite, text)
                .with_hint("Nothing was changed. Use it, or choose another place.")
        };
        match store.stat(FileName::Config) {
            Ok(_) => return Err(taken()),
            Err(error) if matches!(error.kind, StoreErrorKind::NotFound | StoreErrorKind::NoStore) => {}
            Err(error) => return Err(error.into()),
        }
        store.create()?;
        let key = CipherKey::random()?;
        let key_id = keys::add(&*store, &key, password, label)?;
        let config =
            Config { version: FORMAT, id: Id::random()?, chunker_polynomial: format!("{polynomial:x}") };
        let plain = to_json(&config)?;
        // Last: with it, it is a repository.
        match store.write_new(FileName::Config, &key.seal(&plain)?) {
            Err(error) if error.kind == StoreErrorKind::AlreadyExists => return Err(taken()),
            other => other?,
        }
        Ok(Self(Arc::new(Inner { store, key, key_id, id: config.id, polynomial })))
    }

    /// Opens a repository.
    ///
    /// # Errors
    ///
    /// There is none (`Environment`), the key does not open it (`Key`), it is damaged (`Damaged`), it is of another
    /// version (`Environment`), or the store fails.
    pub fn open(store: Box<dyn Store>, password: &Secret) -> Result<Self, RepositoryError> {
        let mut sealed = match store.read(FileName::Config, None) {
            Ok(sealed) => sealed,
            Err(error) if error.kind == StoreErrorKind::NotFound => return Err(no_repository(&*store)),
            Err(error) => return Err(error.into()),
        };
        let (key_id, key) = keys::unlock(&*store, password)?;
        let damaged = |why: String| {
            RepositoryError::damaged(format!("the file config of {} is damaged: {why}", store.name()))
        };
        let plain = key.open(&mut sealed).map_err(|_| damaged("it is not what was written".into()))?;
        let version: Version = serde_json::from_slice(plain).map_err(|error| damaged(error.to_string()))?;
        if version.version > FORMAT {
            let text = format!(
                "{} has version {} of the format, and this program knows {FORMAT}",
                store.name(),
                version.version
            );
            return Err(RepositoryError::new(ErrorKind::Environment, text)
                .with_hint("Nothing was changed. Use a newer Stillpoint, or the restic that wrote it."));
        }
        if version.version < FORMAT {
            let text = format!(
                "{} has version {} of the format, which knows no compression",
                store.name(),
                version.version
            );
            return Err(RepositoryError::new(ErrorKind::Environment, text)
                .with_hint("Nothing was changed. `restic migrate upgrade_repo_v2` makes it version 2."));
        }
        let config: Config = serde_json::from_slice(plain).map_err(|error| damaged(error.to_string()))?;
        let polynomial = u64::from_str_radix(&config.chunker_polynomial, 16)
            .ok()
            .filter(|polynomial| polynomial::is_irreducible(*polynomial))
            .ok_or_else(|| damaged("its polynomial is not irreducible".into()))?;
        Ok(Self(Arc::new(Inner { store, key, key_id, id: config.id, polynomial })))
    }

    /// The store that it lies in.
    #[must_use]
    pub fn store(&self) -> &dyn Store {
        &*self.0.store
    }

    /// The name that it was given when it was made.
    #[must_use]
    pub fn id(&self) -> Id {
        self.0.id
    }

    /// The polynomial, which keys the cutting of content.
    pub(crate) fn polynomial(&self) -> u64 {
        self.0.polynomial
    }

    pub(crate) fn key(&self) -> &CipherKey {
        &self.0.key
    }

    /// All keys.
    ///
    /// # Errors
    ///
    /// The store fails or a key file is damaged.
    pub fn keys(&self) -> Result<Vec<KeyFacts>, RepositoryError> {
        keys::list(self.store(), self.0.key_id)
    }

    /// Adds a key: afterwards this password opens the repository too. The label says in lists whose it is.
    ///
    /// # Errors
    ///
    /// The store fails.
    pub fn add_key(&self, password: &Secret, label: &str) -> Result<Id, RepositoryError> {
        keys::add(self.store(), self.key(), password, label)
    }

    /// Removes a key.
    ///
    /// # Errors
    ///
    /// It is the one that is in use (`Usage`), or the store fails.
    pub fn remove_key(&self, id: Id) -> Result<(), RepositoryError> {
        if id == self.0.key_id {
            let text = format!("the key {} is the one in use", id.short());
            return Err(RepositoryError::new(ErrorKind::Usage, text)
                .with_hint("Nothing was changed. Open the archive with another key to remove this one."));
        }
        Ok(self.store().remove(FileName::Of(FileKind::Key, id))?)
    }

    /// Name and size in bytes of all files of a kind, sorted by name.
    pub(crate) fn list(&self, kind: FileKind) -> Result<Vec<(Id, u64)>, RepositoryError> {
        let mut files = Vec::new();
        self.store().list(kind, &mut |id, size| files.push((id, size)))?;
        files.sort_unstable();
        // Some stores name a file twice that is moved meanwhile.
        files.dedup_by_key(|(id, _)| *id);
        Ok(files)
    }

    /// Stores a value as a sealed file, compressed. Returns the name.
    pub(crate) fn save_json<T: Serialize>(&self, kind: FileKind, value: &T) -> Result<Id, RepositoryError> {
        let content = self.key().seal(&codec::compress_file(&to_json(value)?)?)?;
        let id = Id::of(&content);
        match self.store().write_new(FileName::Of(kind, id), &content) {
            Err(error) => Err(error.into()),
            Ok(()) => Ok(id),
        }
    }

    /// Reads a value back from a sealed file.
    pub(crate) fn load_json<T: DeserializeOwned>(
        &self,
        kind: FileKind,
        id: Id,
    ) -> Result<T, RepositoryError> {
        let plain = self.load_file(kind, id)?;
        serde_json::from_slice(&plain).map_err(|error| self.damaged_file(kind, id, &error.to_string()))
    }

    /// The plain text of a sealed file.
    pub(crate) fn load_file(&self, kind: FileKind, id: Id) -> Result<Vec<u8>, RepositoryError> {
        let mut sealed = self.store().read(FileName::Of(kind, id), None)?;
        if Id::of(&sealed) != id {
            return Err(self.damaged_file(kind, id, "its content is not what its name says"));
        }
        let plain = self.key().open(&mut sealed);
        let plain = plain
            .map_err(|_| self.damaged_file(kind, id, "it is not sealed with the key of this archive"))?;
        codec::expand_file(plain).map_err(|why| self.damaged_file(kind, id, &why))
    }

    fn damaged_file(&self, kind: FileKind, id: Id, why: &str) -> RepositoryError {
        let name = FileName::Of(kind, id);
        RepositoryError::damaged(format!("{name} of {} is damaged: {why}", self.store().name()))
    }

    /// Reads a blob, from another pack when one is damaged.
    pub(crate) fn read_blob(
        &self,
        index: &Index,
        kind: BlobKind,
        id: &Id,
    ) -> Result<Vec<u8>, RepositoryError> {
        let mut failed = None;
        for location in index.find(kind, id) {
            match self.read_at(&location) {
                Ok(plain) => return Ok(plain),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| {
            RepositoryError::damaged(format!("no index file knows the {kind} blob {}", id.short()))
        }))
    }

    fn read_at(&self, location: &Location) -> Result<Vec<u8>, RepositoryError> {
        let begin = u64::from(location.blob.offset);
        let mut sealed = self.read_pack(location.pack, begin..begin + u64::from(location.blob.length))?;
        self.open_blob(location, &mut sealed)
    }

    /// Bytes of a pack.
    pub(crate) fn read_pack(&self, pack: Id, range: Range<u64>) -> Result<Vec<u8>, RepositoryError> {
        Ok(self.store().read(FileName::Of(FileKind::Pack, pack), Some(range))?)
    }

    /// The plain text of a blob from its sealed bytes, proven to be the one of its name.
    pub(crate) fn open_blob(
        &self,
        location: &Location,
        sealed: &mut [u8],
    ) -> Result<Vec<u8>, RepositoryError> {
        let blob = &location.blob;
        let damaged = |why: &str| {
            let (kind, id, pack) = (blob.kind, blob.id.short(), location.pack.short());
            RepositoryError::damaged(format!("the {kind} blob {id} in the pack {pack} is damaged: {why}"))
        };
        let plain = self.key().open(sealed).map_err(|_| damaged("it is not what was written"))?;
        let plain = match blob.uncompressed {
            0 => plain.to_vec(),
            length => codec::expand(plain, length as usize).map_err(|why| damaged(&why))?,
        };
        if Id::of(&plain) != blob.id {
            return Err(damaged("its content is not what its name says"));
        }
        Ok(plain)
    }
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

fn no_repository(store: &dyn Store) -> RepositoryError {
    let text = format!("{} is not an archive: it has no file config", store.name());
    RepositoryError::new(ErrorKind::Environment, text)
        .with_hint("Look at the address, or make an archive there with `stillpoint archive init`.")
}

pub(crate) fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>, RepositoryError> {
    serde_json::to_vec(value)
        .map_err(|error| RepositoryError::new(ErrorKind::Bug, format!("cannot be written as JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[test]
    fn a_newer_version_of_the_format_is_refused_with_a_clear_word() {
        let password = Secret::new(b"password".to_vec());
        let repository = Repository::create(Box::new(MemoryStore::default()), &password, "test").unwrap();
        let config = |more: &str| format!("{{\"version\":3,\"id\":\"{}\"{more}}}", repository.id());
        // A newer version may have other fields.
        for plain in [config(""), config(",\"chunker_polynomial\":\"25b468838dcb75\",\"new\":[1]")] {
            let store = MemoryStore::default();
            let key_id = keys::add(&store, repository.key(), &password, "test").unwrap();
            store.write_new(FileName::Config, &repository.key().seal(plain.as_bytes()).unwrap()).unwrap();
            let refused = Repository::open(Box::new(store), &password).unwrap_err();
            assert_eq!(refused.kind, ErrorKind::Environment, "{refused} {key_id}");
            assert!(refused.text.contains("has version 3 of the format"), "{refused}");
        }
    }
}
