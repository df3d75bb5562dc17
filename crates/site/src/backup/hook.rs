//! The hook after a successful backup: found, run with a limit in its own process group, its output and end recorded. Its
//! failure is told as its own: the verdict on the backup stands by then, and it never changes it.

use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use stillpoint_model::Cancel;
use stillpoint_model::site_file::Hook;
use stillpoint_model::status::id;

use super::teller::Teller;

/// How much of the hook's output is kept, in bytes.
const OUTPUT_MAX: usize = 16 << 10;
/// How long a hook that is open for writing is waited for.
const BUSY_PATIENCE: Duration = Duration::from_secs(1);

/// What the hook is told through its environment.
pub(crate) struct HookFacts<'a> {
    /// Empty for a site without a folder.
    pub set: &'a Path,
    /// The versions that the set is in, each as `archive:name`, with blanks between.
    pub versions: &'a str,
    pub site: &'a str,
    pub run: &'a str,
    pub epoch: u64,
    pub outcome: &'a str,
    pub grade: &'a str,
    pub window_us: u64,
    pub problems: usize,
}

/// Runs the hook of `settings`, or the default one beside `site_file` if it is there. Answers how it failed.
pub(crate) fn run_hook(
    settings: &Hook,
    site_file: &Path,
    facts: &HookFacts<'_>,
    teller: &Teller,
    cancel: &Cancel,
) -> Option<String> {
    let fallback = site_file.with_file_name(Hook::DEFAULT_NAME);
    let (program, named) = match &settings.program {
        Some(program) => (program.clone(), true),
        None => (fallback, false),
    };
    let shown = program.display().to_string();
    match std::fs::metadata(&program) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if named {
                return not_started(teller, &shown, "it is named in the site file but is not there");
            }
            teller.status(id::HOOK_NOT_FOUND, &[&shown]);
            return None;
        }
        Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o111 != 0 => {}
        _ => return not_started(teller, &shown, "it is not an executable file"),
    }
    if cancel.is_cancelled() {
        return not_started(teller, &shown, "the run was told to end");
    }
    match start(&program, facts) {
        Ok(child) => {
            teller.status(id::HOOK_STARTED, &[&shown]);
            finish(child, &shown, settings.timeout.duration(), teller, cancel)
        }
        Err(error) => not_started(teller, &shown, &error.to_string()),
    }
}

fn not_started(teller: &Teller, shown: &str, why: &str) -> Option<String> {
    teller.status(id::HOOK_NOT_STARTED, &[shown, why]);
    Some(format!("the hook {shown} could not be started: {why}"))
}

/// Starts the hook. One that somebody is just writing anew is tried again for a moment.
fn start(program: &Path, facts: &HookFacts<'_>) -> std::io::Result<Child> {
    let until = Instant::now() + BUSY_PATIENCE;
    loop {
        match start_once(program, facts) {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(10));
            }
            ended => return ended,
        }
    }
}

