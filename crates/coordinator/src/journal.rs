//! The durable record of one run, `journal.jsonl` in the state folder: what was intended before it was done, and what
//! came of it. After a crash it is what the next start heals from.
//!
//! One JSON object a line, each with a number and a checksum, so that a last line that was torn by the crash is told from
//! a whole one. While the site stands still nothing is written: the folder may lie on a frozen file system, and the write
//! would hang until the thaw that waits for it. The lines are kept in memory and written after the thaw; what a crash
//! needs meanwhile is with the guard.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use stillpoint_model::{ComponentName, EpochNumber, Phase, RunId, SiteCode, Ticket, Undo};

/// The name of the journal in the state folder.
pub(crate) const NAME: &str = "journal.jsonl";
/// The name of the journal of the run before.
pub(crate) const PREVIOUS: &str = "journal.previous.jsonl";
/// A journal that is being begun.
const FRESH: &str = "journal.new.jsonl";

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub(crate) enum Record {
    /// A run began.
    RunBegun { site: SiteCode, run: RunId, epoch: EpochNumber, process: u32, boot: String },
    /// A phase began.
    Phase { phase: Phase },
    /// An act is to follow that this undo takes back.
    Intent {
        ticket: u64,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        component: Option<ComponentName>,
        undo: Undo,
    },
    /// The undo is not needed any more.
    Settled { ticket: u64 },
    /// An act is to follow.
    ActBegun { act: String },
    /// An act ended.
    ActEnded {
        act: String,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        error: Option<String>,
    },
    /// The run ended; without failure the set was published.
    RunEnded {
        #[serde(skip_serializing_if = "Option::is_none", default)]
        failure: Option<String>,
        not_undone: Vec<String>,
    },
    /// What a dead run left was looked at.
    Reconciled { healed: Vec<String>, failed: Vec<String> },
}

/// A line without its checksum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) sequence: u64,
    pub(crate) time: jiff::Timestamp,
    #[serde(flatten)]
    pub(crate) record: Record,
}

/// Whether a record must be on the disk before the work goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sync {
    /// Before the act that it announces.
    Before,
    /// Losing it costs nothing but an undo done in vain.
    Later,
}

/// An open journal.
#[derive(Debug)]
pub(crate) struct Journal {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    sequence: u64,
    held: Option<Vec<u8>>,
    /// What was held and could not be written after that; goes before the next line.
    late: Vec<u8>,
}

impl Inner {
    /// Writes what is late and these whole lines, or nothing: where a full disk takes only a part, that part is taken
    /// back, so that no line written once there is room again hangs on it and is lost with it.
    fn write(&mut self, lines: &[u8]) -> std::io::Result<()> {
        let before = self.file.stream_position()?;
        let written = self.file.write_all(&self.late).and_then(|()| self.file.write_all(lines));
        match written {
            Ok(()) => self.late.clear(),
            // What stays there is a damaged line, which is told.
            Err(_) => {
                let _ = self.file.set_len(before).and_then(|()| self.file.seek(SeekFrom::Start(before)));
            }
        }
        written
    }
}

