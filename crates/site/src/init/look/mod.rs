//! Looking at the machine: the kernel's lists of sockets and open files, systemd's list of services, settings of web
//! servers. Everything is a read, and all of it together is bounded in time and amount.

mod postgres;
mod sqlite;
mod units;
mod web;

use std::path::{Path, PathBuf};
use std::time::Duration;

use stillpoint_model::Deadline;

use super::Findings;

/// How long all the looking may take.
const LOOK_MAX: Duration = Duration::from_secs(8);

/// Looks at this machine. What cannot be seen is a note in the findings.
pub fn look() -> Findings {
    let deadline = Deadline::after(LOOK_MAX);
    let mut notes = Vec::new();
    if !rustix::process::geteuid().is_root() {
        notes.push("files and data folders of other users (run it as root to see them)".to_owned());
    }
    let postgres = postgres::find(Path::new("/proc"), deadline, &mut notes);
    let data: Vec<PathBuf> = postgres.iter().filter_map(|found| found.data.clone()).collect();
    let sqlite = sqlite::find(Path::new("/proc"), deadline, &mut notes);
    let (units, other_units) = units::find(deadline, &mut notes);
    Findings {
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        web_roots: web::find(Path::new("/"), &data),
        package_list: package_list(),
        postgres,
        sqlite,
        units,
        other_units,
        notes,
    }
}

/// The command that lists the installed packages.
fn package_list() -> Option<Vec<String>> {
    let known: [&[&str]; 2] = [&["/usr/bin/dpkg-query", "--show"], &["/usr/bin/rpm", "--query", "--all"]];
    let found = known.into_iter().find(|command| Path::new(command[0]).exists())?;
    Some(found.iter().map(|argument| (*argument).to_owned()).collect())
}

/// The ids of the processes in `proc`.
fn processes(proc: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(proc).into_iter().flatten().flatten();
    let is_process = |name: &std::ffi::OsStr| name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    entries.filter(|entry| is_process(&entry.file_name())).map(|entry| entry.path()).collect()
}

/// The start of a text file, at most `limit` bytes of it; nothing when it cannot be read.
fn text_of(path: &Path, limit: u64) -> Option<String> {
    use std::io::Read;
    // A pipe or device at the place of a settings file must not hold us up.
    if !std::fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(limit).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_at_this_machine_ends_in_time_and_gives_a_draft_that_is_a_site_file() {
        let began = std::time::Instant::now();
        let text = super::super::draft(&look());
        assert!(began.elapsed() < LOOK_MAX + Duration::from_secs(4), "{:?}", began.elapsed());
        if let Err(mistakes) = stillpoint_model::site_file::parse(&text) {
            panic!("{}", stillpoint_model::site_file::render("draft", &text, &mistakes));
        }
    }
}
