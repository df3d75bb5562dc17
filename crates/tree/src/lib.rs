//! File trees as they are: byte-safe paths, entries with all their metadata, a list of them on disk, a walk in one
//! canonical order, copying a tree (with holes, hard links, reflinks, sharing with an earlier copy, hashing on the way),
//! and putting it back.
//!
//! A leaf crate: it knows nothing of sites, runs or sets. Whatever the size of the tree, memory stays bounded by the
//! largest folder: everything streams in canonical order.

mod content;
mod copy_entry;
mod entry;
mod error;
mod extra;
mod filter;
mod hash;
mod index;
mod line;
mod metadata;
mod mirror;
mod path;
mod pipeline;
mod place;
mod plant;
mod planter;
mod quick;
mod remove;
mod take;
mod target;
mod verify;
mod walk;

pub use copy_entry::{EntryCopier, copy_entry};
pub use entry::{Entry, FileFacts, Kind, Origin, Timestamp, Xattr};
pub use error::{FileProblem, TreeError};
pub use filter::Filter;
pub use hash::{BLOCK_RULE_SIZE, ContentHash, StreamHash};
pub use index::{IndexAppender, IndexReader};
pub use mirror::{
    Baseline, MirrorOptions, MirrorReport, Progress, Transfer, begin_of_now, index_tree, mirror,
};
pub use path::RelPath;
pub use plant::{PlantOptions, PlantReport, plant};
pub use target::{Permission, Present, Target, Temporary};
pub use verify::{Fetched, Look, Opener, Verifier, hash_file, verify_entry};
pub use walk::{Walk, read_entry};
