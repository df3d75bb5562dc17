//! Giving whole trees to a part.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use stillpoint_model::ErrorKind;
use stillpoint_tree::{Entry, Filter, IndexReader, Kind, Opener, RelPath, Timestamp, TreeError, Walk};

use super::part::{Content, Part};
use crate::error::RepositoryError;

pub(super) fn failed(error: TreeError) -> RepositoryError {
    let kind = match error {
        TreeError::Damaged { .. } => ErrorKind::Damaged,
        _ => ErrorKind::Component,
    };
    RepositoryError::new(kind, error.to_string())
}

fn content<'c>(entry: &Entry, place: &'c Arc<Opener>) -> Content<'c> {
    match entry.kind {
        Kind::File(_) if entry.hard_link.is_none() => Content::Stored { place, at: entry.path.clone() },
        _ => Content::None,
    }
}

pub(super) fn tree(
    part: &mut Part,
    root: &Path,
    filter: Filter,
    settled_before: Timestamp,
) -> Result<(), RepositoryError> {
    let place = Arc::new(Opener::new(root).map_err(failed)?);
    let mut walk = Walk::new(root, filter).map_err(failed)?;
    while let Some(step) = walk.next() {
        match step {
            Ok(mut entry) => {
                if let Some(origin) = &mut entry.origin {
                    origin.settled = origin.ctime < settled_before;
                }
                let has_more_names = walk.has_more_names();
                part.entry(&entry, content(&entry, &place), has_more_names)?;
            }
            Err(problem) => part.problem(problem)?,
        }
    }
    Ok(())
}

pub(super) fn listed(part: &mut Part, list: &Path, folder: &Path) -> Result<(), RepositoryError> {
    let place = Arc::new(Opener::new(folder).map_err(failed)?);
    let firsts = first_names(list)?;
    for entry in IndexReader::open(list).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let has_more_names = firsts.contains(&entry.path);
        part.entry(&entry, content(&entry, &place), has_more_names)?;
    }
    Ok(())
}

/// The entries that have other names later in the list, which only those say.
fn first_names(list: &Path) -> Result<HashSet<RelPath>, RepositoryError> {
    let mut firsts = HashSet::new();
    for entry in IndexReader::open(list).map_err(failed)? {
        if let Some(first) = entry.map_err(failed)?.hard_link {
            firsts.insert(first);
        }
    }
    Ok(firsts)
}
