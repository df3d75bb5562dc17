//! The systemd unit that runs us, if one does: whether the guard would outlive us in it.
//!
//! With `KillMode=mixed` systemd kills what is left of a unit in the moment in which its main process ends. The guard is
//! what is left: the site would stay still. With the default (`control-group`) it gets SIGTERM, which it does not heed, and
//! has `TimeoutStopSec` to do its work; with `process` and `none` it is left alone.

use std::time::Duration;

use stillpoint_model::{Deadline, ErrorKind};
use stillpoint_writers::services::Systemctl;

use crate::error::SiteError;

/// How long systemd may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// The unit of this process, if systemd started it.
pub(super) fn find() -> Option<String> {
    unit_of(&std::fs::read_to_string("/proc/self/cgroup").ok()?)
}

/// The unit that a process with these cgroups (cgroups(7), `/proc/PID/cgroup`) is in: systemd has its own hierarchy, or the
/// one of version 2. It may be deeper than the unit.
fn unit_of(cgroups: &str) -> Option<String> {
    let paths = cgroups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        matches!(controllers, "" | "name=systemd").then_some(path)
    });
    let is_unit = |part: &&str| part.ends_with(".service") || part.ends_with(".scope");
    paths.filter_map(|path| path.rsplit('/').find(is_unit)).map(str::to_owned).next()
}

/// Refuses a unit in which the guard would die with us. One that systemd tells nothing of is not refused.
pub(super) fn check(unit: &str, systemctl: &Systemctl) -> Result<(), SiteError> {
    if systemctl.kill_mode(unit, Deadline::after(ANSWER_LIMIT)).ok().as_deref() != Some("mixed") {
        return Ok(());
    }
    let text = format!(
        "{unit} runs this backup with KillMode=mixed: when the backup is killed, systemd kills the guard at once, and \
         the site would stand still"
    );
    Err(SiteError::new(ErrorKind::Environment, text)
        .hint(format!("set KillMode=process in {unit}: `systemctl edit {unit}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_found_in_the_hierarchy_of_systemd() {
        let hybrid = "9:name=systemd:/system.slice/nightly.service\n6:freezer:/x.service\n0::/\n";
        assert_eq!(unit_of(hybrid).unwrap(), "nightly.service");
        assert_eq!(unit_of("0::/system.slice/nightly.service/inner\n").unwrap(), "nightly.service");
        assert_eq!(unit_of("0::/user.slice/user-0.slice/session-1.scope\n").unwrap(), "session-1.scope");
        assert_eq!(unit_of("0::/\n6:freezer:/x.service\n"), None);
        assert_eq!(unit_of("0::/../..\n"), None);
    }
}
