//! The whole tree as it is known: the list of the first pass with the delta laid over it, streaming, in canonical order.

use std::iter::Peekable;
use std::path::Path;

use stillpoint_tree::{Entry, IndexReader, Kind, RelPath, TreeError};

use super::delta::{Delta, Fact, Here, is_below, is_listed};
use super::scan::Names;

/// One path of the known tree.
pub(super) enum Known<'a> {
    /// As the first pass listed it.
    Listed(Entry),
    /// As a later pass found it.
    Changed(&'a RelPath, &'a Here),
    /// Listed by the first pass and not there any more.
    Dropped(Entry),
    /// Found by a later pass, but its folder is not there: the tree was not held.
    Orphan(&'a RelPath),
}

struct Level<'a> {
    path: RelPath,
    whole: bool,
    names: Option<&'a Names>,
}

/// Streams the known tree.
pub(super) struct KnownTree<'a, D: Iterator<Item = (&'a RelPath, &'a Fact)>> {
    list: Peekable<IndexReader>,
    delta: Peekable<D>,
    /// The folders above the last entry that are there.
    levels: Vec<Level<'a>>,
}

/// Opens the list of the first pass and lays the delta over it.
pub(super) fn known_tree<'a>(
    first_list: &Path,
    delta: &'a Delta,
) -> Result<KnownTree<'a, impl Iterator<Item = (&'a RelPath, &'a Fact)>>, TreeError> {
    let list = IndexReader::open(first_list)?.peekable();
    Ok(KnownTree { list, delta: delta.iter().peekable(), levels: Vec::new() })
}

impl<'a, D: Iterator<Item = (&'a RelPath, &'a Fact)>> KnownTree<'a, D> {
    /// The folder of `path`, when it is there. The top has none and needs none.
    fn folder(&mut self, path: &RelPath) -> Option<&Level<'a>> {
        let parent = path.parent()?;
        let leads_to = |level: &Level<'_>| level.path == parent || is_below(&parent, &level.path);
        while self.levels.last().is_some_and(|level| !leads_to(level)) {
            self.levels.pop();
        }
        self.levels.last().filter(|level| level.path == parent)
    }

    fn listed(&mut self, entry: Entry) -> Known<'a> {
        let stays = entry.path.is_top()
            || self.folder(&entry.path).is_some_and(|folder| {
                !folder.whole && folder.names.is_none_or(|names| is_listed(names, &entry.path))
            });
        if !stays {
            return Known::Dropped(entry);
        }
        if matches!(entry.kind, Kind::Directory) {
            self.levels.push(Level { path: entry.path.clone(), whole: false, names: None });
        }
        Known::Listed(entry)
    }

    fn changed(&mut self, path: &'a RelPath, here: &'a Here) -> Known<'a> {
        let (is_there, whole) = match self.folder(path) {
            _ if path.is_top() => (true, false),
            Some(folder) => (true, folder.whole),
            None => (false, false),
        };
        if !is_there {
            return Known::Orphan(path);
        }
        if here.is_folder() {
            let (whole, names) = (whole || here.whole, here.names.as_ref());
            self.levels.push(Level { path: path.clone(), whole, names });
        }
        Known::Changed(path, here)
    }
}

impl<'a, D: Iterator<Item = (&'a RelPath, &'a Fact)>> Iterator for KnownTree<'a, D> {
    type Item = Result<Known<'a>, TreeError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let from_list = match (self.list.peek(), self.delta.peek()) {
                (None, None) => return None,
                (Some(Err(_)), _) => true,
                (Some(Ok(entry)), Some((path, _))) => entry.path < **path,
                (Some(Ok(_)), None) => true,
                (None, Some(_)) => false,
            };
            if from_list {
                return Some(self.list.next()?.map(|entry| self.listed(entry)));
            }
            let (path, fact) = self.delta.next()?;
            let covered = self.list.next_if(|entry| entry.as_ref().is_ok_and(|entry| entry.path == *path));
            match (fact, covered) {
                (Fact::Here(here), _) => return Some(Ok(self.changed(path, here))),
                (Fact::Gone, Some(Ok(entry))) => return Some(Ok(Known::Dropped(entry))),
                (Fact::Gone, _) => {}
            }
        }
    }
}
