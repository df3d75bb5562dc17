//! What the version before says of a file: when it did not change, its content is not read again.

use stillpoint_tree::{Entry, Kind, RelPath};

use super::engine::Engine;
use crate::blob::BlobKind;
use crate::id::Id;
use crate::node::{Node, NodeKind, Tree};
use crate::time::Moment;

/// A folder of the version before.
struct Folder {
    path: RelPath,
    nodes: std::vec::IntoIter<Node>,
}

/// Goes through a version beside a save, in the same order.
pub(crate) struct ParentCursor {
    /// Where it begins.
    top: Option<Node>,
    open: Vec<Folder>,
}

impl ParentCursor {
    /// Beside the part whose top was this node.
    pub fn new(top: Option<Node>) -> Self {
        Self { top, open: Vec::new() }
    }

    /// What is at `path`, which comes after all that was asked for before.
    pub fn find(&mut self, engine: &Engine, path: &RelPath) -> Option<Node> {
        if path.is_top() {
            let top = self.top.take()?;
            self.enter(engine, &top, path);
            return Some(top);
        }
        let parent = path.parent()?;
        while !lies_in(path, &self.open.last()?.path) {
            self.open.pop();
        }
        if self.open.last()?.path != parent {
            // The folder is new.
            return None;
        }
        let name = path.as_bytes().rsplit(|byte| *byte == b'/').next()?;
        let folder = self.open.last_mut()?;
        let rest = folder.nodes.as_slice();
        let before = rest.iter().take_while(|node| node.name.as_slice() < name).count();
        if before > 0 {
            folder.nodes.nth(before - 1);
        }
        let found = folder.nodes.next_if(|node| node.name == name)?;
        self.enter(engine, &found, path);
        Some(found)
    }

    fn enter(&mut self, engine: &Engine, node: &Node, path: &RelPath) {
        if let (NodeKind::Dir, Some(id)) = (node.kind, &node.subtree) {
            // What cannot be read is simply saved again.
            let nodes = load(engine, id).unwrap_or_default();
            self.open.push(Folder { path: path.clone(), nodes: nodes.into_iter() });
        }
    }
}

fn lies_in(path: &RelPath, folder: &RelPath) -> bool {
    folder.is_top()
        || path.as_bytes().strip_prefix(folder.as_bytes()).is_some_and(|rest| rest.starts_with(b"/"))
}

trait NextIf {
    fn next_if(&mut self, wanted: impl FnOnce(&Node) -> bool) -> Option<Node>;
}

impl NextIf for std::vec::IntoIter<Node> {
    fn next_if(&mut self, wanted: impl FnOnce(&Node) -> bool) -> Option<Node> {
        if self.as_slice().first().is_some_and(wanted) { self.next() } else { None }
    }
}

/// The nodes of a folder.
pub(crate) fn load(engine: &Engine, id: &Id) -> Option<Vec<Node>> {
    let plain = engine.repository.read_blob(&engine.index, BlobKind::Tree, id).ok()?;
    let tree: Tree = serde_json::from_slice(&plain).ok()?;
    Some(tree.nodes)
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
