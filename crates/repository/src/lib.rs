//! The archive at rest: a repository in the restic repository format, version 2, on any store.
//!
//! The format is restic's (`doc/design.rst` of its sources); `docs/format.md` says how Stillpoint uses it.

mod error;
mod id;
pub mod store;

pub use error::RepositoryError;
pub use id::{Id, NotAnId};
