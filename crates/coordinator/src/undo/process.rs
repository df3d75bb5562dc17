//! Undos that deal with processes: let go on, end, start a unit, run a command.

use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};

use super::start_time::{start_and_state, stat};
use super::{Ending, Undone};

/// How commands are started.
#[derive(Debug, Clone, Default)]
pub(crate) struct Commands {
    /// The out-of-memory score adjustment that a command gets (proc(5)). The guard asks to be spared itself, and what
    /// it starts (an application that goes on for months) must not inherit that.
    pub(crate) oom_score_adj: Option<String>,
}

/// A handle of a process that stays the same one; nothing when there is no such process, or another by now.
pub(crate) fn pidfd_of(pid: u32, start_ticks: Option<u64>) -> Result<Option<OwnedFd>, String> {
    let Some(id) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Err(format!("{pid} is no process id"));
    };
    let handle = match pidfd_open(id, PidfdFlags::empty()) {
        Ok(handle) => handle,
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        Err(error) => return Err(format!("no handle of the process: {error}")),
    };
    // After the handle was opened: then what is read is of the process that the handle holds, or of none.
    let same = match start_ticks {
        Some(ticks) => start_and_state(pid).is_some_and(|(start, _)| start == ticks),
        None => true,
    };
    Ok(same.then_some(handle))
}

