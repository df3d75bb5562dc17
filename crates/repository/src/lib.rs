//! The archive at rest: a repository in the restic repository format, version 2, on any store.
//!
//! The format is restic's (`doc/design.rst` of its sources); `docs/format.md` says how Stillpoint uses it.

// The files that tests of both kinds share name this crate from outside.
#[cfg(test)]
extern crate self as stillpoint_repository;

mod blob;
mod browse;
mod by_pack;
mod check;
mod chunker;
mod codec;
mod contents;
mod copy;
mod crew;
mod crypto;
mod diff;
mod dump;
mod error;
mod fetch;
mod find;
mod forget;
mod id;
mod index;
mod keys;
mod location;
mod lock;
mod marks;
mod node;
mod pack;
mod packer;
mod pairs;
mod polynomial;
mod proof;
mod prune;
mod quote;
mod repair;
mod repository;
mod restore;
pub mod retention;
mod save;
mod secret;
mod snapshot;
pub mod store;
mod time;
mod trees;
mod watch;
mod who;

pub use blob::BlobKind;
pub use browse::{Browser, Folder, OpenFile};
pub use check::{CheckOptions, CheckReport, DamagedPack, DataShare, ReadState, Touched, check};
pub use contents::Contents;
pub use copy::{CopyReport, copy};
pub use diff::{Change, Diff, Difference};
pub use error::RepositoryError;
pub use find::{Found, Standing};
pub use forget::{forget, set_hold};
pub use id::{Id, NotAnId};
pub use keys::KeyFacts;
pub use location::{Location, LocationError};
pub use lock::RepositoryLock;
pub use node::{Node, NodeKind};
pub use prune::{PruneOptions, PruneReport, prune};
pub use repair::{HealSource, RepairReport, repair};
pub use repository::Repository;
pub use restore::{Overwrite, RestoreOptions, RestoreReport};
pub use save::{Content, Part, PartReport, Recording, Saved, Saver, SnapshotFacts};
pub use secret::Secret;
pub use snapshot::{HOLD_TAG, Snapshot, Summary};
pub use time::Moment;
pub use trees::{Unreadable, Walk};
pub use watch::{Amount, Unwatched, Watcher};
