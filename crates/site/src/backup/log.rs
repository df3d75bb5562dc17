//! `backup.log` as it is written: by a thread of its own. The log lies at the destination, and one that does not answer
//! must not hold up whoever tells something.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

/// The log is cut over to `backup.log.1` when it is larger than this at the start of a run, in bytes.
const SIZE_MAX: u64 = 5 << 20;

enum Item {
    Text(String),
    /// Everything before was written.
    Flush(Sender<()>),
}

/// An open log.
pub(crate) struct Log(Sender<Item>);

impl Log {
    /// Opens the log at `path`, on the thread that asks.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        if std::fs::metadata(path).is_ok_and(|facts| facts.len() > SIZE_MAX) {
            std::fs::rename(path, path.with_extension("log.1"))?;
        }
        let mut file = File::options().append(true).create(true).mode(0o600).open(path)?;
        let (sender, items) = mpsc::channel();
        std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            for item in items {
                match item {
                    // A full disk must not end a backup that needs no more room; the journal has the facts.
                    Item::Text(text) => drop(file.write_all(text.as_bytes())),
                    Item::Flush(done) => drop(done.send(())),
                }
            }
        })?;
        Ok(Self(sender))
    }

    /// Writes text, soon.
    pub fn write(&self, text: String) {
        // The thread ends only with this.
        let _ = self.0.send(Item::Text(text));
    }

    /// Waits until everything is written, but not for longer than `limit`.
    pub fn flush(&self, limit: Duration) {
        let (done, written) = mpsc::channel();
        let _ = self.0.send(Item::Flush(done));
        let _ = written.recv_timeout(limit);
    }
}
