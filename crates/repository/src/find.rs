//! Finding entries in many versions.

use stillpoint_tree::{Filter, RelPath};

use crate::contents::Contents;
use crate::diff::difference;
use crate::error::RepositoryError;
use crate::id::Id;
use crate::node::{Node, NodeKind};
use crate::pairs::{Pair, Pairs};
use crate::snapshot::Snapshot;
use crate::trees::Unreadable;
use crate::watch::{Amount, Watcher};

/// How an entry stands to the version before, of those that were looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The version before does not have it, or there is none.
    New,
    /// It is not as it was; for a folder, neither is it when something in it is not.
    Changed,
    /// It is as it was.
    Same,
}

/// An entry that was found in a version.
#[derive(Debug)]
pub struct Found<'a> {
    /// The version.
    pub version: Id,
    /// The path in it.
    pub path: &'a RelPath,
    /// What is there.
    pub node: &'a Node,
    /// How it stands to the version before.
    pub standing: Standing,
}

impl Contents {
    /// Finds what fits the patterns of `filter` in these versions, in their order; neighbours that share most cost little.
    /// What is in a folder that fits is not told by itself. Tells `found` of each version in canonical order. Returns the
    /// folders that could not be read, with their versions.
    ///
    /// # Errors
    ///
    /// The watcher cancels.
    pub fn find(
        &self,
        versions: &[(Id, Snapshot)],
        filter: &Filter,
        found: &mut dyn FnMut(Found<'_>),
        watcher: &dyn Watcher,
    ) -> Result<Vec<(Id, Unreadable)>, RepositoryError> {
        watcher.stage("find", Amount { items: versions.len() as u64, bytes: 0 });
        let mut problems = Vec::new();
        let mut known: Vec<(RelPath, Node)> = Vec::new();
        let mut top = None;
        for (version, snapshot) in versions {
            let mut search = Search { known, now: Vec::new(), told: Vec::new() };
            let after = Some(snapshot.tree);
            if top == after {
                search.keep_all(&RelPath::top());
            }
            let mut pairs = Pairs::new((self.reader(), top), (self.reader(), after), filter.clone());
            while let Some(pair) = pairs.next() {
                watcher.check()?;
                match pair {
                    Pair::Unreadable(folder) => problems.push((*version, folder)),
                    Pair::Before(..) => {}
                    other => {
                        if search.takes_whole(other, filter) {
                            pairs.skip_folder();
                        }
                    }
                }
            }
            for ((path, node), standing) in search.now.iter().zip(search.told) {
                found(Found { version: *version, path, node, standing });
            }
            watcher.advance(Amount { items: 1, bytes: 0 });
            known = search.now;
            top = after;
        }
        Ok(problems)
    }
}

/// The search in one version.
struct Search {
    /// What was found in the version before, in canonical order.
    known: Vec<(RelPath, Node)>,
    /// What was found in this one.
    now: Vec<(RelPath, Node)>,
    told: Vec<Standing>,
}

impl Search {
    /// Looks at an entry. Whether it is a folder that is not to be looked into any more.
    fn takes_whole(&mut self, pair: Pair, filter: &Filter) -> bool {
        let (path, before, node) = match pair {
            Pair::After(path, node) => (path, None, *node),
            Pair::Both(path, nodes) => (path, Some(nodes.0), nodes.1),
            _ => return false,
        };
        let is_folder = node.kind == NodeKind::Dir;
        if filter.selects(&path, is_folder) {
            let standing = match &before {
                None => Standing::New,
                Some(before) if before.subtree != node.subtree || difference(before, &node).is_some() => {
                    Standing::Changed
                }
                Some(_) => Standing::Same,
            };
            self.now.push((path, node));
            self.told.push(standing);
            return is_folder;
        }
        if before.is_some_and(|before| is_folder && before.subtree == node.subtree) {
            self.keep_all(&path);
        }
        false
    }

    /// All that was found in this folder is there and as it was.
    fn keep_all(&mut self, folder: &RelPath) {
        let begin = self.known.partition_point(|(path, _)| path <= folder);
        let inside = |path: &RelPath| {
            let rest = path.as_bytes().strip_prefix(folder.as_bytes());
            folder.is_top() || rest.is_some_and(|rest| rest.first() == Some(&b'/'))
        };
        let kept = self.known[begin..].iter().take_while(|(path, _)| inside(path));
        let before = self.now.len();
        self.now.extend(kept.cloned());
        self.told.resize(self.now.len(), Standing::Same);
        debug_assert!(self.told.len() >= before);
    }
}
