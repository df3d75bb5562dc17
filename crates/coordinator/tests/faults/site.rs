//! A living site for the tests: two processes that count, one in a cgroup of its own, and a place for state and sets.

use std::fs;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::subject::Orders;

/// Counts into a file until it is killed.
pub fn counter(file: &str) -> u8 {
    let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(file).unwrap();
    for count in 0_u64.. {
        file.write_all_at(&count.to_le_bytes(), 0).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    0
}

/// The fields of `/proc/PID/stat` behind the name.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

pub fn is_stopped(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| fields[0] == "T")
}

pub fn start_ticks(pid: u32) -> u64 {
    stat(pid).unwrap()[19].parse().unwrap()
}

/// The process and its counter.
struct Counter {
    child: Child,
    file: PathBuf,
}

impl Counter {
    fn start(file: PathBuf) -> Self {
        let child = Command::new(std::env::current_exe().unwrap()).arg("counter").arg(&file).spawn().unwrap();
        Self { child, file }
    }

    fn count(&self) -> Option<u64> {
        Some(u64::from_le_bytes(fs::read(&self.file).ok()?.try_into().ok()?))
    }

    fn ticks_within(&self, limit: Duration) -> bool {
        let (first, until) = (self.count(), Instant::now() + limit);
        // Twice, so that a write that was under way is not taken for work.
        while self.count().unwrap_or(0) < first.unwrap_or(0) + 2 {
            if Instant::now() > until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }
}

pub struct Site {
    root: tempfile::TempDir,
    cgroup: PathBuf,
    grouped: Counter,
    plain: Counter,
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Where the cgroup v2 hierarchy is mounted.
fn cgroups() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"));
    line.and_then(|line| line.split(' ').nth(1)).expect("these tests need a cgroup v2 hierarchy").into()
}

impl Site {
    pub fn new() -> Self {
        // In memory: hundreds of runs with many syncs each.
        let root = tempfile::tempdir_in("/dev/shm").unwrap();
        fs::create_dir(root.path().join("sets")).unwrap();
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let cgroup = cgroups().join(format!("stillpoint-faults-{}-{number}", std::process::id()));
        fs::create_dir(&cgroup).expect("these tests need the right to make a cgroup (root)");
        let grouped = Counter::start(root.path().join("grouped"));
        fs::write(cgroup.join("cgroup.procs"), grouped.child.id().to_string()).unwrap();
        let plain = Counter::start(root.path().join("plain"));
        let site = Self { cgroup, grouped, plain, root };
        assert!(site.works_within(Duration::from_secs(10)), "the counters do not count");
        site
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    pub fn orders(&self) -> Orders {
        Orders {
            root: self.root.path().to_owned(),
            cgroup: self.cgroup.clone(),
            held_process: self.plain.child.id(),
            deadline_ms: 250,
            window_ms: 3000,
            ..Orders::default()
        }
    }

    pub fn works_within(&self, limit: Duration) -> bool {
        self.grouped.ticks_within(limit) && self.plain.ticks_within(limit)
    }

    pub fn start(&self, orders: &Orders) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .arg("coordinator")
            .arg(serde_json::to_string(orders).unwrap())
            .process_group(0)
            // Writing one takes longer than the deadlines here.
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Runs to the end; nothing when it was killed.
    pub fn run(&self, orders: &Orders) -> Option<Value> {
        self.finish(self.start(orders))
    }

    pub fn finish(&self, mut child: Child) -> Option<Value> {
        let until = Instant::now() + Duration::from_secs(20);
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > until {
                child.kill().unwrap();
                panic!("the coordinator did not end");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let output = child.wait_with_output().unwrap();
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    pub fn sets(&self, prefix: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.root.path().join("sets")).unwrap().map(|entry| entry.unwrap());
        let named = entries.filter(|entry| entry.file_name().to_str().unwrap().starts_with(prefix));
        named.map(|entry| entry.path()).collect()
    }

    /// The records of the journal, each line checked to be JSON.
    pub fn journal(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.root.path().join("state/P01/journal.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The next run heals what is left, and is whole; nothing is left after it.
    pub fn check_next_run(&self) -> Value {
        let before = self.sets("set-").len();
        let told =
            self.run(&Orders { deadline_ms: 5000, window_ms: 20_000, ..self.orders() }).expect("killed");
        assert_eq!(told["failure"], Value::Null, "the next run failed, {}", told["kind"]);
        assert_eq!(told["unhealed"], Value::Array(vec![]), "not healed");
        assert_eq!(told["left"], Value::Array(vec![]), "left lying about");
        assert!(self.works_within(Duration::from_secs(5)), "the site stands still");
        assert_eq!(told["taken_back"], false, "what led to a published set was taken back");
        for left in self.sets("building-") {
            assert!(left.extension().is_none() && left.is_file(), "a half set is left: {left:?}");
            fs::remove_file(left).unwrap();
        }
        let sets = self.sets("set-");
        assert_eq!(sets.len(), before + 1);
        assert!(sets.iter().all(|set| set.join("manifest").exists()));
        assert!(fs::read_to_string(self.cgroup.join("cgroup.freeze")).unwrap().starts_with('0'));
        let journal = self.journal();
        let count = |kind: &str| journal.iter().filter(|line| line["record"] == kind).count();
        assert_eq!(count("intent"), count("settled"), "the journal has open intents");
        assert_eq!(count("run-ended"), 1);
        for heard in told["heard"].as_array().unwrap() {
            assert!(!heard.as_str().unwrap().starts_with("HELD"), "told while the site stood still: {heard}");
        }
        told
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Also when a test failed with the site frozen: a frozen or stopped process takes SIGKILL all the same.
        drop(fs::write(self.cgroup.join("cgroup.freeze"), "0"));
        for counter in [&mut self.grouped, &mut self.plain] {
            drop(counter.child.kill());
            drop(counter.child.wait());
        }
        let until = Instant::now() + Duration::from_secs(5);
        while fs::remove_dir(&self.cgroup).is_err() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
