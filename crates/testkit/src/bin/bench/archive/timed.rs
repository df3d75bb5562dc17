//! What a process and its children took.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// A process to be measured.
pub struct Act {
    pub command: Command,
}

/// What it took.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Wall time in seconds.
    pub wall: f64,
    /// Processor time in seconds, of the process and its children, in user and kernel mode.
    pub cpu: f64,
    /// The most memory that it held at once, in MiB.
    pub memory: f64,
}

impl Act {
    /// `program` with its arguments, started in `folder`.
    pub fn new(program: &Path, arguments: &[&str], folder: &Path) -> Self {
        let mut command = Command::new("/usr/bin/time");
        command.args(["--quiet", "--format", "%U %S %M", "--output"]).arg(folder.join("usage"));
        command.arg(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        Self { command }
    }

    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    pub fn within(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// What it reads.
    pub fn fed(mut self, file: &Path) -> Self {
        self.command.stdin(File::open(file).expect("open the stream"));
        self
    }

    /// Runs it when all is written out that was before. Says why where it failed.
    pub fn measure(mut self, folder: &Path) -> Result<Usage, String> {
        rustix::fs::sync();
        let log = File::create(folder.join("log")).map_err(|error| error.to_string())?;
        self.command.stderr(log);
        let started = Instant::now();
        let status = self.command.status().map_err(|error| format!("{:?}: {error}", self.command))?;
        let wall = started.elapsed().as_secs_f64();
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        if !status.success() {
            return Err(format!("{:?} ended with {status}: {}", self.command, read("log").trim()));
        }
        let usage = read("usage");
        let fields: Vec<f64> = usage.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        match fields[..] {
            [user, system, kibibytes] => Ok(Usage { wall, cpu: user + system, memory: kibibytes / 1024.0 }),
            _ => Err(format!("time said {usage:?}")),
        }
    }
}
