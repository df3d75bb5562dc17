//! The guard process itself.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Seek, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use stillpoint_model::{RunId, Ticket, Undo, Urgency};

use super::{Answer, Cause, GuardReport, Healed, Holder, LOCK, PACKET, Packet, REPORT, Request};
use crate::lock::{open_lock, write_durably};
use crate::undo::{Commands, Ending, Undone, execute_all, has_ended, in_order, pidfd_of, timespec};

/// How long a coordinator that was killed, or gave up the link, is waited for before what only lies about is left to the
/// next start.
const DEATH_LIMIT: Duration = Duration::from_secs(10);

/// Exit codes: everything was in order, an undo failed, it was not started as a guard.
const FINE: u8 = 0;
const NOT_UNDONE: u8 = 1;
const NO_LINK: u8 = 2;

/// The body of the guard process. The last argument is the number of the descriptor of the link. Returns the exit code.
pub fn guard_main(arguments: &[OsString]) -> u8 {
    let number = arguments.last().and_then(|text| text.to_str()).and_then(|text| text.parse::<i32>().ok());
    let Some(number) = number.filter(|number| *number >= 0) else { return NO_LINK };
    let commands = detach(number);
    // SAFETY: the descriptor was given to this process for this use; nothing else in it knows its number. A number that
    // is not open makes the first `recv` fail.
    let link = unsafe { OwnedFd::from_raw_fd(number) };
    let Some((hello, coordinator)) = greet(&link) else { return NO_LINK };
    lock_memory();
    let mut watch = Watch {
        link,
        coordinator,
        run: hello.run,
        folder: hello.folder,
        armed: BTreeMap::new(),
        window: None,
    };
    let lock = hold_lock(&watch, hello.coordinator);
    let answered = watch.answer(hello.number);
    let cause = if answered {
        catch_unwind(AssertUnwindSafe(|| watch.until_needed()))
    } else {
        Ok(Some(Cause::LinkEnded))
    };
    let code = match cause.unwrap_or(Some(Cause::GuardFailed)) {
        None => FINE,
        Some(cause) => watch.take_over(cause, &commands),
    };
    drop(lock);
    code
}

/// Leaves the coordinator's session, its signals and its files behind.
fn detach(link: i32) -> Commands {
    // Fails when we lead a group already; then we are apart as well.
    let _ = rustix::process::setsid();
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler does nothing. A handler and not SIG_IGN, because the programs that we start would inherit
        // that, and an application that cannot be told to end is no favour.
        unsafe { libc::signal(signal, on_signal as *const () as libc::sighandler_t) };
    }
    // SAFETY: nothing in this process uses a descriptor above the standard ones yet, but for the link.
    unsafe {
        let close = |first: i32, last: u32| libc::syscall(libc::SYS_close_range, first as u32, last, 0);
        if link > 3 {
            close(3, link as u32 - 1);
        }
        close(link.max(2) + 1, u32::MAX);
    }
    let mut commands = Commands::default();
    if let Ok(before) = std::fs::read_to_string("/proc/self/oom_score_adj")
        && std::fs::write("/proc/self/oom_score_adj", "-1000").is_ok()
    {
        commands.oom_score_adj = Some(before.trim().to_owned());
    }
    commands
}

extern "C" fn on_signal(_signal: libc::c_int) {}

/// Best effort: without the right to lock memory the guard still works, as long as its memory need not be swapped in
/// from something frozen.
fn lock_memory() {
    use rustix::mm::{MlockAllFlags, mlockall};
    let _ = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE);
}

/// The first packet.
struct Hello {
    number: u64,
    coordinator: u32,
    run: RunId,
    folder: PathBuf,
}

fn greet(link: &OwnedFd) -> Option<(Hello, OwnedFd)> {
    let mut buffer = vec![0; PACKET];
    let (length, _) = recv(link, &mut buffer[..], RecvFlags::empty()).ok()?;
    let Packet { number, request } = serde_json::from_slice(&buffer[..length]).ok()?;
    let Request::Hello { coordinator, run, folder } = request else { return None };
    let handle = pidfd_of(coordinator, None).ok()??;
    Some((Hello { number, coordinator, run, folder }, handle))
}

/// Tells the next start that a guard is still at work. Best effort: reconcile does everything again if need be.
fn hold_lock(watch: &Watch, coordinator: u32) -> Option<std::fs::File> {
    let mut file = open_lock(&watch.folder.join(LOCK)).ok()?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).ok()?;
    let holder = Holder { process: std::process::id(), coordinator, run: watch.run.clone() };
    file.set_len(0).ok()?;
    file.rewind().ok()?;
    file.write_all(&serde_json::to_vec(&holder).ok()?).ok()?;
    Some(file)
}

struct Watch {
    link: OwnedFd,
    coordinator: OwnedFd,
    run: RunId,
    folder: PathBuf,
    armed: BTreeMap<u64, Undo>,
    window: Option<Instant>,
}

