//! Finding out what of a file's content is in the target already: in the file itself, or in what an interrupted restore left
//! of it. Every part is read and proven; nothing is believed by its time.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use rustix::io::Errno;
use stillpoint_tree::{Kind, Temporary, TreeError};

use super::file::{AtHand, Pending};
use super::precheck::looks_the_same;
use super::work::Worker;
use super::{Overwrite, sparse};
use crate::blob::BlobKind;
use crate::id::Id;
use crate::watch::Amount;

/// A blob in its file.
#[derive(Clone, Copy)]
struct Part {
    id: Id,
    at: u64,
    length: u64,
}

/// What content may be taken from.
struct Sources {
    /// The file that is in the place.
    existing: Option<OwnedFd>,
    /// The one that is being made: a dead process left it, or it was made because the existing one differs.
    temporary: Option<Temporary>,
    /// How much of the temporary file may be of use.
    begun_bytes: u64,
}

impl Worker<'_> {
    /// What of the file is at hand. Parts that are go into its temporary file.
    pub fn compare(&mut self, pending: &Pending) -> AtHand {
        match self.try_compare(pending) {
            Ok(at_hand) => at_hand,
            Err(error) => {
                if let Some(group) = &pending.group {
                    group.failed.store(true, Ordering::Relaxed);
                }
                self.shared.entry_failed(&pending.entry.path, error);
                AtHand::Failed
            }
        }
    }

    fn try_compare(&mut self, pending: &Pending) -> Result<AtHand, TreeError> {
        let shared = self.shared;
        let path = &pending.entry.path;
        let dry = shared.options.dry_run;
        let Some(target) = &mut self.target else { return Ok(AtHand::Nothing) };
        let is_file = pending.present.as_ref().is_some_and(|p| matches!(p.entry.kind, Kind::File(_)));
        let existing = if is_file { Some(target.open_file(path)?) } else { None };
        let temporary = if dry || pending.blobs.len() < 2 { None } else { target.resume(path) };
        if existing.is_none() && temporary.is_none() {
            return Ok(AtHand::Nothing);
        }
        // A blob that no index file knows: the file is lost, and the planner says so.
        let Some((parts, length)) = self.parts(&pending.blobs) else { return Ok(AtHand::Nothing) };
        let begun_bytes = match &temporary {
            Some(temporary) => size_of(temporary.file()).map_err(|e| self.cannot("look at", pending, e))?,
            None => 0,
        };
        let mut sources = Sources { existing, temporary, begun_bytes };
        let mut have = vec![false; parts.len()];
        for number in 0..parts.len() {
            if shared.is_stopped() {
                return Ok(AtHand::Failed);
            }
            have[number] = self.look_for(pending, &mut sources, &parts[number])?;
            if !have[number] && shared.options.overwrite == Overwrite::Refuse && sources.existing.is_some() {
                return Ok(self.refuse(pending));
            }
            let some = have[..=number].contains(&true) && have[..=number].contains(&false);
            if some && sources.temporary.is_none() {
                self.begin(pending, &mut sources, &parts[..=number], &mut have)?;
            }
        }
        let whole = have.iter().all(|have| *have);
        if let (true, None, Some(existing)) = (whole, &sources.temporary, &sources.existing) {
            let size = size_of(existing.as_fd()).map_err(|e| self.cannot("look at", pending, e))?;
            // What has one name in the version must not be another name of something here.
            let names = pending.present.as_ref().map_or(0, |present| present.names);
            if size == length && (names <= 1 || pending.group.is_some()) {
                return self.keep(pending, existing.as_fd(), length);
            }
            if shared.options.overwrite == Overwrite::Refuse {
                return Ok(self.refuse(pending));
            }
            if parts.len() < 2 {
                return Ok(AtHand::Nothing);
            }
            self.begin(pending, &mut sources, &parts, &mut have)?;
        }
        for part in parts.iter().zip(&have).filter(|(_, have)| **have).map(|(part, _)| part) {
            shared.watcher.advance(Amount { items: 0, bytes: part.length });
        }
        Ok(AtHand::Some(sources.temporary, have))
    }

    /// The blobs with their places in the file, and how long it is.
    fn parts(&self, blobs: &[Id]) -> Option<(Vec<Part>, u64)> {
        let mut at = 0;
        let mut parts = Vec::with_capacity(blobs.len());
        for id in blobs {
            let length = self.shared.contents.index().plain_bytes(BlobKind::Data, id)?;
            parts.push(Part { id: *id, at, length });
            at += length;
        }
        Some((parts, at))
    }

    /// Whether the part is at hand. If there is a temporary file, it is in it then.
    fn look_for(&mut self, pending: &Pending, sources: &mut Sources, part: &Part) -> Result<bool, TreeError> {
        if let Some(temporary) = &sources.temporary
            && part.at < sources.begun_bytes
        {
            if self.holds(temporary.file(), part) {
                return Ok(true);
            }
            let length = part.length.min(sources.begun_bytes - part.at);
            let cleared = sparse::clear(temporary.file(), part.at, length);
            cleared.map_err(|e| self.cannot("write", pending, e))?;
        }
        let Some(existing) = &sources.existing else { return Ok(false) };
        if !self.holds(existing.as_fd(), part) {
            return Ok(false);
        }
        if let Some(temporary) = &sources.temporary {
            let written = sparse::write(temporary.file(), &self.buffer, part.at);
            written.map_err(|e| self.cannot("write", pending, e))?;
        }
        Ok(true)
    }

    /// Begins a temporary file with the parts that the existing file has.
    fn begin(
        &mut self,
        pending: &Pending,
        sources: &mut Sources,
        parts: &[Part],
        have: &mut [bool],
    ) -> Result<(), TreeError> {
        let (false, Some(existing)) = (self.shared.options.dry_run, &sources.existing) else { return Ok(()) };
        let Some(target) = &mut self.target else { return Ok(()) };
        let temporary = target.create_again(&pending.entry.path)?;
        for (part, have) in parts.iter().zip(have) {
            *have = *have && self.holds(existing.as_fd(), part);
            if *have {
                let written = sparse::write(temporary.file(), &self.buffer, part.at);
                written.map_err(|e| self.cannot("write", pending, e))?;
            }
        }
        sources.temporary = Some(temporary);
        Ok(())
    }

    /// Whether the file has the part; then it is in the buffer.
    fn holds(&mut self, file: BorrowedFd<'_>, part: &Part) -> bool {
        let Ok(length) = usize::try_from(part.length) else { return false };
        self.buffer.resize(length, 0);
        // What cannot be read comes from the archive.
        matches!(sparse::read(file, &mut self.buffer, part.at), Ok(read) if read == length)
            && Id::of(&self.buffer) == part.id
    }

    /// The file is as it should be, but perhaps for its metadata.
    fn keep(
        &mut self,
        pending: &Pending,
        existing: BorrowedFd<'_>,
        length: u64,
    ) -> Result<AtHand, TreeError> {
        let options = self.shared.options;
        if let (Some(target), false, Overwrite::Replace) =
            (&mut self.target, options.dry_run, options.overwrite)
        {
            self.shared.complain(target.amend(existing, &pending.entry)?);
        }
        let mut report = self.shared.report();
        report.files += 1;
        report.unchanged_files += 1;
        report.bytes += length;
        drop(report);
        self.shared.watcher.advance(Amount { items: 1, bytes: length });
        Ok(AtHand::All)
    }

    fn refuse(&self, pending: &Pending) -> AtHand {
        if let Some(group) = &pending.group {
            group.failed.store(true, Ordering::Relaxed);
        }
        let alike = pending.present.as_ref().is_some_and(|present| looks_the_same(&pending.entry, present));
        let how = if alike { "it looks the same and has other content" } else { "it exists" };
        let text = format!("{how}, and was not to be overwritten");
        self.shared.report().problem(&pending.entry.path, text);
        AtHand::Failed
    }

    fn cannot(&self, act: &'static str, pending: &Pending, errno: Errno) -> TreeError {
        match &self.target {
            Some(target) => target.failed(act, &pending.entry.path, errno),
            None => TreeError::Cancelled,
        }
    }
}

fn size_of(file: BorrowedFd<'_>) -> Result<u64, Errno> {
    rustix::fs::fstat(file).map(|stat| u64::try_from(stat.st_size).unwrap_or_default())
}