/// Sends SIGCONT and waits until the process is not stopped any more.
pub(super) fn resume(pid: u32, start_ticks: u64, limit: Duration) -> Ending {
    let Some(handle) = pidfd_of(pid, Some(start_ticks))? else { return Ok(Undone::Nothing) };
    let stopped = || start_and_state(pid).is_some_and(|(start, state)| start == start_ticks && state == 'T');
    let was_stopped = stopped();
    match pidfd_send_signal(&handle, Signal::CONT) {
        Ok(()) => {}
        Err(rustix::io::Errno::SRCH) => return Ok(Undone::Nothing),
        Err(error) => return Err(error.to_string()),
    }
    let until = Instant::now() + limit;
    while stopped() {
        if Instant::now() >= until {
            return Err("it was told to go on and is still stopped".to_owned());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(if was_stopped { Undone::Acted } else { Undone::Nothing })
}

/// Sends SIGKILL and waits for the end.
pub(super) fn end(pid: u32, start_ticks: u64, limit: Duration) -> Ending {
    let Some(handle) = pidfd_of(pid, Some(start_ticks))? else { return Ok(Undone::Nothing) };
    if has_ended(&handle, Duration::ZERO) {
        return Ok(Undone::Nothing);
    }
    match pidfd_send_signal(&handle, Signal::KILL) {
        Ok(()) if has_ended(&handle, limit) => Ok(Undone::Acted),
        Ok(()) => Err("it was killed and has not ended".to_owned()),
        Err(rustix::io::Errno::SRCH) => Ok(Undone::Nothing),
        Err(error) => Err(error.to_string()),
    }
}

/// Kills every process of the group that `leader` led, and waits until none is left. One whose leader's id is in use by
/// another process by now is not ours any more.
pub(super) fn end_group(leader: u32, start_ticks: u64, limit: Duration) -> Ending {
    let until = Instant::now() + limit;
    let mut undone = Undone::Nothing;
    loop {
        let members = members_of(leader, start_ticks)?;
        if members.is_empty() {
            return Ok(undone);
        }
        undone = Undone::Acted;
        for (pid, start) in members {
            if let Some(handle) = pidfd_of(pid, Some(start))? {
                // One that ended in this moment is not there to be killed.
                let _ = pidfd_send_signal(&handle, Signal::KILL);
                has_ended(&handle, until.saturating_duration_since(Instant::now()));
            }
        }
        // Looked at again: one of them may have started another in the meantime.
        if Instant::now() >= until {
            return Err("its processes were killed and have not ended".to_owned());
        }
    }
}

/// The living processes of a group, with their start times.
fn members_of(leader: u32, start_ticks: u64) -> Result<Vec<(u32, u64)>, String> {
    let of_another = |found: super::start_time::Stat| found.start != start_ticks;
    if stat(leader).is_some_and(of_another) {
        return Ok(Vec::new());
    }
    let listed = std::fs::read_dir("/proc").map_err(|error| format!("/proc cannot be read: {error}"))?;
    let pids = listed.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let member = |pid: u32| {
        let found = stat(pid)?;
        let ours = found.group == leader && found.start >= start_ticks && !matches!(found.state, 'Z' | 'X');
        ours.then_some((pid, found.start))
    };
    Ok(pids.filter_map(member).collect())
}

/// Whether a process ends within `wait`.
pub(crate) fn has_ended(handle: &OwnedFd, wait: Duration) -> bool {
    let until = Instant::now() + wait;
    loop {
        let left = timespec(until.saturating_duration_since(Instant::now()));
        match poll(&mut [PollFd::new(handle, PollFlags::IN)], Some(&left)) {
            Ok(0) => return false,
            Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return true,
            Err(_) => return false,
        }
    }
}

/// A wait as the kernel takes it.
pub(crate) fn timespec(wait: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(wait.subsec_nanos()),
    }
}

/// Starts a unit. Also one that is active: a stop that was asked for right before a death may not have begun yet, and only
/// a start takes it back. Nothing happens to one that is to stay active.
pub(super) fn start_unit(unit: &str, limit: Duration, commands: &Commands) -> Ending {
    let until = Instant::now() + limit;
    let active = || {
        let argv = ["systemctl", "is-active", "--quiet", "--", unit].map(str::to_owned);
        run(&argv, until.saturating_duration_since(Instant::now()).max(Duration::from_secs(1)), commands)
    };
    let was_active = active()?.0.success();
    let argv = ["systemctl", "start", "--", unit].map(str::to_owned);
    let (status, output) = run(&argv, limit, commands)?;
    if !status.success() {
        return Err(format!("systemctl ended with {status}: {output}"));
    }
    match active()?.0.success() {
        true if was_active => Ok(Undone::Nothing),
        true => Ok(Undone::Acted),
        false => Err("systemctl started it, and it is not active".to_owned()),
    }
}

/// Runs the application's own command.
pub(super) fn run_command(argv: &[String], limit: Duration, commands: &Commands) -> Ending {
    if !argv.first().is_some_and(|program| program.starts_with('/')) {
        return Err("the program is not an absolute path".to_owned());
    }
    let (status, output) = run(argv, limit, commands)?;
    match status.success() {
        true => Ok(Undone::Acted),
        false => Err(format!("it ended with {status}: {output}")),
    }
}

/// Runs a program in a process group of its own, which is killed when the limit passes. Answers how it ended, and the
/// beginning of what it wrote to standard error.
fn run(argv: &[String], limit: Duration, commands: &Commands) -> Result<(ExitStatus, String), String> {
    let (program, arguments) = argv.split_first().ok_or("there is no program")?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/").process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    if let Some(score) = commands.oom_score_adj.clone() {
        // SAFETY: between fork and exec only open, write and close are called, which are async-signal-safe, on memory
        // that was allocated before the fork.
        unsafe { command.pre_exec(move || own_oom_score(&score)) };
    }
    let mut child = command.spawn().map_err(|error| format!("{program} cannot be started: {error}"))?;
    let ended = wait_for(&mut child, limit);
    if ended.is_err()
        && let Some(group) = Pid::from_raw(child.id() as i32)
    {
        // It may have ended in this moment; then there is nobody to kill.
        let _ = kill_process_group(group, Signal::KILL);
        let _ = child.wait();
    }
    ended
}

/// Best effort: a command with the guard's own score still does its work.
fn own_oom_score(score: &str) -> std::io::Result<()> {
    use rustix::fs::{Mode, OFlags};
    if let Ok(file) = rustix::fs::open(c"/proc/self/oom_score_adj", OFlags::WRONLY, Mode::empty()) {
        let _ = rustix::io::write(&file, score.as_bytes());
    }
    Ok(())
}

