//! What differs between two versions.

use stillpoint_tree::{Filter, RelPath};

use crate::contents::Contents;
use crate::node::Node;
use crate::pairs::{Pair, Pairs};
use crate::trees::Unreadable;

/// How an entry differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// Only the version after has it.
    Added,
    /// Only the version before has it.
    Removed,
    /// It is of another kind.
    Kind,
    /// Its content, its target or its device number is another. Content that two programs cut in different ways is taken
    /// for different.
    Content,
    /// Its content is the same, its mode, owner, time or attributes are not.
    Metadata,
}

/// An entry that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where it is.
    pub path: RelPath,
    /// How it differs.
    pub difference: Difference,
    /// As it is in the version before.
    pub before: Option<Node>,
    /// As it is in the version after.
    pub after: Option<Node>,
}

/// The changes from one version to another, in canonical order.
///
/// A folder that cannot be read is an error among them. What is in it in the one version is not compared: the other's seems
/// to be added or removed.
#[derive(Debug)]
pub struct Diff(Pairs);

impl Contents {
    /// What changed from this version to `after`, a later one of the same archive. Takes time by what changed, not by
    /// how much there is. A folder has changed when its own metadata have, whatever is in it.
    #[must_use]
    pub fn diff(&self, after: &Contents, filter: Filter) -> Diff {
        let before = (self.reader(), Some(self.top()));
        Diff(Pairs::new(before, (after.reader(), Some(after.top())), filter))
    }
}

/// How two nodes of the same name differ, but for what is in a folder.
pub(crate) fn difference(before: &Node, after: &Node) -> Option<Difference> {
    if before.kind != after.kind {
        return Some(Difference::Kind);
    }
    if before.blobs() != after.blobs() {
        return Some(Difference::Content);
    }
    let entry = |node: &Node| node.to_entry(RelPath::top());
    match (entry(before), entry(after)) {
        (Some(before), Some(after)) if before.kind != after.kind => Some(Difference::Content),
        (before, after) if before != after => Some(Difference::Metadata),
        _ => None,
    }
}

impl Iterator for Diff {
    type Item = Result<Change, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (path, difference, before, after) = match self.0.next()? {
                Pair::Unreadable(folder) => return Some(Err(folder)),
                Pair::Before(path, node) => (path, Difference::Removed, Some(*node), None),
                Pair::After(path, node) => (path, Difference::Added, None, Some(*node)),
                Pair::Both(path, nodes) => match difference(&nodes.0, &nodes.1) {
                    Some(difference) => (path, difference, Some(nodes.0), Some(nodes.1)),
                    None => continue,
                },
            };
            return Some(Ok(Change { path, difference, before, after }));
        }
    }
}
