//! Doing it: a child process for each order and each question.

use std::ffi::OsString;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use stillpoint_model::SiteCode;
use tokio::process::{Child, Command};

use super::order::{Order, Question, RESTORED};
use super::{Exit, LaunchError};

/// The program, the site file and the state folder: said once, when the launcher starts, and by nobody else.
#[derive(Debug, Clone)]
pub struct Tools {
    /// The `stillpoint` program.
    pub program: PathBuf,
    /// The site file.
    pub config: PathBuf,
    /// The folder with the state of all sites.
    pub state_root: PathBuf,
    /// The site that the file is of.
    pub site: SiteCode,
}

/// How much of what a child says on standard error is kept, from its end, in bytes.
const SAID_MAX: u64 = 8 * 1024;

/// The name of the copy of the site file, in the folder with the state of the site.
const LAST_VALID: &str = "site.toml";

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

/// A child and where its words go: a file, not a pipe, so that it lives on when we do not.
pub(super) struct Working {
    pub child: Child,
    said: std::fs::File,
}

impl Tools {
    /// Keeps what the site file says while it is valid. While it is not, returns the copy that is in force. The service does not
    /// choose it: the copy lies where only whoever has the rights of the launcher can write.
    pub(super) fn remember(&self) -> Option<PathBuf> {
        let copy = self.state_root.join(self.site.as_str()).join(LAST_VALID);
        let valid = stillpoint_site::load(&self.config).ok().filter(|site| site.file.site.code == self.site);
        let Some(valid) = valid else { return copy.exists().then_some(copy) };
        if std::fs::read_to_string(&copy).ok().as_ref() != Some(&valid.text)
            && let Err(error) = write_private(&copy, &valid.text)
        {
            tracing::warn!(
                "what the site file says cannot be kept for the time when it is not valid: {error}"
            );
        }
        None
    }

    /// The program with one more option for all verbs, and the words of a task. Options come first: after `--` there are none.
    fn command(
        &self,
        option: Option<&str>,
        words: Vec<OsString>,
    ) -> Result<(Command, std::fs::File), LaunchError> {
        let said = tempfile::tempfile().map_err(|error| LaunchError::new("make a temporary file", error))?;
        let copy = said.try_clone().map_err(|error| LaunchError::new("share a temporary file", error))?;
        let mut command = Command::new(&self.program);
        command.args(["--config".into(), self.config.clone(), "--state-dir".into(), self.state_root.clone()]);
        if let Some(copy) = self.remember() {
            command.args(["--config-copy".into(), copy]);
        }
        command.args(option).args(words).stdin(Stdio::null()).stderr(copy).env_remove("NOTIFY_SOCKET");
        // Ctrl-C at a terminal is for the service, which decides what becomes of a run.
        command.process_group(0);
        Ok((command, said))
    }

    pub(super) fn start(&self, order: &Order, by: &str, attempt: u32) -> Result<Working, LaunchError> {
        let restored = self.state_root.join(RESTORED);
        if matches!(order, Order::Restore(_)) {
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&restored);
            made.map_err(|error| LaunchError::new("make the folder for restored data", error))?;
        }
        let (mut command, said) = self.command(Some("--quiet"), order.words(&restored))?;
        command.stdout(Stdio::null());
        command.env("STILLPOINT_ASKED_BY", by).env("STILLPOINT_ATTEMPT", attempt.to_string());
        spawn(&mut command, said)
    }

    pub(super) fn ask(&self, question: &Question) -> Result<Working, LaunchError> {
        let option = (!matches!(question, Question::File { .. })).then_some("--json");
        let (mut command, said) = self.command(option, question.words())?;
        // A question that nobody waits for any longer is not worth its work.
        command.stdout(Stdio::piped()).kill_on_drop(true);
        spawn(&mut command, said)
    }
}

fn spawn(command: &mut Command, said: std::fs::File) -> Result<Working, LaunchError> {
    let child = command.spawn().map_err(|error| LaunchError::new("start a child process", error))?;
    Ok(Working { child, said })
}

impl Working {
    /// Waits for its end.
    pub async fn end(mut self) -> Result<Exit, LaunchError> {
        let status =
            self.child.wait().await.map_err(|error| LaunchError::new("wait for a child process", error))?;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        Ok(Exit { code, said: self.said() })
    }

    fn said(&mut self) -> String {
        let mut bytes = Vec::new();
        let length = self.said.metadata().map_or(0, |it| it.len());
        let read = self.said.seek(SeekFrom::Start(length.saturating_sub(SAID_MAX)));
        let _ = read.and_then(|_| Read::by_ref(&mut self.said).take(SAID_MAX).read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
}

/// Tells the process of a run to end: it lets the site go, cleans up and records that it was cancelled.
pub(super) fn cancel(process: u32) -> Result<(), LaunchError> {
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    let process = process.ok_or_else(|| LaunchError::text("the run has no process"))?;
    kill_process(process, Signal::TERM).map_err(|error| LaunchError::new("tell the run to end", error.into()))
}
