//! What the API does when it is used.

use std::sync::Arc;

use stillpoint_server::access::Role;
use stillpoint_server::live::{BACKLOG, Live};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::client::{LIMIT, request};
use crate::ground::Ground;

async fn ready() -> (Ground, String) {
    let ground = Ground::new().await;
    ground.add("anna", Role::Administrator);
    let token = ground.token("anna", Role::Administrator).await;
    (ground, token)
}

#[tokio::test]
async fn a_task_is_asked_for_once_and_taken_back() {
    let (ground, token) = ready().await;
    let asked = ground.json("POST", "/api/v1/queue", &token, r#"{"task":"verify"}"#).await;
    assert_eq!(asked.status, 202, "{asked:?}");
    let again = ground.json("POST", "/api/v1/queue", &token, r#"{"task":"verify"}"#).await;
    assert_eq!(again.json(), asked.json());
    let queue = ground.json("GET", "/api/v1/queue", &token, "").await.json();
    assert_eq!(
        (queue["waiting"][0]["task"].as_str(), queue["waiting"][0]["asked_by"].as_str()),
        (Some("verify"), Some("anna"))
    );
    let path = format!("/api/v1/queue/{}", asked.json()["id"]);
    assert_eq!(ground.json("DELETE", &path, &token, "").await.status, 202);
    assert_eq!(ground.json("DELETE", &path, &token, "").await.status, 404);
    let kept = ground.json("GET", "/api/v1/audit", &token, "").await.json();
    let actions: Vec<&str> =
        kept["entries"].as_array().unwrap().iter().map(|it| it["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["cancel", "run", "run", "token-made"]);
    assert_eq!(kept["entries"][0]["person"], "anna (token test)");
}

#[tokio::test]
async fn what_cannot_be_understood_is_a_problem_that_says_how_to_mend_it() {
    let (ground, token) = ready().await;
    for (method, path, body, status) in [
        ("GET", "/api/v1/runs?limit=0", "", 400),
        ("GET", "/api/v1/runs?limit=1001", "", 400),
        ("GET", "/api/v1/runs?limit=x", "", 400),
        ("GET", "/api/v1/runs?before=yesterday", "", 400),
        ("GET", "/api/v1/runs?task=dance", "", 400),
        ("GET", "/api/v1/runs?unknown=1", "", 400),
        ("GET", "/api/v1/messages?id=70000", "", 400),
        ("GET", "/api/v1/schedule?count=0", "", 400),
        ("GET", "/api/v1/components?hours=0", "", 400),
        ("GET", "/api/v1/runs/none", "", 404),
        ("GET", "/api/v1/runs/none/messages", "", 404),
        ("GET", "/api/v1/versions?archive=none", "", 404),
        ("GET", "/api/v1/versions/local/--help/entries", "", 404),
        ("GET", "/api/v1/versions/local/latest/file", "", 400),
        ("GET", "/api/v1/versions/local/latest/file?path=%00", "", 400),
        ("POST", "/api/v1/queue", "{", 400),
        ("POST", "/api/v1/queue", r#"{"task":"restore"}"#, 400),
        ("POST", "/api/v1/queue", r#"{"task":"backup","now":true}"#, 400),
        ("POST", "/api/v1/alerts/1/clear", "{}", 404),
        ("POST", "/api/v1/alerts/x/clear", "{}", 404),
        ("POST", "/api/v1/tokens", r#"{"name":"x","role":"reader","days":0}"#, 409),
        ("POST", "/api/v1/tokens", r#"{"name":"","role":"reader","days":1}"#, 409),
        ("POST", "/api/v1/tokens", r#"{"name":"x","role":"reader","days":1.5}"#, 400),
        ("POST", "/api/v1/tokens", r#"{"name":"x","role":"reader","days":-1}"#, 400),
        ("POST", "/api/v1/restores", r#"{"archive":"local","version":"latest","folder":"../x"}"#, 400),
        ("POST", "/api/v1/restores", r#"{"archive":"none","version":"latest","folder":"x"}"#, 404),
        ("DELETE", "/api/v1/people/anna", "", 409),
        ("DELETE", "/api/v1/people/none", "", 404),
        ("DELETE", "/api/v1/tokens/999", "", 404),
    ] {
        let answer = ground.json(method, path, &token, body).await;
        assert_eq!(answer.status, status, "{method} {path} {body}: {answer:?}");
        assert_eq!(answer.header("content-type"), "application/problem+json", "{method} {path}");
        let problem = answer.json();
        assert!(!problem["detail"].as_str().unwrap().is_empty() && problem["status"] == status, "{problem}");
        assert!(
            status != 400 || path.ends_with("restores") || problem["hint"].is_string(),
            "{method} {path}: {problem}"
        );
    }
}

#[tokio::test]
async fn a_token_lives_until_it_is_removed_or_over_or_its_person_may_less() {
    let (ground, token) = ready().await;
    let body = r#"{"name":"nightly","role":"operator","days":2.0}"#;
    let made = ground.json("POST", "/api/v1/tokens", &token, body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let (secret, id) =
        (made.json()["secret"].as_str().unwrap().to_owned(), made.json()["token"]["id"].clone());
    assert!(secret.starts_with("sp_") && secret.len() > 40, "{secret}");
    let me = ground.json("GET", "/api/v1/me", &secret, "").await.json();
    assert_eq!((me["role"].as_str(), me["token"].as_str()), (Some("operator"), Some("nightly")));
    assert_eq!(ground.json("GET", "/api/v1/tokens", &secret, "").await.status, 403);
    let listed = ground.json("GET", "/api/v1/tokens", &token, "").await;
    assert!(!listed.body.contains(&secret) && listed.body.contains("nightly"));
    let file = std::fs::read(ground.service.history.path()).unwrap();
    let wal = std::fs::read(ground.service.history.path().with_extension("db-wal")).unwrap_or_default();
    for bytes in [file, wal] {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "the secret is kept");
    }
    assert_eq!(ground.json("DELETE", &format!("/api/v1/tokens/{id}"), &token, "").await.status, 204);
    assert_eq!(ground.json("GET", "/api/v1/me", &secret, "").await.status, 401);
}

#[tokio::test]
async fn people_are_invited_changed_and_removed() {
    let (ground, token) = ready().await;
    let invited = ground.json("POST", "/api/v1/people", &token, r#"{"name":"ben","role":"operator"}"#).await;
    assert_eq!(invited.status, 201, "{invited:?}");
    let path = invited.json()["path"].as_str().unwrap().to_owned();
    let body = "name=eve&password=four+words+by+chance&again=four+words+by+chance";
    let answer = ground.form(&path, &[], body).await;
    let cookie = answer.cookie();
    let me = ground.get("/api/v1/me", &[("cookie", &cookie)]).await.json();
    assert_eq!(
        (me["name"].as_str(), me["role"].as_str()),
        (Some("ben"), Some("operator")),
        "the link has a name"
    );
    let csrf = ground.csrf(&cookie).await;
    let session =
        [("cookie", cookie.as_str()), ("x-csrf-token", csrf.as_str()), ("content-type", "application/json")];
    let wish = r#"{"old":"four words by chance","new":"another four words"}"#;
    let text = request("PUT", "/api/v1/me/password", &session, wish);
    assert_eq!(crate::client::send(ground.address, &text).await.status, 204);
    assert_eq!(crate::client::send(ground.address, &text).await.status, 403, "the old one is over");
    let role = r#"{"role":"reader"}"#;
    assert_eq!(ground.json("PUT", "/api/v1/people/ben/role", &token, role).await.status, 204);
    assert_eq!(ground.get("/api/v1/me", &[("cookie", &cookie)]).await.json()["role"], "reader");
    assert_eq!(ground.json("PUT", "/api/v1/people/anna/role", &token, role).await.status, 409);
    assert_eq!(ground.json("DELETE", "/api/v1/people/ben", &token, "").await.status, 204);
    assert_eq!(ground.get("/api/v1/me", &[("cookie", &cookie)]).await.status, 401);
    let people = ground.json("GET", "/api/v1/people", &token, "").await.json();
    assert_eq!(people["people"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn versions_are_listed_looked_into_and_read() {
    let (ground, token) = ready().await;
    let get = |path: &str| {
        let path = format!("/api/v1/versions{path}");
        let (ground, token) = (&ground, &token);
        async move { ground.json("GET", &path, token, "").await }
    };
    let versions = get("").await.json();
    assert_eq!(
        (versions["versions"][0]["epoch"].as_u64(), versions["unreachable"].as_array().unwrap().len()),
        (Some(7), 0)
    );
    let entries = get("/local/0123456789abcdef/entries?path=/content").await.json();
    assert_eq!(entries["entries"][0]["path"], "/content/notes.txt");
    let file = get("/local/latest/file?path=/content/my%20notes.txt").await;
    assert_eq!((file.status, file.body.as_str()), (200, "notes\n"), "{file:?}");
    assert_eq!(file.header("content-disposition"), "attachment; filename*=UTF-8''my%20notes.txt");
    assert_eq!(get("/local/latest/file?path=/content/empty").await.status, 200);
    let missing = get("/local/latest/file?path=/content/missing").await;
    assert_eq!(
        (missing.status, missing.json()["detail"].as_str().unwrap().contains("nothing at")),
        (404, true)
    );
    assert_eq!(get("/local/latest/entries?path=/missing").await.status, 404);
    // A file that breaks off must not look whole: its last chunk never comes.
    let mut stream = tokio::net::TcpStream::connect(ground.address).await.unwrap();
    let bearer = format!("Bearer {token}");
    let path = "/api/v1/versions/local/latest/file?path=/content/broken";
    stream.write_all(request("GET", path, &[("authorization", &bearer)], "").as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let _ = tokio::time::timeout(LIMIT, stream.read_to_end(&mut bytes)).await.unwrap();
    assert!(bytes.starts_with(b"HTTP/1.1 200") && !bytes.ends_with(b"0\r\n\r\n"));
    let wish = r#"{"archive":"local","version":"latest","path":"/content","folder":"monday"}"#;
    let restore = ground.json("POST", "/api/v1/restores", &token, wish).await;
    assert_eq!(restore.status, 202, "{restore:?}");
    assert_eq!(ground.json("GET", "/api/v1/queue", &token, "").await.json()["waiting"][0]["task"], "restore");
}

#[tokio::test]
async fn the_stream_tells_what_happens_and_a_slow_reader_is_told_what_it_missed() {
    let (ground, token) = ready().await;
    let mut stream = tokio::net::TcpStream::connect(ground.address).await.unwrap();
    let bearer = format!("Bearer {token}");
    let text = request("GET", "/api/v1/events", &[("authorization", &bearer)], "");
    stream.write_all(text.as_bytes()).await.unwrap();
    let tell = |json: String| drop(ground.service.live.send(Arc::new(Live { topic: "run", json })));
    let mut told = Vec::new();
    read_until(&mut stream, &mut told, "\r\n\r\n").await;
    assert!(String::from_utf8_lossy(&told).contains("content-type: text/event-stream"));
    tell(r#"{"event":"begun"}"#.into());
    read_until(&mut stream, &mut told, "event: run\ndata: {\"event\":\"begun\"}\n\n").await;
    // More than all buffers on the way hold together.
    let long = format!("\"{}\"", "a".repeat(64 * 1024));
    for _ in 0..4 * BACKLOG {
        tell(long.clone());
        tokio::task::yield_now().await;
    }
    read_until(&mut stream, &mut told, "event: lagged\ndata: {\"missed\":").await;
    tell(r#"{"event":"last"}"#.into());
    read_until(&mut stream, &mut told, "{\"event\":\"last\"}").await;
}

async fn read_until(stream: &mut tokio::net::TcpStream, told: &mut Vec<u8>, wanted: &str) {
    let mut from = 0;
    while !told[from..].windows(wanted.len()).any(|window| window == wanted.as_bytes()) {
        from = told.len().saturating_sub(wanted.len());
        let read = tokio::time::timeout(LIMIT, stream.read_buf(told)).await;
        assert!(
            read.unwrap_or_else(|_| panic!("{wanted:?} does not come")).unwrap() > 0,
            "it ended before {wanted:?}"
        );
    }
}

#[tokio::test]
async fn the_status_says_how_the_site_is() {
    let (ground, token) = ready().await;
    let status = ground.json("GET", "/api/v1/status", &token, "").await.json();
    assert_eq!((status["site"].as_str(), status["name"].as_str()), (Some("P01"), Some("Test")));
    assert!(status["last_complete"].is_null() && status["under_way"].as_array().unwrap().is_empty());
    let components = ground.json("GET", "/api/v1/components", &token, "").await.json();
    assert_eq!(
        (components["components"][0]["name"].as_str(), components["components"][0]["status"].as_str()),
        (Some("content"), Some("ok"))
    );
    assert_eq!(ground.json("GET", "/api/v1/openapi.json", &token, "").await.json()["openapi"], "3.1.0");
}
