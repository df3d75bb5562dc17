//! Key files: the master key of a repository, locked with a password. There may be several, one a password
//! (`doc/design.rst`, "Keys, Encryption and MAC").

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use stillpoint_model::ErrorKind;
use zeroize::Zeroizing;

use crate::crypto::CipherKey;
use crate::error::RepositoryError;
use crate::id::Id;
use crate::secret::Secret;
use crate::store::{FileKind, FileName, Store};
use crate::time::Moment;

/// The cost of trying one password: N, r and p of scrypt. 32 MiB and about a fifth of a second; one of the equivalent minima of
/// the OWASP password storage cheat sheet.
const COST: Cost = Cost { n: 1 << 15, r: 8, p: 3 };

/// What a key file of somebody else may at most ask for: 128 N r bytes of memory.
const MEMORY_MAX: u64 = 1 << 30;

#[derive(Debug, Clone, Copy)]
struct Cost {
    n: u64,
    r: u32,
    p: u32,
}

/// A key file as it lies in the store, in clear text but for `data`.
#[derive(Serialize, Deserialize)]
struct KeyFile {
    // rustic writes none of these.
    #[serde(default)]
    created: Moment,
    #[serde(default)]
    username: String,
    #[serde(default)]
    hostname: String,
    kdf: String,
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
    salt: String,
    data: String,
}

#[derive(Serialize, Deserialize)]
struct StoredMaster {
    mac: StoredMac,
    encrypt: Zeroizing<String>,
}

#[derive(Serialize, Deserialize)]
struct StoredMac {
    k: Zeroizing<String>,
    r: Zeroizing<String>,
}

/// What is known of a key without its password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyFacts {
    /// Name of its file.
    pub id: Id,
    /// When it was added.
    pub created: Moment,
    /// Who added it.
    pub username: String,
    /// On which machine, or a label.
    pub hostname: String,
    /// Whether it is the one that opened the repository.
    pub current: bool,
}

/// Adds a key file for this password.
pub(crate) fn add(
    store: &dyn Store,
    master: &CipherKey,
    password: &Secret,
    label: &str,
) -> Result<Id, RepositoryError> {
    let mut salt = [0; 64];
    getrandom::fill(&mut salt)?;
    let user_key = derive(password, &salt, COST).map_err(RepositoryError::damaged)?;
    let encode = |bytes: &[u8]| Zeroizing::new(BASE64.encode(bytes));
    let stored = StoredMaster {
        mac: StoredMac { k: encode(&master.mac_k), r: encode(&master.mac_r) },
        encrypt: encode(&master.encrypt),
    };
    let plain = Zeroizing::new(serde_json::to_vec(&stored).map_err(our_own)?);
    let file = KeyFile {
        created: Moment::now(),
        username: crate::who::user(),
        hostname: label.to_owned(),
        kdf: "scrypt".to_owned(),
        n: COST.n,
        r: COST.r,
        p: COST.p,
        salt: BASE64.encode(salt),
        data: BASE64.encode(user_key.seal(&plain)?),
    };
    let content = serde_json::to_vec(&file).map_err(our_own)?;
    let id = Id::of(&content);
    store.write_new(FileName::Of(FileKind::Key, id), &content)?;
    Ok(id)
}

fn our_own(error: serde_json::Error) -> RepositoryError {
    RepositoryError::new(ErrorKind::Bug, format!("a key cannot be written as JSON: {error}"))
}

/// Finds the key file that this password opens.
///
/// Who has no key is told apart from who has a damaged repository: `Key` when every key file is good and none opens,
/// `Damaged` when there is none at all or one that cannot be read.
pub(crate) fn unlock(store: &dyn Store, password: &Secret) -> Result<(Id, CipherKey), RepositoryError> {
    let mut ids = Vec::new();
    store.list(FileKind::Key, &mut |id, _| ids.push(id))?;
    if ids.is_empty() {
        let text = format!("{} has no key file: nobody can open it", store.name());
        return Err(RepositoryError::damaged(text)
            .with_hint("Bring a file back into the folder keys/ of the archive, from a copy of it."));
    }
    let mut damaged = None;
    for id in &ids {
        match try_one(store, *id, password) {
            Ok(Some(master)) => return Ok((*id, master)),
            Ok(None) => {}
            // Another key may be good. If not, this is the better explanation.
            Err(error) => damaged = Some(error),
        }
    }
    Err(damaged.unwrap_or_else(|| {
        let text = format!("this key opens none of the {} key files of {}", ids.len(), store.name());
        RepositoryError::new(ErrorKind::Key, text).with_hint(
            "The archive itself is not damaged. Use the key that it was made with, or its recovery key.",
        )
    }))
}

