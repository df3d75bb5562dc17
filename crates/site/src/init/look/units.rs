//! Running services, as systemd lists them.

use std::time::Duration;

use stillpoint_model::Deadline;
use stillpoint_writers::process::Program;

use crate::init::UnitFound;

const OUTPUT_MAX: u64 = 1 << 20;
/// How long systemd may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// More than this many would make no draft that a person reads.
const FOUND_MAX: usize = 60;

/// Beginnings of the names of services that belong to the system, not to a site.
const SYSTEM: [&str; 44] = [
    "accounts-daemon",
    "acpid",
    "alsa",
    "apparmor",
    "atd",
    "auditd",
    "avahi",
    "bluetooth",
    "chrony",
    "colord",
    "console-",
    "cron",
    "cups",
    "dbus",
    "dhcp",
    "dnsmasq",
    "emergency",
    "fwupd",
    "gdm",
    "getty@",
    "gpm",
    "haveged",
    "ifup",
    "irqbalance",
    "lightdm",
    "lvm2",
    "ModemManager",
    "multipathd",
    "networkd",
    "NetworkManager",
    "ntp",
    "packagekit",
    "polkit",
    "qemu-guest-agent",
    "rsyslog",
    "rtkit",
    "serial-getty@",
    "smartd",
    "snapd",
    "ssh",
    "systemd-",
    "udisks",
    "unattended-upgrades",
    "wpa_supplicant",
];

/// Beginnings of the names of services that must work during the cut, or that hold others of which we know nothing:
/// freezing them would do harm or nothing.
const LEFT_ALONE: [&str; 9] =
    ["postgresql", "docker", "containerd", "podman", "libvirt", "user@", "stillpoint", "k3s", "kubelet"];

/// The running services of the site, and the names of those that are better left alone.
pub(super) fn find(deadline: Deadline, notes: &mut Vec<String>) -> (Vec<UnitFound>, Vec<String>) {
    let ask = Program::new("systemctl")
        .args(["list-units", "--type=service", "--state=running", "--plain", "--no-legend", "--no-pager"])
        .env("LC_ALL", "C");
    let limit = Deadline::at(deadline.instant().min(Deadline::after(ANSWER_MAX).instant()));
    let answer = ask.output(OUTPUT_MAX, limit).and_then(|(ended, bytes)| ended.check().map(|_| bytes));
    match answer {
        Ok(bytes) => sorted(&String::from_utf8_lossy(&bytes)),
        Err(_) => {
            notes.push("running services (systemd does not answer here)".to_owned());
            (Vec::new(), Vec::new())
        }
    }
}

/// Sorts systemd's list: name, load state, active state, sub-state, description.
fn sorted(list: &str) -> (Vec<UnitFound>, Vec<String>) {
    let begins =
        |name: &str, beginnings: &[&str]| beginnings.iter().any(|beginning| name.starts_with(beginning));
    let mut units = Vec::new();
    let mut left_alone = Vec::new();
    for line in list.lines() {
        let mut columns = line.split_whitespace();
        let Some(name) = columns.next().filter(|name| name.ends_with(".service") && plain(name)) else {
            continue;
        };
        if begins(name, &LEFT_ALONE) {
            left_alone.push(name.to_owned());
        } else if !begins(name, &SYSTEM) && units.len() < FOUND_MAX {
            let description = columns.skip(3).collect::<Vec<_>>().join(" ");
            units.push(UnitFound { name: name.to_owned(), description });
        }
    }
    (units, left_alone)
}

/// Whether the name is one that a site file takes.
fn plain(name: &str) -> bool {
    let allowed = |character: char| character.is_ascii_alphanumeric() || ":-_.\\@".contains(character);
    name.len() <= 255 && !name.starts_with(['-', '.']) && name.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_of_the_system_are_passed_over_and_databases_are_left_alone() {
        let list = "cron.service loaded active running Regular background program processing daemon\n\
                    postgresql@15-main.service loaded active running PostgreSQL Cluster 15-main\n\
                    shop.service loaded active running The shop: front-end\n\
                    dev-sda.device loaded active plugged disk\n";
        let (units, left_alone) = sorted(list);
        let shop = UnitFound { name: "shop.service".into(), description: "The shop: front-end".into() };
        assert_eq!(units, [shop]);
        assert_eq!(left_alone, ["postgresql@15-main.service"]);
    }
}
