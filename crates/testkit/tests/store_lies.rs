//! HTTP servers that break off, stall and lie: what a store makes of it.

#![allow(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

use std::time::Duration;

use stillpoint_repository::store::{
    Credentials, FileKind, FileName, Patience, Store, StoreError, StoreErrorKind, open_with,
};
use stillpoint_repository::{Id, Location};
use stillpoint_testkit::servers::{Answer, LyingHttp};

const LIST_TYPE: &str = "Content-Type: application/vnd.x.restic.rest.v2\r\n";

fn patience() -> Patience {
    let pause = Duration::from_millis(1);
    Patience { tries: 4, first_pause: pause, longest_pause: pause, ..Patience::default() }
}

/// One that soon takes silence for an end.
fn impatience() -> Patience {
    Patience { tries: 2, idle: Duration::from_millis(300), ..patience() }
}

fn opened(address: &str, patience: Patience) -> Box<dyn Store> {
    let location: Location = address.parse().unwrap();
    let credentials = Credentials {
        access_key_id: Some("key".to_owned()),
        secret_access_key: Some("secret".to_owned()),
        ..Credentials::default()
    };
    open_with(&location, &credentials, patience).unwrap()
}

/// A server with these answers, and a store of each kind that asks it.
fn s3(answers: impl IntoIterator<Item = Answer>) -> (LyingHttp, Box<dyn Store>) {
    let server = LyingHttp::start(answers);
    let store = opened(&format!("s3:{}/bucket/site", server.endpoint()), patience());
    (server, store)
}

fn rest(answers: impl IntoIterator<Item = Answer>) -> (LyingHttp, Box<dyn Store>) {
    let server = LyingHttp::start(answers);
    let store = opened(&format!("rest:{}/site/", server.endpoint()), patience());
    (server, store)
}

fn both(answers: &[Answer], check: impl Fn(&LyingHttp, &dyn Store)) {
    for start in [s3, rest] {
        let (server, store) = start(answers.to_vec());
        eprintln!("{}", store.name());
        check(&server, &*store);
    }
}

fn whole(status: u16, body: &str) -> Answer {
    Answer::Whole(status, "", body.as_bytes().to_vec())
}

fn failed<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> StoreErrorKind {
    let error = outcome.expect_err("this must fail");
    eprintln!("{error}");
    error.kind
}

fn names(store: &dyn Store, kind: FileKind) -> Result<Vec<(Id, u64)>, StoreError> {
    let mut found = Vec::new();
    store.list(kind, &mut |id, size| found.push((id, size)))?;
    Ok(found)
}

fn pack() -> FileName {
    FileName::Of(FileKind::Pack, Id::of(b"pack"))
}

#[test]
fn what_passes_is_tried_again() {
    let answers = [
        Answer::Closed,
        whole(503, "busy"),
        Answer::CutShort(200, b"con".to_vec(), 4),
        whole(200, "content"),
    ];
    both(&answers, |server, store| {
        assert_eq!(store.read(pack(), None).unwrap(), b"content");
        assert_eq!(server.requests().len(), 4);
    });
}

#[test]
fn what_does_not_pass_is_an_error_in_the_end() {
    both(&[Answer::CutShort(200, b"con".to_vec(), 4)], |server, store| {
        assert_eq!(failed(store.read(pack(), None)), StoreErrorKind::Unavailable);
        assert_eq!(server.requests().len(), 4);
    });
    both(&[whole(500, "oh")], |server, store| {
        assert_eq!(failed(store.stat(pack())), StoreErrorKind::Unavailable);
        assert_eq!(server.requests().len(), 4);
    });
    both(&[whole(400, "what?")], |server, store| {
        assert_eq!(failed(store.read(pack(), None)), StoreErrorKind::Other);
        assert_eq!(server.requests().len(), 1);
    });
}

