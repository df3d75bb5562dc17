//! What a store on another machine wants to know before it lets us in.

use stillpoint_model::site_file::{Archive, ArchiveLocation};
use stillpoint_model::{Cancel, ErrorKind};
use stillpoint_repository::store::{self, Credentials, Store};
use stillpoint_repository::{Location, RepositoryError};

use super::key::read_secret;
use super::open::about;
use crate::SiteError;

/// The store at the place of an archive, with what it wants to know.
pub(super) fn open_store(settings: &Archive, cancel: &Cancel) -> Result<Box<dyn Store>, SiteError> {
    let location: Location = settings.location.to_string().parse().map_err(|error| {
        let text = format!("archive {}: the location is not understood", settings.name);
        SiteError::new(ErrorKind::Config, text).because(error)
    })?;
    let mut credentials = Credentials {
        region: settings.region.clone(),
        ca_certificate_file: settings.ca.clone(),
        ..Credentials::default()
    };
    if let Some(source) = &settings.access {
        let what = format!("the access of archive {}", settings.name);
        let secret = read_secret(source, &what, cancel)?;
        let pair = std::str::from_utf8(secret.expose()).ok().and_then(|text| text.split_once(':'));
        let Some((name, password)) = pair.filter(|(name, _)| !name.is_empty()) else {
            return Err(SiteError::new(ErrorKind::Key, format!("{what} has no `:` between name and secret"))
                .hint("write `user:password` for a REST server, `id:secret` for an S3 store, on one line"));
        };
        let (name, password) = (Some(name.to_owned()), Some(password.to_owned()));
        match settings.location {
            ArchiveLocation::S3 { .. } => {
                (credentials.access_key_id, credentials.secret_access_key) = (name, password);
            }
            _ => (credentials.user, credentials.password) = (name, password),
        }
    }
    store::open(&location, &credentials).map_err(|error| about(settings, RepositoryError::from(error)))
}
