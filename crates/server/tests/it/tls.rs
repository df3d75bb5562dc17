//! TLS: what is shown to clients, how it is exchanged, and every mistake in the files.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use stillpoint_server::access::Role;
use stillpoint_server::web::{Limits, Tls, TlsFrom};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::client::{request, talk};
use crate::ground::{Ground, TestClock};

struct Pair {
    certificate: PathBuf,
    key: PathBuf,
}

/// Certificate and key in PEM, good from and until so many days from now.
fn pair(folder: &Path, name: &str, days: (i64, i64)) -> Pair {
    let mut params =
        CertificateParams::new(vec!["localhost".to_owned(), "*.example.org".to_owned()]).unwrap();
    let day = |days: i64| {
        let at = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days);
        let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
        (i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    let (begin, end) = (day(days.0), day(days.1));
    params.not_before = rcgen::date_time_ymd(begin.0, begin.1, begin.2);
    params.not_after = rcgen::date_time_ymd(end.0, end.1, end.2);
    let key = KeyPair::generate().unwrap();
    let pair =
        Pair { certificate: folder.join(format!("{name}.crt")), key: folder.join(format!("{name}.key")) };
    std::fs::write(&pair.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(&pair.key, key.serialize_pem()).unwrap();
    pair
}

fn files(certificate: &Path, key: &Path) -> TlsFrom {
    TlsFrom::Files { certificate: certificate.to_owned(), key: key.to_owned() }
}

async fn connect(to: SocketAddr, trusted: &Path, alpn: &[&[u8]]) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(trusted).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut settings = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    settings.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(settings));
    let name = ServerName::try_from("localhost").unwrap();
    connector.connect(name, TcpStream::connect(to).await.unwrap()).await
}

#[test]
fn every_mistake_in_the_files_is_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let (good, other) = (pair(folder.path(), "good", (-1, 90)), pair(folder.path(), "other", (-1, 90)));
    let (old, new) = (pair(folder.path(), "old", (-90, -1)), pair(folder.path(), "new", (2, 90)));
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let empty = write("empty.pem", "");
    let locked = write(
        "locked.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let nonsense = write("nonsense.crt", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
    let broken = write("broken.crt", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n");
    let missing = folder.path().join("missing.pem");
    let cases: [(&Path, &Path, &[&str]); 10] = [
        (&missing, &good.key, &["cannot use the certificate", "missing.pem", "No such file"]),
        (&good.certificate, &missing, &["cannot use the key", "missing.pem", "No such file"]),
        (&empty, &good.key, &["empty.pem", "no -----BEGIN CERTIFICATE-----"]),
        (&good.certificate, &empty, &["empty.pem", "no -----BEGIN PRIVATE KEY-----"]),
        (&good.certificate, &locked, &["locked.key", "passphrase"]),
        (&nonsense, &good.key, &["cannot use the certificate", "nonsense.crt"]),
        (&broken, &good.key, &["cannot use the certificate", "broken.crt"]),
        (&good.certificate, &other.key, &["other.key", "is not that of the certificate", "good.crt"]),
        (&old.certificate, &old.key, &["old.crt", "is over since", "renew it"]),
        (&new.certificate, &new.key, &["new.crt", "is good from", "clock"]),
    ];
    for (certificate, key, words) in cases {
        let error = Tls::open(files(certificate, key), TestClock::new().as_clock()).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "{word:?} is not in {error:?}");
        }
        assert!(!error.contains('\n'), "{error}");
    }
    Tls::open(files(&good.certificate, &good.key), TestClock::new().as_clock()).unwrap();
}

#[tokio::test]
async fn a_new_certificate_is_shown_after_a_reload_and_a_bad_one_never() {
    let folder = tempfile::tempdir().unwrap();
    let pair_now = pair(folder.path(), "console", (-1, 90));
    let from = files(&pair_now.certificate, &pair_now.key);
    let ground = Ground::with(Some(from), Limits::default()).await;
    let tls = ground.tls.clone().unwrap();
    let old = folder.path().join("first.crt");
    std::fs::copy(&pair_now.certificate, &old).unwrap();
    connect(ground.address, &old, &[]).await.unwrap();
    // A key that does not fit is refused, and the old certificate is still shown.
    let before = tls.fingerprint();
    let next = pair(folder.path(), "next", (-1, 90));
    std::fs::copy(&next.key, &pair_now.key).unwrap();
    assert!(tls.reload().unwrap_err().to_string().contains("is not that of the certificate"));
    assert_eq!(tls.fingerprint(), before);
    connect(ground.address, &old, &[]).await.unwrap();
    std::fs::copy(&next.certificate, &pair_now.certificate).unwrap();
    tls.reload().unwrap();
    assert_ne!(tls.fingerprint(), before);
    connect(ground.address, &next.certificate, &[]).await.unwrap();
    assert!(connect(ground.address, &old, &[]).await.is_err());
}