#[test]
fn a_full_store_is_full_and_not_asked_again() {
    for full in [whole(507, ""), whole(500, "write: no space left on device")] {
        let (server, store) = s3([full.clone()]);
        assert_eq!(failed(store.write_new(pack(), b"content")), StoreErrorKind::Full);
        assert_eq!(server.requests().len(), 1);
        let (_server, store) = rest([whole(404, ""), full]);
        assert_eq!(failed(store.write_new(pack(), b"content")), StoreErrorKind::Full);
    }
}

#[test]
fn silence_ends_an_act_and_slowness_does_not() {
    for start in ["s3", "rest"] {
        let address = |server: &LyingHttp| match start {
            "s3" => format!("s3:{}/bucket/site", server.endpoint()),
            _ => format!("rest:{}/site/", server.endpoint()),
        };
        let server = LyingHttp::start([Answer::Stalled(b"con".to_vec(), 4)]);
        let store = opened(&address(&server), impatience());
        let error = store.read(pack(), None).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Unavailable);
        assert!(error.to_string().contains("no byte came or went"), "{error}");
    }
    // More than the buffers of the line take.
    let content = vec![7; 32 << 20];
    let server = LyingHttp::start([Answer::Deaf]);
    let store = opened(&format!("s3:{}/bucket/site", server.endpoint()), impatience());
    let error = store.write_new(pack(), &content).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unavailable);
    assert!(error.to_string().contains("no byte came or went"), "{error}");
}

#[test]
fn a_page_of_something_else_is_no_empty_list() {
    let html = "<html><body>Please log in</body></html>";
    let xml = |inner: &str| format!("<?xml version=\"1.0\"?><ListBucketResult>{inner}</ListBucketResult>");
    let cut = xml("<IsTruncated>false</IsTruncated>").replace("</ListBucketResult>", "");
    for body in
        [html, "", &cut, &xml(""), &xml("<IsTruncated>true</IsTruncated>"), "<Error><Code>Oh</Code></Error>"]
    {
        let (_server, store) = s3([whole(200, body)]);
        assert_eq!(failed(names(&*store, FileKind::Snapshot)), StoreErrorKind::Lied, "{body}");
    }
    let (_server, store) = s3([whole(200, &xml("<IsTruncated>false</IsTruncated>"))]);
    assert_eq!(names(&*store, FileKind::Snapshot).unwrap(), []);

    let typed = |body: &str| Answer::Whole(200, LIST_TYPE, body.as_bytes().to_vec());
    let cut = format!("[{{\"name\":\"{}\",\"size\":1}}", Id::of(b"a"));
    for answer in [whole(200, html), whole(200, "[]"), typed(html), typed(""), typed("null"), typed(&cut)] {
        let (_server, store) = rest([answer.clone()]);
        assert_eq!(failed(names(&*store, FileKind::Snapshot)), StoreErrorKind::Lied, "{answer:?}");
    }
    let (_server, store) = rest([typed(&cut), typed(&(cut.clone() + "]"))]);
    assert_eq!(names(&*store, FileKind::Snapshot).unwrap(), [(Id::of(b"a"), 1)]);
}

#[test]
fn another_part_than_asked_for_is_a_lie() {
    let other = Answer::Whole(206, "Content-Range: bytes 0-3/9\r\n", b"0123".to_vec());
    for answer in [whole(200, "0123456789"), whole(206, "1234"), other, whole(416, "")] {
        both(&[answer], |server, store| {
            assert_eq!(failed(store.read(pack(), Some(1..5))), StoreErrorKind::Lied);
            assert_eq!(server.requests().len(), 1);
        });
    }
    let right = Answer::Whole(206, "Content-Range: bytes 1-4/9\r\n", b"1234".to_vec());
    both(&[right], |_, store| assert_eq!(store.read(pack(), Some(1..5)).unwrap(), b"1234"));
    let short = Answer::Whole(206, "Content-Range: bytes 1-4/9\r\n", b"123".to_vec());
    both(&[short], |_, store| assert_eq!(failed(store.read(pack(), Some(1..5))), StoreErrorKind::Lied));
}

