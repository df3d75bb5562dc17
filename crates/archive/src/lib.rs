//! Bytes at rest: the backup set. Nothing else knows its layout. `docs/format.md` is normative.
//!
//! A set is built aside of the good one ([`SetBuilder`]), filled through sinks, sealed, read back, and swapped in with one
//! exchange; it is found, opened and verified with [`BackupSet`]. The order of the acts of a publish, and why a death
//! between any two of them is harmless, is in `publish.rs`.

// The support of the tests names this crate as its users do.
#[cfg(test)]
extern crate self as stillpoint_archive;

mod adopt;
mod builder;
mod content;
mod destination;
mod disk;
mod error;
mod facts;
mod feed;
mod heal;
mod layout;
mod lists;
mod manifest;
mod mounts;
mod names;
mod passage;
mod pieces;
mod progress;
mod publish;
#[cfg(test)]
mod publish_tests;
mod reader;
mod relpath;
mod seal;
mod set;
mod sink;
mod space;
mod sums;
mod taker;
mod verify;

pub use builder::SetBuilder;
pub use destination::{Finding, check_destination, standing_root};
pub use error::ArchiveError;
pub use facts::{Kit, SetFacts};
pub use heal::heal;
pub use layout::Place;
pub use pieces::Piece;
pub use set::{BackupSet, SetContent, SetSummary, list, verify};
pub use space::{Room, check_room};
pub use taker::{At, ContentTaker, SealedApart};
pub use verify::VerifyReport;