impl Journal {
    /// Begins a new journal in `folder` with its first records; the old one becomes the previous one. After a crash in
    /// the middle of it the old journal is the journal still, or the new one is there with these records.
    pub(crate) fn begin(folder: &Path, first: Vec<Record>) -> std::io::Result<Self> {
        let (path, previous, fresh) = (folder.join(NAME), folder.join(PREVIOUS), folder.join(FRESH));
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        let journal = Self { inner: Mutex::new(Inner { file, sequence: 0, held: None, late: Vec::new() }) };
        for record in first {
            journal.append(record, Sync::Later)?;
        }
        journal.lock().file.sync_all()?;
        let missing_is_fine = |result: std::io::Result<()>| match result {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        missing_is_fine(std::fs::remove_file(&previous))?;
        missing_is_fine(std::fs::hard_link(&path, &previous))?;
        std::fs::rename(&fresh, &path)?;
        File::open(folder)?.sync_all()?;
        Ok(journal)
    }

    /// Opens the journal that is there to go on with it, behind its last whole line.
    pub(crate) fn resume(folder: &Path, found: &Found) -> std::io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).open(folder.join(NAME))?;
        file.set_len(found.whole_bytes)?;
        file.seek(SeekFrom::End(0))?;
        let sequence = found.lines.last().map_or(0, |line| line.sequence);
        Ok(Self { inner: Mutex::new(Inner { file, sequence, held: None, late: Vec::new() }) })
    }

    /// Adds a record. While held it only goes to memory.
    pub(crate) fn append(&self, record: Record, sync: Sync) -> std::io::Result<()> {
        let mut inner = self.lock();
        inner.sequence += 1;
        let line = Line { sequence: inner.sequence, time: jiff::Timestamp::now(), record };
        let text = render(&line)?;
        if let Some(held) = &mut inner.held {
            held.extend_from_slice(text.as_bytes());
            return Ok(());
        }
        inner.write(text.as_bytes())?;
        if sync == Sync::Before {
            inner.file.sync_data()?;
        }
        Ok(())
    }

    /// From now on nothing is written.
    pub(crate) fn hold(&self) {
        self.lock().held.get_or_insert_with(Vec::new);
    }

    /// Writes what was held, and is durable again.
    pub(crate) fn let_go(&self) -> std::io::Result<()> {
        let mut inner = self.lock();
        let Some(held) = inner.held.take() else { return Ok(()) };
        inner.late = held;
        inner.write(&[])?;
        inner.file.sync_data()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A thread that panicked with the lock left a torn line at worst, which a reader passes over.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A journal as it was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Its whole lines.
    pub(crate) lines: Vec<Line>,
    /// How many bytes there are up to the end of the last whole line.
    pub(crate) whole_bytes: u64,
    /// Numbers (from 1) of lines before the last whole one that are not what was written.
    pub(crate) damaged: Vec<usize>,
}

impl Found {
    /// The run that it is of.
    pub(crate) fn run(&self) -> Option<&RunId> {
        self.lines.iter().find_map(|line| match &line.record {
            Record::RunBegun { run, .. } => Some(run),
            _ => None,
        })
    }

    /// Whether the run ended, or was reconciled.
    pub(crate) fn is_closed(&self) -> bool {
        let closes = |record: &Record| matches!(record, Record::RunEnded { .. } | Record::Reconciled { .. });
        self.lines.iter().any(|line| closes(&line.record))
    }

    /// What was intended and not settled, the oldest first.
    pub(crate) fn unsettled(&self) -> Vec<(Ticket, Option<ComponentName>, Undo)> {
        let mut open = std::collections::BTreeMap::new();
        for line in &self.lines {
            match &line.record {
                Record::Intent { ticket, component, undo } => {
                    open.insert(*ticket, (component.clone(), undo.clone()));
                }
                Record::Settled { ticket } => drop(open.remove(ticket)),
                _ => {}
            }
        }
        open.into_iter().map(|(ticket, (component, undo))| (Ticket(ticket), component, undo)).collect()
    }
}

