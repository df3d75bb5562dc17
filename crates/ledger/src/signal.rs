//! SIGTERM and SIGINT as something to wait for, beside a socket.

use std::os::fd::{FromRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// The two signals that ask a process to end, held back and readable from a descriptor; and the end of the process for
/// which this one works.
pub(crate) struct StopSignals {
    signals: OwnedFd,
    leader: Option<OwnedFd>,
}

impl StopSignals {
    /// Holds the signals back in this thread and in those that it starts from now on. `leader` is the id of the process
    /// whose end is a sign to end as well; one that is gone already is an error.
    pub(crate) fn hold(leader: Option<u32>) -> std::io::Result<Self> {
        let follow = |process: u32| -> std::io::Result<OwnedFd> {
            let pid = Pid::from_raw(process.cast_signed()).ok_or(std::io::ErrorKind::InvalidInput)?;
            Ok(pidfd_open(pid, PidfdFlags::empty())?)
        };
        let leader = leader.map(follow).transpose()?;
        // SAFETY: the set is initialised by sigemptyset before any other use, and the calls keep no pointer to it.
        let descriptor = unsafe {
            let mut set = std::mem::zeroed::<libc::sigset_t>();
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, libc::SIGTERM);
            libc::sigaddset(&raw mut set, libc::SIGINT);
            let failed = libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
            if failed != 0 {
                return Err(std::io::Error::from_raw_os_error(failed));
            }
            libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC)
        };
        if descriptor < 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: signalfd just gave us this descriptor; nobody else has it.
        let signals = unsafe { OwnedFd::from_raw_fd(descriptor) };
        Ok(Self { signals, leader })
    }

    /// Waits for a sign to end (`true`) or for something to read from `other` (`false`).
    pub(crate) fn wait_beside(&self, other: &impl std::os::fd::AsFd) -> std::io::Result<bool> {
        let mut waits = vec![PollFd::new(other, PollFlags::IN), PollFd::new(&self.signals, PollFlags::IN)];
        waits.extend(self.leader.as_ref().map(|leader| PollFd::new(leader, PollFlags::IN)));
        loop {
            match poll(&mut waits, None) {
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => return Ok(waits.iter().skip(1).any(|sign| !sign.revents().is_empty())),
            }
        }
    }
}
