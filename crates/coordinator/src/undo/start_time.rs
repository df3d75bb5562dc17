//! Telling one process from another that got the same id, and one boot from another.

/// What `/proc/PID/stat` says of a process (proc(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    /// Its state letter (field 3).
    pub(super) state: char,
    /// Its process group (field 5).
    pub(super) group: u32,
    /// When it started, in clock ticks since boot (field 22).
    pub(super) start: u64,
}

/// The start time of a process in clock ticks since boot, and its state letter. Nothing when there is no such process.
pub(super) fn start_and_state(pid: u32) -> Option<(u64, char)> {
    stat(pid).map(|stat| (stat.start, stat.state))
}

/// What is known of a process. Nothing when there is no such process.
pub(super) fn stat(pid: u32) -> Option<Stat> {
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses, and may itself hold spaces and parentheses.
    let after_name = text.iter().rposition(|&b| b == b')')? + 1;
    let rest = String::from_utf8_lossy(&text[after_name..]).into_owned();
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let group = fields.nth(1)?.parse().ok()?;
    let start = fields.nth(16)?.parse().ok()?;
    Some(Stat { state, group, start })
}

/// The id of this boot (`/proc/sys/kernel/random/boot_id`, random(4)); empty when it cannot be read.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}