fn try_one(store: &dyn Store, id: Id, password: &Secret) -> Result<Option<CipherKey>, RepositoryError> {
    let damaged = |why: &str| {
        RepositoryError::damaged(format!("the key file {} of {} is damaged: {why}", id.short(), store.name()))
    };
    let content = store.read(FileName::Of(FileKind::Key, id), None)?;
    if Id::of(&content) != id {
        return Err(damaged("its content is not what its name says"));
    }
    let file: KeyFile = serde_json::from_slice(&content).map_err(|e| damaged(&e.to_string()))?;
    if file.kdf != "scrypt" {
        return Err(damaged("its key derivation is not scrypt"));
    }
    let salt = BASE64.decode(&file.salt).map_err(|_| damaged("its salt is not base64"))?;
    let mut data = BASE64.decode(&file.data).map_err(|_| damaged("its data is not base64"))?;
    let user_key =
        derive(password, &salt, Cost { n: file.n, r: file.r, p: file.p }).map_err(|why| damaged(&why))?;
    let Ok(plain) = user_key.open(&mut data) else { return Ok(None) };
    let stored: StoredMaster =
        serde_json::from_slice(plain).map_err(|_| damaged("it does not hold a master key"))?;
    let mut master = CipherKey { encrypt: [0; 32], mac_k: [0; 16], mac_r: [0; 16] };
    let parts: [(&str, &mut [u8]); 3] = [
        (&stored.encrypt, &mut master.encrypt),
        (&stored.mac.k, &mut master.mac_k),
        (&stored.mac.r, &mut master.mac_r),
    ];
    for (text, part) in parts {
        let bytes = Zeroizing::new(BASE64.decode(text).unwrap_or_default());
        if bytes.len() != part.len() {
            return Err(damaged("it does not hold a master key"));
        }
        part.copy_from_slice(&bytes);
    }
    Ok(Some(master))
}

fn derive(password: &Secret, salt: &[u8], cost: Cost) -> Result<CipherKey, String> {
    let memory = cost.n.checked_mul(u64::from(cost.r)).and_then(|product| product.checked_mul(128));
    if !cost.n.is_power_of_two() || memory.is_none_or(|bytes| bytes > MEMORY_MAX) || cost.p > 1024 {
        return Err(format!("its scrypt cost N={} r={} p={} is out of bounds", cost.n, cost.r, cost.p));
    }
    let log_n = u8::try_from(cost.n.trailing_zeros()).unwrap_or(u8::MAX);
    let params = scrypt::Params::new(log_n, cost.r, cost.p, 64).map_err(|e| e.to_string())?;
    let mut derived = Zeroizing::new([0; 64]);
    scrypt::scrypt(password.expose(), salt, &params, derived.as_mut_slice()).map_err(|e| e.to_string())?;
    Ok(CipherKey::from_derived(&derived))
}

/// All keys, oldest first.
pub(crate) fn list(store: &dyn Store, current: Id) -> Result<Vec<KeyFacts>, RepositoryError> {
    let mut ids = Vec::new();
    store.list(FileKind::Key, &mut |id, _| ids.push(id))?;
    let mut keys = Vec::new();
    for id in ids {
        let content = store.read(FileName::Of(FileKind::Key, id), None)?;
        let file: KeyFile = serde_json::from_slice(&content).map_err(|error| {
            RepositoryError::damaged(format!("the key file {} is damaged: {error}", id.short()))
        })?;
        keys.push(KeyFacts {
            id,
            created: file.created,
            username: file.username,
            hostname: file.hostname,
            current: id == current,
        });
    }
    keys.sort_by_key(|key| (key.created, key.id));
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[test]
    fn a_key_that_does_not_say_who_made_it_opens_all_the_same() {
        let (store, password) = (MemoryStore::default(), Secret::new(b"password".to_vec()));
        let master = CipherKey::random().unwrap();
        let id = add(&store, &master, &password, "label").unwrap();
        let content = store.read(FileName::Of(FileKind::Key, id), None).unwrap();
        let mut file: serde_json::Value = serde_json::from_slice(&content).unwrap();
        for field in ["created", "username", "hostname"] {
            assert!(file.as_object_mut().unwrap().remove(field).is_some());
        }
        let content = serde_json::to_vec(&file).unwrap();
        let other = MemoryStore::default();
        let id = Id::of(&content);
        other.write_new(FileName::Of(FileKind::Key, id), &content).unwrap();
        let (opened, key) = unlock(&other, &password).unwrap();
        assert_eq!((opened, key.encrypt), (id, master.encrypt));
        assert_eq!(list(&other, id).unwrap()[0].created, Moment::default());
    }
}
