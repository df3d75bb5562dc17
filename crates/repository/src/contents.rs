//! What is in a version.

use std::sync::Arc;

use stillpoint_model::ErrorKind;
use stillpoint_tree::{Filter, RelPath};

use crate::browse::Browser;
use crate::error::RepositoryError;
use crate::id::Id;
use crate::index::Index;
use crate::node::{Node, NodeKind};
use crate::repository::Repository;
use crate::snapshot::Snapshot;
use crate::trees::{Steps, TreeReader, Walk};

/// The entries of a version and their content, to look at and to take out. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Contents {
    repository: Repository,
    index: Arc<Index>,
    tree: Id,
}

impl Contents {
    /// Opens a version. This reads the index of the whole archive; [`of`](Self::of) opens another version without.
    ///
    /// # Errors
    ///
    /// The store fails, or an index file is damaged.
    pub fn open(repository: &Repository, snapshot: &Snapshot) -> Result<Self, RepositoryError> {
        Ok(Self::with_index(repository, &Arc::new(Index::load(repository)?), snapshot))
    }

    /// The same with an index that is known already.
    pub(crate) fn with_index(repository: &Repository, index: &Arc<Index>, snapshot: &Snapshot) -> Self {
        Self { repository: repository.clone(), index: Arc::clone(index), tree: snapshot.tree }
    }

    /// Another version of the same archive, of which this one's index must already have known.
    #[must_use]
    pub fn of(&self, snapshot: &Snapshot) -> Self {
        Self { tree: snapshot.tree, ..self.clone() }
    }

    pub(crate) fn repository(&self) -> &Repository {
        &self.repository
    }

    pub(crate) fn index(&self) -> &Arc<Index> {
        &self.index
    }

    pub(crate) fn reader(&self) -> TreeReader {
        TreeReader::new(self.repository.clone(), Arc::clone(&self.index))
    }

    /// The blob of the top folder.
    pub(crate) fn top(&self) -> Id {
        self.tree
    }

    /// The node at `path`, which is not the top: that has none.
    ///
    /// # Errors
    ///
    /// There is no such entry (`Usage`), a folder on the way is damaged, or the store fails.
    pub fn node(&self, path: &RelPath) -> Result<Node, RepositoryError> {
        self.try_node(path)?.ok_or_else(|| not_there(path))
    }

    /// The same; nothing when there is no such entry.
    pub(crate) fn try_node(&self, path: &RelPath) -> Result<Option<Node>, RepositoryError> {
        let mut reader = self.reader();
        let mut folder = Some(self.tree);
        let mut found = None;
        for name in path.as_bytes().split(|&b| b == b'/') {
            let Some(blob) = folder else { return Ok(None) };
            found = reader.node(&blob, name)?;
            folder = found.as_ref().filter(|node| node.kind == NodeKind::Dir).and_then(|node| node.subtree);
            if found.is_none() {
                break;
            }
        }
        Ok(found)
    }

    /// What lies directly in a folder, in the order of the names, and not what is below. Something else than a folder is told
    /// itself.
    ///
    /// # Errors
    ///
    /// There is no such entry (`Usage`), a folder on the way is damaged, or the store fails.
    pub fn children(&self, path: &RelPath) -> Result<Vec<(RelPath, Node)>, RepositoryError> {
        let blob = if path.is_top() {
            self.tree
        } else {
            let node = self.node(path)?;
            match node.subtree {
                Some(blob) if node.kind == NodeKind::Dir => blob,
                _ => return Ok(vec![(path.clone(), node)]),
            }
        };
        let folder = Browser::new(self).folder(&blob)?;
        let nodes = (0..folder.len()).filter_map(|number| folder.get(number));
        Ok(nodes.map(|node| (path.child(&node.name), node)).collect())
    }

    /// A walk through `under` (for everything, the top), which is told first when it is not the top. The patterns of the
    /// filter are held against whole paths in the version.
    ///
    /// # Errors
    ///
    /// There is no such entry (`Usage`), a folder on the way is damaged, or the store fails.
    pub fn walk(&self, under: &RelPath, filter: Filter) -> Result<Walk, RepositoryError> {
        Ok(Walk(self.steps(under, filter)?))
    }

    pub(crate) fn steps(&self, under: &RelPath, filter: Filter) -> Result<Steps, RepositoryError> {
        if under.is_top() {
            return Ok(Steps::of_all(self.reader(), self.tree, filter));
        }
        let node = self.node(under)?;
        Ok(Steps::at(self.reader(), under.clone(), node, filter))
    }
}

fn not_there(path: &RelPath) -> RepositoryError {
    RepositoryError::new(ErrorKind::Usage, format!("the version has no {path}")).with_hint(
        "`stillpoint archive ls` shows what it has; paths begin at the top of the version, without a /.",
    )
}
