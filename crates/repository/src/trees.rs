//! The folders of a version: reading one, and a walk through all of them in canonical order.
//!
//! Memory is bounded by the folders on the way to where the walk is: of each it keeps the text of its blob, from which one node
//! after the other is taken. Nothing recurses, so depth has no limit.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use serde_json::Deserializer;
use stillpoint_tree::{Filter, RelPath};

use crate::blob::BlobKind;
use crate::error::RepositoryError;
use crate::id::Id;
use crate::index::{Index, Location, PackNumber};
use crate::node::{Node, NodeKind, Tree};
use crate::repository::Repository;

/// How much of a pack is read around a folder that is not at hand: at first, and at most. Folders of one version lie close
/// together, the inner ones before the outer ones.
const WINDOW_BYTES_MIN: u32 = 128 << 10;
const WINDOW_BYTES_MAX: u32 = 4 << 20;

/// How many such parts of packs are kept.
const WINDOWS_MAX: usize = 6;

/// Reads folders, and keeps what lies around them.
#[derive(Debug)]
pub(crate) struct TreeReader {
    repository: Repository,
    index: Arc<Index>,
    /// The one used last is the last.
    windows: Vec<Window>,
    window_bytes: u32,
    /// Where the last folder of each pack ends.
    ends: Vec<u32>,
}

/// Sealed bytes of a pack.
#[derive(Debug)]
struct Window {
    pack: PackNumber,
    begin: u32,
    bytes: Vec<u8>,
}

impl Window {
    fn sealed(&self, location: &Location) -> Option<&[u8]> {
        let begin = location.blob.offset.checked_sub(self.begin)? as usize;
        let bytes = self.bytes.get(begin..begin + location.blob.length as usize)?;
        (self.pack == location.number).then_some(bytes)
    }
}

impl TreeReader {
    pub fn new(repository: Repository, index: Arc<Index>) -> Self {
        Self { repository, index, windows: Vec::new(), window_bytes: WINDOW_BYTES_MIN, ends: Vec::new() }
    }

    /// The nodes of the folder in this blob.
    pub fn nodes(&mut self, id: &Id) -> Result<Nodes, RepositoryError> {
        let text = self.read(id)?;
        Nodes::new(text).map_err(|why| damaged_folder(id, &why))
    }

    /// The node of this name in the folder.
    pub fn node(&mut self, folder: &Id, name: &[u8]) -> Result<Option<Node>, RepositoryError> {
        for node in self.nodes(folder)? {
            let node = node.map_err(|why| damaged_folder(folder, &why))?;
            if node.name == name {
                return Ok(Some(node));
            }
        }
        Ok(None)
    }

    /// The text of the folder in this blob.
    pub fn read(&mut self, id: &Id) -> Result<Vec<u8>, RepositoryError> {
        let index = Arc::clone(&self.index);
        let Some(location) = index.find(BlobKind::Tree, id).next() else {
            // For the words of the error.
            return self.repository.read_blob(&index, BlobKind::Tree, id);
        };
        if let Some(at) = self.windows.iter().position(|window| window.sealed(&location).is_some()) {
            let window = self.windows.remove(at);
            self.windows.push(window);
        } else if let Err(error) = self.read_around(&location) {
            tracing::debug!(%error, "no part of a pack around a folder");
        }
        let sealed = self.windows.last().and_then(|window| window.sealed(&location));
        if let Some(sealed) = sealed
            && let Ok(plain) = self.repository.open_blob(&location, &mut sealed.to_vec())
        {
            return Ok(plain);
        }
        // By itself, and from every place where it lies.
        self.repository.read_blob(&index, BlobKind::Tree, id)
    }

    fn read_around(&mut self, location: &Location) -> Result<(), RepositoryError> {
        let part = self.part_around(location);
        let bytes = self.repository.read_pack(location.pack, u64::from(part.start)..u64::from(part.end))?;
        if self.windows.len() >= WINDOWS_MAX {
            self.windows.remove(0);
        }
        self.windows.push(Window { pack: location.number, begin: part.start, bytes });
        // Whoever comes again wants to see more.
        self.window_bytes = self.window_bytes.saturating_mul(2).min(WINDOW_BYTES_MAX);
        Ok(())
    }

    fn part_around(&mut self, location: &Location) -> Range<u32> {
        if self.ends.is_empty() {
            self.ends = vec![0; self.index.packs().len()];
            for place in self.index.places(BlobKind::Tree) {
                let end = place.blob.offset.saturating_add(place.blob.length);
                let known = &mut self.ends[place.number.get()];
                *known = end.max(*known);
            }
        }
        let (begin, end) = (location.blob.offset, location.blob.offset.saturating_add(location.blob.length));
        let more = self.window_bytes.saturating_sub(location.blob.length);
        let last = self.ends[location.number.get()].max(end);
        begin.saturating_sub(more / 4 * 3)..end.saturating_add(more / 4).min(last)
    }
}

