//! A program of the admin: it gets the notice as JSON on its standard input, and in variables what is needed most.

use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use stillpoint_model::plain::one_line;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, Command};

use super::Trouble;
use crate::notice::Message;
use crate::words::shortened;

/// How much of what a program complains of is kept, in bytes.
const COMPLAINT_MAX: usize = 2000;

/// How often a program that somebody is just writing anew is tried, every ten milliseconds.
const BUSY_TRIES: u32 = 100;

/// A program that is told of alerts.
#[derive(Debug, Clone)]
pub struct Program {
    /// The program, absolute.
    pub program: PathBuf,
    /// What it is given on its command line.
    pub arguments: Vec<String>,
}

impl Program {
    pub(super) async fn tell(&self, message: &Message<'_>) -> Result<(), Trouble> {
        let alert = message.alert;
        let variables = [
            ("STILLPOINT_SITE", message.place.site.as_str()),
            ("STILLPOINT_ALERT_ID", &alert.id.to_string()),
            ("STILLPOINT_ALERT_NOTICE", message.kind.as_str()),
            ("STILLPOINT_ALERT_KIND", &alert.kind),
            ("STILLPOINT_ALERT_SUBJECT", &alert.subject),
            ("STILLPOINT_ALERT_SEVERITY", alert.severity.as_str()),
            ("STILLPOINT_ALERT_STATE", alert.state.as_str()),
            ("STILLPOINT_ALERT_TITLE", &alert.title),
            ("STILLPOINT_ALERT_TEXT", &alert.text),
            ("STILLPOINT_ALERT_REMEDY", &alert.remedy),
            ("STILLPOINT_ALERT_BEGAN", &alert.began.to_string()),
            ("STILLPOINT_CONSOLE", message.place.console.as_deref().unwrap_or_default()),
        ];
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).envs(variables.map(|(name, value)| (name, one_line(value))));
        run(command, message.json().to_string().as_bytes()).await
    }
}

/// Runs a program in a group of its own. When nobody waits for it any more (the deadline passed), the whole group is ended.
pub(super) async fn run(mut command: Command, input: &[u8]) -> Result<(), Trouble> {
    command
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = start(&mut command).await?;
    let group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let complaint = child.stderr.take().map(|pipe| tokio::spawn(read(pipe)));
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not want to read it need not.
        let _ = stdin.write_all(input).await;
    }
    let status = child
        .wait()
        .await
        .map_err(|error| Trouble::passing(format!("it cannot be waited for: {error}"), "Try again."))?;
    // What it left behind on purpose may go on.
    group.disarm();
    if status.success() {
        return Ok(());
    }
    let complaint = match complaint {
        // What it left behind may hold the pipe open, and is not waited for.
        Some(reading) => {
            tokio::time::timeout(Duration::from_millis(200), reading).await.ok().and_then(Result::ok)
        }
        None => None,
    };
    Err(ended_badly(status, &complaint.unwrap_or_default()))
}

async fn start(command: &mut Command) -> Result<Child, Trouble> {
    let mut tries = 0;
    loop {
        match command.spawn() {
            Ok(child) => return Ok(child),
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES => {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(error) => {
                let program = command.as_std().get_program().to_string_lossy().into_owned();
                let what = format!("{program} cannot be started: {error}");
                return Err(Trouble::new(
                    what,
                    "Give the absolute path of a program that the service may run.",
                ));
            }
        }
    }
}

/// Reads a pipe to its end and keeps the beginning.
async fn read(mut pipe: ChildStderr) -> String {
    let (mut kept, mut buffer) = (Vec::new(), [0; 1024]);
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        let room = COMPLAINT_MAX - kept.len();
        kept.extend_from_slice(&buffer[..count.min(room)]);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

fn ended_badly(status: ExitStatus, complaint: &str) -> Trouble {
    let end = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown end".to_owned(),
    };
    let complaint = shortened(complaint.trim(), 300);
    let colon = if complaint.is_empty() { "" } else { ": " };
    Trouble::passing(format!("the program ended with {end}{colon}{complaint}"), "See what the program says.")
}

/// The processes of a program, ended with it.
struct Group(Option<Pid>);

impl Group {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
