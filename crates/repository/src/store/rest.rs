//! A store on a server of restic's REST protocol (`doc/REST_backend.rst` of restic's sources), version 2 of its lists.

use std::ops::Range;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RANGE};
use http::{HeaderMap, Method};

use super::http::{Asker, Head, Http, HttpTrouble, Intake, Request, Whole, range_header, told_length};
use super::{Credentials, FileKind, FileName, Patience, Store, StoreError, StoreErrorKind};
use crate::id::Id;

/// The type of a list that has the sizes.
const LIST_TYPE: &str = "application/vnd.x.restic.rest.v2";

/// A repository on a REST server.
pub struct RestStore {
    http: Http,
    asker: Asker,
    /// Ends with a slash.
    url: String,
    headers: HeaderMap,
    name: String,
}

impl std::fmt::Debug for RestStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RestStore").field("name", &self.name).finish_non_exhaustive()
    }
}

impl RestStore {
    /// The store at this address, which ends with a slash. Nothing is asked before the first act. `address` is what people know it by.
    ///
    /// # Errors
    ///
    /// The credentials cannot be sent, or a file that they name cannot be read.
    pub fn new(
        url: &str,
        address: &str,
        credentials: &Credentials,
        patience: Patience,
    ) -> Result<Self, StoreError> {
        let name = format!("the archive at {address}");
        let http = Http::new(url, &name, credentials, patience)?;
        let mut headers = HeaderMap::new();
        if let Some(user) = &credentials.user {
            let pair = format!("{user}:{}", credentials.password.as_deref().unwrap_or_default());
            let mut value = HeaderValue::from_str(&format!("Basic {}", base64(pair.as_bytes())))
                .map_err(|error| StoreError::new(StoreErrorKind::Other, "open", url, &name).because(error))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        headers.insert(ACCEPT, HeaderValue::from_static(LIST_TYPE));
        let asker = http.asker();
        Ok(Self { http, asker, url: url.to_owned(), headers, name })
    }

    fn ask(
        &self,
        method: Method,
        path: &str,
        more: impl FnOnce(&mut Request),
        intake: &mut dyn Intake,
    ) -> Result<Head, HttpTrouble> {
        let mut request = Request {
            method,
            url: format!("{}{path}", self.url),
            headers: self.headers.clone(),
            body: Bytes::new(),
        };
        more(&mut request);
        self.http.wait_for(self.asker.ask(&request, intake))
    }

    fn failed(&self, act: &'static str, what: impl std::fmt::Display, trouble: HttpTrouble) -> StoreError {
        let failed = StoreError::new(trouble.kind, act, what, &self.name);
        let failed = match trouble.kind {
            StoreErrorKind::NotFound | StoreErrorKind::AlreadyExists => failed,
            _ => failed.because(trouble.text),
        };
        match trouble.hint {
            Some(hint) => failed.with_hint(hint),
            None => failed,
        }
    }

    fn or_no_store(&self, error: StoreError) -> StoreError {
        if error.kind != StoreErrorKind::NotFound {
            return error;
        }
        match self.is_there() {
            Ok(true) => error,
            Ok(false) => StoreError { kind: StoreErrorKind::NoStore, source: None, ..error },
            Err(trouble) => self.failed("look at", "config", trouble),
        }
    }

    /// Whether a repository is there, or the folders of one.
    fn is_there(&self) -> Result<bool, HttpTrouble> {
        if self.has(FileName::Config)? {
            return Ok(true);
        }
        match self.ask(Method::GET, "keys/", |_| {}, &mut List::default()) {
            Ok(_) => Ok(true),
            Err(trouble) if trouble.kind == StoreErrorKind::NotFound => Ok(false),
            Err(trouble) => Err(trouble),
        }
    }

    fn has(&self, file: FileName) -> Result<bool, HttpTrouble> {
        match self.ask(Method::HEAD, &path(file), |_| {}, &mut Whole::default()) {
            Ok(_) => Ok(true),
            Err(trouble) if trouble.kind == StoreErrorKind::NotFound => Ok(false),
            Err(trouble) => Err(trouble),
        }
    }

    fn write_once(&self, file: FileName, content: &[u8]) -> Result<(), HttpTrouble> {
        let exists = |text: &str| HttpTrouble {
            kind: StoreErrorKind::AlreadyExists,
            ..HttpTrouble::lie(text.to_owned())
        };
        // Not every server refuses to replace.
        if self.has(file)? {
            return Err(exists("it is there"));
        }
        let send = |request: &mut Request| request.body = Bytes::copy_from_slice(content);
        let Err(trouble) = self.ask(Method::POST, &path(file), send, &mut Whole::default()) else {
            return Ok(());
        };
        // Servers say of a file that is there that it is forbidden.
        let refused = matches!(trouble.kind, StoreErrorKind::AlreadyExists | StoreErrorKind::Denied);
        if !refused || !self.has(file)? {
            return Err(trouble);
        }
        if trouble.again {
            let mut whole = Whole::default();
            self.ask(Method::GET, &path(file), |_| {}, &mut whole)?;
            if whole.0 == content {
                return Ok(());
            }
        }
        Err(exists(&trouble.text))
    }
}

/// The path of a file in the protocol: packs lie in one folder.
fn path(file: FileName) -> String {
    match file {
        FileName::Config => "config".to_owned(),
        FileName::Of(kind, id) => format!("{}/{id}", kind.folder()),
    }
}

impl Store for RestStore {
    fn name(&self) -> &str {
        &self.name
    }

