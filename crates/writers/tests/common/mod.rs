//! What the tests of several writers share: recorders, a context, real processes, real control groups.
#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stillpoint_model::{
    Cancel, CaptureSink, Context, Deadline, Event, Monitor, RunId, SinkError, StoredPrevious, Ticket,
    TreeSource, Undo, UndoError, UndoLog,
};

pub fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

/// Waits until `done`, busily but not for ever.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = soon();
    while !done() {
        assert!(!deadline.passed(), "waited in vain until {what}");
        std::thread::yield_now();
    }
}

/// Remembers undos.
#[derive(Default)]
pub struct Undos(Mutex<Vec<(Undo, bool)>>);

impl Undos {
    pub fn all(&self) -> Vec<Undo> {
        self.0.lock().unwrap().iter().map(|(undo, _)| undo.clone()).collect()
    }

    pub fn open(&self) -> Vec<Undo> {
        self.0.lock().unwrap().iter().filter(|(_, settled)| !settled).map(|(undo, _)| undo.clone()).collect()
    }
}

impl UndoLog for Undos {
    fn intend(&self, undo: Undo) -> Result<Ticket, UndoError> {
        let mut undos = self.0.lock().unwrap();
        undos.push((undo, false));
        Ok(Ticket(undos.len() as u64 - 1))
    }

    fn settle(&self, ticket: Ticket) {
        self.0.lock().unwrap()[usize::try_from(ticket.0).unwrap()].1 = true;
    }
}

/// Remembers events.
#[derive(Default)]
pub struct Events(Mutex<Vec<Event>>);

impl Events {
    pub fn problems(&self) -> Vec<String> {
        let events = self.0.lock().unwrap();
        events.iter().filter_map(problem_text).collect()
    }

    pub fn status(&self) -> Vec<u16> {
        let events = self.0.lock().unwrap();
        events
            .iter()
            .filter_map(|event| match event {
                Event::Status(message) => Some(message.id.number()),
                _ => None,
            })
            .collect()
    }

    pub fn chosen(&self) -> Vec<String> {
        let events = self.0.lock().unwrap();
        events
            .iter()
            .filter_map(|event| match event {
                Event::ProviderChosen { provider, reason, .. } => Some(format!("{provider}: {reason}")),
                _ => None,
            })
            .collect()
    }
}

fn problem_text(event: &Event) -> Option<String> {
    match event {
        Event::Problem(problem) => Some(problem.text.clone()),
        _ => None,
    }
}