/// Reads the journal in `folder`; nothing when there is none. A torn end is passed over.
pub(crate) fn read(folder: &Path) -> std::io::Result<Option<Found>> {
    let mut bytes = Vec::new();
    match File::open(folder.join(NAME)) {
        Ok(mut file) => file.read_to_end(&mut bytes)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut found = Found::default();
    let (mut bad, mut place) = (Vec::new(), 0);
    for (number, raw) in bytes.split_inclusive(|&b| b == b'\n').enumerate() {
        place += raw.len() as u64;
        match parse(raw) {
            Some(line) => {
                found.lines.push(line);
                found.whole_bytes = place;
                found.damaged.append(&mut bad);
            }
            None => bad.push(number + 1),
        }
    }
    Ok(Some(found))
}

/// `{"sum":"xxxxxxxx",` and the rest of the object, over which the sum is taken: so every line is plain JSON.
fn render(line: &Line) -> std::io::Result<String> {
    let object = serde_json::to_string(line)?;
    let rest = object.strip_prefix('{').unwrap_or(&object);
    Ok(format!("{{\"sum\":\"{:08x}\",{rest}\n", crc32(rest.as_bytes())))
}

fn parse(raw: &[u8]) -> Option<Line> {
    let text = std::str::from_utf8(raw).ok()?.strip_suffix('\n')?;
    let (sum, rest) = text.strip_prefix("{\"sum\":\"")?.split_once("\",")?;
    if u32::from_str_radix(sum, 16).ok()? != crc32(rest.as_bytes()) {
        return None;
    }
    serde_json::from_str(&format!("{{{rest}")).ok()
}

/// CRC-32 as in IEEE 802.3: told apart are whole and torn, not good and forged.
fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = !0_u32;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0xEDB8_8320 & (sum & 1).wrapping_neg());
        }
    }
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(number: u64) -> Record {
        Record::Settled { ticket: number }
    }

    fn journal_of(count: u64) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::begin(folder.path(), Vec::new()).unwrap();
        (1..=count).for_each(|number| journal.append(settled(number), Sync::Before).unwrap());
        folder
    }

    #[test]
    fn the_checksum_is_the_well_known_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn a_journal_cut_at_any_byte_gives_its_whole_lines() {
        let folder = journal_of(3);
        let path = folder.path().join(NAME);
        let bytes = std::fs::read(&path).unwrap();
        for end in 0..=bytes.len() {
            std::fs::write(&path, &bytes[..end]).unwrap();
            let found = read(folder.path()).unwrap().unwrap();
            assert_eq!(found.lines.len(), bytes[..end].iter().filter(|&&b| b == b'\n').count());
            assert!(found.damaged.is_empty());
            let journal = Journal::resume(folder.path(), &found).unwrap();
            journal.append(settled(9), Sync::Before).unwrap();
            let again = read(folder.path()).unwrap().unwrap();
            assert_eq!(again.lines.len(), found.lines.len() + 1);
            assert!(again.damaged.is_empty());
        }
    }

    #[test]
    fn a_line_that_was_changed_is_told_and_the_others_count() {
        let folder = journal_of(3);
        let path = folder.path().join(NAME);
        let text = std::fs::read_to_string(&path).unwrap().replace("\"ticket\":2", "\"ticket\":7");
        std::fs::write(&path, text).unwrap();
        let found = read(folder.path()).unwrap().unwrap();
        assert_eq!((found.lines.len(), found.damaged), (2, vec![2]));
    }

    #[test]
    fn nothing_is_written_while_the_site_stands_still() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::begin(folder.path(), Vec::new()).unwrap();
        journal.append(settled(1), Sync::Before).unwrap();
        journal.hold();
        journal.append(settled(2), Sync::Before).unwrap();
        assert_eq!(read(folder.path()).unwrap().unwrap().lines.len(), 1);
        journal.let_go().unwrap();
        let sequences: Vec<u64> =
            read(folder.path()).unwrap().unwrap().lines.iter().map(|it| it.sequence).collect();
        assert_eq!(sequences, [1, 2]);
    }

    /// A very small file system in memory.
    struct SmallDisk(tempfile::TempDir);

    impl SmallDisk {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let mount = std::process::Command::new("mount")
                .args(["-t", "tmpfs", "-o", "size=64k", "stillpoint-test"])
                .arg(folder.path())
                .status();
            assert!(mount.unwrap().success(), "this test needs the right to mount (root)");
            Self(folder)
        }
    }

    impl Drop for SmallDisk {
        fn drop(&mut self) {
            let unmounted = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
            assert!(unmounted.unwrap().success());
        }
    }

    #[test]
    fn a_line_that_a_full_disk_cut_short_costs_no_other_line() {
        let disk = SmallDisk::new();
        let (folder, filler) = (disk.0.path(), disk.0.path().join("filler"));
        let journal = Journal::begin(folder, Vec::new()).unwrap();
        std::fs::write(&filler, vec![0; 48 << 10]).unwrap();
        let mut written = Vec::new();
        let refused = (1..).find_map(|number| match journal.append(settled(number), Sync::Before) {
            Ok(()) => {
                written.push(settled(number));
                None
            }
            Err(error) => Some(error),
        });
        assert_eq!(refused.unwrap().kind(), std::io::ErrorKind::StorageFull);
        // What is held and finds no room is only late.
        journal.hold();
        for number in 1001..1100 {
            journal.append(settled(number), Sync::Later).unwrap();
            written.push(settled(number));
        }
        assert!(journal.let_go().is_err(), "there was room");
        std::fs::remove_file(&filler).unwrap();
        journal.append(settled(2000), Sync::Before).unwrap();
        written.push(settled(2000));
        let found = read(folder).unwrap().unwrap();
        assert!(found.damaged.is_empty(), "{:?}", found.damaged);
        let records: Vec<Record> = found.lines.into_iter().map(|line| line.record).collect();
        assert_eq!(records, written);
    }

    #[test]
    fn each_line_is_plain_json() {
        let folder = journal_of(1);
        let text = std::fs::read_to_string(folder.path().join(NAME)).unwrap();
        let value: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!((&value["sequence"], &value["record"]), (&1.into(), &"settled".into()));
    }
}
