//! Every route of the table with every kind of caller.

use std::collections::BTreeSet;

use axum::http::Method;
use stillpoint_server::access::Role;
use stillpoint_server::api;
use stillpoint_server::web::{Least, Route, table};

use crate::client::{Answer, request, send};
use crate::ground::Ground;

/// A kind of caller: its name, the headers that it sends, and what it may do; nothing when nobody knows it.
struct Kind {
    name: String,
    headers: Vec<(String, String)>,
    role: Option<Role>,
    /// Whether what it sends says so in a header, not in a cookie.
    is_program: bool,
}

/// A path of the row, with something for what changes. What is there does not matter: who may not come is told before.
fn path_of(row: &Route) -> String {
    let parts = row.path.split('/').map(|part| match part {
        "{id}" => "4711",
        "{archive}" => "nowhere",
        "{version}" => "latest",
        part if part.starts_with('{') => "nothing",
        part => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

async fn ask(ground: &Ground, row: &Route, kind: &Kind, more: &[(&str, &str)]) -> Answer {
    let mut headers: Vec<(&str, &str)> = vec![("content-type", "application/json")];
    headers.extend(kind.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    headers.extend(more);
    // Unsafe routes are sent something that they refuse, so that nothing changes.
    let body = if row.method == Method::GET { "" } else { "{}" };
    let text = request(row.method.as_str(), &path_of(row), &headers, body);
    if row.path == "/api/v1/events" {
        return first_of_stream(ground, &text).await;
    }
    send(ground.address, &text).await
}

/// The stream has no end: its head is read, and then it is left.
async fn first_of_stream(ground: &Ground, text: &str) -> Answer {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(ground.address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
        let read = tokio::time::timeout(crate::client::LIMIT, stream.read_buf(&mut bytes)).await;
        assert!(read.expect("an answer in time").unwrap() > 0);
    }
    if crate::client::parse_head(&bytes).status != 200 {
        let rest = tokio::time::timeout(crate::client::LIMIT, stream.read_to_end(&mut bytes)).await;
        rest.expect("the rest in time").unwrap();
        return crate::client::parse(&bytes);
    }
    crate::client::parse_head(&bytes)
}

async fn kinds(ground: &Ground) -> Vec<Kind> {
    let header = |name: &str, value: String| vec![(name.to_owned(), value)];
    let mut kinds = Vec::new();
    // Those that are over come first: they are made before the clock moves.
    for name in ["gone", "anna"] {
        ground.add(name, Role::Administrator);
    }
    let (old_cookie, old_token) = (ground.sign_in("gone").await, ground.token("gone", Role::Reader).await);
    ground.clock.later(8 * 24 * 3600);
    let nobody = [
        ("nobody", Vec::new()),
        ("an expired session", header("cookie", old_cookie)),
        ("a made-up session", header("cookie", format!("stillpoint-P01={}", "A".repeat(43)))),
        ("an expired token", header("authorization", format!("Bearer {old_token}"))),
        ("a made-up token", header("authorization", format!("Bearer sp_{}", "A".repeat(43)))),
        ("a password in the clear", header("authorization", "Basic YW5uYTphbm5h".into())),
    ];
    for (name, headers) in nobody {
        let is_program = headers.iter().any(|(name, _)| name == "authorization");
        kinds.push(Kind { name: name.into(), headers, role: None, is_program });
    }
    for role in Role::ALL {
        let name = format!("the {role}");
        ground.add(&name, role);
        let cookie = ground.sign_in(&name.replace(' ', "+")).await;
        let csrf = ground.csrf(&cookie).await;
        let mut headers = header("cookie", cookie);
        headers.push(("x-csrf-token".into(), csrf));
        kinds.push(Kind {
            name: format!("a session of {name}"),
            headers,
            role: Some(role),
            is_program: false,
        });
        let headers = header("authorization", format!("Bearer {}", ground.token("anna", role).await));
        let name = format!("a token of role {role}");
        kinds.push(Kind { name, headers, role: Some(role), is_program: true });
    }
    kinds
}

#[tokio::test]
async fn every_route_answers_every_caller_as_the_table_says() {
    let ground = Ground::new().await;
    let kinds = kinds(&ground).await;
    let mut rows = table();
    // Signing out ends the session of the walk: it comes last, and is walked with what is left.
    rows.sort_by_key(|row| row.path == "/sign-out");
    for row in &rows {
        for kind in &kinds {
            let shown = format!("{} {} by {}", row.method, row.path, kind.name);
            let answer = ask(&ground, row, kind, &[]).await;
            let program = kind.is_program || row.path.starts_with("/api/") || row.path == "/metrics";
            match (row.least, kind.role) {
                (Least::Open, _) => {
                    assert!(
                        ![401, 403].contains(&answer.status) && answer.status < 500,
                        "{shown}: {answer:?}"
                    );
                }
                (Least::Role(_), None) if program => {
                    assert_problem(&shown, &answer, 401);
                    assert!(answer.header("www-authenticate").starts_with("Bearer"), "{shown}");
                }
                (Least::Role(_), None) => {
                    assert_eq!(answer.status, 303, "{shown}: {answer:?}");
                    assert!(answer.header("location").starts_with("/sign-in"), "{shown}: {answer:?}");
                }
                (Least::Role(least), Some(role)) if role < least => assert_problem(&shown, &answer, 403),
                (Least::Role(_), Some(_)) => {
                    assert!(![401, 403].contains(&answer.status), "{shown}: {answer:?}");
                    assert!(answer.status < 500, "{shown}: {answer:?}");
                    assert!(!answer.header("location").starts_with("/sign-in") || row.path == "/sign-out");
                }
            }
            assert_headers(&shown, &answer);
        }
    }
}

fn assert_problem(shown: &str, answer: &Answer, status: u16) {
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (status, "application/problem+json"),
        "{shown}"
    );
    let problem = answer.json();
    assert_eq!(problem["status"], status, "{shown}");
    for key in ["type", "title", "detail"] {
        assert!(problem[key].as_str().is_some_and(|text| !text.is_empty()), "{shown}: {problem}");
    }
}

fn assert_headers(shown: &str, answer: &Answer) {
    let policy = answer.header("content-security-policy");
    assert!(policy.contains("default-src 'self'") && policy.contains("frame-ancestors 'none'"), "{shown}");
    assert_eq!(answer.header("x-content-type-options"), "nosniff", "{shown}");
    assert_eq!(answer.header("referrer-policy"), "no-referrer", "{shown}");
    assert_eq!(answer.header("strict-transport-security"), "", "{shown}: not without TLS");
    assert_ne!(answer.header("cache-control"), "", "{shown}");
}

#[tokio::test]
async fn without_the_secret_of_the_session_nothing_changes() {
    let ground = Ground::new().await;
    ground.add("anna", Role::Administrator);
    ground.add("ben", Role::Administrator);
    let (cookie, other) = (ground.sign_in("anna").await, ground.sign_in("ben").await);
    let (own, of_other) = (ground.csrf(&cookie).await, ground.csrf(&other).await);
    let session = |more: &[(&str, &str)]| Kind {
        name: "a session".into(),
        headers: [("cookie", cookie.as_str())]
            .iter()
            .chain(more)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        role: Some(Role::Administrator),
        is_program: false,
    };
    let mut walked = 0;
    for row in table().iter().filter(|row| row.method != Method::GET && row.least != Least::Open) {
        for more in [&[][..], &[("x-csrf-token", of_other.as_str())], &[("x-csrf-token", "")]] {
            let answer = ask(&ground, row, &session(more), &[]).await;
            assert_problem(&format!("{} {}", row.method, row.path), &answer, 403);
        }
        // The right secret, but the browser says that another site sent it.
        let elsewhere = [("x-csrf-token", own.as_str()), ("sec-fetch-site", "cross-site")];
        let answer = ask(&ground, row, &session(&elsewhere), &[]).await;
        assert_problem(&format!("{} {} from elsewhere", row.method, row.path), &answer, 403);
        walked += 1;
    }
    assert!(walked >= 10, "{walked}");
    // And with it the session is still there and may.
    let out = ground.form("/sign-out", &[("cookie", &cookie)], &format!("csrf={own}")).await;
    assert_eq!(out.status, 303, "{out:?}");
}

#[tokio::test]
async fn what_is_not_in_the_table_is_told_only_to_whom_may_look() {
    let ground = Ground::new().await;
    ground.add("anna", Role::Reader);
    let cookie = ground.sign_in("anna").await;
    for (method, path) in
        [("GET", "/nothing"), ("PUT", "/health"), ("POST", "/nothing"), ("GET", "/static/../x")]
    {
        let answer = send(ground.address, &request(method, path, &[], "")).await;
        assert_eq!(answer.status, 303, "{method} {path}: {answer:?}");
    }
    let answer = ground.get("/api/v1/nothing", &[]).await;
    assert_problem("nobody at an unknown path", &answer, 401);
    let answer = ground.get("/api/v1/nothing", &[("cookie", &cookie)]).await;
    assert_problem("a reader at an unknown path", &answer, 404);
    let answer = send(ground.address, &request("PATCH", "/api/v1/queue", &[("cookie", &cookie)], "")).await;
    assert_problem("a reader with an unknown method", &answer, 405);
    assert_eq!(answer.header("allow"), "GET,HEAD,POST");
    let head = send(ground.address, &request("HEAD", "/api/v1/queue", &[("cookie", &cookie)], "")).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn open_is_only_what_must_be() {
    let open: BTreeSet<String> = table()
        .iter()
        .filter(|row| row.least == Least::Open && !row.path.starts_with("/static/"))
        .map(|row| format!("{} {}", row.method, row.path))
        .collect();
    let wanted = [
        "GET /health",
        "GET /sign-in",
        "POST /sign-in",
        "POST /theme",
        "GET /welcome/{secret}",
        "POST /welcome/{secret}",
    ];
    assert_eq!(open, wanted.map(str::to_owned).into());
}

#[test]
fn the_document_names_every_route_of_the_api_and_nothing_else() {
    let document = serde_json::to_value(api::document()).unwrap();
    let methods = ["get", "post", "put", "delete", "patch", "head", "options", "trace"];
    let mut described = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys().filter(|key| methods.contains(&key.as_str())) {
            described.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    let served = table().into_iter().filter(|row| row.path.starts_with("/api/"));
    let served: BTreeSet<String> = served.map(|row| format!("{} {}", row.method, row.path)).collect();
    assert_eq!(described, served);
    assert!(served.len() >= 25, "{}", served.len());
}

#[test]
fn golden_the_document_of_the_api_is_what_the_code_says() {
    let path = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let wanted = api::document().to_pretty_json().unwrap() + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "docs/openapi.json differs; run UPDATE_GOLDEN=1 cargo test -p stillpoint-server"
    );
}
