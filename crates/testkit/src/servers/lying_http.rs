//! A small HTTP server that answers as it is told, to show what a broken or lying one does to its clients.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// One answer. The last one is given to all further requests too.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A whole answer: its status, further lines of its head, its body.
    Whole(u16, &'static str, Vec<u8>),
    /// The head promises so many bytes more than come, then the connection is closed.
    CutShort(u16, Vec<u8>, usize),
    /// So much of the body comes and then nothing more, for as long as the server lives.
    Stalled(Vec<u8>, usize),
    /// The connection is closed without an answer.
    Closed,
    /// The request is read no further than its head, and not answered, for as long as the server lives.
    Deaf,
}

/// A running server. Ended with its value.
#[derive(Debug)]
pub struct LyingHttp {
    shared: Arc<Shared>,
    port: u16,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    answers: Mutex<VecDeque<Answer>>,
    requests: Mutex<Vec<String>>,
    ended: Mutex<bool>,
    end: Condvar,
    stopping: AtomicBool,
}

impl LyingHttp {
    /// Starts one that gives these answers, one after another.
    pub fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listener = listener.unwrap_or_else(|error| panic!("nothing can listen on the loopback: {error}"));
        let port = listener.local_addr().map(|address| address.port()).unwrap_or_default();
        let shared = Arc::new(Shared {
            answers: Mutex::new(answers.into_iter().collect()),
            requests: Mutex::default(),
            ended: Mutex::default(),
            end: Condvar::new(),
            stopping: AtomicBool::new(false),
        });
        let for_thread = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accept(&listener, &for_thread));
        Self { shared, port, acceptor: Some(acceptor) }
    }

    /// `http://host:port`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The first lines of all requests that came.
    pub fn requests(&self) -> Vec<String> {
        lock(&self.shared.requests).clone()
    }
}

impl Drop for LyingHttp {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        *lock(&self.shared.ended) = true;
        self.shared.end.notify_all();
        // Wakes the one who accepts.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            // A client that goes away early is what such a server makes of it.
            let _ = answer(&stream, &shared);
            let _ = stream.shutdown(Shutdown::Both);
        });
    }
}

/// One request to a connection.
fn answer(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0_u64);
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or_default();
        }
    }
    lock(&shared.requests).push(first.trim().to_owned());
    let answer = {
        let mut answers = lock(&shared.answers);
        let next = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        next.unwrap_or(Answer::Closed)
    };
    if !matches!(answer, Answer::Deaf) {
        io::copy(&mut reader.take(length), &mut io::sink())?;
    }
    let mut stream = stream;
    let mut send = |status: u16, more: &str, length: usize, body: &[u8]| -> io::Result<()> {
        let head = format!(
            "HTTP/1.1 {status} told so\r\nConnection: close\r\nContent-Length: {length}\r\n{more}\r\n"
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)
    };
    match answer {
        Answer::Whole(status, more, body) => send(status, more, body.len(), &body),
        Answer::CutShort(status, body, missing) => send(status, "", body.len() + missing, &body),
        Answer::Stalled(body, missing) => {
            send(200, "", body.len() + missing, &body)?;
            wait_for_the_end(shared);
            Ok(())
        }
        Answer::Closed => Ok(()),
        Answer::Deaf => {
            wait_for_the_end(shared);
            Ok(())
        }
    }
}

fn wait_for_the_end(shared: &Shared) {
    let ended = lock(&shared.ended);
    drop(shared.end.wait_while(ended, |ended| !*ended));
}
