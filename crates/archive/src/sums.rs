//! `SHA256SUMS`: what `sha256sum -c` of GNU coreutils reads, so that a set can be checked without this program.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::{ArchiveError, disk};

/// Writes a list of checksums.
pub(crate) struct SumsAppender {
    file: BufWriter<File>,
    path: std::path::PathBuf,
}

impl SumsAppender {
    pub fn create(path: &Path) -> Result<Self, ArchiveError> {
        let file = disk::create_file(path).map_err(|error| ArchiveError::io("create", path, error))?;
        Ok(Self { file: BufWriter::with_capacity(1 << 16, file), path: path.to_owned() })
    }

    /// Adds the file at `parts` (joined by `/`), relative to the folder of the list.
    pub fn append(&mut self, sha256: &str, parts: &[&[u8]]) -> Result<(), ArchiveError> {
        write_line(&mut self.file, sha256, &parts.join(&b'/'))
            .map_err(|error| ArchiveError::io("write", &self.path, error))
    }

    pub fn finish(mut self) -> Result<(), ArchiveError> {
        self.file.flush().map_err(|error| ArchiveError::io("write", &self.path, error))
    }
}

/// A name with a backslash, newline or carriage return is escaped, and a backslash before the sum says so (the output
/// form of GNU coreutils, "cksum common options" in its manual).
fn write_line(out: &mut impl Write, sha256: &str, name: &[u8]) -> io::Result<()> {
    let odd = |b: &u8| matches!(b, b'\\' | b'\n' | b'\r');
    if name.iter().any(odd) {
        out.write_all(b"\\")?;
    }
    write!(out, "{sha256}  ")?;
    for &byte in name {
        match byte {
            b'\\' => out.write_all(b"\\\\")?,
            b'\n' => out.write_all(b"\\n")?,
            b'\r' => out.write_all(b"\\r")?,
            _ => out.write_all(&[byte])?,
        }
    }
    out.write_all(b"\n")
}
