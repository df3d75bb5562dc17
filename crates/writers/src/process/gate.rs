//! A gate between the birth of a child and its program: an undo that needs the process id is registered before anything
//! of the program happens.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use stillpoint_model::{Deadline, WriterError};

/// Keeps a newborn child from becoming its program until its process id was told.
pub(super) struct Gate {
    born: PipeReader,
    go: PipeWriter,
}

impl Gate {
    /// Sets the gate before the command, as the last thing that its child does before it becomes the program.
    pub(super) fn before(command: &mut Command) -> io::Result<Self> {
        let (born, mut tell) = io::pipe()?;
        let (mut wait, go) = io::pipe()?;
        let our_end = go.as_raw_fd();
        // SAFETY: between fork and exec only system calls are made, no allocation and no lock. The child's copy of our end
        // is closed without its owner knowing, which is what the child never becomes.
        unsafe {
            command.pre_exec(move || {
                // Else it would wait for itself when we are gone.
                libc::close(our_end);
                tell.write_all(&rustix::process::getpid().as_raw_nonzero().get().to_ne_bytes())?;
                wait.read_exact(&mut [0])
            });
        }
        Ok(Self { born, go })
    }

    /// Tells the process id to `announce` and lets the child go on. When that fails the child ends.
    pub(super) fn pass(
        mut self,
        deadline: Deadline,
        announce: &mut dyn FnMut(u32) -> Result<(), WriterError>,
        failed: impl Fn(io::Error) -> WriterError,
    ) -> Result<(), WriterError> {
        let wait = Timespec::try_from(deadline.remaining()).map_err(io::Error::other).map_err(&failed)?;
        let ready = poll(&mut [PollFd::new(&self.born, PollFlags::IN)], Some(&wait));
        if ready.map_err(|error| failed(error.into()))? == 0 {
            return Err(WriterError::Late { act: "the start of a program".to_owned() });
        }
        let mut pid = [0; 4];
        if self.born.read_exact(&mut pid).is_err() {
            // It was never born; why, the keeper tells.
            return Ok(());
        }
        announce(i32::from_ne_bytes(pid).unsigned_abs())?;
        self.go.write_all(&[1]).map_err(failed)
    }
}
