//! The entries that the kernel knows, by number. It says how often it was told of each, and when it has forgotten.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use fuser::FileAttr;
use stillpoint_repository::{Id, Node};

/// What makes an entry the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    /// The number of its folder, and its name.
    Name(u64, Vec<u8>),
    /// A file with several names: version, device, inode, and what its content is.
    Group(usize, u64, u64, Id),
}

/// An entry that the kernel knows.
#[derive(Debug, Clone)]
pub struct Known {
    /// The blob of the folder that it is in, and its name there: where its node is.
    pub folder: Id,
    pub name: Vec<u8>,
    /// The version that it is in.
    pub version: usize,
    /// The blob of its own entries, for a folder.
    pub subtree: Option<Id>,
    pub attributes: FileAttr,
    key: Key,
    told: u64,
}

/// All of them.
#[derive(Debug)]
pub struct Table {
    known: HashMap<u64, Known>,
    numbers: HashMap<Key, u64>,
    next: u64,
}

/// Where an entry was come upon.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// The version.
    pub version: usize,
    /// The number of the folder.
    pub parent: u64,
    /// The blob of the folder.
    pub folder: Id,
}

impl Table {
    /// Numbers begin at `first`.
    pub fn new(first: u64) -> Self {
        Self { known: HashMap::new(), numbers: HashMap::new(), next: first }
    }

    pub fn get(&self, number: u64) -> Option<&Known> {
        self.known.get(&number)
    }

    /// The kernel is told of an entry, and remembers it. Nothing for what has no attributes.
    pub fn tell(&mut self, node: &Node, found: Found) -> Option<FileAttr> {
        let key = match node.link_group() {
            Some((device, inode)) => Key::Group(found.version, device, inode, content_of(node)),
            None => Key::Name(found.parent, node.name.clone()),
        };
        let number = match self.numbers.entry(key.clone()) {
            Slot::Occupied(number) => *number.get(),
            Slot::Vacant(slot) => {
                let attributes = crate::attributes::of_node(node, self.next)?;
                let known = Known {
                    folder: found.folder,
                    name: node.name.clone(),
                    version: found.version,
                    subtree: node.subtree,
                    attributes,
                    key,
                    told: 0,
                };
                self.known.insert(self.next, known);
                slot.insert(self.next);
                self.next += 1;
                self.next - 1
            }
        };
        let known = self.known.get_mut(&number)?;
        known.told += 1;
        Some(known.attributes)
    }

    /// The kernel forgets that it was told so often.
    pub fn forget(&mut self, number: u64, times: u64) {
        let Slot::Occupied(mut known) = self.known.entry(number) else { return };
        known.get_mut().told = known.get().told.saturating_sub(times);
        if known.get().told == 0 {
            self.numbers.remove(&known.get().key);
            known.remove();
        }
    }
}

/// Names of one file that had other content when they were read are files of their own.
fn content_of(node: &Node) -> Id {
    let mut content = node.size.to_le_bytes().to_vec();
    content.extend(node.blobs().iter().flat_map(Id::as_bytes));
    content.extend(node.link_target());
    Id::of(&content)
}