fn start_once(program: &Path, facts: &HookFacts<'_>) -> std::io::Result<Child> {
    Command::new(program)
        .env("STILLPOINT_SET", facts.set)
        .env("STILLPOINT_VERSIONS", facts.versions)
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

/// Waits for the end of the hook, or ends its whole group at the limit or on a cancel; then tells how it went.
fn finish(
    mut child: Child,
    shown: &str,
    timeout: Duration,
    teller: &Teller,
    cancel: &Cancel,
) -> Option<String> {
    let readers = [child.stdout.take().map(reader), child.stderr.take().map(reader)];
    let started = Instant::now();
    let ended = wait(&mut child, timeout, cancel);
    if ended.is_none() {
        kill_group(&child);
        let _ = child.wait();
    }
    let output: String = readers.into_iter().flatten().map(Output::take).collect();
    if !output.trim().is_empty() {
        teller.status(id::HOOK_OUTPUT, &[shown, output.trim_end()]);
    }
    let seconds = format!("{:.1}", started.elapsed().as_secs_f64());
    match ended {
        Some(status) if status.success() => {
            teller.status(id::HOOK_SUCCEEDED, &[shown, &seconds]);
            None
        }
        Some(status) => {
            let end = ending(status);
            teller.status(id::HOOK_FAILED, &[shown, &end]);
            Some(format!("the hook {shown} ended with {end}"))
        }
        None if cancel.is_cancelled() => {
            let end = "the run, which was told to end".to_owned();
            teller.status(id::HOOK_FAILED, &[shown, &end]);
            Some(format!("the hook {shown} ended with {end}"))
        }
        None => {
            let limit = format!("{:.1}", timeout.as_secs_f64());
            teller.status(id::HOOK_TIMED_OUT, &[shown, &limit]);
            Some(format!("the hook {shown} was not done within {limit} s"))
        }
    }
}

/// What a pipe brought so far.
struct Output {
    kept: Arc<Mutex<Vec<u8>>>,
    ended: mpsc::Receiver<()>,
}

impl Output {
    /// What came until the end, or shortly after the hook ended: a process that it left behind may hold the pipe open, and
    /// is not waited for.
    fn take(self) -> String {
        let _ = self.ended.recv_timeout(Duration::from_millis(200));
        let kept = self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        String::from_utf8_lossy(&kept).into_owned()
    }
}

/// Reads a pipe to its end on a thread of its own and keeps the beginning.
fn reader(mut pipe: impl Read + Send + 'static) -> Output {
    let (sender, ended) = mpsc::channel();
    let kept = Arc::new(Mutex::new(Vec::new()));
    let filled = kept.clone();
    std::thread::spawn(move || {
        let mut buffer = [0_u8; 4096];
        while let Ok(count @ 1..) = pipe.read(&mut buffer) {
            let mut filled = filled.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let room = OUTPUT_MAX.saturating_sub(filled.len());
            filled.extend_from_slice(&buffer[..count.min(room)]);
        }
        let _ = sender.send(());
    });
    Output { kept, ended }
}

fn wait(child: &mut Child, timeout: Duration, cancel: &Cancel) -> Option<ExitStatus> {
    let end = Instant::now() + timeout;
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || cancel.is_cancelled() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use stillpoint_model::NoMonitor;
    use stillpoint_model::site_file::Wait;
    use stillpoint_model::status::MessageId;

    /// Runs a hook of this shell text and returns the numbers of the messages, how it failed, and the log.
    fn run(text: Option<&str>, mode: u32, timeout: &str) -> (Vec<MessageId>, Option<String>, String) {
        let folder = tempfile::tempdir().unwrap();
        let site_file = folder.path().join("site.toml");
        if let Some(text) = text {
            let hook = folder.path().join(Hook::DEFAULT_NAME);
            std::fs::write(&hook, format!("#!/bin/sh\n{text}\n")).unwrap();
            std::fs::set_permissions(&hook, PermissionsExt::from_mode(mode)).unwrap();
        }
        let teller = Teller::new("T01".parse().unwrap(), Arc::new(NoMonitor));
        let settings = Hook { program: None, timeout: timeout.parse::<Wait>().unwrap() };
        let facts = HookFacts {
            set: Path::new("/backups/T01Backup"),
            versions: "disk:0123",
            site: "T01",
            run: "run-1",
            epoch: 7,
            outcome: "complete",
            grade: "frozen",
            window_us: 1500,
            problems: 0,
        };
        let failure = run_hook(&settings, &site_file, &facts, &teller, &Cancel::default());
        assert!(teller.problems().is_empty(), "a hook's failure is no problem of the backup");
        (teller.numbers(), failure, teller.logged())
    }

    #[test]
    fn a_hook_is_told_where_the_set_is_and_its_output_and_end_are_recorded() {
        let text = "echo \"$STILLPOINT_SET $STILLPOINT_SITE $STILLPOINT_EPOCH $STILLPOINT_OUTCOME $STILLPOINT_GRADE\"";
        let (numbers, failure, log) = run(Some(text), 0o700, "10s");
        assert_eq!(numbers, [id::HOOK_STARTED, id::HOOK_OUTPUT, id::HOOK_SUCCEEDED]);
        assert_eq!(failure, None);
        assert!(log.contains("/backups/T01Backup T01 7 complete frozen"), "{log}");
    }

    #[test]
    fn a_hook_that_is_just_being_written_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("hook");
        std::fs::write(&program, "#!/bin/sh\nexit 0\n").unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o700)).unwrap();
        let writer = std::fs::File::options().append(true).open(&program).unwrap();
        let release = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            drop(writer);
        });
        let facts = HookFacts {
            set: folder.path(),
            versions: "",
            site: "T01",
            run: "run",
            epoch: 1,
            outcome: "complete",
            grade: "frozen",
            window_us: 1,
            problems: 0,
        };
        assert!(start(&program, &facts).unwrap().wait().unwrap().success());
        release.join().unwrap();
    }

    #[test]
    fn a_hook_that_fails_is_told_with_its_exit_code() {
        let (numbers, failure, log) = run(Some("echo no >&2; exit 9"), 0o700, "10s");
        assert_eq!(numbers.last(), Some(&id::HOOK_FAILED));
        assert!(failure.unwrap().contains("exit code 9"));
        assert!(log.contains("exit code 9"), "{log}");
    }

    #[test]
    fn a_hook_that_hangs_is_ended_with_all_its_children() {
        let started = Instant::now();
        let (numbers, failure, log) = run(Some("sleep 300 & echo $!; wait"), 0o700, "300ms");
        assert!(numbers.contains(&id::HOOK_TIMED_OUT) && failure.is_some(), "{log}");
        assert!(started.elapsed() < Duration::from_secs(10));
        let child = log.split("wrote: ").nth(1).and_then(|rest| rest.split(['.', '\n']).next()).unwrap();
        let alive = || {
            std::fs::read_to_string(format!("/proc/{child}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
        };
        // It was killed, but a killed process ends in its own time.
        while alive() {
            assert!(started.elapsed() < Duration::from_secs(10), "process {child} outlived the hook");
            std::thread::yield_now();
        }
    }

    #[test]
    fn no_hook_is_no_failure_but_one_that_cannot_be_run_is() {
        let (numbers, failure, _) = run(None, 0, "1s");
        assert_eq!((numbers, failure), (vec![id::HOOK_NOT_FOUND], None));
        let (numbers, failure, _) = run(Some("true"), 0o600, "1s");
        assert_eq!((numbers[0], failure.is_some()), (id::HOOK_NOT_STARTED, true));
    }
}
