//! Requests over HTTP: asked again where it helps, given up when no byte moves, and answered whole or not at all.

mod body;
mod trouble;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE, TRANSFER_ENCODING};
use http::{HeaderMap, Method};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Response};
use tokio::runtime::Runtime;

use self::body::CountedBody;
pub use self::trouble::HttpTrouble;
use super::{Credentials, Patience, StoreError, StoreErrorKind};

/// How much of an answer that is not the wanted one is looked at, in bytes.
const LONGEST_COMPLAINT: usize = 64 * 1024;

/// What to ask for.
#[derive(Clone)]
pub struct Request {
    pub method: Method,
    pub url: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// The head of an answer that is the wanted one.
pub struct Head {
    pub status: http::StatusCode,
    pub headers: HeaderMap,
}

/// Takes the body of the wanted answer in. What it says against the body is a lie of the server.
pub trait Intake: Send {
    /// A body follows. What came before was cut short.
    fn begin(&mut self, head: &Head) -> Result<(), String>;

    /// The next bytes.
    fn take(&mut self, bytes: &[u8]) -> Result<(), String>;

    /// The body is whole.
    fn finish(&mut self) -> Result<(), String>;
}

/// A client with a small runtime of its own, for callers that have none.
pub struct Http {
    client: Client,
    /// Nothing only while it is dropped.
    runtime: Option<Runtime>,
    patience: Patience,
}

impl Http {
    /// A client for the server of `url`.
    pub fn new(
        url: &str,
        name: &str,
        credentials: &Credentials,
        patience: Patience,
    ) -> Result<Self, StoreError> {
        let failed =
            |error: String| StoreError::new(StoreErrorKind::Other, "reach", url, name).because(error);
        // Whoever comes first installs it, and it is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .user_agent(concat!("stillpoint/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .referer(false)
            .http1_only()
            .connect_timeout(patience.connect)
            .pool_idle_timeout(Duration::from_secs(20))
            .tcp_keepalive(Duration::from_secs(30));
        let is_plain = url.starts_with("http://");
        if is_plain {
            // No authorities are looked up where none will be asked.
            builder = builder.tls_certs_only([]);
        } else if let Some(file) = &credentials.ca_certificate_file {
            let shown = file.display();
            let pem =
                std::fs::read(file).map_err(|error| failed(format!("{shown} cannot be read: {error}")))?;
            let certificates = Certificate::from_pem_bundle(&pem);
            let certificates =
                certificates.map_err(|error| failed(format!("{shown} holds no certificates: {error}")))?;
            if certificates.is_empty() {
                return Err(failed(format!("{shown} holds no certificates")));
            }
            builder = builder.tls_certs_merge(certificates);
        }
        if is_plain && ["127.0.0.1", "localhost", "[::1]"].iter().any(|host| url[7..].starts_with(host)) {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| failed(trouble::chain(&error)))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("store-http")
            .enable_all()
            .build()
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self { client, runtime: Some(runtime), patience })
    }

    /// Waits for what is done.
    pub fn wait_for<F: Future>(&self, future: F) -> F::Output {
        match &self.runtime {
            Some(runtime) => runtime.block_on(future),
            None => unreachable!("the runtime goes with the value"),
        }
    }

    /// The part that does the asking, to be kept elsewhere.
    pub fn asker(&self) -> Asker {
        Asker { client: self.client.clone(), patience: self.patience }
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A look-up of a name that hangs is not waited for.
            runtime.shutdown_background();
        }
    }
}

/// Asks, and asks again.
#[derive(Clone)]
pub struct Asker {
    client: Client,
    patience: Patience,
}

impl Asker {
    /// Carries out a request, again where the failure may pass.
    pub async fn ask(&self, request: &Request, intake: &mut dyn Intake) -> Result<Head, HttpTrouble> {
        let mut pauses = self.patience.pauses();
        let mut again = false;
        loop {
            let trouble = match self.ask_once(request, intake).await {
                Ok(head) => return Ok(head),
                Err(trouble) => trouble,
            };
            let pause = if trouble.passes { pauses.next() } else { None };
            let Some(pause) = pause else { return Err(HttpTrouble { again, ..trouble }) };
            let (method, reason) = (request.method.as_str(), trouble.text.as_str());
            tracing::warn!(method, url = request.url, reason, "the request failed and is made again");
            again = true;
            tokio::time::sleep(pause).await;
        }
    }

