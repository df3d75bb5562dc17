//! A small web server on loopback that writes down what it is asked and answers as it is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// Such as `POST /path?query`.
    pub line: String,
    /// By name in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
}

/// What it answers with.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// This status, and this body.
    Status(u16, &'static str),
    /// Nothing: it keeps the line open.
    Hang,
}

pub struct Server {
    pub url: String,
    requests: Arc<Mutex<Vec<Request>>>,
    answer: Arc<Mutex<Answer>>,
    task: JoinHandle<()>,
}

impl Server {
    pub async fn new(answer: Answer) -> Self {
        Self::with(answer, None).await
    }

    /// One with a certificate for 127.0.0.1 from an authority of our own, whose certificate (PEM) comes with it.
    pub async fn with_tls(answer: Answer) -> (Self, String) {
        let pair = certificates("127.0.0.1");
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![pair.certificate], pair.key)
            .unwrap();
        (Self::with(answer, Some(TlsAcceptor::from(Arc::new(config)))).await, pair.ca_pem)
    }

    async fn with(answer: Answer, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::new(Mutex::new(answer));
        let (kept, told) = (Arc::clone(&requests), Arc::clone(&answer));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (kept, told, tls) = (Arc::clone(&kept), Arc::clone(&told), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &kept, &told).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &kept, &told).await;
                            }
                        }
                    }
                });
            }
        });
        Self { url, requests, answer, task }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub fn answer_from_now_on(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// Waits until it was asked that often.
    pub async fn wait_for(&self, count: usize) {
        for _ in 0..6000 {
            if self.requests().len() >= count {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("{count} requests were expected: {:#?}", self.requests());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    kept: &Mutex<Vec<Request>>,
    told: &Mutex<Answer>,
) {
    let Some(request) = read(&mut stream).await else { return };
    kept.lock().unwrap().push(request);
    let answer = *told.lock().unwrap();
    match answer {
        Answer::Status(status, body) => {
            let head =
                format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
            let place = if status / 100 == 3 { "Location: http://127.0.0.1:1/\r\n" } else { "" };
            let _ = stream.write_all(format!("{head}{place}\r\n{body}").as_bytes()).await;
            let _ = stream.shutdown().await;
        }
        Answer::Hang => {
            // Until the other side gives up.
            let _ = stream.read(&mut [0]).await;
        }
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Request> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        bytes.push(stream.read_u8().await.ok()?);
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).ok()?;
    let mut lines = head.split("\r\n");
    let line = lines.next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Request { line, headers, body: String::from_utf8(body).unwrap() })
}

/// A certificate for a host, and who vouches for it.
pub struct Certificates {
    pub ca_pem: String,
    pub certificate: CertificateDer<'static>,
    pub certificate_pem: String,
    pub key: PrivateKeyDer<'static>,
    pub key_pem: String,
}

pub fn certificates(host: &str) -> Certificates {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let signed = CertificateParams::new(vec![host.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    Certificates {
        ca_pem,
        certificate: signed.der().clone(),
        certificate_pem: signed.pem(),
        key_pem: key.serialize_pem(),
        key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
    }
}
