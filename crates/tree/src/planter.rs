//! Putting one entry of a stored tree back.

use std::os::fd::{AsFd, BorrowedFd};

use crate::content::{BUFFER_BYTES, Content, ContentError, Meter, is_volume_failure};
use crate::place::{Place, look_at};
use crate::target::Target;
use crate::verify::{check_hash, open_stored};
use crate::{Entry, FileFacts, FileProblem, Kind, RelPath, TreeError};

/// What was put back.
#[derive(Debug, Default)]
pub(crate) struct Planted {
    pub files: u64,
    pub bytes: u64,
    pub problems: Vec<FileProblem>,
}

/// Puts entries back. Each thread has its own.
pub(crate) struct Planter<'a> {
    folder: Place,
    target: Target,
    buffer: Vec<u8>,
    /// Cleared by the first file that cannot be cloned.
    cloning: bool,
    meter: &'a Meter<'a>,
}

impl<'a> Planter<'a> {
    pub fn new(folder: Place, target: Target, meter: &'a Meter<'a>) -> Self {
        Self { folder, target, buffer: vec![0; BUFFER_BYTES], cloning: true, meter }
    }

    /// Puts back anything but a folder or the later name of a file.
    pub fn plant(&mut self, entry: &Entry) -> Result<Planted, TreeError> {
        match &entry.kind {
            Kind::File(facts) => self.plant_file(entry, &entry.path, facts),
            _ => Ok(Planted { problems: self.target.put_node(entry)?, ..Planted::default() }),
        }
    }

    /// Puts a file back whose content is stored with `stored`.
    pub fn plant_file(
        &mut self,
        entry: &Entry,
        stored: &RelPath,
        facts: &FileFacts,
    ) -> Result<Planted, TreeError> {
        let temporary = self.target.create(&entry.path)?;
        let mut planted = Planted { files: 1, bytes: facts.size, problems: Vec::new() };
        let untold = match self.fill(temporary.file(), entry, stored, facts) {
            Ok(untold) => untold,
            Err(error) => {
                self.target.discard(&temporary, &entry.path);
                return Err(error);
            }
        };
        planted.problems = self.target.place(&temporary, entry)?;
        if self.meter.advance(1, untold) { Ok(planted) } else { Err(TreeError::Cancelled) }
    }

    /// Copies or clones the content and checks it. Returns the bytes that progress was not told of.
    fn fill(
        &mut self,
        file: BorrowedFd<'_>,
        entry: &Entry,
        stored: &RelPath,
        facts: &FileFacts,
    ) -> Result<u64, TreeError> {
        let source = open_stored(&mut self.folder, stored, facts.size)?;
        let content = Content {
            source: source.file.as_fd(),
            size: facts.size,
            blocks: source.blocks,
            target: Some(file),
            hash: facts.sha256.is_some(),
        };
        let cloned = self.cloning && facts.size > 0 && self.clone_to(file, content.source, &entry.path)?;
        let moved = if cloned {
            // What was cloned is what is checked.
            let stat =
                look_at(file).map_err(|e| self.target.failed("read the metadata of", &entry.path, e))?;
            let own = Content { source: file, blocks: stat.stx_blocks, target: None, ..content };
            own.transfer(&mut self.buffer, self.meter)
        } else {
            content.transfer(&mut self.buffer, self.meter)
        };
        let moved = moved.map_err(|error| match error {
            ContentError::Source(error) => self.folder.failed("read", stored, error),
            ContentError::Target(error) => self.target.failed("write", &entry.path, error),
            ContentError::Cancelled => TreeError::Cancelled,
        })?;
        check_hash(&self.folder, stored, facts, moved.sha256)?;
        Ok(moved.untold)
    }

    fn clone_to(
        &mut self,
        file: BorrowedFd<'_>,
        stored: BorrowedFd<'_>,
        path: &RelPath,
    ) -> Result<bool, TreeError> {
        match rustix::fs::ioctl_ficlone(file, stored) {
            Ok(()) => Ok(true),
            Err(error) if is_volume_failure(error) => Err(self.target.failed("clone to", path, error)),
            Err(_) => {
                self.cloning = false;
                Ok(false)
            }
        }
    }

    /// Gives a file its later name.
    pub fn plant_link(&mut self, entry: &Entry, first: &RelPath) -> Result<Planted, TreeError> {
        let Kind::File(facts) = &entry.kind else { return Ok(Planted::default()) };
        if self.target.link(first, &entry.path)? {
            let planted = Planted { files: 1, ..Planted::default() };
            return if self.meter.advance(1, 0) { Ok(planted) } else { Err(TreeError::Cancelled) };
        }
        let mut planted = self.plant_file(entry, first, facts)?;
        let text = format!("cannot be another name of {first} here: it is a file of its own now");
        planted.problems.push(FileProblem { path: entry.path.clone(), text });
        Ok(planted)
    }

    /// Makes a folder, or finds it there.
    pub fn make_folder(&mut self, path: &RelPath) -> Result<(), TreeError> {
        self.target.make_folder(path).map(drop)
    }

    /// Puts the metadata on a folder once all that is in it is there.
    pub fn finish_folder(&mut self, entry: &Entry) -> Result<Vec<FileProblem>, TreeError> {
        self.target.finish_folder(entry)
    }
}