impl Watch {
    /// Serves requests until the guard is needed (the cause) or dismissed (nothing).
    fn until_needed(&mut self) -> Option<Cause> {
        let mut buffer = vec![0; PACKET];
        loop {
            if self.window.is_some_and(|end| Instant::now() >= end) {
                return Some(Cause::WindowOverrun);
            }
            let left = self.window.map(|end| timespec(end.saturating_duration_since(Instant::now())));
            let mut watched =
                [PollFd::new(&self.link, PollFlags::IN), PollFd::new(&self.coordinator, PollFlags::IN)];
            match poll(&mut watched, left.as_ref()) {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return Some(Cause::GuardFailed),
                Ok(_) => {}
            }
            let (speaks, dead) = (!watched[0].revents().is_empty(), !watched[1].revents().is_empty());
            // What was said before the death counts, so the link is read to its end first.
            if speaks {
                match recv(&self.link, &mut buffer[..], RecvFlags::DONTWAIT) {
                    Ok((length, full)) if length > 0 && full <= PACKET => {
                        if self.serve(&buffer[..length])? {
                            continue;
                        }
                        return None;
                    }
                    Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => continue,
                    _ => return Some(if self.is_dead() { Cause::CoordinatorDied } else { Cause::LinkEnded }),
                }
            } else if dead {
                return Some(Cause::CoordinatorDied);
            }
        }
    }

    fn is_dead(&self) -> bool {
        // The link ends a moment before the process does.
        has_ended(&self.coordinator, Duration::from_millis(20))
    }

    /// Serves one request; false after the goodbye. A packet that is not ours is as good as an ended link: nothing is
    /// answered, and the coordinator gives the run up.
    fn serve(&mut self, packet: &[u8]) -> Option<bool> {
        let Ok(Packet { number, request }) = serde_json::from_slice(packet) else { return Some(true) };
        match request {
            Request::Hello { .. } => return Some(true),
            Request::Arm { ticket, undo } => drop(self.armed.insert(ticket, undo)),
            Request::Settle { ticket } => {
                self.armed.remove(&ticket);
                return Some(true);
            }
            Request::OpenWindow { wait_ms } => {
                self.window = Instant::now().checked_add(Duration::from_millis(wait_ms));
            }
            Request::CloseWindow => self.window = None,
            Request::Goodbye => {
                self.answer(number);
                return Some(false);
            }
        }
        self.answer(number);
        Some(true)
    }

    /// An answer that does not arrive shows as an ended link.
    fn answer(&self, number: u64) -> bool {
        let Ok(text) = serde_json::to_vec(&Answer { number }) else { return false };
        send(&self.link, &text, SendFlags::NOSIGNAL | SendFlags::DONTWAIT).is_ok()
    }

    /// Takes everything back, and reports.
    fn take_over(&mut self, cause: Cause, commands: &Commands) -> u8 {
        let began = jiff::Timestamp::now();
        if cause == Cause::WindowOverrun {
            // First, so that it freezes nothing more. That it is dead already is fine.
            let _ = rustix::process::pidfd_send_signal(&self.coordinator, rustix::process::Signal::KILL);
        }
        let certain = has_ended(&self.coordinator, Duration::ZERO);
        let mut endings = BTreeMap::new();
        self.undo(Urgency::Thaw, commands, &mut endings);
        if !certain && has_ended(&self.coordinator, DEATH_LIMIT) {
            self.undo(Urgency::Thaw, commands, &mut endings);
        }
        if has_ended(&self.coordinator, Duration::ZERO) {
            self.undo(Urgency::Release, commands, &mut endings);
        }
        let failed = endings.values().any(Result::is_err);
        self.report(cause, began, &endings);
        if failed { NOT_UNDONE } else { FINE }
    }

    fn undo(&self, urgency: Urgency, commands: &Commands, endings: &mut BTreeMap<u64, Ending>) {
        let due = self.armed.iter().filter(|(_, undo)| undo.urgency() == urgency);
        let due = in_order(due.map(|(ticket, undo)| (Ticket(*ticket), undo.clone())).collect());
        for (ticket, ending) in execute_all(&due, commands) {
            let acted_before = endings.get(&ticket.0) == Some(&Ok(Undone::Acted));
            let ending =
                if acted_before && ending == Ok(Undone::Nothing) { Ok(Undone::Acted) } else { ending };
            endings.insert(ticket.0, ending);
        }
    }

    /// Best effort: without a report reconcile does everything again, which is harmless.
    fn report(&self, cause: Cause, began: jiff::Timestamp, endings: &BTreeMap<u64, Ending>) {
        let healed = |(ticket, ending): (&u64, &Ending)| Healed {
            ticket: *ticket,
            undo: self.armed.get(ticket).map(Undo::to_string).unwrap_or_default(),
            acted: *ending == Ok(Undone::Acted),
            error: ending.clone().err(),
        };
        let undos = endings.iter().map(healed).collect();
        let report =
            GuardReport { run: self.run.clone(), cause, began, ended: jiff::Timestamp::now(), undos };
        if let Ok(text) = serde_json::to_vec_pretty(&report) {
            let _ = write_durably(&self.folder.join(REPORT), &text);
        }
    }
}
