//! The coordinator as a process of its own that can be killed: scripted writers that really hold two processes, a stage
//! that really builds a folder, and a hook that does the damage.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use stillpoint_coordinator::{
    ActHook, Participant, RunReport, RunSettings, Stage, StageError, StateFolder, reconcile, run,
};
use stillpoint_model::site_file::Deadlines;
use stillpoint_model::{
    Cancel, CaptureSink, Captured, CgroupVersion, ComponentName, Context, Deadline, Description, ErrorKind,
    Event, Grade, Level, Monitor, Quieting, RunId, SinkError, SiteCode, Ticket, TreeSource, Undo, UndoLog,
    Urgency, Writer, WriterError,
};

use crate::site::{is_stopped, start_ticks};

/// What the process is told, in one JSON object.
#[derive(serde::Serialize, serde::Deserialize, Clone, Default)]
pub struct Orders {
    pub root: PathBuf,
    pub cgroup: PathBuf,
    pub held_process: u32,
    /// `(act, damage)`; an act is a name, or `journal#N` for the Nth.
    pub faults: Vec<(String, String)>,
    pub deadline_ms: u64,
    pub window_ms: u64,
    /// The deadline of a thaw, when it is another one.
    pub thaw_ms: u64,
    /// Stay for so long after the run, before the report is told.
    pub linger_ms: u64,
    /// Writers that hold nothing, to measure the driver alone.
    pub idle: bool,
}

fn signal(pid: u32, signal: &str) {
    let status =
        std::process::Command::new("kill").args([&format!("-{signal}"), "--", &pid.to_string()]).status();
    assert!(status.unwrap().success(), "cannot send {signal} to {pid}");
}

fn own_death() -> ! {
    // SAFETY: ends this very process.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    loop {
        std::thread::park();
    }
}

struct Damage {
    orders: Orders,
    cancel: Cancel,
    journals: AtomicU32,
    acts: Mutex<Vec<String>>,
}

impl Damage {
    fn guard(&self) -> u32 {
        let text = fs::read_to_string(self.orders.root.join("state/P01/guard.lock")).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["process"].as_u64().unwrap() as u32
    }

    fn strike(&self, act: &str, place: &str) -> Result<(), String> {
        for (_, damage) in self.orders.faults.iter().filter(|(name, _)| name == act) {
            let Some(damage) = damage.strip_suffix(place) else { continue };
            match damage {
                "fail" => return Err(format!("made to fail at {act}")),
                "hang" => loop {
                    std::thread::park();
                },
                "late" => std::thread::sleep(Duration::from_millis(self.orders.deadline_ms * 5 / 2)),
                "slow" => std::thread::sleep(Duration::from_millis(self.orders.deadline_ms * 4 / 5)),
                "panic" => panic!("made to panic at {act}"),
                "cancel" => self.cancel.cancel(),
                "kill" => own_death(),
                "guard" => signal(self.guard(), "KILL"),
                "mute" => signal(self.guard(), "STOP"),
                "both" => {
                    signal(self.guard(), "KILL");
                    own_death()
                }
                "annoy" => {
                    ["INT", "TERM", "HUP"].iter().for_each(|name| signal(self.guard(), name));
                    own_death()
                }
                // SAFETY: signals the process group of this process, which the test made for it.
                "group" => unsafe { assert_eq!(libc::kill(0, libc::SIGKILL), 0) },
                // SAFETY: stops this very process.
                "stop" => unsafe { assert_eq!(libc::kill(libc::getpid(), libc::SIGSTOP), 0) },
                other => panic!("no such damage: {other}"),
            }
        }
        Ok(())
    }

    fn name(&self, act: &str, before: bool) -> String {
        if act != "journal" {
            return act.to_owned();
        }
        let number = self.journals.fetch_add(u32::from(before), Ordering::SeqCst) + u32::from(before);
        format!("journal#{number}")
    }
}

impl ActHook for Damage {
    fn before(&self, act: &str) -> Result<(), String> {
        let name = self.name(act, true);
        self.acts.lock().unwrap().push(name.clone());
        self.strike(&name, "-before")
    }

    fn after(&self, act: &str) -> Result<(), String> {
        self.strike(&self.name(act, false), "-after")
    }
}

/// What a writer holds.
enum Hold {
    Group(PathBuf),
    Process(u32),
    Nothing,
}

struct Scripted {
    level: Level,
    hold: Hold,
    tickets: Vec<Ticket>,
}

