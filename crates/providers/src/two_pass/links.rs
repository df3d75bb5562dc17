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
    /// How many names are outside the tree, for those files of which that is not none.
    outside: HashMap<u64, u32>,
    inodes: BTreeMap<RelPath, u64>,
}

impl Links {
    /// Puts down a name of an inode.
    pub(super) fn add(&mut self, inode: u64, path: &RelPath) {
        if self.inodes.get(path) == Some(&inode) {
            return;
        }
        self.remove(path);
        self.inodes.insert(path.clone(), inode);
        self.names.entry(inode).or_default().insert(path.clone());
    }

    /// Forgets a name.
    pub(super) fn remove(&mut self, path: &RelPath) {
        let Some(inode) = self.inodes.remove(path) else { return };
        if let Some(names) = self.names.get_mut(&inode) {
            names.remove(path);
            if names.is_empty() {
                self.names.remove(&inode);
                self.outside.remove(&inode);
            }
        }
    }

    /// Whether all names in the tree are known of a file that has so many names in all.
    pub(super) fn are_complete(&self, inode: u64, links: u32) -> bool {
        let inside = self.names.get(&inode).map_or(0, BTreeSet::len);
        let outside = self.outside.get(&inode).copied().unwrap_or_default();
        inside as u64 + u64::from(outside) == u64::from(links)
    }

    /// The whole tree was looked through: what names are not known are outside.
    pub(super) fn settle(&mut self, inode: u64, links: u32) {
        let inside = self.names.get(&inode).map_or(0, BTreeSet::len);
        match u64::from(links).saturating_sub(inside as u64) {
            0 => self.outside.remove(&inode),
            // Never more than the 32 bits of `links`.
            outside => self.outside.insert(inode, outside as u32),
        };
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
        assert!(!links.are_complete(2, 2), "its other name is not known");
        links.settle(2, 2);
        assert!(links.are_complete(2, 2), "its other name is outside");
        assert_eq!(links.below(&path("a")).collect::<Vec<_>>(), [&path("a/x")]);
    }
}