    fn create(&self) -> Result<(), StoreError> {
        let made = self.ask(Method::POST, "?create=true", |_| {}, &mut Whole::default());
        match made {
            Ok(_) => Ok(()),
            // Who may only add is not asked to make what is there.
            Err(trouble) if trouble.kind == StoreErrorKind::Denied && self.is_there().unwrap_or(false) => {
                Ok(())
            }
            Err(trouble) => Err(self.failed("make", &self.url, trouble)),
        }
    }

    fn read(&self, file: FileName, range: Option<Range<u64>>) -> Result<Vec<u8>, StoreError> {
        let part = range.as_ref().map(range_header);
        if let Some(None) = part {
            return self.stat(file).map(|_| Vec::new());
        }
        let mut whole = Whole::default();
        let with_range = |request: &mut Request| {
            let value = part.flatten().and_then(|part| HeaderValue::from_str(&part).ok());
            if let Some(value) = value {
                request.headers.insert(RANGE, value);
            }
        };
        let read = self.ask(Method::GET, &path(file), with_range, &mut whole);
        read.map_err(|trouble| self.or_no_store(self.failed("read", file, trouble)))?;
        Ok(whole.0)
    }

    fn write_new(&self, file: FileName, content: &[u8]) -> Result<(), StoreError> {
        let written = self.write_once(file, content);
        written.map_err(|trouble| self.or_no_store(self.failed("write", file, trouble)))
    }

    fn list(&self, kind: FileKind, found: &mut dyn FnMut(Id, u64)) -> Result<(), StoreError> {
        let mut list = List::default();
        let listed = self.ask(Method::GET, &format!("{}/", kind.folder()), |_| {}, &mut list);
        match listed {
            Ok(_) => {}
            // Servers have no folder where there is no file.
            Err(trouble)
                if trouble.kind == StoreErrorKind::NotFound
                    && self.has(FileName::Config).unwrap_or(false) =>
            {
                return Ok(());
            }
            Err(trouble) => return Err(self.or_no_store(self.failed("list", kind.folder(), trouble))),
        }
        list.found.into_iter().for_each(|(id, size)| found(id, size));
        Ok(())
    }

    fn stat(&self, file: FileName) -> Result<u64, StoreError> {
        let looked = self.ask(Method::HEAD, &path(file), |_| {}, &mut Whole::default());
        let head = looked.map_err(|trouble| self.or_no_store(self.failed("look at", file, trouble)))?;
        told_length(&head).ok_or_else(|| {
            let lie = StoreError::new(StoreErrorKind::Lied, "look at", file, &self.name);
            lie.because("the server does not tell the size")
        })
    }

