//! Requests to a web address: one try, within the deadline of the channel.

use std::path::{Path, PathBuf};

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, StatusCode, Url};
use zeroize::Zeroizing;

use super::{Secret, Trouble, chain};
use crate::words::shortened;

/// How much of what a server says of why not is kept, in bytes.
const COMPLAINT_MAX: usize = 2000;

/// A web address, and how to be let in.
#[derive(Debug, Clone)]
pub struct Web {
    /// The address. Whoever knows it may often use it, so it is not shown.
    pub url: Secret,
    /// What is sent as `Authorization`, or the token for it.
    pub authorization: Option<Secret>,
    /// A file (PEM) with the certificates of the authorities that vouch for the server, besides those that the machine knows.
    pub ca: Option<PathBuf>,
}

/// What is sent.
pub(super) struct Post {
    /// Segments that are added to the path of the address.
    pub below: &'static [&'static str],
    pub query: Option<(&'static str, String)>,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// What stands before the secret in `Authorization`.
    pub scheme: &'static str,
}

impl Web {
    /// Sends, and is content with any answer that means success.
    pub(super) async fn post(&self, post: Post) -> Result<(), Trouble> {
        let url = address(&self.url.get("the address").await?, &post)?;
        let mut headers = post.headers;
        if let Some(secret) = &self.authorization {
            if url.scheme() == "http" && !is_this_machine(&url) {
                return Err(Trouble::new(
                    "what authorises is not sent over a line that is not protected",
                    "Give an address with https://.",
                ));
            }
            let secret = secret.get("what authorises").await?;
            let value = Zeroizing::new(format!("{}{}", post.scheme, secret.as_str()));
            let mut value = HeaderValue::from_str(&value).map_err(|_| {
                Trouble::new(
                    "what authorises has characters that cannot be sent",
                    "Mend where it comes from.",
                )
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let client = client(&url, self.ca.clone()).await?;
        let sent = client.post(url).headers(headers).body(post.body).send().await;
        let mut response = sent.map_err(|error| line_trouble(error.without_url()))?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let mut complaint = Vec::new();
        while complaint.len() < COMPLAINT_MAX
            && let Ok(Some(bytes)) = response.chunk().await
        {
            complaint.extend(&bytes);
        }
        Err(answer_trouble(status, &String::from_utf8_lossy(&complaint)))
    }
}

/// The header with a text that is known to fit.
pub(super) fn header(name: &'static str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    Some((HeaderName::from_static(name), HeaderValue::from_str(value).ok()?))
}

fn address(text: &str, post: &Post) -> Result<Url, Trouble> {
    let wrong = |what: String| Trouble::new(what, "Write it like https://host.example.org/path.");
    let mut url = Url::parse(text).map_err(|error| wrong(format!("the address cannot be read: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(wrong("the address is not one of a web server".into()));
    }
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(post.below);
    }
    if let Some((name, value)) = &post.query {
        url.query_pairs_mut().append_pair(name, value);
    }
    Ok(url)
}

fn is_this_machine(url: &Url) -> bool {
    matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"))
}

/// A client for one request: certificates are read anew each time, and notices are rare.
async fn client(url: &Url, ca: Option<PathBuf>) -> Result<Client, Trouble> {
    let url = url.clone();
    let built = tokio::task::spawn_blocking(move || build(&url, ca.as_deref())).await;
    built.unwrap_or_else(|_| Err(Trouble::passing("it was ended", "Try again.")))
}

fn build(url: &Url, ca: Option<&Path>) -> Result<Client, Trouble> {
    // Whoever comes first installs it, and it is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("stillpoint/", env!("CARGO_PKG_VERSION")))
        // Where it leads, our secrets were not meant for.
        .redirect(Policy::none())
        .referer(false)
        .http1_only();
    if url.scheme() == "http" {
        // No authorities are looked up where none will be asked.
        builder = builder.tls_certs_only([]);
    } else if let Some(file) = ca {
        let certificates = authorities(file, Certificate::from_pem_bundle)?;
        builder = builder.tls_certs_merge(certificates);
    }
    if is_this_machine(url) {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| Trouble::new(chain(&error), "See what the error names."))
}

/// The certificates in a file.
pub(super) fn authorities<T, E: std::fmt::Display>(
    file: &Path,
    read: impl FnOnce(&[u8]) -> Result<Vec<T>, E>,
) -> Result<Vec<T>, Trouble> {
    let shown = file.display();
    let remedy =
        "Give a file with certificates in PEM, or leave it out where the machine knows the authority.";
    let pem = std::fs::read(file)
        .map_err(|error| Trouble::new(format!("{shown} cannot be read: {error}"), remedy))?;
    match read(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(Trouble::new(format!("{shown} holds no certificates"), remedy)),
        Err(error) => Err(Trouble::new(format!("{shown} holds no certificates: {error}"), remedy)),
    }
}

fn line_trouble(error: reqwest::Error) -> Trouble {
    let text = chain(&error);
    if text.contains("certificate") {
        return Trouble::new(text, CERTIFICATE_REMEDY);
    }
    Trouble::passing(text, "Is the server up, can it be reached from here, and is the address right?")
}

/// What to do when a certificate is not trusted.
pub(super) const CERTIFICATE_REMEDY: &str = "Give the certificate of the authority that vouches for the server in `ca`, and use the name that is in the certificate.";

fn answer_trouble(status: StatusCode, complaint: &str) -> Trouble {
    let complaint = shortened(complaint.trim(), 300);
    let colon = if complaint.is_empty() { "" } else { ": " };
    let what = format!("it answered {status}{colon}{complaint}");
    match status.as_u16() {
        300..=399 => Trouble::new(what, "Give the address that it leads to."),
        401 | 403 | 407 => Trouble::new(what, "Check what authorises."),
        404 | 405 | 410 => Trouble::new(what, "Check the address."),
        408 | 429 | 500.. => Trouble::passing(what, "See what the server has; it is tried again."),
        _ => Trouble::new(what, "Check the address, and that it is meant for this."),
    }
}
