//! SIGTERM and SIGINT as something to wait for, beside a socket.

use std::os::fd::{FromRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};

/// The two signals that ask a process to end, held back and readable from a descriptor.
pub(crate) struct StopSignals(OwnedFd);

impl StopSignals {
    /// Holds the signals back in this thread and in those that it starts from now on.
    pub(crate) fn hold() -> std::io::Result<Self> {
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
        Ok(Self(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    /// Waits for a signal (`true`) or for something to read from `other` (`false`).
    pub(crate) fn wait_beside(&self, other: &impl std::os::fd::AsFd) -> std::io::Result<bool> {
        let mut waits = [PollFd::new(&self.0, PollFlags::IN), PollFd::new(other, PollFlags::IN)];
        loop {
            match poll(&mut waits, None) {
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => return Ok(!waits[0].revents().is_empty()),
            }
        }
    }
}