/// Waits for the end of a child while reading what it says, so that it never blocks on a full pipe. What a grandchild
/// that stays keeps open is not waited for.
fn wait_for(child: &mut Child, limit: Duration) -> Result<(ExitStatus, String), String> {
    const KEPT: usize = 2048;
    let handle = pidfd_of(child.id(), None)?.ok_or("the program vanished")?;
    let mut said = Vec::new();
    let mut pipe = child.stderr.take();
    let until = Instant::now() + limit;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!("it did not end within {} ms and was killed", limit.as_millis()));
        }
        let mut watched = vec![PollFd::new(&handle, PollFlags::IN)];
        watched.extend(pipe.as_ref().map(|pipe| PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)));
        match poll(&mut watched, Some(&timespec(left))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.to_string()),
        }
        let speaks = watched.get(1).is_some_and(|it| !it.revents().is_empty());
        if speaks && let Some(open) = &mut pipe {
            let mut buffer = [0; 1024];
            match open.read(&mut buffer) {
                Ok(count) if count > 0 => {
                    said.extend_from_slice(&buffer[..count.min(KEPT - said.len().min(KEPT))]);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => pipe = None,
            }
        } else if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            debug_assert!(status.code().is_some() || status.signal().is_some());
            return Ok((status, String::from_utf8_lossy(&said).trim().to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> (Child, u32, u64) {
        let child = Command::new("sleep").arg("100").spawn().unwrap();
        let pid = child.id();
        (child, pid, start_and_state(pid).unwrap().0)
    }

    #[test]
    fn a_stopped_process_goes_on_and_a_second_time_nothing_happens() {
        let (mut child, pid, start) = sleeper();
        let handle = pidfd_of(pid, Some(start)).unwrap().unwrap();
        pidfd_send_signal(&handle, Signal::STOP).unwrap();
        while start_and_state(pid).unwrap().1 != 'T' {
            std::thread::yield_now();
        }
        assert_eq!(resume(pid, start, Duration::from_secs(5)), Ok(Undone::Acted));
        assert_eq!(resume(pid, start, Duration::from_secs(5)), Ok(Undone::Nothing));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_process_that_has_only_the_same_id_is_left_alone() {
        let (mut child, pid, start) = sleeper();
        assert_eq!(end(pid, start + 1, Duration::from_secs(5)), Ok(Undone::Nothing));
        assert!(child.try_wait().unwrap().is_none(), "a stranger was killed");
        assert_eq!(end(pid, start, Duration::from_secs(5)), Ok(Undone::Acted));
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        assert_eq!(end(pid, start, Duration::from_secs(5)), Ok(Undone::Nothing));
    }

    #[test]
    fn what_a_dead_command_left_is_ended_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let note = folder.path().join("pid");
        let script = format!("sleep 100 & echo $! > {0}.new; mv {0}.new {0}; wait", note.display());
        let mut command = Command::new("/bin/sh").args(["-c", &script]).process_group(0).spawn().unwrap();
        let (mut other, other_pid, _) = sleeper();
        let (leader, start) = (command.id(), start_and_state(command.id()).unwrap().0);
        while !note.exists() {
            std::thread::yield_now();
        }
        let left: u32 = std::fs::read_to_string(&note).unwrap().trim().parse().unwrap();
        command.kill().unwrap();
        command.wait().unwrap();
        assert!(start_and_state(left).is_some_and(|(_, state)| state != 'Z'), "nothing was left");
        assert_eq!(end_group(leader, start, Duration::from_secs(5)), Ok(Undone::Acted));
        assert!(start_and_state(left).is_none_or(|(_, state)| state == 'Z'), "it still lives");
        assert_eq!(end_group(leader, start, Duration::from_secs(5)), Ok(Undone::Nothing));
        assert!(start_and_state(other_pid).is_some(), "a stranger was killed");
        // A group whose leader's id is another process's now is left alone.
        let group = stat(other_pid).unwrap().group;
        assert_eq!(end_group(group, u64::MAX, Duration::from_secs(5)), Ok(Undone::Nothing));
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn a_command_says_why_it_failed() {
        let argv = ["/bin/sh", "-c", "echo the lock is held >&2; exit 3"].map(str::to_owned);
        let text = run_command(&argv, Duration::from_secs(5), &Commands::default()).unwrap_err();
        assert!(text.contains("the lock is held") && text.contains('3'), "{text}");
    }

    #[test]
    fn a_command_without_an_absolute_program_is_refused() {
        assert!(run_command(&["true".to_owned()], Duration::from_secs(5), &Commands::default()).is_err());
        assert!(run_command(&[], Duration::from_secs(5), &Commands::default()).is_err());
    }
}
