//! Sealed blobs into new packs, and what lies in them into new index files.

use std::sync::Mutex;

use crate::blob::BlobKind;
use crate::error::RepositoryError;
use crate::id::Id;
use crate::index::{IndexFile, IndexedPack};
use crate::pack::PackedBlob;
use crate::repository::Repository;
use crate::save::packer::{OpenPack, PACK_BYTES};
use crate::save::upload::{lock, store_pack};
use crate::store::FileKind;

/// An index file is written when it knows so many blobs: some 3 MB of text, restic's own size.
pub(crate) const INDEX_BLOBS_MAX: usize = 50_000;

/// Fills packs with what is sealed already, from several threads.
pub(crate) struct Packer<'r> {
    repository: &'r Repository,
    data: Mutex<OpenPack>,
    trees: Mutex<OpenPack>,
    index: Mutex<IndexWriter<'r>>,
    packs: Mutex<Vec<Id>>,
}

impl<'r> Packer<'r> {
    pub fn new(repository: &'r Repository) -> Self {
        Self {
            repository,
            data: Mutex::new(OpenPack::new(BlobKind::Data)),
            trees: Mutex::new(OpenPack::new(BlobKind::Tree)),
            index: Mutex::new(IndexWriter::new(repository)),
            packs: Mutex::default(),
        }
    }

    /// Adds a blob. The bytes are sealed with the key of this repository; where it lay before does not matter.
    pub fn add(&self, blob: &PackedBlob, sealed: &[u8]) -> Result<(), RepositoryError> {
        self.fill(blob.kind, |open| {
            open.add_sealed(blob, sealed);
            Ok(())
        })
    }

    /// Adds a blob by its plain text.
    pub fn add_plain(&self, kind: BlobKind, id: Id, plain: &[u8]) -> Result<(), RepositoryError> {
        self.fill(kind, |open| open.add(id, plain, self.repository.key()).map(drop))
    }

    fn fill(
        &self,
        kind: BlobKind,
        add: impl FnOnce(&mut OpenPack) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        let full = {
            let mut open = lock(if kind == BlobKind::Data { &self.data } else { &self.trees });
            if open.is_empty() {
                open.bytes.reserve(PACK_BYTES);
            }
            add(&mut open)?;
            if !open.is_full() {
                return Ok(());
            }
            open.take()
        };
        self.store(full)
    }

    fn store(&self, pack: OpenPack) -> Result<(), RepositoryError> {
        let stored = store_pack(self.repository, pack)?;
        lock(&self.packs).push(stored.id);
        lock(&self.index).add(stored)
    }

    /// Writes what is left. Then all that was added can be found. Returns the packs that were written.
    pub fn finish(&self) -> Result<Vec<Id>, RepositoryError> {
        for open in [&self.data, &self.trees] {
            let rest = lock(open).take();
            if !rest.is_empty() {
                self.store(rest)?;
            }
        }
        lock(&self.index).flush()?;
        Ok(std::mem::take(&mut *lock(&self.packs)))
    }
}

/// Writes index files, each when it is full.
pub(crate) struct IndexWriter<'r> {
    repository: &'r Repository,
    open: IndexFile,
    blobs: usize,
    /// The files that were written.
    pub written: Vec<Id>,
}

impl<'r> IndexWriter<'r> {
    pub fn new(repository: &'r Repository) -> Self {
        Self { repository, open: IndexFile::default(), blobs: 0, written: Vec::new() }
    }

    pub fn add(&mut self, pack: IndexedPack) -> Result<(), RepositoryError> {
        self.blobs += pack.blobs.len();
        self.open.packs.push(pack);
        if self.blobs >= INDEX_BLOBS_MAX { self.flush() } else { Ok(()) }
    }

    pub fn flush(&mut self) -> Result<(), RepositoryError> {
        if self.open.packs.is_empty() {
            return Ok(());
        }
        self.written.push(self.repository.save_json(FileKind::Index, &self.open)?);
        self.open.packs.clear();
        self.blobs = 0;
        Ok(())
    }
}
