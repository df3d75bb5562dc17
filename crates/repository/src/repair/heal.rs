//! Finding lost blobs elsewhere. What is found is what was lost, to the bit: its name is the hash of its content.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use stillpoint_model::ErrorKind;

use crate::blob::BlobKind;
use crate::check::damage::Damage;
use crate::chunker::{CHUNK_BYTES_MAX, Chunker};
use crate::error::RepositoryError;
use crate::id::Id;
use crate::index::Index;
use crate::marks::{self, Used, needs_of};
use crate::packer::Packer;
use crate::repository::Repository;
use crate::watch::{Amount, Watcher};

/// Where lost content may be.
#[derive(Debug, Clone, Copy)]
pub enum HealSource<'s> {
    /// Another archive with versions of the same site.
    Archive(&'s Repository),
    /// A folder with the files, such as a backup set. Folders and their metadata cannot be healed from it.
    Folder(&'s Path),
}

/// Puts lost blobs into new packs.
pub(super) struct Healer<'h> {
    pub repository: &'h Repository,
    pub index: &'h Index,
    pub damage: &'h Damage<'h>,
    pub used: &'h Used,
    pub packer: &'h Packer<'h>,
    pub watcher: &'h dyn Watcher,
    /// What is still lost.
    pub wanted: BTreeSet<(BlobKind, Id)>,
    pub healed: BTreeSet<(BlobKind, Id)>,
}

impl Healer<'_> {
    pub fn heal_from(&mut self, source: HealSource<'_>) -> Result<(), RepositoryError> {
        if self.wanted.is_empty() {
            return Ok(());
        }
        self.watcher.stage("heal", Amount { items: self.wanted.len() as u64, bytes: 0 });
        match source {
            HealSource::Archive(archive) => self.search_archive(archive),
            HealSource::Folder(folder) => self.search_folder(folder),
        }
    }

    fn search_archive(&mut self, archive: &Repository) -> Result<(), RepositoryError> {
        let index = Index::load(archive)?;
        let mut tried = BTreeSet::new();
        // A folder that is healed tells what else is lost.
        while let Some(next) = self.wanted.iter().find(|wanted| !tried.contains(*wanted)).copied() {
            self.watcher.check()?;
            tried.insert(next);
            let (kind, id) = next;
            if !index.has(kind, &id) {
                continue;
            }
            match archive.read_blob(&index, kind, &id) {
                Ok(plain) => self.found(kind, id, &plain)?,
                Err(error) if marks::is_of_the_store(&error) => return Err(error),
                // Damaged there, too.
                Err(error) => self.watcher.note(&format!("{}: {error}", archive.store().name())),
            }
        }
        Ok(())
    }

    fn found(&mut self, kind: BlobKind, id: Id, plain: &[u8]) -> Result<(), RepositoryError> {
        self.packer.add_plain(kind, id, plain)?;
        self.wanted.remove(&(kind, id));
        self.healed.insert((kind, id));
        self.watcher.advance(Amount { items: 1, bytes: plain.len() as u64 });
        if kind == BlobKind::Tree {
            for need in needs_of(&id, plain)? {
                need.content.iter().flatten().for_each(|blob| self.want(BlobKind::Data, *blob));
                if let Some(subtree) = need.subtree {
                    self.need_tree(subtree)?;
                }
            }
        }
        Ok(())
    }

    fn want(&mut self, kind: BlobKind, id: Id) {
        if self.damage.is_lost(kind, &id) && !self.healed.contains(&(kind, id)) {
            self.wanted.insert((kind, id));
        } else if let Some(number) = self.index.number_of(kind, &id) {
            self.used.of(kind).set(number);
        }
    }

    /// All that was out of sight below a lost folder.
    fn need_tree(&mut self, id: Id) -> Result<(), RepositoryError> {
        if self.damage.is_lost(BlobKind::Tree, &id) {
            self.want(BlobKind::Tree, id);
            return Ok(());
        }
        marks::mark(self.repository, self.index, self.used, [id], self.watcher, &|flaw| {
            self.damage.flaw(&flaw);
            Ok(())
        })?;
        let lost = self.damage.lost(self.used);
        self.wanted.extend(lost.into_iter().filter(|blob| !self.healed.contains(blob)));
        Ok(())
    }

    fn search_folder(&mut self, top: &Path) -> Result<(), RepositoryError> {
        let failed = |path: &Path, error: &io::Error| {
            let text = format!("cannot read {}: {error}", path.display());
            RepositoryError::new(ErrorKind::Environment, text)
        };
        let chunker = Chunker::new(self.repository.polynomial());
        let mut folders: Vec<PathBuf> = vec![top.to_owned()];
        let mut buffer = Vec::new();
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if folder == top => return Err(failed(top, &error)),
                Err(error) => {
                    self.watcher.note(&failed(&folder, &error).text);
                    continue;
                }
            };
            for entry in entries {
                if !self.wanted.iter().any(|(kind, _)| *kind == BlobKind::Data) {
                    return Ok(());
                }
                self.watcher.check()?;
                let entry = entry.map_err(|error| failed(&folder, &error))?;
                let kind = entry.file_type().map_err(|error| failed(&entry.path(), &error))?;
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() {
                    match self.search_file(&chunker, &entry.path(), &mut buffer) {
                        Ok(()) => {}
                        Err(NotHealed::Read(error)) => {
                            self.watcher.note(&failed(&entry.path(), &error).text);
                        }
                        Err(NotHealed::Store(error)) => return Err(error),
                    }
                }
            }
        }
        Ok(())
    }

    /// Cuts a file as a save does, and takes what is wanted.
    fn search_file(&mut self, chunker: &Chunker, path: &Path, buffer: &mut Vec<u8>) -> Result<(), NotHealed> {
        let mut file = File::open(path).map_err(NotHealed::Read)?;
        buffer.clear();
        loop {
            let missing = CHUNK_BYTES_MAX.saturating_sub(buffer.len()) as u64;
            let read = (&mut file).take(missing).read_to_end(buffer).map_err(NotHealed::Read)?;
            if buffer.is_empty() {
                return Ok(());
            }
            let length = chunker.cut(buffer);
            let id = Id::of(&buffer[..length]);
            if self.wanted.contains(&(BlobKind::Data, id)) {
                self.found(BlobKind::Data, id, &buffer[..length]).map_err(NotHealed::Store)?;
            }
            buffer.drain(..length);
            self.watcher.advance(Amount { items: 0, bytes: read as u64 });
        }
    }
}

enum NotHealed {
    Read(io::Error),
    Store(RepositoryError),
}
