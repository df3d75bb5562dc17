//! The service with years of history: how soon it answers, how long a page takes, how much memory it holds.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::params;
use sha2::{Digest, Sha256};
use stillpoint_history::{History, Role, Token};
use stillpoint_testkit::program;

/// How often each page is asked for.
const LOOKS: usize = 50;

/// What is measured, and where.
const PAGES: [(&str, &str); 7] = [
    ("overview", "/"),
    ("runs", "/runs"),
    ("alerts", "/alerts"),
    ("components", "/components"),
    ("charts", "/charts"),
    ("metrics", "/metrics"),
    ("API: status", "/api/v1/status"),
];

/// How long the service is left alone before its memory is looked at.
const IDLE: Duration = Duration::from_secs(20);

/// Measures a service with so many runs and messages. `program` is the one that is measured.
pub fn measure(runs: u64, messages: u64, program: Option<PathBuf>) {
    let program = program.unwrap_or_else(|| program::own("stillpoint"));
    let folder = tempfile::tempdir().expect("make a folder");
    let config = write_site(folder.path());
    let state = folder.path().join("state");
    let history = state.join("history/P01.db");
    let began = Instant::now();
    fill(&history, runs, messages);
    let size = std::fs::metadata(&history).expect("look at the history").len();
    println!(
        "{runs} runs and {messages} messages: {} MiB, written in {:.0} s\n",
        size >> 20,
        began.elapsed().as_secs_f64()
    );
    let token = make_token(&history);
    let began = Instant::now();
    let (service, address) = start(&program, &config, &state);
    let until_told = began.elapsed();
    ask(&address, "/health", &token);
    println!(
        "start until it answers: {:.0} ms (it said where after {:.0} ms)\n",
        ms(began.elapsed()),
        ms(until_told)
    );
    std::thread::sleep(IDLE);
    println!("memory after {} s of idling: {} MiB\n", IDLE.as_secs(), resident(&service.0) >> 20);
    println!("| Page | median | worst of {LOOKS} | size |\n|---|---|---|---|");
    for (name, path) in PAGES {
        let mut taken = Vec::new();
        let mut length = 0;
        for _ in 0..LOOKS {
            let began = Instant::now();
            length = ask(&address, path, &token);
            taken.push(began.elapsed());
        }
        taken.sort();
        println!(
            "| {name} | {:.1} ms | {:.1} ms | {} KiB |",
            ms(taken[LOOKS / 2]),
            ms(taken[LOOKS - 1]),
            length >> 10
        );
    }
    println!("\nmemory after that: {} MiB", resident(&service.0) >> 20);
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn write_site(folder: &Path) -> PathBuf {
    let tree = folder.join("tree");
    std::fs::create_dir(&tree).expect("make a tree");
    let text = format!(
        "[site]\ncode = \"P01\"\nname = \"Bench\"\n[destination]\nfolder = {:?}\n[[component]]\nname = \"content\"\ntype = \"files\"\npath = {tree:?}\n\
         [schedule]\nzone = \"Europe/Berlin\"\nwindow = {{ begin = \"02:00\", latest = \"05:00\" }}\n[history]\nkeep = \"40000d\"\n[console]\nlisten = \"127.0.0.1:0\"\n",
        folder.join("backups")
    );
    let path = folder.join("site.toml");
    std::fs::write(&path, text).expect("write the site file");
    path
}

/// A history as that of a site that is backed up every hour for years.
fn fill(path: &Path, runs: u64, messages: u64) {
    drop(History::open(path).expect("make the history"));
    let connection = rusqlite::Connection::open(path).expect("open the history");
    connection.execute_batch("PRAGMA synchronous = OFF; BEGIN").expect("begin");
    let now = jiff::Timestamp::now().as_millisecond();
    let each = messages / runs.max(1);
    let hour = 3_600_000;
    {
        let mut run = connection
            .prepare("INSERT INTO runs (id, name, task, asked_by, attempt, epoch, started, ended, outcome, grade, window_us, files, bytes, exit_code, free_bytes, size_bytes) VALUES (?1, ?2, ?3, 'schedule', 1, ?1, ?4, ?5, ?6, 'frozen', ?7, 1000, 1000000, 0, 900000000, 1000000000)")
            .expect("prepare");
        let mut phase = connection
            .prepare("INSERT INTO phases (run, number, phase, elapsed_us) VALUES (?1, ?2, ?3, 1000)")
            .expect("prepare");
        let mut message = connection
            .prepare("INSERT INTO messages (run, at, number, severity, component, inserts) VALUES (?1, ?2, ?3, ?4, ?5, '[\"content\",\"frozen\",\"1000\",\"1000000\"]')")
            .expect("prepare");
        for id in 1..=runs {
            let started = now - i64::try_from(runs - id + 1).unwrap_or(0) * hour;
            let task = if id % 24 == 0 { "verify" } else { "backup" };
            let outcome = match id % 50 {
                0 => "failed",
                1 => "incomplete",
                _ => "complete",
            };
            let number = i64::try_from(id).unwrap_or(0);
            run.execute(params![
                number,
                format!("run-{id}"),
                task,
                started,
                started + 60_000,
                outcome,
                900 + number % 400
            ])
            .expect("write a run");
            for (place, name) in
                ["preflight", "prepare", "freeze", "snapshot", "thaw", "capture", "seal"].iter().enumerate()
            {
                phase
                    .execute(params![number, i64::try_from(place).unwrap_or(0), name])
                    .expect("write a phase");
            }
            for place in 0..each {
                let (kind, severity) = if place == 7 { (5125, 1) } else { (5104, 0) };
                let component = (place % 3 == 0).then_some("content");
                message
                    .execute(params![
                        number,
                        started + i64::try_from(place).unwrap_or(0),
                        kind,
                        severity,
                        component
                    ])
                    .expect("write a message");
            }
        }
    }
    connection.execute_batch("COMMIT; ANALYZE").expect("commit");
}

fn make_token(path: &Path) -> String {
    let history = History::open(path).expect("open the history");
    let secret = "sp_measured";
    let now = jiff::Timestamp::now();
    history.add_person("bench", Role::Administrator, "", now).expect("add a person");
    let token = Token {
        id: 0,
        name: "bench".into(),
        role: Role::Administrator,
        person: "bench".into(),
        created: now,
        expires: now + jiff::SignedDuration::from_hours(1),
        last_used: None,
    };
    history.add_token(&Sha256::digest(secret.as_bytes()).into(), &token).expect("add a token");
    secret.to_owned()
}

/// Ends with the value.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(program: &Path, config: &Path, state: &Path) -> (Service, String) {
    let mut child = Command::new(program)
        .arg("--config")
        .arg(config)
        .arg("--state-dir")
        .arg(state)
        .args(["serve", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("start the service");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("hear it");
    let told: serde_json::Value = serde_json::from_str(&line).expect("understand it");
    let address = told["url"].as_str().expect("an address").trim_start_matches("http://").to_owned();
    (Service(child), address)
}

/// One request on a connection of its own. Returns the length of the answer.
fn ask(address: &str, path: &str, token: &str) -> usize {
    let mut stream = TcpStream::connect(address).expect("connect");
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: text/html\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("ask");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("read the answer");
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{path}: {}",
        String::from_utf8_lossy(&answer[..answer.len().min(400)])
    );
    answer.len()
}

/// What the process holds in memory, in bytes (`VmRSS`).
fn resident(child: &Child) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("look at the process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number") << 10
}
