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
    let mut findings = Findings {
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        web_roots: web::find(Path::new("/"), &data),
        package_list: package_list(),
        postgres,
        sqlite,
        units,
        other_units,
        notes,
    };
    leave_out_passing(&mut findings);
    findings
}

/// Where things lie that do not last: tests, trials and scratch of whoever works on the machine.
const PASSING: [&str; 4] = ["/tmp", "/var/tmp", "/run", "/dev/shm"];

/// What does not last is no part of a site. That it was there is told.
fn leave_out_passing(findings: &mut Findings) {
    let lasts = |path: &Path| !PASSING.iter().any(|folder| path.starts_with(folder));
    let count =
        |findings: &Findings| findings.sqlite.len() + findings.postgres.len() + findings.web_roots.len();
    let before = count(findings);
    findings.sqlite.retain(|found| lasts(&found.path));
    findings.postgres.retain(|found| found.data.as_deref().is_none_or(lasts));
    findings.web_roots.retain(|root| lasts(root));
    let left_out = before - count(findings);
    if left_out > 0 {
        findings
            .notes
            .push(format!("{left_out} databases or web roots in {}, which do not last", PASSING.join(", ")));
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
    fn what_lies_where_nothing_lasts_is_left_out_and_that_is_told() {
        use crate::init::{PostgresFound, SqliteFound};
        let database = |path: &str| SqliteFound { path: path.into(), program: "p".into() };
        let server = |data: Option<&str>| PostgresFound {
            socket_folder: "/tmp".into(),
            port: 5432,
            data: data.map(PathBuf::from),
        };
        let mut findings = Findings {
            sqlite: vec![database("/srv/a.db"), database("/tmp/x/a.db"), database("/tmpfiles/a.db")],
            postgres: vec![server(Some("/tmp/pg")), server(Some("/srv/pg")), server(None)],
            web_roots: vec!["/var/tmp/www".into()],
            ..Findings::default()
        };
        leave_out_passing(&mut findings);
        assert_eq!(findings.sqlite, [database("/srv/a.db"), database("/tmpfiles/a.db")]);
        assert_eq!(findings.postgres, [server(Some("/srv/pg")), server(None)]);
        assert!(findings.web_roots.is_empty() && findings.notes[0].starts_with("3 "), "{:?}", findings.notes);
    }

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
