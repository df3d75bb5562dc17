//! What the version before says of a file: when it did not change, its content is not read again.

use std::iter::Peekable;
use std::sync::Arc;

use stillpoint_tree::{Entry, Kind, RelPath};

use super::engine::Engine;
use crate::blob::BlobKind;
use crate::node::{Node, NodeKind};
use crate::time::Moment;
use crate::trees::{Nodes, TreeReader};

/// A folder of the version before.
struct Folder {
    path: RelPath,
    nodes: Peekable<Nodes>,
}

/// Goes through a version beside a save, in the same order. What of it cannot be read is simply saved again.
pub(crate) struct ParentCursor {
    /// Where it begins.
    top: Option<Node>,
    open: Vec<Folder>,
    reader: TreeReader,
}

impl ParentCursor {
    /// Beside the part whose top was this node.
    pub fn new(engine: &Engine, top: Option<Node>) -> Self {
        let reader = TreeReader::new(engine.repository.clone(), Arc::clone(&engine.index));
        Self { top, open: Vec::new(), reader }
    }

    /// What is at `path`, which comes after all that was asked for before.
    pub fn find(&mut self, path: &RelPath) -> Option<Node> {
        if path.is_top() {
            let top = self.top.take()?;
            self.enter(&top, path);
            return Some(top);
        }
        let parent = path.parent()?;
        while !lies_in(path, &self.open.last()?.path) {
            self.open.pop();
        }
        let folder = self.open.last_mut()?;
        if folder.path != parent {
            // The folder is new.
            return None;
        }
        let name = path.as_bytes().rsplit(|byte| *byte == b'/').next()?;
        let comes_before =
            |node: &Result<Node, String>| node.as_ref().is_ok_and(|node| node.name.as_slice() < name);
        while folder.nodes.next_if(comes_before).is_some() {}
        let is_it = |node: &Result<Node, String>| node.as_ref().is_ok_and(|node| node.name == name);
        let found = folder.nodes.next_if(is_it)?.ok()?;
        self.enter(&found, path);
        Some(found)
    }

    fn enter(&mut self, node: &Node, path: &RelPath) {
        if let (NodeKind::Dir, Some(id)) = (node.kind, &node.subtree)
            && let Ok(nodes) = self.reader.nodes(id)
        {
            self.open.push(Folder { path: path.clone(), nodes: nodes.peekable() });
        }
    }
}

fn lies_in(path: &RelPath, folder: &RelPath) -> bool {
    folder.is_top()
        || path.as_bytes().strip_prefix(folder.as_bytes()).is_some_and(|rest| rest.starts_with(b"/"))
}

/// Whether a file is as it was, without reading it: its change time, which no program can set, its inode, size and
/// modification time are the same, and all of its blobs are there. A file that was read too soon after its change has
/// another change time in its node ([`Node::of_entry`]).
pub(crate) fn is_unchanged(engine: &Engine, entry: &Entry, before: &Node) -> bool {
    let (Kind::File(facts), Some(origin)) = (&entry.kind, &entry.origin) else { return false };
    before.kind == NodeKind::File
        && before.size == facts.size
        && before.inode == origin.inode
        && before.ctime == Moment::of_file(origin.ctime)
        && before.modified() == entry.mtime
        && before.blobs().iter().all(|id| engine.has_data(id))
        && before.blobs().iter().filter_map(|id| engine.index.plain_bytes(BlobKind::Data, id)).sum::<u64>()
            == facts.size
}
