//! A store in an S3 bucket. Signatures and the pages of lists are opendal's, the requests go out through our own client: opendal's layers
//! take a page of HTML for an empty list, lose some codes, and limit the time of a whole transfer.

use std::ops::Range;

use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream;
use opendal::services::S3;
use opendal::{Buffer, HttpBody, HttpTransport, HttpTransporter, OperationContext, Operator};

use super::http::{Asker, Head, Http, HttpTrouble, Intake, Request, Whole, told_length};
use super::{Credentials, FileKind, FileName, Patience, Store, StoreError, StoreErrorKind};
use crate::id::Id;

/// What lies below a prefix in a bucket.
pub struct S3Store {
    http: Http,
    operator: Operator,
    name: String,
}

impl std::fmt::Debug for S3Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Store").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Where the files lie: the parts of [`Location::S3`](crate::Location::S3).
#[derive(Debug, Clone, Copy)]
pub struct S3Place<'a> {
    /// `https://host[:port]`, or with `http`.
    pub endpoint: &'a str,
    /// The bucket.
    pub bucket: &'a str,
    /// What all names begin with.
    pub prefix: &'a str,
}

impl S3Store {
    /// The store there. Nothing is asked before the first act. `address` is what people know it by.
    ///
    /// # Errors
    ///
    /// There is no key in the credentials, or a file that they name cannot be read.
    pub fn new(
        place: S3Place<'_>,
        address: &str,
        credentials: &Credentials,
        patience: Patience,
    ) -> Result<Self, StoreError> {
        let name = format!("the archive at {address}");
        let failed = |kind, text: String| StoreError::new(kind, "open", place.bucket, &name).because(text);
        let (Some(key), Some(secret)) = (&credentials.access_key_id, &credentials.secret_access_key) else {
            let error = failed(StoreErrorKind::Denied, "no access key is given".to_owned());
            return Err(error.with_hint("Put access key and secret key into the credentials file."));
        };
        let http = Http::new(place.endpoint, &name, credentials, patience)?;
        let mut service = S3::default()
            .endpoint(place.endpoint)
            .bucket(place.bucket)
            .root(&format!("/{}", place.prefix))
            .region(credentials.region.as_deref().unwrap_or("us-east-1"))
            .access_key_id(key)
            .secret_access_key(secret)
            .disable_config_load()
            .disable_ec2_metadata();
        if let Some(token) = &credentials.session_token {
            service = service.session_token(token);
        }
        if place.endpoint.starts_with("http://") {
            // TLS would notice what the line does to the bytes.
            service = service.checksum_algorithm("crc32c");
        }
        let operator =
            Operator::new(service).map_err(|error| failed(StoreErrorKind::Other, error.to_string()))?;
        let context =
            OperationContext::new().with_http_transport(HttpTransporter::new(Transport(http.asker())));
        Ok(Self { http, operator: operator.with_context(context), name })
    }

    fn failed(&self, act: &'static str, what: impl std::fmt::Display, error: opendal::Error) -> StoreError {
        let Some(trouble) = trouble_of(&error) else {
            return StoreError::new(StoreErrorKind::Other, act, what, &self.name).because(error.to_string());
        };
        let failed = StoreError::new(trouble.kind, act, what, &self.name).because(trouble.text.clone());
        match trouble.hint {
            Some(hint) => failed.with_hint(hint),
            None => failed,
        }
    }

    /// The same, but that there is no bucket where this is why there is no file: the answer to a question for the head alone does
    /// not tell.
    fn or_no_store(&self, error: StoreError) -> StoreError {
        if error.kind != StoreErrorKind::NotFound {
            return error;
        }
        match self.look_for_bucket() {
            Err(none) if none.kind == StoreErrorKind::NoStore => none,
            // One who may not list learns no more than that there is no such file.
            _ => StoreError { source: None, ..error },
        }
    }

    fn look_for_bucket(&self) -> Result<(), StoreError> {
        let first = self.http.wait_for(async {
            let mut lister = self.operator.lister_with("keys/").limit(1).recursive(true).await?;
            lister.try_next().await
        });
        first.map(drop).map_err(|error| {
            let error = self.failed("look at", "the bucket", error);
            match error.kind {
                StoreErrorKind::NotFound | StoreErrorKind::NoStore => {
                    StoreError { kind: StoreErrorKind::NoStore, source: None, ..error }
                        .with_hint("Make the bucket first.")
                }
                _ => error,
            }
        })
    }

    fn put(&self, file: FileName, content: &Bytes, only_new: bool) -> Result<(), opendal::Error> {
        let path = file.to_string();
        let written = self.operator.write_with(&path, content.clone()).if_not_exists(only_new);
        self.http.wait_for(async { written.await }).map(drop)
    }

    /// After an answer that may be to an earlier try of our own: whether what lies there is what we wrote.
    fn is_ours(&self, file: FileName, content: &[u8]) -> Result<bool, StoreError> {
        Ok(self.read(file, None)? == content)
    }
}

impl Store for S3Store {
    fn name(&self) -> &str {
        &self.name
    }

    fn create(&self) -> Result<(), StoreError> {
        // Nothing has to be made in a bucket, and the bucket itself is for its owner to make.
        self.look_for_bucket()
    }

    fn read(&self, file: FileName, range: Option<Range<u64>>) -> Result<Vec<u8>, StoreError> {
        let path = file.to_string();
        if range.as_ref().is_some_and(|range| range.is_empty()) {
            return self.stat(file).map(|_| Vec::new());
        }
        let reader = self.operator.read_with(&path);
        let read = match range {
            Some(range) => self.http.wait_for(async { reader.range(range).await }),
            None => self.http.wait_for(async { reader.await }),
        };
        let read = read.map_err(|error| self.failed("read", file, error));
        read.map(|content| content.to_vec()).map_err(|error| self.or_no_store(error))
    }