    async fn ask_once(&self, request: &Request, intake: &mut dyn Intake) -> Result<Head, HttpTrouble> {
        let moved = Arc::new(AtomicU64::new(0));
        let Request { method, url, headers, body } = request;
        let mut builder = self.client.request(method.clone(), url).headers(headers.clone());
        if !body.is_empty() {
            builder = builder.body(reqwest::Body::wrap(CountedBody::new(body.clone(), Arc::clone(&moved))));
        } else if *method == Method::POST || *method == Method::PUT {
            builder = builder.header(CONTENT_LENGTH, 0);
        }
        let sent = self.while_it_moves(&moved, builder.send()).await?;
        let mut response = sent.map_err(|error| HttpTrouble::line(&error))?;
        let status = response.status();
        if !status.is_success() {
            let text = self.complaint(&mut response, &moved).await;
            return Err(HttpTrouble::answer(status, &text));
        }
        if *method == Method::HEAD {
            return Ok(Head { status, headers: std::mem::take(response.headers_mut()) });
        }
        let head = Head { status, headers: response.headers().clone() };
        // That the file is shorter than it must be does not pass.
        let lasting_lie = |text| HttpTrouble { passes: false, ..HttpTrouble::lie(text) };
        let expected = expected_length(request, &head).map_err(lasting_lie)?;
        intake.begin(&head).map_err(HttpTrouble::lie)?;
        let mut length = 0;
        while let Some(bytes) = self.next_bytes(&mut response, &moved).await? {
            length += bytes.len() as u64;
            intake.take(&bytes).map_err(HttpTrouble::lie)?;
        }
        if let Some(expected) = expected.filter(|expected| *expected != length) {
            return Err(lasting_lie(format!("it sent {length} bytes instead of {expected}")));
        }
        intake.finish().map_err(HttpTrouble::lie)?;
        Ok(head)
    }

    async fn next_bytes(
        &self,
        response: &mut Response,
        moved: &AtomicU64,
    ) -> Result<Option<Bytes>, HttpTrouble> {
        let chunk = self.while_it_moves(moved, response.chunk()).await?;
        chunk.map_err(|error| HttpTrouble::line(&error))
    }

    /// What the server says of why not. Trouble with it matters less than what it is about.
    async fn complaint(&self, response: &mut Response, moved: &AtomicU64) -> Vec<u8> {
        let mut text = Vec::new();
        while text.len() < LONGEST_COMPLAINT
            && let Ok(Some(bytes)) = self.next_bytes(response, moved).await
        {
            text.extend(&bytes);
        }
        text.truncate(LONGEST_COMPLAINT);
        text
    }

    /// Gives up when for the time of `idle` nothing was sent and nothing came.
    async fn while_it_moves<F: Future>(
        &self,
        moved: &AtomicU64,
        future: F,
    ) -> Result<F::Output, HttpTrouble> {
        let mut future = pin!(future);
        loop {
            let before = moved.load(Ordering::Relaxed);
            match tokio::time::timeout(self.patience.idle, &mut future).await {
                Ok(done) => return Ok(done),
                Err(_) if moved.load(Ordering::Relaxed) != before => {}
                Err(_) => return Err(HttpTrouble::silence(self.patience.idle)),
            }
        }
    }
}

/// How long the body must be, where that is known, in bytes. Where a part was asked for it must be that part.
fn expected_length(request: &Request, head: &Head) -> Result<Option<u64>, String> {
    let Some(asked) = request.headers.get(RANGE).and_then(|range| range.to_str().ok()) else {
        // One that ends where the connection ends cannot be told from one that was cut short.
        let has_end =
            head.headers.contains_key(CONTENT_LENGTH) || head.headers.contains_key(TRANSFER_ENCODING);
        let has_body = head.status != http::StatusCode::NO_CONTENT;
        return if has_end || !has_body { Ok(None) } else { Err("it does not tell the length".to_owned()) };
    };
    if head.status != http::StatusCode::PARTIAL_CONTENT {
        return Err("it sent the whole file instead of a part".to_owned());
    }
    let given = head.headers.get(CONTENT_RANGE).and_then(|range| range.to_str().ok()).unwrap_or_default();
    let given = given.trim_start_matches("bytes ").split('/').next().unwrap_or_default();
    let asked = asked.trim_start_matches("bytes=");
    if asked != given {
        return Err(format!("it sent the bytes {given:?} instead of {asked}"));
    }
    let ends =
        asked.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    Ok(ends.map(|(first, last): (u64, u64)| last - first + 1))
}

/// Takes a whole body in, up to a limit.
#[derive(Default)]
pub struct Whole(pub Vec<u8>);

/// No file of a repository is as long as that, in bytes.
const LONGEST_BODY: u64 = 4 << 30;

impl Intake for Whole {
    fn begin(&mut self, head: &Head) -> Result<(), String> {
        self.0.clear();
        let length =
            head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        let length = length.unwrap_or_default();
        if length > LONGEST_BODY {
            return Err(format!("it has {length} bytes"));
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.0.try_reserve_exact(length).map_err(|_| format!("its {length} bytes do not fit into memory"))
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), String> {
        if (self.0.len() + bytes.len()) as u64 > LONGEST_BODY {
            return Err(format!("it has more than {LONGEST_BODY} bytes"));
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// The length that the head of an answer tells, in bytes.
pub fn told_length(head: &Head) -> Option<u64> {
    head.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The header for a part of a file. Nothing for an empty part, which HTTP cannot ask for.
pub fn range_header(range: &std::ops::Range<u64>) -> Option<String> {
    (range.start < range.end).then(|| format!("bytes={}-{}", range.start, range.end - 1))
}
