//! Letting a cgroup go on.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use stillpoint_model::CgroupVersion;

use super::{Ending, Undone};

/// Thaws `group` and waits until the kernel says that it runs. A group that does not exist is as good as thawed.
pub(super) fn thaw(group: &Path, version: CgroupVersion, limit: Duration) -> Ending {
    if !group.is_absolute() {
        return Err("the path is not absolute".to_owned());
    }
    let (control, word) = match version {
        CgroupVersion::V1 => (group.join("freezer.state"), "THAWED"),
        CgroupVersion::V2 => (group.join("cgroup.freeze"), "0"),
    };
    let held = match holds(group, version) {
        Ok(held) => held,
        Err(error) if gone(&error) && !group.exists() => return Ok(Undone::Nothing),
        Err(error) => return Err(format!("its state cannot be read: {error}")),
    };
    let written =
        OpenOptions::new().write(true).open(&control).and_then(|mut file| file.write_all(word.as_bytes()));
    match written {
        Ok(()) => {}
        Err(error) if gone(&error) && !group.exists() => return Ok(Undone::Nothing),
        Err(error) => return Err(format!("{} cannot be written: {error}", control.display())),
    }
    wait(group, version, Instant::now() + limit)?;
    Ok(if held { Undone::Acted } else { Undone::Nothing })
}

/// A group that is removed while we look answers ENODEV.
fn gone(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

fn wait(group: &Path, version: CgroupVersion, until: Instant) -> Result<(), String> {
    loop {
        match holds(group, version) {
            Ok(false) => return Ok(()),
            Err(error) if gone(&error) && !group.exists() => return Ok(()),
            Err(error) => return Err(format!("its state cannot be read: {error}")),
            Ok(true) if Instant::now() >= until => {
                return Err("the kernel still says that it is frozen; is a group above it frozen?".to_owned());
            }
            Ok(true) => pause(group, version),
        }
    }
}

/// Whether the kernel says that the group is frozen, or is to be.
fn holds(group: &Path, version: CgroupVersion) -> std::io::Result<bool> {
    let read = |name: &str| -> std::io::Result<String> {
        let mut text = String::new();
        File::open(group.join(name))?.read_to_string(&mut text)?;
        Ok(text)
    };
    Ok(match version {
        CgroupVersion::V1 => read("freezer.state")?.trim() != "THAWED",
        CgroupVersion::V2 => {
            read("cgroup.freeze")?.trim() != "0" || read("cgroup.events")?.lines().any(|it| it == "frozen 1")
        }
    })
}

/// Waits for a change where the kernel tells of one (`cgroup.events`, cgroup v2), and for a millisecond elsewhere.
fn pause(group: &Path, version: CgroupVersion) {
    let tells = matches!(version, CgroupVersion::V2);
    match File::open(group.join("cgroup.events")) {
        Ok(events) if tells => {
            let wait = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
            // Woken early or late, the caller looks again.
            let _ = poll(&mut [PollFd::from_borrowed_fd(events.as_fd(), PollFlags::PRI)], Some(&wait));
        }
        _ => std::thread::sleep(Duration::from_millis(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_is_not_there_is_as_good_as_thawed() {
        let path = Path::new("/sys/fs/cgroup/stillpoint-never-made");
        assert_eq!(thaw(path, CgroupVersion::V2, Duration::ZERO), Ok(Undone::Nothing));
        assert_eq!(thaw(path, CgroupVersion::V1, Duration::ZERO), Ok(Undone::Nothing));
    }

    #[test]
    fn a_folder_that_is_no_group_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(thaw(folder.path(), CgroupVersion::V2, Duration::ZERO).is_err());
    }
}
