//! What the passes after the first one found: the state of every entry that changed since, in memory.
//!
//! Together with the list of the first pass (on disk) it is the state of the whole tree. The delta wins: what it says of
//! a path is true, and of a folder it may say that nothing of the first list counts below it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::path::PathBuf;

use stillpoint_tree::{Entry, Kind, RelPath};

use super::budget::HeldBytes;
use super::clock::Mark;
use super::scan::Names;

/// Where the content of a changed file is.
#[derive(Debug)]
pub(super) enum Content {
    /// It has none: not a regular file.
    None,
    /// At its place in the shadow.
    Shadow,
    /// All of it in memory, with its share of what all cuts together may hold there.
    Memory {
        /// The content.
        bytes: Vec<u8>,
        /// Given back with it.
        _share: HeldBytes,
    },
    /// In a file of its own outside the shadow.
    Held(PathBuf),
    /// At another name of the same file.
    Elsewhere,
    /// It could not be read; the text says why.
    Lost(String),
}

/// An entry that is there.
#[derive(Debug)]
pub(super) struct Here {
    /// What it is.
    pub(super) entry: Entry,
    /// How many names it has.
    pub(super) links: u32,
    /// Of a folder: nothing of the first list counts below it.
    pub(super) whole: bool,
    /// Of a folder: the names in it, when they were listed.
    pub(super) names: Option<Names>,
    /// Where its content is.
    pub(super) content: Content,
    /// When the pass began that took it.
    pub(super) pass: Mark,
}

impl Here {
    /// Its inode.
    pub(super) fn inode(&self) -> u64 {
        self.entry.origin.map_or(0, |origin| origin.inode)
    }

    /// Whether it is a folder.
    pub(super) fn is_folder(&self) -> bool {
        matches!(self.entry.kind, Kind::Directory)
    }

    /// Whether it is a regular file.
    pub(super) fn is_file(&self) -> bool {
        matches!(self.entry.kind, Kind::File(_))
    }

    /// Whether it has several names: a regular file, or a symbolic link, pipe or device.
    pub(super) fn is_linked(&self) -> bool {
        self.links > 1 && !self.is_folder()
    }
}

/// What is true of one path.
#[derive(Debug)]
pub(super) enum Fact {
    /// Nothing is there.
    Gone,
    /// This is there.
    Here(Box<Here>),
}

/// All that changed since the first pass.
#[derive(Debug, Default)]
pub(super) struct Delta {
    facts: BTreeMap<RelPath, Fact>,
    /// Every path that was ever in it: the shadow may hold something there.
    ever: BTreeSet<RelPath>,
}

impl Delta {
    /// What is known of a path.
    pub(super) fn get(&self, path: &RelPath) -> Option<&Fact> {
        self.facts.get(path)
    }

    /// Whether no pass after the first one found anything.
    pub(super) fn is_empty(&self) -> bool {
        self.ever.is_empty()
    }

    /// All facts, in canonical order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&RelPath, &Fact)> {
        self.facts.iter()
    }

    /// All facts, to be changed, in canonical order.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&RelPath, &mut Fact)> {
        self.facts.iter_mut()
    }

    /// The entry that is at `path`, to be changed.
    pub(super) fn here_mut(&mut self, path: &RelPath) -> Option<&mut Here> {
        match self.facts.get_mut(path) {
            Some(Fact::Here(here)) => Some(here),
            _ => None,
        }
    }

    /// Every path that was ever in it.
    pub(super) fn ever(&self) -> &BTreeSet<RelPath> {
        &self.ever
    }

    /// Puts down what a pass found. Call it in canonical order: a folder that counts as a whole forgets what was known
    /// below it.
    pub(super) fn put(&mut self, path: RelPath, mut fact: Fact) {
        match &mut fact {
            Fact::Gone => self.forget_below(&path),
            Fact::Here(here) if here.is_folder() => {
                if here.whole {
                    self.forget_below(&path);
                } else if let Some(names) = &here.names {
                    self.forget_unlisted(&path, &names.clone());
                }
                // Once the first list does not count below a folder, it never counts again.
                if let Some(Fact::Here(old)) = self.facts.get(&path) {
                    here.whole |= old.whole;
                    if here.names.is_none() {
                        here.names = old.names.clone();
                    }
                }
            }
            Fact::Here(_) => self.forget_below(&path),
        }
        self.ever.insert(path.clone());
        self.facts.insert(path, fact);
    }

    fn below(&self, folder: &RelPath) -> impl Iterator<Item = &RelPath> {
        let all = (Bound::Excluded(folder.clone()), Bound::Unbounded);
        self.facts.range(all).map(|(path, _)| path).take_while(move |path| is_below(path, folder))
    }

    fn forget_below(&mut self, folder: &RelPath) {
        let paths: Vec<RelPath> = self.below(folder).cloned().collect();
        for path in paths {
            self.facts.remove(&path);
        }
    }

    /// Forgets what is known in a folder, at any depth, by a name that is not listed in it any more.
    fn forget_unlisted(&mut self, folder: &RelPath, names: &Names) {
        let unlisted = |path: &&RelPath| !is_listed(names, &child_towards(folder, path));
        let gone: Vec<RelPath> = self.below(folder).filter(unlisted).cloned().collect();
        for path in gone {
            if path.parent().as_ref() == Some(folder) {
                self.facts.insert(path, Fact::Gone);
            } else {
                self.facts.remove(&path);
            }
        }
    }
}

/// Whether `path` lies in `folder`, at any depth.
pub(super) fn is_below(path: &RelPath, folder: &RelPath) -> bool {
    let (path, folder) = (path.as_bytes(), folder.as_bytes());
    if folder.is_empty() {
        return !path.is_empty();
    }
    path.len() > folder.len() && path.starts_with(folder) && path[folder.len()] == b'/'
}

/// Whether the last part of `path` is among the names.
pub(super) fn is_listed(names: &Names, path: &RelPath) -> bool {
    let name = path.as_bytes().rsplit(|&b| b == b'/').next().unwrap_or_default();
    names.binary_search_by(|listed| (**listed).cmp(name)).is_ok()
}

/// The entry directly in `folder` that is `path` or that `path` lies in.
pub(super) fn child_towards(folder: &RelPath, path: &RelPath) -> RelPath {
    let mut child = path.clone();
    while let Some(parent) = child.parent() {
        if parent == *folder {
            break;
        }
        child = parent;
    }
    child
}