impl Monitor for Events {
    fn emit(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

/// A context with all that records beside it.
pub struct Surroundings {
    pub folder: tempfile::TempDir,
    pub undos: Arc<Undos>,
    pub events: Arc<Events>,
    pub context: Context,
}

impl Surroundings {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let workspace = folder.path().join("workspace");
        fs::create_dir(&workspace).unwrap();
        let (undos, events) = (Arc::new(Undos::default()), Arc::new(Events::default()));
        let context = Context {
            site: "P01".parse().unwrap(),
            run: RunId::new(jiff::Timestamp::UNIX_EPOCH, 1),
            component: "part".parse().unwrap(),
            workspace,
            previous: None,
            undos: undos.clone(),
            monitor: events.clone(),
            cancel: Cancel::default(),
        };
        Self { folder, undos, events, context }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn with_previous(mut self, previous: StoredPrevious) -> Self {
        self.context.previous = Some(previous);
        self
    }
}

/// A sink that keeps what it is given.
#[derive(Default)]
pub struct Kept {
    pub trees: Vec<(String, TreeSource)>,
    pub streams: Vec<(String, Vec<u8>)>,
}

impl CaptureSink for Kept {
    fn tree(&mut self, _context: &Context, folder: &str, source: TreeSource) -> Result<(), SinkError> {
        self.trees.push((folder.to_owned(), source));
        Ok(())
    }

    fn stream(&mut self, _context: &Context, name: &str, reader: &mut dyn Read) -> Result<u64, SinkError> {
        let mut bytes = Vec::new();
        let read = reader.read_to_end(&mut bytes);
        read.map_err(|error| SinkError("the stream broke".into(), Some(Box::new(error))))?;
        let count = bytes.len() as u64;
        self.streams.push((name.to_owned(), bytes));
        Ok(count)
    }
}

/// A real process that makes a file longer for as long as it can.
pub struct Ticker {
    pub child: Child,
    file: PathBuf,
}

impl Ticker {
    pub fn start(file: &Path) -> Self {
        fs::write(file, "").unwrap();
        let child = Command::new("/bin/sh")
            .args(["-c", "while :; do printf x >> \"$1\"; done", "ticker"])
            .arg(file)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let ticker = Self { child, file: file.to_owned() };
        ticker.wait_for_ticks();
        ticker
    }

    pub fn count(&self) -> u64 {
        fs::metadata(&self.file).unwrap().len()
    }

    /// Waits until it has ticked on.
    pub fn wait_for_ticks(&self) {
        let before = self.count();
        wait_until("the process goes on", || self.count() > before + 20);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        // The freezer of version 1 does not let a process die.
        let groups = fs::read_to_string(format!("/proc/{}/cgroup", self.child.id())).unwrap_or_default();
        if let Some(group) =
            groups.lines().find_map(|line| line.split_once(":freezer:/")).map(|(_, group)| group)
        {
            for folder in Path::new(group).ancestors() {
                let _ = fs::write(Hierarchy::Freezer.root().join(folder).join("freezer.state"), "THAWED");
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where control groups of one version are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hierarchy {
    Unified,
    Freezer,
}

impl Hierarchy {
    pub const BOTH: [Hierarchy; 2] = [Hierarchy::Unified, Hierarchy::Freezer];

    pub fn root(self) -> PathBuf {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let wanted = |line: &&str| {
            let fields: Vec<&str> = line.split(' ').collect();
            match self {
                Hierarchy::Unified => fields[2] == "cgroup2",
                Hierarchy::Freezer => {
                    fields[2] == "cgroup" && fields[3].split(',').any(|option| option == "freezer")
                }
            }
        };
        let found = mounts.lines().find(wanted).map(|line| PathBuf::from(line.split(' ').nth(1).unwrap()));
        found.unwrap_or_else(|| {
            panic!("this machine has no control group hierarchy {self:?}; the test needs one")
        })
    }
}

/// A real control group, thawed, emptied and removed at the end.
pub struct Group {
    pub folder: PathBuf,
    hierarchy: Hierarchy,
}

impl Group {
    pub fn new(hierarchy: Hierarchy) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self::below(&hierarchy.root(), hierarchy, &format!("stillpoint-test-{}-{number}", std::process::id()))
    }

    pub fn child(&self, name: &str) -> Self {
        Self::below(&self.folder, self.hierarchy, name)
    }

    fn below(parent: &Path, hierarchy: Hierarchy, name: &str) -> Self {
        let folder = parent.join(name);
        fs::create_dir(&folder).expect("control groups can be created: the test runs as root");
        Self { folder, hierarchy }
    }

    pub fn take(&self, pid: u32) {
        fs::write(self.folder.join("cgroup.procs"), pid.to_string()).unwrap();
    }

    pub fn freeze(&self) {
        match self.hierarchy {
            Hierarchy::Unified => fs::write(self.folder.join("cgroup.freeze"), "1").unwrap(),
            Hierarchy::Freezer => fs::write(self.folder.join("freezer.state"), "FROZEN").unwrap(),
        }
        wait_until("the group is frozen", || self.is_frozen());
    }

    pub fn thaw(&self) {
        let _ = match self.hierarchy {
            Hierarchy::Unified => fs::write(self.folder.join("cgroup.freeze"), "0"),
            Hierarchy::Freezer => fs::write(self.folder.join("freezer.state"), "THAWED"),
        };
    }

    pub fn is_frozen(&self) -> bool {
        let read = |name: &str| fs::read_to_string(self.folder.join(name)).unwrap();
        match self.hierarchy {
            Hierarchy::Unified => read("cgroup.events").contains("frozen 1"),
            Hierarchy::Freezer => read("freezer.state").trim() == "FROZEN",
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.thaw();
        // Processes leave a group when they are reaped, which may take a moment after their kill.
        let deadline = soon();
        while fs::remove_dir(&self.folder).is_err() && self.folder.exists() && !deadline.passed() {
            for pid in fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default().lines() {
                let pid =
                    pid.parse().ok().filter(|&pid: &i32| pid > 0).and_then(rustix::process::Pid::from_raw);
                if let Some(pid) = pid {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
            std::thread::yield_now();
        }
    }
}

/// An executable shell script.
pub fn script(path: &Path, text: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}