    fn write_new(&self, file: FileName, content: &[u8]) -> Result<(), StoreError> {
        let content = Bytes::copy_from_slice(content);
        let exists = || StoreError::new(StoreErrorKind::AlreadyExists, "write", file, &self.name);
        // Not every service minds the condition of the request. All other names are made of the content or of chance.
        if file == FileName::Config && self.has(file)? {
            return Err(exists());
        }
        let Err(error) = self.put(file, &content, true) else { return Ok(()) };
        let trouble = trouble_of(&error).cloned();
        let error = self.or_no_store(self.failed("write", file, error));
        let Some(trouble) = trouble else { return Err(error) };
        if trouble.status == Some(501) {
            // The service says that it does not know the condition.
            if self.has(file)? {
                return Err(exists());
            }
            return self.put(file, &content, false).map_err(|error| self.failed("write", file, error));
        }
        if trouble.kind == StoreErrorKind::AlreadyExists && trouble.again && self.is_ours(file, &content)? {
            return Ok(());
        }
        Err(if trouble.kind == StoreErrorKind::AlreadyExists { exists() } else { error })
    }

    fn list(&self, kind: FileKind, found: &mut dyn FnMut(Id, u64)) -> Result<(), StoreError> {
        let listed = self.http.wait_for(async {
            let folder = format!("{}/", kind.folder());
            let mut lister = self.operator.lister_with(&folder).recursive(true).await?;
            while let Some(entry) = lister.try_next().await? {
                let id = entry.path().rsplit('/').next().and_then(|name| name.parse::<Id>().ok());
                if let Some(id) = id.filter(|id| FileName::Of(kind, *id).to_string() == entry.path()) {
                    found(id, entry.metadata().content_length());
                }
            }
            Ok(())
        });
        listed.map_err(|error| self.or_no_store(self.failed("list", kind.folder(), error)))
    }

    fn stat(&self, file: FileName) -> Result<u64, StoreError> {
        let facts = self.http.wait_for(self.operator.stat(&file.to_string()));
        let facts = facts.map_err(|error| self.or_no_store(self.failed("look at", file, error)))?;
        Ok(facts.content_length())
    }

    fn remove(&self, file: FileName) -> Result<(), StoreError> {
        // The service calls it a success when there is nothing.
        self.stat(file).map_err(|error| StoreError { act: "remove", ..error })?;
        let removed = self.http.wait_for(self.operator.delete(&file.to_string()));
        match removed.map_err(|error| self.failed("remove", file, error)) {
            // Somebody else, or a try before, removed it since.
            Err(error) if error.kind == StoreErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn parallel(&self) -> usize {
        8
    }
}

impl S3Store {
    fn has(&self, file: FileName) -> Result<bool, StoreError> {
        match self.stat(file) {
            Ok(_) => Ok(true),
            Err(error) if error.kind == StoreErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// What our client met with, as opendal hands it on.
fn trouble_of(error: &opendal::Error) -> Option<&HttpTrouble> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    while let Some(cause) = next {
        if let Some(trouble) = cause.downcast_ref() {
            return Some(trouble);
        }
        next = cause.source();
    }
    None
}

/// Carries the requests of opendal.
struct Transport(Asker);

impl HttpTransport for Transport {
    async fn fetch(&self, request: http::Request<Buffer>) -> opendal::Result<http::Response<HttpBody>> {
        let (parts, body) = request.into_parts();
        let is_list = parts.uri.query().is_some_and(|query| query.contains("list-type=2"));
        let is_head = parts.method == http::Method::HEAD;
        let request = Request {
            method: parts.method,
            url: parts.uri.to_string(),
            headers: parts.headers,
            body: body.to_bytes(),
        };
        let mut whole = Whole::default();
        let asked = if is_list {
            let mut list = List(whole);
            let asked = self.0.ask(&request, &mut list).await;
            whole = list.0;
            asked
        } else {
            self.0.ask(&request, &mut whole).await
        };
        let head = asked.map_err(as_opendal)?;
        let length = if is_head { None } else { Some(whole.0.len() as u64) };
        if is_head && told_length(&head).is_none() {
            return Err(as_opendal(HttpTrouble::lie("it does not tell the size".to_owned())));
        }
        let body = HttpBody::new(stream::iter([Ok(Buffer::from(whole.0))]), length);
        let mut response = http::Response::new(body);
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        Ok(response)
    }
}

fn as_opendal(trouble: HttpTrouble) -> opendal::Error {
    let kind = match trouble.kind {
        StoreErrorKind::NotFound => opendal::ErrorKind::NotFound,
        _ => opendal::ErrorKind::Unexpected,
    };
    opendal::Error::new(kind, trouble.text.clone()).set_source(trouble)
}

/// A page of a list that is whole. opendal would take anything else for an empty one.
struct List(Whole);

impl Intake for List {
    fn begin(&mut self, head: &Head) -> Result<(), String> {
        self.0.begin(head)
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.0.take(bytes)
    }

    fn finish(&mut self) -> Result<(), String> {
        let text = std::str::from_utf8(&self.0.0).map_err(|_| "the list is no text".to_owned())?;
        let is_whole = text.contains("<ListBucketResult") && text.trim_end().ends_with("</ListBucketResult>");
        if !is_whole {
            return Err("it sent something else than a list".to_owned());
        }
        let goes_on = text.contains("<IsTruncated>true</IsTruncated>");
        match goes_on && text.contains("<NextContinuationToken>")
            || text.contains("<IsTruncated>false</IsTruncated>")
        {
            true => Ok(()),
            false => Err("the list does not tell whether and where it goes on".to_owned()),
        }
    }
}
