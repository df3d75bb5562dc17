//! A certificate and its key: read, and judged before a client sees them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::hosts::written;

/// A certificate that cannot be used. The message says which file, why, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read or holds nothing of use.
    #[error("cannot use the {what} {}: {why}", path.display())]
    File {
        /// `certificate` or `key`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The key is that of another certificate.
    #[error("the key {} is not that of the certificate {}: name the two files that were made together", key.display(), certificate.display())]
    Mismatch {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// It is over.
    #[error("the certificate {} is over since {ended}: renew it", path.display())]
    Over {
        /// The certificate.
        path: PathBuf,
        /// When it ended.
        ended: Timestamp,
    },
    /// It is good from later on.
    #[error("the certificate {} is good from {begins} on only: is the clock of this machine right?", path.display())]
    Early {
        /// The certificate.
        path: PathBuf,
        /// When it begins.
        begins: Timestamp,
    },
    /// None could be made.
    #[error("cannot make a certificate in {}: {why}", folder.display())]
    Made {
        /// The folder.
        folder: PathBuf,
        /// Why.
        why: String,
    },
}

/// A certificate with its key, ready to be shown to clients.
#[derive(Debug)]
pub(super) struct Certificate {
    /// For rustls.
    pub key: Arc<CertifiedKey>,
    /// The host names and addresses in it, as they stand in requests.
    pub names: Vec<String>,
    /// When it ends.
    pub ends: Timestamp,
}

/// Our one provider of cryptography.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Reads a certificate, those that vouch for it, and its key. Both may be in one file.
///
/// # Errors
///
/// A [`CertificateError`] that names the file and what is wrong with it.
pub(super) fn read(certificate: &Path, key: &Path, now: Timestamp) -> Result<Certificate, CertificateError> {
    let chain = read_chain(certificate)?;
    let secret = read_key(key)?;
    let (names, begins, ends) = judge(certificate, &chain[0])?;
    if now >= ends {
        return Err(CertificateError::Over { path: certificate.to_owned(), ended: ends });
    }
    if now < begins {
        return Err(CertificateError::Early { path: certificate.to_owned(), begins });
    }
    let certified = CertifiedKey::from_der(chain, secret, &provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            CertificateError::Mismatch { certificate: certificate.to_owned(), key: key.to_owned() }
        }
        error => file_error("key", key, error),
    })?;
    Ok(Certificate { key: Arc::new(certified), names, ends })
}

fn file_error(what: &'static str, path: &Path, why: impl std::fmt::Display) -> CertificateError {
    CertificateError::File { what, path: path.to_owned(), why: why.to_string() }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let bytes = std::fs::read(path).map_err(|error| file_error("certificate", path, error))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| file_error("certificate", path, error))?;
    if found.is_empty() {
        return Err(file_error("certificate", path, "there is no -----BEGIN CERTIFICATE----- in it (PEM)"));
    }
    Ok(found)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let bytes = std::fs::read(path).map_err(|error| file_error("key", path, error))?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => {
            let locked = bytes.windows(9).any(|window| window == b"ENCRYPTED");
            let why = if locked {
                "it is locked with a passphrase: take the lock off (openssl pkey), the file is protected by its mode"
            } else {
                "there is no -----BEGIN PRIVATE KEY----- in it (PEM)"
            };
            file_error("key", path, why)
        }
        error => file_error("key", path, error),
    })
}

type Facts = (Vec<String>, Timestamp, Timestamp);

fn judge(path: &Path, der: &CertificateDer<'_>) -> Result<Facts, CertificateError> {
    let wrong = |why: &dyn std::fmt::Display| file_error("certificate", path, why);
    let (_, parsed) = X509Certificate::from_der(der).map_err(|error| wrong(&error))?;
    let validity = parsed.validity();
    let instant = |seconds| Timestamp::from_second(seconds).map_err(|error| wrong(&error));
    let (begins, ends) =
        (instant(validity.not_before.timestamp())?, instant(validity.not_after.timestamp())?);
    let found = parsed.subject_alternative_name().map_err(|error| wrong(&error))?;
    let names = found.iter().flat_map(|names| &names.value.general_names).filter_map(name_of).collect();
    Ok((names, begins, ends))
}

fn name_of(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(std::net::IpAddr::from);
            let v6 = <[u8; 16]>::try_from(*bytes).map(std::net::IpAddr::from);
            v4.or(v6).ok().map(written)
        }
        _ => None,
    }
}
