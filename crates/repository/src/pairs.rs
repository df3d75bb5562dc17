//! A walk through two versions at once that never looks into what they share.

use std::cmp::Ordering;
use std::iter::Peekable;

use stillpoint_tree::{Filter, RelPath};

use crate::error::RepositoryError;
use crate::id::Id;
use crate::node::{Node, NodeKind};
use crate::trees::{Nodes, TreeReader, Unreadable, damaged_folder};

/// What the walk comes upon, in canonical order.
#[derive(Debug)]
pub(crate) enum Pair {
    /// An entry that only the version before has.
    Before(RelPath, Box<Node>),
    /// An entry that only the version after has.
    After(RelPath, Box<Node>),
    /// An entry that both have. Two folders of one blob are the same in all that is in them, which is not told.
    Both(RelPath, Box<(Node, Node)>),
    /// A folder of one of them.
    Unreadable(Unreadable),
}

/// Walks through two versions.
#[derive(Debug)]
pub(crate) struct Pairs {
    before: TreeReader,
    after: TreeReader,
    filter: Filter,
    levels: Vec<Level>,
    waiting: Vec<Pair>,
}

#[derive(Debug)]
struct Level {
    path: RelPath,
    before: Side,
    after: Side,
}

/// One version's part of a folder.
#[derive(Debug)]
struct Side {
    blob: Option<Id>,
    nodes: Peekable<Nodes>,
    last: Vec<u8>,
}

impl Side {
    fn nothing() -> Self {
        Self { blob: None, nodes: Nodes::default().peekable(), last: Vec::new() }
    }

    /// The name that comes next. After an error there is none.
    fn peek(&mut self) -> Result<Option<&[u8]>, RepositoryError> {
        let why = match self.nodes.peek() {
            None => return Ok(None),
            Some(Err(why)) => why.clone(),
            Some(Ok(node)) if self.last.is_empty() || node.name > self.last => {
                // Asked again because the borrow checker cannot see that this one lives on.
                return Ok(self.nodes.peek().and_then(|node| node.as_ref().ok()).map(|node| &*node.name));
            }
            Some(Ok(_)) => "its names are not in order".to_owned(),
        };
        self.nodes = Nodes::default().peekable();
        Err(match &self.blob {
            Some(blob) => damaged_folder(blob, &why),
            None => RepositoryError::damaged(why),
        })
    }

    fn take(&mut self) -> Option<Box<Node>> {
        let node = self.nodes.next()?.ok()?;
        self.last.clone_from(&node.name);
        Some(Box::new(node))
    }
}

impl Pairs {
    /// Through all of both, or all of one.
    pub fn new(before: (TreeReader, Option<Id>), after: (TreeReader, Option<Id>), filter: Filter) -> Self {
        let ((before, before_top), (after, after_top)) = (before, after);
        let mut pairs = Self { before, after, filter, levels: Vec::new(), waiting: Vec::new() };
        if before_top != after_top {
            pairs.enter(RelPath::top(), before_top, after_top);
        }
        pairs
    }

    /// Passes over what is in the folder that was told last.
    pub fn skip_folder(&mut self) {
        self.levels.pop();
        self.waiting.clear();
    }

    fn enter(&mut self, path: RelPath, before: Option<Id>, after: Option<Id>) {
        let Self { before: before_reader, after: after_reader, waiting, .. } = self;
        let mut side = |reader: &mut TreeReader, blob: Option<Id>| {
            let Some(blob) = blob else { return Side::nothing() };
            match reader.nodes(&blob) {
                Ok(nodes) => Side { blob: Some(blob), nodes: nodes.peekable(), last: Vec::new() },
                Err(error) => {
                    waiting.push(Pair::Unreadable(Unreadable { path: path.clone(), error }));
                    Side::nothing()
                }
            }
        };
        let before = side(before_reader, before);
        let after = side(after_reader, after);
        self.levels.push(Level { path, before, after });
    }

    fn step(&mut self) -> Result<Option<Pair>, Unreadable> {
        let Some(level) = self.levels.last_mut() else { return Ok(None) };
        let unreadable = |error| Unreadable { path: level.path.clone(), error };
        let before = level.before.peek().map_err(unreadable)?;
        let after = level.after.peek().map_err(unreadable)?;
        let order = match (before, after) {
            (None, None) => {
                self.levels.pop();
                return Ok(None);
            }
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(before), Some(after)) => before.cmp(after),
        };
        // A folder in place of something else is another entry.
        let order = match (level.before.nodes.peek(), level.after.nodes.peek()) {
            (Some(Ok(before)), Some(Ok(after)))
                if order == Ordering::Equal && is_folder(before) != is_folder(after) =>
            {
                Ordering::Less
            }
            _ => order,
        };
        let before = if order == Ordering::Greater { None } else { level.before.take() };
        let after = if order == Ordering::Less { None } else { level.after.take() };
        let Some(name) = before.as_ref().or(after.as_ref()).map(|node| &node.name) else { return Ok(None) };
        let path = level.path.child(name);
        let is_folder = before.as_ref().or(after.as_ref()).is_some_and(|node| is_folder(node));
        if !self.filter.takes(&path, is_folder) {
            return Ok(None);
        }
        let subtree = |node: &Option<Box<Node>>| node.as_ref().and_then(|node| node.subtree);
        let (before_blob, after_blob) = (subtree(&before), subtree(&after));
        if is_folder && before_blob != after_blob {
            self.enter(path.clone(), before_blob, after_blob);
        } else if is_folder {
            self.levels.push(Level { path: path.clone(), before: Side::nothing(), after: Side::nothing() });
        }
        Ok(match (before, after) {
            (Some(before), Some(after)) => Some(Pair::Both(path, Box::new((*before, *after)))),
            (Some(before), None) => Some(Pair::Before(path, before)),
            (None, Some(after)) => Some(Pair::After(path, after)),
            (None, None) => None,
        })
    }
}

fn is_folder(node: &Node) -> bool {
    node.kind == NodeKind::Dir
}

impl Iterator for Pairs {
    type Item = Pair;

    fn next(&mut self) -> Option<Pair> {
        loop {
            if let Some(pair) = self.waiting.pop() {
                return Some(pair);
            }
            if self.levels.is_empty() {
                return None;
            }
            match self.step() {
                Ok(Some(pair)) => return Some(pair),
                Ok(None) => {}
                Err(unreadable) => return Some(Pair::Unreadable(unreadable)),
            }
        }
    }
}
