//! The `stillpoint` program with faults on order: `STILLPOINT_FAULT=<act>:<before|after>:<fault>[:<nth>]`, where the fault
//! is `fail`, `hang`, `kill` (this process), `kill-guard`, `kill-both` or `fill` (the file system of the file that
//! `STILLPOINT_FAULT_FILL` names: that file takes all its room), and `nth` (from 1) tells which occurrence of the act is
//! meant. Without it, it is the program as it is shipped. `STILLPOINT_ACT_LOG=<file>` keeps the names of all acts, one a
//! line, so that a test can go through them.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use stillpoint_coordinator::ActHook;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Fail,
    Hang,
    Kill,
    KillGuard,
    KillBoth,
    Fill,
}

/// One ordered fault.
#[derive(Debug)]
struct Order {
    act: String,
    side: Side,
    fault: Fault,
    /// Occurrences of the act on that side that are still to pass.
    left: AtomicU32,
}

impl Order {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(':');
        let act = words.next()?.to_owned();
        let side = match words.next()? {
            "before" => Side::Before,
            "after" => Side::After,
            _ => return None,
        };
        let fault = match words.next()? {
            "fail" => Fault::Fail,
            "hang" => Fault::Hang,
            "kill" => Fault::Kill,
            "kill-guard" => Fault::KillGuard,
            "kill-both" => Fault::KillBoth,
            "fill" => Fault::Fill,
            _ => return None,
        };
        let nth = words.next().map_or(Some(1), |text| text.parse().ok())?;
        words.next().is_none().then_some(Self { act, side, fault, left: AtomicU32::new(nth) })
    }

    /// Whether this occurrence is the one that is meant.
    fn is_due(&self, act: &str, side: Side) -> bool {
        act == self.act && side == self.side && self.left.fetch_sub(1, Ordering::SeqCst) == 1
    }
}

struct Hook {
    order: Option<Order>,
    log: Option<File>,
}

impl Hook {
    fn reach(&self, act: &str, side: Side) -> Result<(), String> {
        match &self.order {
            Some(order) if order.is_due(act, side) => inflict(order.fault),
            _ => Ok(()),
        }
    }
}

impl ActHook for Hook {
    fn before(&self, act: &str) -> Result<(), String> {
        if let Some(mut log) = self.log.as_ref() {
            log.write_all(format!("{act}\n").as_bytes())
                .map_err(|error| format!("the log of acts: {error}"))?;
        }
        self.reach(act, Side::Before)
    }

    fn after(&self, act: &str) -> Result<(), String> {
        self.reach(act, Side::After)
    }
}

fn inflict(fault: Fault) -> Result<(), String> {
    match fault {
        Fault::Fail => return Err("a fault was ordered".into()),
        // Longer than any test waits; whoever is hung up on by it must not depend on its end.
        Fault::Hang => std::thread::sleep(Duration::from_secs(3600)),
        Fault::Kill => kill(rustix::process::getpid()),
        Fault::KillGuard => guards().into_iter().for_each(kill),
        Fault::KillBoth => {
            guards().into_iter().for_each(kill);
            kill(rustix::process::getpid());
        }
        Fault::Fill => {
            let path = std::env::var_os("STILLPOINT_FAULT_FILL").ok_or("STILLPOINT_FAULT_FILL is not set")?;
            fill(Path::new(&path)).map_err(|error| format!("the disk cannot be filled: {error}"))?;
        }
    }
    Ok(())
}

/// Lets a file grow until there is no room for one more byte.
fn fill(path: &Path) -> std::io::Result<()> {
    let mut file = File::options().create(true).append(true).open(path)?;
    let block = vec![0_u8; 1 << 20];
    let mut length = block.len();
    while length > 0 {
        match file.write(&block[..length]) {
            Ok(written) if written > 0 => {}
            Err(error) if error.kind() != std::io::ErrorKind::StorageFull => return Err(error),
            _ => length /= 2,
        }
    }
    Ok(())
}

fn kill(process: Pid) {
    if let Err(error) = kill_process(process, Signal::KILL) {
        eprintln!("process {process} cannot be killed: {error}");
    }
}

/// Our children that are guards.
fn guards() -> Vec<Pid> {
    let own = rustix::process::getpid().as_raw_nonzero().to_string();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| {
            let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name in parentheses may hold anything; the parent is the second word after it (proc_pid_stat(5)).
            let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.to_owned();
            let command = std::fs::read(entry.path().join("cmdline")).ok()?;
            let is_guard = command.split(|byte| *byte == 0).any(|word| word == b"guard");
            (parent == own && is_guard).then_some(pid)
        })
        .collect()
}

fn main() -> ExitCode {
    let order = match std::env::var("STILLPOINT_FAULT") {
        Err(_) => None,
        Ok(text) => match Order::parse(&text) {
            Some(order) => Some(order),
            None => {
                eprintln!("STILLPOINT_FAULT is <act>:<before|after>:<fault>[:<nth>], not {text:?}");
                return ExitCode::from(2);
            }
        },
    };
    let log = std::env::var_os("STILLPOINT_ACT_LOG").and_then(|path| {
        File::options()
            .create(true)
            .append(true)
            .open(path)
            .inspect_err(|error| eprintln!("no log of acts: {error}"))
            .ok()
    });
    stillpoint::main_with(Arc::new(Hook { order, log }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_due_once_at_its_occurrence_and_side() {
        let order = Order::parse("freeze/app:after:kill:2").unwrap();
        let reached: Vec<bool> = [
            ("freeze/app", Side::Before),
            ("freeze/app", Side::After),
            ("freeze/db", Side::After),
            ("freeze/app", Side::After),
            ("freeze/app", Side::After),
        ]
        .iter()
        .map(|(act, side)| order.is_due(act, *side))
        .collect();
        assert_eq!(reached, [false, false, false, true, false]);
    }

    #[test]
    fn a_wrong_order_is_refused() {
        for wrong in
            ["", "seal", "seal:before", "seal:within:kill", "seal:before:explode", "seal:before:kill:1:2"]
        {
            assert!(Order::parse(wrong).is_none(), "{wrong:?} was taken");
        }
    }
}
