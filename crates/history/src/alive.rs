//! The live side of a run: a file beside the history that its process holds a lock on and writes its events to, one JSON object
//! a line. The lock ends with the process, however it ends; the file is removed when the run ends.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use stillpoint_model::Event;

/// How often progress is told at most.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// Held by a run while it is under way.
pub(crate) struct Alive {
    path: PathBuf,
    held: File,
    last_progress: Option<Instant>,
}

/// Nothing for what is no name of a run: whoever asks may have it from somebody else.
fn path_of(history: &Path, run: &str) -> Option<PathBuf> {
    let is_name = !run.is_empty() && run.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    is_name.then(|| history.with_extension(format!("{run}.live")))
}

impl Alive {
    /// Says that the run is under way.
    pub fn begin(history: &Path, run: &str) -> std::io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        let path = path_of(history, run)
            .ok_or_else(|| std::io::Error::other(format!("{run:?} is no name of a run")))?;
        let mut held = File::options().write(true).create_new(true).mode(0o640).open(&path)?;
        flock(&held, FlockOperation::NonBlockingLockExclusive)?;
        crate::store::give_to_owner_of_folder(&path);
        writeln!(held, "{}", serde_json::json!({ "event": "process", "process": std::process::id() }))?;
        Ok(Self { path, held, last_progress: None })
    }

    /// Tells whoever follows. What cannot be written is not told: the record has all that matters.
    pub fn tell(&mut self, event: &Event) {
        if matches!(event, Event::Progress { .. }) {
            if self.last_progress.is_some_and(|last| last.elapsed() < PROGRESS_EVERY) {
                return;
            }
            self.last_progress = Some(Instant::now());
        }
        let _ = self.held.write_all(format!("{}\n", serde_json::json!(event)).as_bytes());
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The process that does this run now, if one does. A file that nobody holds is what a dead process left, and is removed.
pub fn under_way(history: &Path, run: &str) -> Option<u32> {
    let path = path_of(history, run)?;
    let mut file = File::open(&path).ok()?;
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        let _ = std::fs::remove_file(&path);
        return None;
    }
    let mut start = [0; 256];
    let length = file.read(&mut start).ok()?;
    let line = start[..length].split(|byte| *byte == b'\n').next()?;
    let told: serde_json::Value = serde_json::from_slice(line).ok()?;
    told["process"].as_u64().and_then(|process| u32::try_from(process).ok())
}

/// Reads the events of a run while it goes on.
#[derive(Debug)]
pub struct Follower {
    file: File,
    at: u64,
    rest: Vec<u8>,
}

impl Follower {
    /// Begins with the first event of the run. `None` when it is not under way.
    pub fn open(history: &Path, run: &str) -> Option<Self> {
        let file = File::open(path_of(history, run)?).ok()?;
        Some(Self { file, at: 0, rest: Vec::new() })
    }

    /// The lines that came since the last time. Works to the end also when the run has ended and its file is gone.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn lines(&mut self) -> std::io::Result<Vec<String>> {
        self.file.seek(SeekFrom::Start(self.at))?;
        let mut fresh = Vec::new();
        self.at += self.file.read_to_end(&mut fresh)? as u64;
        self.rest.extend(fresh);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Ok(Vec::new()) };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        let lines = whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        Ok(lines.map(|line| String::from_utf8_lossy(line).into_owned()).collect())
    }
}