fn io(act: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> WriterError {
    let path = path.to_owned();
    move |source| WriterError::Io { act, path, source }
}

impl Scripted {
    fn is_held(&self) -> bool {
        match &self.hold {
            Hold::Group(group) => {
                fs::read_to_string(group.join("cgroup.events")).unwrap().contains("frozen 1")
            }
            Hold::Process(pid) => is_stopped(*pid),
            Hold::Nothing => false,
        }
    }

    fn set(&self, held: bool, deadline: Deadline) -> Result<(), WriterError> {
        match &self.hold {
            Hold::Group(group) => {
                let control = group.join("cgroup.freeze");
                fs::write(&control, if held { "1" } else { "0" }).map_err(io("write", &control))?;
            }
            Hold::Process(pid) => {
                let signal = if held { libc::SIGSTOP } else { libc::SIGCONT };
                // SAFETY: signals the process that the test started for this.
                unsafe { libc::kill(*pid as i32, signal) };
            }
            Hold::Nothing => return Ok(()),
        }
        while self.is_held() != held {
            if deadline.passed() {
                return Err(WriterError::Late { act: "hold".into() });
            }
            std::thread::yield_now();
        }
        Ok(())
    }
}

impl Writer for Scripted {
    fn identify(&mut self, _: &Context, _: Deadline) -> Result<Description, WriterError> {
        Ok(Description {
            writer: "scripted".into(),
            level: self.level,
            quieting: (self.level == Level::FrontEnd).then_some(Quieting::Hold),
            estimate_bytes: None,
            sources: Vec::new(),
            facts: serde_json::Value::Null,
        })
    }

    fn prepare(&mut self, context: &Context, _: Deadline) -> Result<(), WriterError> {
        let undo = match &self.hold {
            Hold::Group(group) => Undo::ThawCgroup { cgroup: group.clone(), version: CgroupVersion::V2 },
            Hold::Process(pid) => Undo::ContinueProcess { pid: *pid, start_ticks: start_ticks(*pid) },
            Hold::Nothing => {
                let file = context.workspace.join("base");
                return fs::write(&file, "base").map_err(io("write", &file));
            }
        };
        self.tickets.push(context.undos.intend(undo)?);
        Ok(())
    }

    fn freeze(&mut self, _: &Context, deadline: Deadline) -> Result<(), WriterError> {
        self.set(true, deadline)
    }

    fn cut(&mut self, _: &Context, _: Deadline) -> Result<(), WriterError> {
        Ok(())
    }

    fn thaw(&mut self, context: &Context, deadline: Deadline) -> Result<(), WriterError> {
        self.set(false, deadline)?;
        self.tickets.drain(..).for_each(|ticket| context.undos.settle(ticket));
        Ok(())
    }

    fn capture(
        &mut self,
        context: &Context,
        _: Deadline,
        sink: &mut dyn CaptureSink,
    ) -> Result<Captured, WriterError> {
        sink.stream(context, "content", &mut &b"content"[..])?;
        Ok(Captured { grade: Grade::Frozen, facts: serde_json::Value::Null })
    }

    fn release(&mut self, context: &Context) -> Result<(), WriterError> {
        // The site may have published the folder and taken this with it.
        drop(fs::remove_dir_all(&context.workspace));
        Ok(())
    }
}

struct Sink(PathBuf);

impl CaptureSink for Sink {
    fn tree(&mut self, _: &Context, _: &str, _: TreeSource) -> Result<(), SinkError> {
        Ok(())
    }

    fn stream(&mut self, _: &Context, name: &str, reader: &mut dyn std::io::Read) -> Result<u64, SinkError> {
        let copied = fs::create_dir_all(&self.0)
            .and_then(|()| fs::File::create(self.0.join(name)))
            .and_then(|mut file| std::io::copy(reader, &mut file));
        copied.map_err(|error| SinkError("cannot store".into(), Some(Box::new(error))))
    }
}

struct Building {
    folder: PathBuf,
    set: PathBuf,
    run: RunId,
}

fn failed(text: &str, error: impl std::error::Error + Send + Sync + 'static) -> StageError {
    StageError { kind: ErrorKind::Environment, text: text.into(), hint: None, source: Some(Box::new(error)) }
}

impl Stage for Building {
    fn preflight(&self, undos: &dyn UndoLog) -> Result<(), StageError> {
        let undo = Undo::RemoveTree { path: self.folder.clone(), run: self.run.to_string() };
        assert_eq!(undo.urgency(), Urgency::Release);
        undos.intend(undo).map_err(|error| failed("no undo", error))?;
        // Must be done for a run that failed, and never for one that published its set.
        let mark = format!("{}-taken-back", self.folder.display());
        let undo = Undo::RunCommand { argv: vec!["/usr/bin/touch".into(), mark], timeout_ms: 5000 };
        undos.intend(undo).map_err(|error| failed("no undo", error))?;
        fs::create_dir(&self.folder).map_err(|error| failed("no folder", error))?;
        fs::write(self.folder.join(Undo::MARKER), self.run.as_str())
            .map_err(|error| failed("no marker", error))
    }

    fn identified(&self, components: &[(ComponentName, Description)]) -> Result<(), StageError> {
        assert_eq!(components.len(), 3);
        Ok(())
    }

    fn sink(&self, component: &ComponentName) -> Box<dyn CaptureSink> {
        Box::new(Sink(self.folder.join(component.as_str())))
    }

    fn seal(&self, report: &RunReport, cancel: &Cancel) -> Result<(), StageError> {
        for component in &report.components {
            // One application is only held: nothing in the set may be called better than this.
            assert_eq!(component.captured.as_ref().unwrap().grade, Grade::Crash);
        }
        assert!(report.window.is_some() && report.cut_at.is_some());
        if cancel.is_cancelled() {
            return Err(failed("cancelled", std::io::Error::from(std::io::ErrorKind::Interrupted)));
        }
        let published = fs::write(self.folder.join("manifest"), "whole")
            .and_then(|()| fs::remove_file(self.folder.join(Undo::MARKER)))
            .and_then(|()| fs::rename(&self.folder, &self.set));
        published.map_err(|error| failed("cannot publish", error))
    }
}

/// Hears events, and with each whether somebody is held in that moment.
struct Listener {
    orders: Orders,
    heard: Mutex<Vec<String>>,
}

impl Monitor for Listener {
    fn emit(&self, event: Event) {
        let held = !self.orders.idle
            && (is_stopped(self.orders.held_process)
                || fs::read_to_string(self.orders.cgroup.join("cgroup.events"))
                    .unwrap()
                    .contains("frozen 1"));
        let text = serde_json::to_string(&event).unwrap();
        self.heard.lock().unwrap().push(format!("{}{text}", if held { "HELD " } else { "" }));
    }
}

fn participants(orders: &Orders, workspaces: &Path) -> Vec<Participant> {
    let hold = |hold: Hold| if orders.idle { Hold::Nothing } else { hold };
    let parts = [
        ("app", Level::FrontEnd, hold(Hold::Group(orders.cgroup.clone()))),
        ("db", Level::BackEnd, hold(Hold::Process(orders.held_process))),
        ("files", Level::System, Hold::Nothing),
    ];
    let participant = |(name, level, hold): (&str, Level, Hold)| Participant {
        component: name.parse().unwrap(),
        level: None,
        writer: Box::new(Scripted { level, hold, tickets: Vec::new() }),
        workspace: workspaces.join(name),
        previous: None,
    };
    parts.into_iter().map(participant).collect()
}

/// One start of the program: lock, reconcile, run; what came of it goes to standard output.
pub fn main(orders: &str) -> u8 {
    let orders: Orders = serde_json::from_str(orders).unwrap();
    let site: SiteCode = "P01".parse().unwrap();
    let run_id = RunId::new(jiff::Timestamp::now(), std::process::id());
    let state = StateFolder::open(&orders.root.join("state"), &site).unwrap();
    let lock = state.lock(&run_id).unwrap();
    let healed = reconcile(&state, &lock).unwrap();
    let epoch = lock.next_epoch().unwrap();
    let cancel = Cancel::default();
    let hook = Arc::new(Damage {
        orders: orders.clone(),
        cancel: cancel.clone(),
        journals: AtomicU32::new(0),
        acts: Mutex::new(Vec::new()),
    });
    let listener = Arc::new(Listener { orders: orders.clone(), heard: Mutex::new(Vec::new()) });
    let wait = format!("{}ms", orders.deadline_ms).parse().unwrap();
    let thaw_ms = if orders.thaw_ms == 0 { orders.deadline_ms } else { orders.thaw_ms };
    let settings = RunSettings {
        site,
        run: run_id.clone(),
        epoch,
        deadlines: Deadlines {
            identify: wait,
            prepare: wait,
            freeze: wait,
            snapshot: wait,
            thaw: format!("{thaw_ms}ms").parse().unwrap(),
            window: format!("{}ms", orders.window_ms).parse().unwrap(),
            capture: wait,
        },
        state,
        guard: vec![std::env::current_exe().unwrap().into(), "guard".into()],
        monitor: listener.clone(),
        cancel,
        hook: hook.clone(),
    };
    let sets = orders.root.join("sets");
    let stage = Building {
        folder: sets.join(format!("building-{run_id}")),
        set: sets.join(format!("set-{run_id}")),
        run: run_id,
    };
    let mark = format!("{}-taken-back", stage.folder.display());
    let participants = participants(&orders, &stage.folder.join("work"));
    let begun = Instant::now();
    let report = run(settings, participants, Arc::new(stage));
    let elapsed = begun.elapsed();
    std::thread::sleep(Duration::from_millis(orders.linger_ms));
    let told = json!({
        "failure": report.failure.as_ref().map(|error| error.text.clone()),
        "kind": report.failure.as_ref().map(|error| error.kind),
        "taken_back": Path::new(&mark).exists(),
        "not_undone": report.not_undone,
        "window_us": report.window.map(|window| window.as_micros() as u64),
        "elapsed_ms": elapsed.as_millis() as u64,
        "healed": healed.healed, "unhealed": healed.failed, "left": healed.left,
        "acts": *hook.acts.lock().unwrap(),
        "heard": *listener.heard.lock().unwrap(),
    });
    println!("{told}");
    0
}
