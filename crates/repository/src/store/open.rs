//! From the address of an archive to its store.

use super::{
    Credentials, LocalStore, Patience, RestStore, S3Place, S3Store, SftpPlace, SftpStore, Store, StoreError,
};
use crate::location::Location;

/// The store at an address. Nothing is looked at yet: that is for the first act.
///
/// # Errors
///
/// The credentials do not suffice, or a file that they name cannot be read.
pub fn open(location: &Location, credentials: &Credentials) -> Result<Box<dyn Store>, StoreError> {
    open_with(location, credentials, Patience::default())
}

/// The same, with other limits of waiting.
///
/// # Errors
///
/// As [`open`].
pub fn open_with(
    location: &Location,
    credentials: &Credentials,
    patience: Patience,
) -> Result<Box<dyn Store>, StoreError> {
    let address = location.to_string();
    Ok(match location {
        Location::Local(path) => Box::new(LocalStore::new(path)),
        Location::Sftp { user, host, port, path } => {
            let place = SftpPlace { user: user.as_deref(), host, port: *port, path };
            Box::new(SftpStore::new(place, &address, credentials, patience))
        }
        Location::S3 { endpoint, bucket, prefix } => {
            Box::new(S3Store::new(S3Place { endpoint, bucket, prefix }, &address, credentials, patience)?)
        }
        Location::Rest { url } => Box::new(RestStore::new(url, &address, credentials, patience)?),
    })
}
