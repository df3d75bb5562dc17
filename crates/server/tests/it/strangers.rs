//! Clients that mean no good, or are of no use: each costs little, and the others do not feel it.

use std::time::Duration;

use stillpoint_server::access::Role;
use stillpoint_server::web::{Limits, ListenError, Listener, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::{LIMIT, request, send};
use crate::ground::{Ground, TestClock};

fn impatient() -> Limits {
    let short = Duration::from_millis(300);
    Limits { head: short, answer: short, idle: short, stall: short, stop: short, connections_max: 8 }
}

/// Reads until the server ends the connection.
async fn until_closed(mut stream: impl tokio::io::AsyncRead + Unpin) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset is an end, too.
    let _ = tokio::time::timeout(LIMIT, stream.read_to_end(&mut bytes)).await.expect("it is dropped");
    bytes
}

#[tokio::test]
async fn a_client_that_sends_its_head_letter_by_letter_is_dropped() {
    // Only the limit of the head is there to end it.
    let ground = Ground::with(None, Limits { idle: 10 * LIMIT, ..impatient() }).await;
    let stream = TcpStream::connect(ground.address).await.unwrap();
    let (reading, mut writing) = stream.into_split();
    let dripping = tokio::spawn(async move {
        for letter in "GET / HTTP/1.1\r\nhost: localhost\r\nx-a: ".bytes().chain(std::iter::repeat(b'a')) {
            if writing.write_all(&[letter]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let told = until_closed(reading).await;
    assert!(!String::from_utf8_lossy(&told).contains(" 200 "));
    dripping.abort();
}

#[tokio::test]
async fn a_client_that_says_nothing_is_dropped_before_and_after_a_request() {
    let ground = Ground::with(None, Limits { head: 10 * LIMIT, ..impatient() }).await;
    assert!(until_closed(TcpStream::connect(ground.address).await.unwrap()).await.is_empty());
    let mut stream = TcpStream::connect(ground.address).await.unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let told = until_closed(stream).await;
    assert!(String::from_utf8_lossy(&told).ends_with("ok\n"));
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let ground = Ground::with(None, impatient()).await;
    let mut stream = TcpStream::connect(ground.address).await.unwrap();
    let head = "POST /sign-in HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: 100\r\n\r\nname=";
    stream.write_all(head.as_bytes()).await.unwrap();
    let told = until_closed(stream).await;
    assert!(String::from_utf8_lossy(&told).starts_with("HTTP/1.1 408 "), "{told:?}");
}

#[tokio::test]
async fn clients_that_hold_all_places_are_let_go_and_the_next_one_is_served() {
    let ground = Ground::with(None, impatient()).await;
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(TcpStream::connect(ground.address).await.unwrap());
    }
    assert_eq!(ground.get("/health", &[]).await.status, 200);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_dropped_and_the_work_for_it_ends() {
    let ground = Ground::with(None, impatient()).await;
    ground.add("anna", Role::Administrator);
    let token = format!("Bearer {}", ground.token("anna", Role::Administrator).await);
    let mut stream = TcpStream::connect(ground.address).await.unwrap();
    let path = "/api/v1/versions/local/latest/file?path=/content/endless";
    let text = request("GET", path, &[("authorization", &token)], "");
    stream.write_all(text.as_bytes()).await.unwrap();
    let pid = ground.folder.path().join("state/endless.pid");
    let ended = async {
        loop {
            let pid = std::fs::read_to_string(&pid).unwrap_or_default();
            // What is ended and not yet waited for has no command line.
            let line = std::fs::read(format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
            if !pid.trim().is_empty() && !line.starts_with(b"cat") && !line.starts_with(b"/bin/sh") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, ended).await.expect("the child ends");
    drop(stream);
}

#[tokio::test]
async fn a_request_for_another_host_or_too_large_is_refused() {
    let ground = Ground::new().await;
    for (host, status) in [
        ("evil.example.org", 421),
        ("127.0.0.1.evil.example.org", 421),
        ("127.0.0.1:1", 200),
        ("LOCALHOST", 200),
        ("", 421),
    ] {
        assert_eq!(ground.get("/health", &[("host", host)]).await.status, status, "{host:?}");
    }
    let none = send(ground.address, "GET /health HTTP/1.1\r\nconnection: close\r\n\r\n").await;
    assert_eq!(none.status, 400);
    let body = format!("name={}&password=x", "a".repeat(100_000));
    let large = ground.form("/sign-in", &[], &body).await;
    assert!([400, 413].contains(&large.status), "{large:?}");
    let cookie = "x".repeat(100_000);
    let head = ground.get("/health", &[("cookie", &cookie)]).await;
    assert_eq!(head.status, 431, "{head:?}");
}

#[tokio::test]
async fn a_port_in_use_and_the_wire_in_the_clear_are_one_clear_error_each() {
    let ground = Ground::new().await;
    let bind = |listen| async move {
        let settings = Settings { listen, tls: None, names: Vec::new(), limits: Limits::default() };
        Listener::bind(&settings, TestClock::new().as_clock()).await.err().unwrap()
    };
    let error = bind(ground.address).await;
    assert!(matches!(error, ListenError::InUse(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&ground.address.to_string()) && text.contains("in use"), "{text}");
    let error = bind(([0, 0, 0, 0], 0).into()).await;
    assert!(matches!(error, ListenError::NeedsTls(_)) && error.to_string().contains("tls = \"generated\""));
    let error = bind(([192, 0, 2, 1], 0).into()).await;
    assert!(matches!(error, ListenError::NeedsTls(_)), "{error:?}");
}

#[tokio::test]
async fn a_server_that_stops_finishes_what_is_under_way_and_ends_streams() {
    let ground = Ground::new().await;
    ground.add("anna", Role::Reader);
    let token = format!("Bearer {}", ground.token("anna", Role::Reader).await);
    let mut stream = TcpStream::connect(ground.address).await.unwrap();
    let text = request("GET", "/api/v1/events", &[("authorization", &token)], "");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    ground.stop.send_replace(true);
    let told = until_closed(stream).await;
    // The end of a body in chunks: it was ended, not cut.
    assert!(told.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&told));
    tokio::time::timeout(LIMIT, ground.serving).await.expect("it ends").unwrap();
    assert!(TcpStream::connect(ground.address).await.is_err());
}
