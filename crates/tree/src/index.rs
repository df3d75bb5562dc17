//! The list of a tree's entries on disk: one JSON object a line, in canonical order. `docs/format.md` has the fields.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::{Entry, RelPath, TreeError, line};

/// How much is gathered before it is hashed and written.
const BUFFER_BYTES: usize = 128 * 1024;

/// Writes a list. Entries must come in canonical order; a wrong order is our own mistake and panics in debug builds.
#[derive(Debug)]
pub struct IndexAppender {
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
    hash: Sha256,
    entries: u64,
    last: Option<RelPath>,
}

impl IndexAppender {
    /// Creates the file, readable by its owner only; it must not exist.
    pub fn create(path: &Path) -> Result<Self, TreeError> {
        let file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|source| {
                TreeError::Io { act: "create the list", path: path.to_path_buf(), source }
            })?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            buffer: Vec::with_capacity(BUFFER_BYTES + 4096),
            hash: Sha256::new(),
            entries: 0,
            last: None,
        })
    }

    /// Appends one entry.
    pub fn append(&mut self, entry: &Entry) -> Result<(), TreeError> {
        let in_order = self.last.as_ref().is_none_or(|last| *last < entry.path);
        debug_assert!(in_order, "{} after {:?}", entry.path, self.last);
        if !in_order {
            let reason = format!("{} would be out of order", entry.path);
            return Err(TreeError::Index { path: self.path.clone(), line: self.entries + 1, reason });
        }
        line::encode(entry, &mut self.buffer);
        self.entries += 1;
        self.last = Some(entry.path.clone());
        if self.buffer.len() >= BUFFER_BYTES {
            self.write_out()?;
        }
        Ok(())
    }

    /// Writes out what is buffered (without fsync) and returns the number of entries and the SHA-256 of the file.
    pub fn finish(mut self) -> Result<(u64, [u8; 32]), TreeError> {
        self.write_out()?;
        Ok((self.entries, self.hash.finalize().into()))
    }

    fn write_out(&mut self) -> Result<(), TreeError> {
        self.hash.update(&self.buffer);
        let written = self.file.write_all(&self.buffer);
        self.buffer.clear();
        written.map_err(|source| TreeError::Io { act: "write the list", path: self.path.clone(), source })
    }
}

/// Reads a list, entry by entry. Refuses a line that is not an entry, or that is out of order. After an error it ends.
#[derive(Debug)]
pub struct IndexReader {
    path: PathBuf,
    file: BufReader<File>,
    line: Vec<u8>,
    number: u64,
    last: Option<RelPath>,
    ended: bool,
}

impl IndexReader {
    /// Opens the file.
    pub fn open(path: &Path) -> Result<Self, TreeError> {
        let file = File::open(path).map_err(|source| TreeError::Io {
            act: "open the list",
            path: path.to_path_buf(),
            source,
        })?;
        Ok(Self {
            path: path.to_path_buf(),
            file: BufReader::with_capacity(BUFFER_BYTES, file),
            line: Vec::new(),
            number: 0,
            last: None,
            ended: false,
        })
    }

    fn read(&mut self) -> Result<Option<Entry>, TreeError> {
        self.line.clear();
        self.number += 1;
        let read = self.file.read_until(b'\n', &mut self.line);
        let length =
            read.map_err(|source| TreeError::Io { act: "read the list", path: self.path.clone(), source })?;
        if length == 0 {
            return Ok(None);
        }
        if self.line.pop() != Some(b'\n') {
            return Err(self.refusal("it has no end: the list is cut off".to_owned()));
        }
        let entry = line::decode(&self.line).map_err(|reason| self.refusal(reason))?;
        if self.last.as_ref().is_some_and(|last| *last >= entry.path) {
            return Err(self.refusal(format!("{} is out of order", entry.path)));
        }
        self.last = Some(entry.path.clone());
        Ok(Some(entry))
    }

    fn refusal(&self, reason: String) -> TreeError {
        TreeError::Index { path: self.path.clone(), line: self.number, reason }
    }
}

impl Iterator for IndexReader {
    type Item = Result<Entry, TreeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = self.read().transpose();
        self.ended = !matches!(item, Some(Ok(_)));
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FileFacts, Kind, Timestamp};

    fn file(path: &str) -> Entry {
        Entry {
            path: RelPath::from_bytes(path.as_bytes().to_vec()).unwrap(),
            kind: Kind::File(FileFacts { size: 1, sha256: Some([7; 32]) }),
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Timestamp::default(),
            xattrs: Vec::new(),
            hard_link: None,
            origin: None,
        }
    }

    fn list(folder: &Path, entries: &[Entry]) -> PathBuf {
        let path = folder.join("list");
        let mut appender = IndexAppender::create(&path).unwrap();
        entries.iter().for_each(|entry| appender.append(entry).unwrap());
        let (count, hash) = appender.finish().unwrap();
        assert_eq!(count, entries.len() as u64);
        assert_eq!(hash, <[u8; 32]>::from(Sha256::digest(std::fs::read(&path).unwrap())));
        path
    }

    #[test]
    fn a_list_reads_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let entries: Vec<Entry> = (0..5000).map(|n| file(&format!("folder/{n:06}"))).collect();
        let path = list(folder.path(), &entries);
        let read: Vec<Entry> = IndexReader::open(&path).unwrap().map(Result::unwrap).collect();
        assert_eq!(read, entries);
    }

    #[test]
    fn an_existing_list_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = list(folder.path(), &[file("a")]);
        assert!(IndexAppender::create(&path).is_err());
    }

    #[test]
    fn a_torn_or_shuffled_list_is_refused_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = list(folder.path(), &[file("a"), file("b"), file("c")]);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (wrong, at) in [
            (text[..text.len() - 1].to_owned(), 3),
            (format!("{}\n{}\n", lines[1], lines[0]), 2),
            (format!("{}\n{}\n", lines[0], lines[0]), 2),
            (format!("{}\n\n", lines[0]), 2),
        ] {
            std::fs::write(&path, &wrong).unwrap();
            let mut items: Vec<_> = IndexReader::open(&path).unwrap().collect();
            match items.pop() {
                Some(Err(TreeError::Index { line, .. })) => assert_eq!(line, at, "{wrong}"),
                other => panic!("{wrong} was taken: {other:?}"),
            }
            assert!(items.iter().all(Result::is_ok));
        }
    }

    #[test]
    #[should_panic(expected = "after")]
    #[cfg(debug_assertions)]
    fn appending_out_of_order_is_our_own_mistake() {
        let folder = tempfile::tempdir().unwrap();
        let mut appender = IndexAppender::create(&folder.path().join("list")).unwrap();
        appender.append(&file("b")).unwrap();
        appender.append(&file("a")).unwrap();
    }
}
