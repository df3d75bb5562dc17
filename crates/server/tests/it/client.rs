//! A client that sends what a test writes, and no more: one request, one connection.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// The value of a header; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The cookie that it sets, as it is sent back.
    pub fn cookie(&self) -> String {
        self.header("set-cookie").split(';').next().unwrap_or_default().to_owned()
    }
}

/// Generous: a test waits so long only when it fails.
pub const LIMIT: Duration = Duration::from_secs(60);

/// The text of a request. Says which host, and that the connection ends.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\n");
    if headers.iter().all(|(name, _)| *name != "host") {
        text.push_str("host: localhost\r\n");
    }
    text.push_str("connection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || method == "POST" {
        text.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    text + "\r\n" + body
}

/// Sends the text over a new connection, and reads to its end.
pub async fn send(to: SocketAddr, text: &str) -> Answer {
    let stream = TcpStream::connect(to).await.unwrap();
    talk(stream, text).await
}

pub async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin, text: &str) -> Answer {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    // A server that ends TLS without a goodbye has still said everything.
    let read = tokio::time::timeout(LIMIT, stream.read_to_end(&mut bytes)).await.expect("an answer in time");
    assert!(read.is_ok() || !bytes.is_empty(), "{read:?}");
    parse(&bytes)
}

pub fn parse(bytes: &[u8]) -> Answer {
    let answer = parse_head(bytes);
    let chunked = answer.header("transfer-encoding") == "chunked";
    let body = if chunked { without_chunks(&answer.body) } else { answer.body.clone() };
    Answer { body, ..answer }
}

/// The head, and of the body what is there, as it came.
pub fn parse_head(bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    Answer { status, headers, body: body.to_owned() }
}

fn without_chunks(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        let Some(chunk) = rest.get(..size) else { return whole + rest };
        whole.push_str(chunk);
        body = rest.get(size + 2..).unwrap_or_default();
        if size == 0 {
            break;
        }
    }
    whole
}
