//! The thread that starts a program, outlives whoever asked for it, and reaps it: the kernel's signal at our death is bound
//! to the thread that started the program.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus};

use crossbeam_channel::{Receiver, Sender};
use rustix::process::{Pid, PidfdFlags};

use super::kill_group;

/// What a keeper hands out when the program has started.
pub(super) struct Newborn {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    pub(super) stdout: Option<ChildStdout>,
    pub(super) stderr: Option<ChildStderr>,
}

/// The body of the keeper thread: starts the program, waits until nobody may signal its group any more, reaps it.
pub(super) fn keep(
    mut command: Command,
    born: &Sender<io::Result<Newborn>>,
    released: &Receiver<()>,
    reaped: &Sender<io::Result<ExitStatus>>,
) {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let _ = born.send(Err(error));
            return;
        }
    };
    // Our ends of what the child inherited: an open one would keep the stream from ending.
    drop(command);
    let newborn = describe(&mut child);
    let failed = newborn.is_err();
    if born.send(newborn).is_err() || failed {
        // Nobody waits for it any more: it started after its deadline.
        kill_group(Pid::from_child(&child));
    } else {
        // Ends when the other side is dropped; until then the process id cannot be used anew.
        let _ = released.recv();
    }
    let _ = reaped.send(child.wait());
}

fn describe(child: &mut Child) -> io::Result<Newborn> {
    let pid = Pid::from_child(child);
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    Ok(Newborn { pid, pidfd, stdout: child.stdout.take(), stderr: child.stderr.take() })
}
