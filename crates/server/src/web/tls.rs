//! TLS with a certificate that can be exchanged while connections go on.

use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};

use super::certificate::{Certificate, CertificateError, provider, read};
use crate::access::Clock;

/// Where the certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsFrom {
    /// Files of the user, in PEM.
    Files {
        /// The certificate, and those that vouch for it.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// One that we make, that vouches for itself.
    Made {
        /// A private folder to keep it in.
        folder: PathBuf,
        /// The host names and addresses in it.
        names: Vec<String>,
    },
}

/// The name of what we make, in its folder. Certificate and key are in one file, so that they are exchanged at once.
const MADE: &str = "console.pem";

/// How long what we make is good, and how long before its end a new one is made, in days.
const GOOD_FOR: i64 = 398;
const RENEWED_BEFORE: i64 = 30;

/// The certificate that clients are shown.
pub struct Tls {
    from: TlsFrom,
    clock: Clock,
    now: RwLock<Arc<Certificate>>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("from", &self.from).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the certificate, or makes one. Blocks.
    ///
    /// # Errors
    ///
    /// A [`CertificateError`] that says what is wrong with which file.
    pub fn open(from: TlsFrom, clock: Clock) -> Result<Arc<Self>, CertificateError> {
        let first = take_up(&from, clock())?;
        Ok(Arc::new(Self { from, clock, now: RwLock::new(Arc::new(first)) }))
    }

    /// Reads the files again; what we make is made anew when it ends soon. With an error the old one stays in force. Blocks.
    ///
    /// # Errors
    ///
    /// As [`Tls::open`].
    pub fn reload(&self) -> Result<(), CertificateError> {
        let next = take_up(&self.from, (self.clock)())?;
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        Ok(())
    }

    /// Makes what we make anew when it ends soon; files of the user are read again when they say so. Blocks.
    pub(super) fn renew(&self) {
        if matches!(self.from, TlsFrom::Made { .. })
            && let Err(error) = self.reload()
        {
            tracing::error!("the certificate of the console is not renewed: {error}");
        }
    }

    fn current(&self) -> Arc<Certificate> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The host names and addresses in the certificate, as they stand in requests.
    pub fn names(&self) -> Vec<String> {
        self.current().names.clone()
    }

    /// When the certificate ends.
    pub fn ends(&self) -> Timestamp {
        self.current().ends
    }

    /// The SHA-256 of the certificate as browsers show it, to compare by eye.
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::digest(self.current().key.cert.first().map_or(&[][..], |first| first.as_ref()));
        digest.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
    }

    /// The settings for connections: TLS 1.2 and 1.3, HTTP/2 before HTTP/1.1.
    ///
    /// # Errors
    ///
    /// Never with the provider that is built in.
    pub(super) fn settings(self: &Arc<Self>) -> Result<Arc<ServerConfig>, rustls::Error> {
        let settings =
            ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let shown = Shown(self.clone());
        let mut settings = settings.with_no_client_auth().with_cert_resolver(Arc::new(shown));
        settings.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(settings))
    }
}

#[derive(Debug)]
struct Shown(Arc<Tls>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current().key.clone())
    }
}

fn take_up(from: &TlsFrom, now: Timestamp) -> Result<Certificate, CertificateError> {
    match from {
        TlsFrom::Files { certificate, key } => read(certificate, key, now),
        TlsFrom::Made { folder, names } => {
            let path = folder.join(MADE);
            let wanted = names_in_requests(names);
            let good_until = now.saturating_add(SignedDuration::from_hours(24 * RENEWED_BEFORE));
            // Whatever is wrong with the one that is there: it is ours, so a new one takes its place.
            if let Ok(found) = read(&path, &path, now)
                && found.names == wanted
                && good_until.is_ok_and(|until| found.ends > until)
            {
                return Ok(found);
            }
            make(folder, names, now)
                .map_err(|why| CertificateError::Made { folder: folder.clone(), why: why.to_string() })?;
            read(&path, &path, now)
        }
    }
}

fn names_in_requests(names: &[String]) -> Vec<String> {
    let written = |name: &String| {
        name.parse::<IpAddr>().map_or_else(|_| name.to_ascii_lowercase(), super::hosts::written)
    };
    names.iter().map(written).collect()
}

fn make(folder: &Path, names: &[String], now: Timestamp) -> Result<(), Box<dyn std::error::Error>> {
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name.push(DnType::CommonName, "Stillpoint console");
    // A day before now, for clients whose clock is late.
    let [begins, ends] = [-1, GOOD_FOR].map(|days| day_after(now, days));
    params.not_before = rcgen::date_time_ymd(begins.0, begins.1, begins.2);
    params.not_after = rcgen::date_time_ymd(ends.0, ends.1, ends.2);
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let text = params.self_signed(&key)?.pem() + &key.serialize_pem();
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut file = tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(0o600))
        .prefix(".console-")
        .tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(folder.join(MADE))?;
    std::fs::File::open(folder)?.sync_all()?;
    Ok(())
}

/// Year, month and day in UTC, so many days after an instant.
fn day_after(now: Timestamp, days: i64) -> (i32, u8, u8) {
    let at = now.saturating_add(SignedDuration::from_hours(24 * days)).unwrap_or(now);
    let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
    (i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
}
