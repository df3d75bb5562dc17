//! Carrying out undos: the one place that takes back what a run did to the site, used alike by the driver, the guard and
//! reconcile.
//!
//! Each undo was registered *before* the act that it takes back, so each is harmless when that act never happened, and
//! harmless when done twice. What must never happen: that an undo touches something that is not ours. A process id is
//! checked against its start time, a folder against its marker file, a subvolume against being a read-only snapshot.

mod cgroup;
mod filesystem;
mod process;
mod remove;
mod start_time;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use stillpoint_model::{Ticket, Undo, Urgency};

pub(crate) use process::{Commands, has_ended, pidfd_of, timespec};
pub(crate) use start_time::boot_id;

/// What an undo came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Undone {
    /// It was needed, and done.
    Acted,
    /// There was nothing to take back.
    Nothing,
}

/// The end of one undo of a list: what was done, or why it could not be, in one sentence.
pub(crate) type Ending = Result<Undone, String>;

/// How long an undo is waited for before the next is begun beside it: the order is kept where it costs little, and one
/// that hangs does not hold up the others.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long the kernel may take to let a group or a process go on, or to end one.
const KERNEL_LIMIT: Duration = Duration::from_secs(5);

/// How long an undo without a limit of its own may take. Removing a folder of a million files takes about a minute.
const RELEASE_LIMIT: Duration = Duration::from_secs(3600);

/// Carries out one undo. Bounded in time, but for what the kernel itself does not let go of.
pub(crate) fn execute(undo: &Undo, commands: &Commands) -> Ending {
    match undo {
        Undo::ThawCgroup { cgroup, version } => cgroup::thaw(cgroup, *version, KERNEL_LIMIT),
        Undo::ContinueProcess { pid, start_ticks } => process::resume(*pid, *start_ticks, KERNEL_LIMIT),
        Undo::KillProcess { pid, start_ticks } => process::end(*pid, *start_ticks, KERNEL_LIMIT),
        Undo::StartUnit { unit, timeout_ms } => {
            process::start_unit(unit, Duration::from_millis(*timeout_ms), commands)
        }
        Undo::RunCommand { argv, timeout_ms } => {
            process::run_command(argv, Duration::from_millis(*timeout_ms), commands)
        }
        Undo::EndGroup { leader, start_ticks } => process::end_group(*leader, *start_ticks, KERNEL_LIMIT),
        Undo::ThawFilesystem { mount_point } => filesystem::thaw(mount_point),
        Undo::DeleteSubvolume { path } => filesystem::delete_subvolume(path),
        Undo::RemoveTree { path, run } => remove::remove_tree(path, run),
    }
    .map_err(|reason| format!("cannot {undo}: {reason}"))
}

/// How long an undo may take at most.
pub(crate) fn limit(undo: &Undo) -> Duration {
    match undo {
        Undo::StartUnit { timeout_ms, .. } | Undo::RunCommand { timeout_ms, .. } => {
            Duration::from_millis(*timeout_ms) + KERNEL_LIMIT
        }
        Undo::DeleteSubvolume { .. } | Undo::RemoveTree { .. } => RELEASE_LIMIT,
        _ => KERNEL_LIMIT * 2,
    }
}

/// The order in which undos are carried out: what lets the site go on first, and of that the newest first.
pub(crate) fn in_order(mut undos: Vec<(Ticket, Undo)>) -> Vec<(Ticket, Undo)> {
    undos.sort_by_key(|(ticket, undo)| (undo.urgency(), std::cmp::Reverse(*ticket)));
    undos
}

/// Carries out undos of one urgency in the order given. Each of them is on a thread of its own, so that one that hangs
/// holds the next up for [`PATIENCE`] only.
pub(crate) fn execute_all(undos: &[(Ticket, Undo)], commands: &Commands) -> Vec<(Ticket, Ending)> {
    let (tell, told) = mpsc::channel();
    let mut endings: Vec<Option<Ending>> = vec![None; undos.len()];
    let begun = Instant::now();
    for (place, (_, undo)) in undos.iter().enumerate() {
        let (tell, shared, known) = (tell.clone(), undo.clone(), commands.clone());
        let thread = std::thread::Builder::new().name("undo".to_owned()).stack_size(256 * 1024);
        let spawned = thread.spawn(move || drop(tell.send((place, execute(&shared, &known)))));
        if spawned.is_err() {
            endings[place] = Some(execute(undo, commands));
            continue;
        }
        // What removes is done one after the other: it is not urgent, and what lies in a folder goes before the folder.
        let patience = if undo.urgency() == Urgency::Thaw { PATIENCE } else { limit(undo) };
        collect(&told, &mut endings, Instant::now() + patience, |endings| endings[place].is_some());
    }
    let longest = undos.iter().map(|(_, undo)| limit(undo)).max().unwrap_or_default();
    collect(&told, &mut endings, begun + longest + PATIENCE * undos.len() as u32, |endings| {
        endings.iter().all(Option::is_some)
    });
    let late = |undo: &Undo| Err(format!("cannot {undo}: it did not end in time"));
    undos
        .iter()
        .zip(endings)
        .map(|((ticket, undo), ending)| (*ticket, ending.unwrap_or_else(|| late(undo))))
        .collect()
}

fn collect(
    told: &mpsc::Receiver<(usize, Ending)>,
    endings: &mut [Option<Ending>],
    until: Instant,
    enough: impl Fn(&[Option<Ending>]) -> bool,
) {
    while !enough(endings) {
        let Ok((place, ending)) = told.recv_timeout(until.saturating_duration_since(Instant::now())) else {
            return;
        };
        endings[place] = Some(ending);
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod order_tests {
    use super::*;

    fn shell(script: &str, timeout_ms: u64) -> Undo {
        Undo::RunCommand { argv: vec!["/bin/sh".into(), "-c".into(), script.into()], timeout_ms }
    }

    #[test]
    fn what_holds_the_site_comes_first_and_the_newest_of_it_first() {
        let remove = |run: &str| Undo::RemoveTree { path: "/nowhere".into(), run: run.into() };
        let undos = vec![(Ticket(1), remove("a")), (Ticket(2), shell("1", 1)), (Ticket(3), shell("2", 1))];
        let order: Vec<u64> = in_order(undos).into_iter().map(|(ticket, _)| ticket.0).collect();
        assert_eq!(order, [3, 2, 1]);
    }

    #[test]
    fn an_undo_that_hangs_does_not_hold_up_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("mark");
        let undos = [
            (Ticket(2), shell("sleep 20", 1500)),
            (Ticket(1), shell(&format!("echo done > {}", mark.display()), 5000)),
        ];
        let begun = Instant::now();
        let endings = execute_all(&undos, &Commands::default());
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert!(mark.exists());
        assert_eq!(endings[1], (Ticket(1), Ok(Undone::Acted)));
        let text = endings[0].1.clone().unwrap_err();
        assert!(text.contains("1500 ms"), "{text}");
    }
}
