//! The hook after a successful backup: found, run with a limit in its own process group, its output and end recorded. Its
//! failure is a problem of its own and never unmakes the backup.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use stillpoint_model::site_file::Hook;
use stillpoint_model::status::id;
use stillpoint_model::{Event, Monitor, Problem};

use super::teller::Teller;

/// The name of the executable that is taken when the site file names none.
pub(crate) const DEFAULT_NAME: &str = "after-backup";

/// How much of the hook's output is kept, in bytes.
const OUTPUT_MAX: usize = 16 << 10;

/// What the hook is told through its environment.
pub(crate) struct HookFacts<'a> {
    pub set: &'a Path,
    pub site: &'a str,
    pub run: &'a str,
    pub epoch: u64,
    pub outcome: &'a str,
    pub grade: &'a str,
    pub window_us: u64,
    pub problems: usize,
}

/// Runs the hook of `settings`, or the default one beside `site_file` if it is there.
pub(crate) fn run_hook(settings: &Hook, site_file: &Path, facts: &HookFacts<'_>, teller: &Teller) {
    let fallback = site_file.with_file_name(DEFAULT_NAME);
    let (program, named) = match &settings.program {
        Some(program) => (program.clone(), true),
        None => (fallback, false),
    };
    let shown = program.display().to_string();
    match std::fs::metadata(&program) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            teller.status(id::HOOK_NOT_FOUND, &[&shown]);
            if named {
                problem(teller, format!("the hook {shown} is named in the site file but is not there"));
            }
            return;
        }
        Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o111 != 0 => {}
        _ => {
            teller.status(id::HOOK_NOT_STARTED, &[&shown]);
            problem(teller, format!("the hook {shown} is not an executable file; make it one with chmod +x"));
            return;
        }
    }
    match start(&program, facts) {
        Ok(child) => {
            teller.status(id::HOOK_STARTED, &[&shown]);
            finish(child, &shown, settings.timeout.duration(), teller);
        }
        Err(error) => {
            teller.status(id::HOOK_NOT_STARTED, &[&shown]);
            problem(teller, format!("the hook {shown} could not be started: {error}"));
        }
    }
}

fn start(program: &PathBuf, facts: &HookFacts<'_>) -> std::io::Result<Child> {
    Command::new(program)
        .env("STILLPOINT_SET", facts.set)
        .env("STILLPOINT_SITE", facts.site)
        .env("STILLPOINT_RUN", facts.run)
        .env("STILLPOINT_EPOCH", facts.epoch.to_string())
        .env("STILLPOINT_OUTCOME", facts.outcome)
        .env("STILLPOINT_GRADE", facts.grade)
        .env("STILLPOINT_WINDOW_US", facts.window_us.to_string())
        .env("STILLPOINT_PROBLEMS", facts.problems.to_string())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
}

/// Waits for the end of the hook, or ends its whole group at the limit; then tells how it went.
fn finish(mut child: Child, shown: &str, timeout: Duration, teller: &Teller) {
    let readers = [child.stdout.take().map(reader), child.stderr.take().map(reader)];
    let started = Instant::now();
    let ended = wait(&mut child, timeout);
    if ended.is_none() {
        kill_group(&child);
        let _ = child.wait();
    }
    let mut output = String::new();
    for received in readers.into_iter().flatten() {
        // A grandchild that left the group may hold the pipe open: it is not waited for.
        output.push_str(&received.recv_timeout(Duration::from_millis(500)).unwrap_or_default());
    }
    if !output.trim().is_empty() {
        teller.status(id::HOOK_OUTPUT, &[shown, output.trim_end()]);
    }
    let seconds = format!("{:.1}", started.elapsed().as_secs_f64());
    match ended {
        Some(status) if status.success() => teller.status(id::HOOK_SUCCEEDED, &[shown, &seconds]),
        Some(status) => {
            let end = ending(status);
            teller.status(id::HOOK_FAILED, &[shown, &end]);
            problem(teller, format!("the hook {shown} failed with {end}; the backup itself is good"));
        }
        None => {
            let limit = format!("{:.1}", timeout.as_secs_f64());
            teller.status(id::HOOK_TIMED_OUT, &[shown, &limit]);
            problem(teller, format!("the hook {shown} was ended after {limit} s; the backup itself is good"));
        }
    }
}

fn reader(mut pipe: impl Read + Send + 'static) -> std::sync::mpsc::Receiver<String> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        let mut buffer = [0_u8; 4096];
        while let Ok(count @ 1..) = pipe.read(&mut buffer) {
            let room = OUTPUT_MAX.saturating_sub(kept.len());
            kept.extend_from_slice(&buffer[..count.min(room)]);
        }
        let _ = sender.send(String::from_utf8_lossy(&kept).into_owned());
    });
    receiver
}

fn wait(child: &mut Child, timeout: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + timeout;
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        std::thread::sleep(left.min(Duration::from_millis(20)));
    }
}

fn kill_group(child: &Child) {
    if let Some(group) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown end".to_owned(),
    }
}

fn problem(teller: &Teller, text: String) {
    teller.emit(Event::Problem(Problem { component: None, path: None, text }));
}
