//! What the first bytes of a database say (sqlite.org/fileformat, section 1.3), read without SQLite: opening a database
//! with it may roll back a journal, and an identify only looks.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use stillpoint_model::WriterError;

/// How a database keeps its transactions whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Journal {
    /// A write-ahead log: readers keep their view while others write.
    Wal,
    /// A rollback journal (in whatever of its forms): readers and writers exclude each other.
    Rollback,
}

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// How transactions are kept whole.
    pub journal: Journal,
    /// Page size in bytes; nothing for a database that is still empty.
    pub page_size: Option<u32>,
}

impl Header {
    /// Reads the header of the file at `path`.
    pub fn read(path: &Path) -> Result<Self, WriterError> {
        let failed = |source| WriterError::Io { act: "read", path: path.to_owned(), source };
        let mut bytes = Vec::with_capacity(100);
        File::open(path).and_then(|file| file.take(100).read_to_end(&mut bytes)).map_err(failed)?;
        Self::parse(&bytes).ok_or_else(|| {
            WriterError::Other(format!(
                "{} is not an SQLite database, or is encrypted: it does not begin with \"SQLite format 3\". Correct the path",
                path.display()
            ))
        })
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self { journal: Journal::Rollback, page_size: None });
        }
        if bytes.len() < 100 || !bytes.starts_with(b"SQLite format 3\0") {
            return None;
        }
        // The value 1 stands for 65,536, which does not fit.
        let page_size = match u16::from_be_bytes([bytes[16], bytes[17]]) {
            1 => 65_536,
            size => u32::from(size),
        };
        let journal = if bytes[19] == 2 { Journal::Wal } else { Journal::Rollback };
        Some(Self { journal, page_size: Some(page_size) })
    }
}