#[test]
fn a_write_that_was_done_before_the_line_broke_is_done() {
    let exists = || whole(412, "<Error><Code>PreconditionFailed</Code></Error>");
    let (_server, store) = s3([Answer::Closed, exists(), whole(200, "content")]);
    store.write_new(pack(), b"content").unwrap();
    let (_server, store) = s3([Answer::Closed, exists(), whole(200, "another")]);
    assert_eq!(failed(store.write_new(pack(), b"content")), StoreErrorKind::AlreadyExists);
    // Without a broken line nobody has to look.
    let (server, store) = s3([exists()]);
    assert_eq!(failed(store.write_new(pack(), b"content")), StoreErrorKind::AlreadyExists);
    assert_eq!(server.requests().len(), 1);

    let forbidden = || [whole(404, ""), Answer::Closed, whole(403, "Forbidden"), whole(200, "")];
    let (_server, store) = rest(forbidden().into_iter().chain([whole(200, "content")]));
    store.write_new(pack(), b"content").unwrap();
    let (_server, store) = rest(forbidden().into_iter().chain([whole(200, "another")]));
    assert_eq!(failed(store.write_new(pack(), b"content")), StoreErrorKind::AlreadyExists);
}

#[test]
fn a_service_that_knows_no_conditions_is_looked_at_first() {
    let unknown = || whole(501, "<Error><Code>NotImplemented</Code></Error>");
    let (server, store) = s3([unknown(), whole(404, ""), page(), whole(200, "")]);
    store.write_new(pack(), b"content").unwrap();
    let methods: Vec<String> = server.requests().iter().map(|line| line[..4].trim().to_owned()).collect();
    assert_eq!(methods, ["PUT", "HEAD", "GET", "PUT"]);
    let (_server, store) = s3([unknown(), whole(200, "")]);
    assert_eq!(failed(store.write_new(pack(), b"content")), StoreErrorKind::AlreadyExists);
    // One that pays no attention to the condition would replace the one file whose name is not of its content.
    let (server, store) = s3([whole(200, "")]);
    assert_eq!(failed(store.write_new(FileName::Config, b"config")), StoreErrorKind::AlreadyExists);
    assert_eq!(server.requests().len(), 1);
}

/// An empty list of S3.
fn page() -> Answer {
    whole(200, "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
}

#[test]
fn a_file_removed_by_a_try_before_is_removed() {
    both(&[whole(200, ""), Answer::Closed, whole(404, "")], |server, store| {
        store.remove(pack()).unwrap();
        assert_eq!(server.requests().len(), 3);
    });
}

#[test]
fn no_repository_is_told_from_no_file() {
    let (_server, store) = rest([whole(404, "")]);
    assert_eq!(failed(store.read(pack(), None)), StoreErrorKind::NoStore);
    assert_eq!(failed(names(&*store, FileKind::Key)), StoreErrorKind::NoStore);
    let (_server, store) = rest([whole(404, ""), whole(200, "")]);
    assert_eq!(failed(store.read(pack(), None)), StoreErrorKind::NotFound);
}

#[test]
fn redirects_are_not_followed() {
    let elsewhere = LyingHttp::start([whole(200, "content")]);
    let line: &'static str = format!("Location: {}/\r\n", elsewhere.endpoint()).leak();
    both(&[Answer::Whole(307, line, Vec::new())], |_, store| {
        let error = store.read(pack(), None).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Other);
        assert!(error.hint.is_some_and(|hint| hint.contains("not followed")));
    });
    assert_eq!(elsewhere.requests(), Vec::<String>::new());
}

#[test]
fn no_secret_gets_into_an_error_or_into_what_is_shown() {
    let server = LyingHttp::start([whole(403, "no")]);
    let location: Location = format!("rest:{}/site/", server.endpoint()).parse().unwrap();
    let secret = || Some("geheim".to_owned());
    let credentials =
        Credentials { user: Some("site".to_owned()), password: secret(), ..Credentials::default() };
    let store = open_with(&location, &credentials, patience()).unwrap();
    let error = store.read(pack(), None).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Denied);
    let shown = format!("{store:?} {error} {error:?}");
    assert!(!shown.contains("geheim") && !shown.contains("Z2VoZWlt"), "{shown}");
}
