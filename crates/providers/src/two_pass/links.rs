//! Files with several names.
//!
//! An event tells one name, but the change is to all. And the first name (in canonical order) holds the content in the
//! shadow, so when it goes, the others need it anew. So when one name is suspect, all are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use stillpoint_tree::RelPath;

use super::delta::is_below;

/// The names of the files that have several, as far as they are in the tree. Memory grows with their number only.
#[derive(Debug, Default)]
pub(super) struct Links {
    names: HashMap<u64, BTreeSet<RelPath>>,
    inodes: BTreeMap<RelPath, u64>,
}

impl Links {
    /// Puts down a name of an inode.
    pub(super) fn add(&mut self, inode: u64, path: &RelPath) {
        if let Some(before) = self.inodes.insert(path.clone(), inode)
            && before != inode
            && let Some(names) = self.names.get_mut(&before)
        {
            names.remove(path);
        }
        self.names.entry(inode).or_default().insert(path.clone());
    }

    /// The names of an inode.
    pub(super) fn of_inode(&self, inode: u64) -> Option<&BTreeSet<RelPath>> {
        self.names.get(&inode)
    }

    /// All names of the file that has, or had, this one.
    pub(super) fn of_path(&self, path: &RelPath) -> Option<&BTreeSet<RelPath>> {
        self.inodes.get(path).and_then(|inode| self.names.get(inode))
    }

    /// All names below a folder.
    pub(super) fn below<'a>(&'a self, folder: &'a RelPath) -> impl Iterator<Item = &'a RelPath> {
        let all = (Bound::Excluded(folder.clone()), Bound::Unbounded);
        self.inodes.range(all).map(|(path, _)| path).take_while(move |path| is_below(path, folder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_went_to_another_file_belongs_to_that_one_only() {
        let path = |text: &str| RelPath::from_bytes(text.as_bytes().to_vec()).unwrap();
        let mut links = Links::default();
        links.add(1, &path("a/x"));
        links.add(1, &path("b"));
        links.add(2, &path("b"));
        assert_eq!(links.of_inode(1).unwrap().len(), 1);
        assert_eq!(links.of_path(&path("b")), links.of_inode(2));
        assert_eq!(links.below(&path("a")).collect::<Vec<_>>(), [&path("a/x")]);
    }
}
