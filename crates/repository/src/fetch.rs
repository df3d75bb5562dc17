//! Getting blobs out of packs: neighbours with one read, each proven to be what its name says.

use crate::blob::BlobKind;
use crate::error::RepositoryError;
use crate::id::Id;
use crate::index::{Index, Location};
use crate::repository::Repository;
use crate::store::StoreErrorKind;

/// The most that is read at once, but for a blob that is longer.
pub(crate) const RUN_BYTES_MAX: u64 = 4 << 20;

/// What lies between two blobs is read and thrown away when it is at most this long: asking once more takes longer.
const GAP_BYTES_MAX: u64 = 64 << 10;

/// Blobs of one pack that are read at once, in the order in which they lie there.
#[derive(Debug)]
pub(crate) struct Run<T> {
    pub blobs: Vec<(Location, T)>,
}

impl<T> Run<T> {
    pub fn of(location: Location, with: T) -> Self {
        Self { blobs: vec![(location, with)] }
    }

    fn begin(&self) -> u64 {
        self.blobs.first().map_or(0, |(location, _)| u64::from(location.blob.offset))
    }

    fn end(&self) -> u64 {
        self.blobs.last().map_or(0, |(location, _)| end_of(location))
    }

    /// Whether this one can be read with it, as the last.
    pub fn takes(&self, next: &Location) -> bool {
        let (begin, end) = (u64::from(next.blob.offset), self.end());
        self.blobs.last().is_some_and(|(last, _)| last.pack == next.pack)
            && begin >= end
            && begin - end <= GAP_BYTES_MAX
            && end_of(next) - self.begin() <= RUN_BYTES_MAX
    }

    /// Reads the run, and hands each blob out: its plain text, or why there is none.
    pub fn fetch(
        self,
        repository: &Repository,
        index: &Index,
        mut take: impl FnMut(T, Result<Vec<u8>, RepositoryError>) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        let begin = self.begin();
        let pack = self.blobs.first().map(|(location, _)| location.pack);
        let Some(pack) = pack else { return Ok(()) };
        let mut sealed = match repository.read_pack(pack, begin..self.end()) {
            Ok(sealed) => sealed,
            Err(error) if is_of_the_store(&error) => return Err(error),
            // Each by itself, and from wherever else it lies.
            Err(_) => Vec::new(),
        };
        for (location, with) in self.blobs {
            let at = usize::try_from(u64::from(location.blob.offset) - begin).unwrap_or(usize::MAX);
            let own = at.checked_add(location.blob.length as usize).and_then(|end| sealed.get_mut(at..end));
            let opened = own.and_then(|own| repository.open_blob(&location, own).ok());
            let plain = match opened {
                Some(plain) => Ok(plain),
                None => repository.read_blob(index, BlobKind::Data, &location.blob.id),
            };
            match plain {
                Err(error) if is_of_the_store(&error) => return Err(error),
                plain => take(with, plain)?,
            }
        }
        Ok(())
    }
}

fn end_of(location: &Location) -> u64 {
    u64::from(location.blob.offset) + u64::from(location.blob.length)
}

/// Whether the store as a whole is the trouble: then all that follows would fail, too.
pub(crate) fn is_of_the_store(error: &RepositoryError) -> bool {
    matches!(
        error.store,
        Some(StoreErrorKind::NoStore | StoreErrorKind::Unavailable | StoreErrorKind::Denied)
    )
}

/// Where a data blob lies.
pub(crate) fn locate(index: &Index, id: &Id) -> Result<Location, RepositoryError> {
    index.find(BlobKind::Data, id).next().ok_or_else(|| {
        RepositoryError::damaged(format!("no index file knows the data blob {}", id.short()))
            .with_hint("`stillpoint archive repair` looks for it in the packs.")
    })
}

/// How many threads open blobs: one a processor, and as many as keep the store busy.
pub(crate) fn thread_count(repository: &Repository) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    processors.max(repository.store().parallel()).clamp(2, 8)
}