/// A blob is what was written, and yet no folder.
pub(crate) fn damaged_folder(id: &Id, why: &str) -> RepositoryError {
    RepositoryError::damaged(format!("the tree blob {} is not a folder: {why}", id.short()))
}

/// The nodes of a folder, one after the other from the text of its blob.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    text: Vec<u8>,
    /// Where the next one begins; nothing behind the last.
    at: Option<usize>,
    /// All of them, when the text has another form than the one that everybody writes.
    parsed: VecDeque<Node>,
}

/// How everybody begins a folder.
const BEGIN: &[u8] = b"{\"nodes\":[";

impl Nodes {
    pub fn new(text: Vec<u8>) -> Result<Self, String> {
        if text.starts_with(BEGIN) {
            return Ok(Self { text, at: Some(BEGIN.len()), parsed: VecDeque::new() });
        }
        let tree: Tree = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
        Ok(Self { parsed: tree.nodes.into(), ..Self::default() })
    }

    /// Whether all was parsed at once.
    pub fn is_of_another_form(&self) -> bool {
        !self.parsed.is_empty()
    }

    /// Where the next one begins in the text.
    pub fn begin(&self) -> Option<usize> {
        self.at
    }

    pub fn into_text(self) -> Vec<u8> {
        self.text
    }

    /// The node that begins at `at` of a text; nothing at the end.
    pub fn parse_at(text: &[u8], at: usize) -> Result<Option<Node>, String> {
        Ok(Self::parse(text, at)?.map(|(node, _)| node))
    }

    /// The same, and where the next one begins.
    fn parse(text: &[u8], at: usize) -> Result<Option<(Node, usize)>, String> {
        let rest = text.get(at..).unwrap_or_default();
        match rest.first() {
            Some(b'{') => {}
            Some(b']') if rest.trim_ascii_end() == b"]}" => return Ok(None),
            Some(b']') => return Err("it ends oddly".into()),
            _ => return Err("it ends in the middle".into()),
        }
        let mut values = Deserializer::from_slice(rest).into_iter::<Node>();
        let node = values.next().ok_or("it ends in the middle")?.map_err(|error| error.to_string())?;
        let end = at + values.byte_offset();
        Ok(Some((node, if text.get(end) == Some(&b',') { end + 1 } else { end })))
    }
}

impl Iterator for Nodes {
    type Item = Result<Node, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(node) = self.parsed.pop_front() {
            return Some(Ok(node));
        }
        match Self::parse(&self.text, self.at.take()?) {
            Ok(Some((node, next))) => {
                self.at = Some(next);
                Some(Ok(node))
            }
            Ok(None) => None,
            Err(why) => Some(Err(why)),
        }
    }
}

/// A folder of a version that cannot be read. What is in it is missing; everything else is there.
#[derive(Debug)]
pub struct Unreadable {
    /// The folder.
    pub path: RelPath,
    /// Why not.
    pub error: RepositoryError,
}

/// What a walk comes upon.
#[derive(Debug)]
pub(crate) enum Step {
    /// A folder; what is in it follows.
    Enter(RelPath, Box<Node>),
    /// Anything else.
    Node(RelPath, Box<Node>),
    /// All that is in this folder was told.
    Leave(RelPath, Option<Box<Node>>),
    /// The folder, told just before, or the rest of it cannot be read.
    Unreadable(Unreadable),
}

/// A walk through a version with all its steps. The top has no node: it is left, and never entered.
#[derive(Debug)]
pub(crate) struct Steps {
    reader: TreeReader,
    filter: Filter,
    levels: Vec<Level>,
    waiting: VecDeque<Step>,
}

#[derive(Debug)]
struct Level {
    path: RelPath,
    node: Option<Box<Node>>,
    blob: Id,
    nodes: Nodes,
}

impl Steps {
    /// Through a whole version, whose top folder is in this blob.
    pub fn of_all(reader: TreeReader, top: Id, filter: Filter) -> Self {
        let mut steps = Self { reader, filter, levels: Vec::new(), waiting: VecDeque::new() };
        steps.enter(RelPath::top(), None, Some(top));
        steps
    }

    /// Through what is at `path`. The filter is held against paths in the version.
    pub fn at(reader: TreeReader, path: RelPath, node: Node, filter: Filter) -> Self {
        let mut steps = Self { reader, filter, levels: Vec::new(), waiting: VecDeque::new() };
        steps.visit(path, node);
        steps
    }