    fn remove(&self, file: FileName) -> Result<(), StoreError> {
        // Not every server says when there was nothing.
        self.stat(file).map_err(|error| StoreError { act: "remove", ..error })?;
        match self.ask(Method::DELETE, &path(file), |_| {}, &mut Whole::default()) {
            Ok(_) => Ok(()),
            // Somebody else, or a try before, removed it since.
            Err(trouble) if trouble.kind == StoreErrorKind::NotFound => Ok(()),
            Err(trouble) => Err(self.failed("remove", file, trouble)),
        }
    }

    fn parallel(&self) -> usize {
        8
    }
}

/// Takes a list in as it comes: `[{"name":"…","size":1},…]`.
#[derive(Default)]
struct List {
    found: Vec<(Id, u64)>,
    /// The object that has come in part.
    part: Vec<u8>,
    state: State,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Before,
    Between,
    Object,
    Text,
    Escape,
    After,
}

#[derive(serde::Deserialize)]
struct Entry {
    name: String,
    size: u64,
}

impl List {
    fn take_byte(&mut self, byte: u8) -> Result<(), String> {
        let nonsense = || Err("it sent something else than a list".to_owned());
        if self.state == State::Object || self.state == State::Text || self.state == State::Escape {
            self.part.push(byte);
            if self.part.len() > 4096 {
                return nonsense();
            }
        }
        self.state = match (self.state, byte) {
            (State::Before | State::Between | State::After, b' ' | b'\t' | b'\r' | b'\n') => self.state,
            (State::Before, b'[') | (State::Between, b',') => State::Between,
            (State::Between, b'{') => {
                self.part = vec![byte];
                State::Object
            }
            (State::Between, b']') => State::After,
            (State::Object, b'"') => State::Text,
            (State::Object, b'}') => {
                let entry: Entry = serde_json::from_slice(&self.part).map_err(|error| error.to_string())?;
                // What has no such name is no file of the repository.
                if let Ok(id) = entry.name.parse() {
                    self.found.push((id, entry.size));
                }
                State::Between
            }
            (State::Object, _) => State::Object,
            (State::Text, b'\\') => State::Escape,
            (State::Text, b'"') => State::Object,
            (State::Text | State::Escape, _) => State::Text,
            _ => return nonsense(),
        };
        Ok(())
    }
}

impl Intake for List {
    fn begin(&mut self, head: &Head) -> Result<(), String> {
        *self = Self::default();
        let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        match kind.starts_with(LIST_TYPE) {
            true => Ok(()),
            false => Err(format!("it sent a list of the type {kind:?} instead of {LIST_TYPE}")),
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), String> {
        bytes.iter().try_for_each(|byte| self.take_byte(*byte))
    }

    fn finish(&mut self) -> Result<(), String> {
        match self.state {
            State::After => Ok(()),
            _ => Err("the list ends too early".to_owned()),
        }
    }
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let byte = |place: usize| u32::from(three.get(place).copied().unwrap_or_default());
        let all = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4_usize {
            let value = usize::try_from(all >> (18 - 6 * digit) & 63).unwrap_or_default();
            text.push(if digit <= three.len() { char::from(DIGITS[value]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    fn listed(text: &str, piece: usize) -> Result<Vec<(Id, u64)>, String> {
        let mut list = List::default();
        text.as_bytes().chunks(piece).try_for_each(|bytes| list.take(bytes))?;
        list.finish()?;
        Ok(list.found)
    }

    #[test]
    fn a_list_is_read_in_pieces_and_must_be_whole() {
        let id = Id::of(b"a");
        let text = format!("[{{\"name\":\"{id}\",\"size\":5}}, {{\"name\":\"a}}\\\"b\",\"size\":6}}]\n");
        for piece in 1..20 {
            assert_eq!(listed(&text, piece), Ok(vec![(id, 5)]), "{piece}");
        }
        assert_eq!(listed("[]", 1), Ok(Vec::new()));
        for length in 0..text.len() - 2 {
            assert!(listed(&text[..length], 7).is_err(), "{length}");
        }
        for other in ["<html></html>", "{}", "[1]", "[]]", "[{\"name\":\"a\"}]", "null"] {
            assert!(listed(other, 3).is_err(), "{other}");
        }
    }
}