#[tokio::test]
async fn with_tls_cookies_are_for_tls_only_and_the_browser_is_told_to_stay() {
    let folder = tempfile::tempdir().unwrap();
    let own = pair(folder.path(), "console", (-1, 90));
    let ground = Ground::with(Some(files(&own.certificate, &own.key)), Limits::default()).await;
    ground.add("anna", Role::Reader);
    let body = "name=anna&password=four+words+by+chance";
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let stream = connect(ground.address, &own.certificate, &[b"http/1.1"]).await.unwrap();
    let answer = talk(stream, &request("POST", "/sign-in", &form, body)).await;
    assert_eq!(answer.status, 303, "{answer:?}");
    let cookie = answer.header("set-cookie");
    for part in ["__Host-stillpoint-P01=", "; Secure", "; HttpOnly", "; SameSite=Strict", "; Path=/"] {
        assert!(cookie.contains(part), "{part} is not in {cookie}");
    }
    assert!(answer.header("strict-transport-security").starts_with("max-age="));
    // The names of the certificate are names of the server.
    for (host, status) in [("console.example.org", 200), ("a.console.example.org", 421), ("example.com", 421)]
    {
        let stream = connect(ground.address, &own.certificate, &[]).await.unwrap();
        let answer = talk(stream, &request("GET", "/health", &[("host", host)], "")).await;
        assert_eq!(answer.status, status, "{host}");
    }
}

#[tokio::test]
async fn who_wants_http_2_gets_it() {
    let folder = tempfile::tempdir().unwrap();
    let own = pair(folder.path(), "console", (-1, 90));
    let ground = Ground::with(Some(files(&own.certificate, &own.key)), Limits::default()).await;
    let mut stream = connect(ground.address, &own.certificate, &[b"h2", b"http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    // The preface and an empty SETTINGS frame; the first frame of the server is SETTINGS, too (RFC 9113, 3.4).
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut frame = [0; 9];
    tokio::time::timeout(crate::client::LIMIT, stream.read_exact(&mut frame)).await.unwrap().unwrap();
    assert_eq!(frame[3], 4, "{frame:?}");
}

#[test]
fn what_we_make_is_private_kept_and_renewed_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let (place, clock) = (folder.path().join("tls"), TestClock::new());
    let from = |names: &[&str]| TlsFrom::Made {
        folder: place.clone(),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
    };
    let open = |names: &[&str]| Tls::open(from(names), clock.as_clock()).unwrap();
    let first = open(&["backup.example.org", "192.0.2.7"]);
    assert_eq!(first.names(), ["backup.example.org", "192.0.2.7"]);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&place), mode(&place.join("console.pem"))), (0o700, 0o600));
    assert_eq!(open(&["backup.example.org", "192.0.2.7"]).fingerprint(), first.fingerprint());
    // Other names, and one that is damaged: a new one.
    let other = open(&["other.example.org"]);
    assert_ne!(other.fingerprint(), first.fingerprint());
    std::fs::write(place.join("console.pem"), "nonsense").unwrap();
    let mended = open(&["other.example.org"]);
    assert_ne!(mended.fingerprint(), other.fingerprint());
    // It goes on until a month before its end; then a reload makes another, while the first is still good.
    let kept = mended.fingerprint();
    clock.later(24 * 3600 * 360);
    mended.reload().unwrap();
    assert_eq!(mended.fingerprint(), kept);
    clock.later(24 * 3600 * 10);
    mended.reload().unwrap();
    assert_ne!(mended.fingerprint(), kept);
    let unwritable = TlsFrom::Made { folder: "/proc/nowhere".into(), names: vec!["localhost".into()] };
    let error = Tls::open(unwritable, clock.as_clock()).unwrap_err().to_string();
    assert!(error.contains("/proc/nowhere"), "{error}");
}
