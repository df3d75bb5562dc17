//! The systemd unit that runs us, if one does.

/// The unit of this process, if systemd started it.
pub fn own_unit() -> Option<String> {
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
