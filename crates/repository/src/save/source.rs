//! Reading content.

use std::io::{Read, Seek, SeekFrom};

/// Where bytes come from.
pub(super) trait Source {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize>;
}

pub(super) struct Plain<'s>(pub &'s mut dyn Read);

impl Source for Plain<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

/// Reads a file without asking the disk for its holes.
pub(super) struct HoleReader {
    file: std::fs::File,
    at: u64,
    /// Where the hole ends in which we are, or the data.
    until: u64,
    in_hole: bool,
    size: u64,
}

impl HoleReader {
    pub fn new(file: std::fs::File) -> Self {
        let size = file.metadata().map_or(0, |facts| facts.len());
        Self { file, at: 0, until: 0, in_hole: false, size }
    }

    /// Finds out what is at the place where we are.
    fn look(&mut self) {
        use rustix::fs::{SeekFrom as Find, seek};
        self.until = u64::MAX;
        self.in_hole = false;
        match seek(&self.file, Find::Data(self.at)) {
            Ok(data) if data > self.at => (self.until, self.in_hole) = (data, true),
            Ok(_) => {
                if let Ok(hole) = seek(&self.file, Find::Hole(self.at)) {
                    self.until = hole.max(self.at + 1);
                }
            }
            // No data follows; or this file system knows no holes.
            Err(rustix::io::Errno::NXIO) if self.at < self.size => {
                (self.until, self.in_hole) = (self.size, true)
            }
            Err(_) => {}
        }
    }
}

impl Source for HoleReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.at >= self.until {
            self.look();
        }
        let most = usize::try_from(self.until - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = &mut buffer[..most];
        let some = if self.in_hole {
            buffer.fill(0);
            most
        } else {
            self.file.seek(SeekFrom::Start(self.at))?;
            self.file.read(buffer)?
        };
        self.at += some as u64;
        Ok(some)
    }
}
