//! A store in memory, for tests.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{FileKind, FileName, Store, StoreError, StoreErrorKind};
use crate::id::Id;

/// Files in memory.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<BTreeMap<FileName, Vec<u8>>>);

const NAME: &str = "memory";

impl MemoryStore {
    fn files(&self) -> MutexGuard<'_, BTreeMap<FileName, Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the content of a file, as decay would.
    pub fn damage(&self, file: FileName, content: Vec<u8>) {
        self.files().insert(file, content);
    }
}

fn missing(act: &'static str, file: FileName) -> StoreError {
    StoreError::new(StoreErrorKind::NotFound, act, file, NAME)
}

impl Store for MemoryStore {
    fn name(&self) -> &str {
        NAME
    }

    fn create(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn read(&self, file: FileName, range: Option<Range<u64>>) -> Result<Vec<u8>, StoreError> {
        let files = self.files();
        let content = files.get(&file).ok_or_else(|| missing("read", file))?;
        let Some(range) = range else { return Ok(content.clone()) };
        let part = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        part.and_then(|(start, end)| content.get(start..end))
            .map(<[u8]>::to_vec)
            .ok_or_else(|| StoreError::new(StoreErrorKind::Lied, "read", file, NAME))
    }

    fn write_new(&self, file: FileName, content: &[u8]) -> Result<(), StoreError> {
        match self.files().entry(file) {
            std::collections::btree_map::Entry::Occupied(_) => {
                Err(StoreError::new(StoreErrorKind::AlreadyExists, "write", file, NAME))
            }
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(content.to_vec());
                Ok(())
            }
        }
    }

    fn list(&self, kind: FileKind, found: &mut dyn FnMut(Id, u64)) -> Result<(), StoreError> {
        let files: Vec<(Id, u64)> = self
            .files()
            .iter()
            .filter_map(|(file, content)| match file {
                FileName::Of(this, id) if *this == kind => Some((*id, content.len() as u64)),
                _ => None,
            })
            .collect();
        files.into_iter().for_each(|(id, size)| found(id, size));
        Ok(())
    }

    fn stat(&self, file: FileName) -> Result<u64, StoreError> {
        self.files().get(&file).map(|content| content.len() as u64).ok_or_else(|| missing("look at", file))
    }

    fn remove(&self, file: FileName) -> Result<(), StoreError> {
        self.files().remove(&file).map(drop).ok_or_else(|| missing("remove", file))
    }
}
