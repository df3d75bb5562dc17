//! Telling one process from another that got the same id, and one boot from another.

/// The start time of a process (field 22 of `/proc/PID/stat`, proc(5), clock ticks since boot) and its state letter
/// (field 3). Nothing when there is no such process.
pub(super) fn start_and_state(pid: u32) -> Option<(u64, char)> {
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses, and may itself hold spaces and parentheses.
    let after_name = text.iter().rposition(|&b| b == b')')? + 1;
    let rest = String::from_utf8_lossy(&text[after_name..]).into_owned();
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let start = fields.nth(18)?.parse().ok()?;
    Some((start, state))
}

/// The id of this boot (`/proc/sys/kernel/random/boot_id`, random(4)); empty when it cannot be read.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}