    /// Passes over what is left of the folder that was told last.
    pub fn skip_folder(&mut self) {
        self.waiting.clear();
        if let Some(level) = self.levels.last_mut() {
            level.nodes = Nodes::default();
        }
    }

    fn enter(&mut self, path: RelPath, node: Option<Box<Node>>, blob: Option<Id>) {
        if let Some(node) = &node {
            self.waiting.push_back(Step::Enter(path.clone(), node.clone()));
        }
        let read = match blob {
            Some(blob) => self.reader.nodes(&blob).map(|nodes| (blob, nodes)),
            None => Err(RepositoryError::damaged(format!("the folder {path} has no tree blob"))),
        };
        let (blob, nodes) = read.unwrap_or_else(|error| {
            self.waiting.push_back(Step::Unreadable(Unreadable { path: path.clone(), error }));
            (Id::from_bytes([0; 32]), Nodes::default())
        });
        self.levels.push(Level { path, node, blob, nodes });
    }

    fn visit(&mut self, path: RelPath, node: Node) {
        let is_folder = node.kind == NodeKind::Dir;
        if !self.filter.takes(&path, is_folder) {
            return;
        }
        if is_folder {
            let blob = node.subtree;
            self.enter(path, Some(Box::new(node)), blob);
        } else {
            self.waiting.push_back(Step::Node(path, Box::new(node)));
        }
    }
}

impl Iterator for Steps {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        loop {
            if let Some(step) = self.waiting.pop_front() {
                return Some(step);
            }
            let level = self.levels.last_mut()?;
            match level.nodes.next() {
                Some(Ok(node)) => {
                    let path = level.path.child(&node.name);
                    self.visit(path, node);
                }
                Some(Err(why)) => {
                    let (path, error) = (level.path.clone(), damaged_folder(&level.blob, &why));
                    return Some(Step::Unreadable(Unreadable { path, error }));
                }
                None => return self.levels.pop().map(|level| Step::Leave(level.path, level.node)),
            }
        }
    }
}

/// A walk through a version in canonical order: each folder right before what is in it, that before its next sibling.
///
/// A folder that cannot be read is an error among the entries, and the walk goes on behind it.
#[derive(Debug)]
pub struct Walk(pub(crate) Steps);

impl Iterator for Walk {
    type Item = Result<(RelPath, Node), Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.0.next()? {
                Step::Enter(path, node) | Step::Node(path, node) => return Some(Ok((path, *node))),
                Step::Unreadable(folder) => return Some(Err(folder)),
                Step::Leave(..) => {}
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const NODE: &str = r#"{"name":"a","type":"fifo","mtime":"2026-01-01T00:00:00Z","atime":"2026-01-01T00:00:00Z","ctime":"2026-01-01T00:00:00Z","uid":0,"gid":0,"content":null}"#;

    /// The text of a folder with entries of these names.
    pub fn folder_text(names: &[&str]) -> String {
        let nodes: Vec<String> =
            names.iter().map(|name| NODE.replace("\"a\"", &format!("\"{name}\""))).collect();
        format!("{{\"nodes\":[{}]}}\n", nodes.join(","))
    }

    fn names(text: &str) -> Result<Vec<Vec<u8>>, String> {
        Nodes::new(text.as_bytes().to_vec())?.map(|node| Ok(node?.name)).collect()
    }

    #[test]
    fn nodes_come_one_by_one_in_every_form_of_the_text() {
        let other = NODE.replace("\"a\"", "\"b\"");
        for text in [
            format!("{{\"nodes\":[{NODE},{other}]}}\n"),
            format!("{{\"nodes\":[{NODE},{other}]}}"),
            format!("{{ \"nodes\": [ {NODE} , {other} ] }}"),
        ] {
            assert_eq!(names(&text).unwrap(), [b"a".to_vec(), b"b".to_vec()], "{text}");
        }
        for text in ["{\"nodes\":[]}", "{\"nodes\":null}\n"] {
            assert!(names(text).unwrap().is_empty(), "{text}");
        }
    }

    #[test]
    fn what_is_no_folder_is_an_error_and_never_a_short_list() {
        for text in [
            String::new(),
            "{\"nodes\":[".into(),
            format!("{{\"nodes\":[{NODE}"),
            format!("{{\"nodes\":[{NODE},"),
            format!("{{\"nodes\":[{NODE}]"),
            format!("{{\"nodes\":[{NODE}]}}x"),
            format!("{{\"nodes\":[{}", &NODE[..NODE.len() - 1]),
        ] {
            assert!(names(&text).is_err(), "{text}");
        }
    }
}
