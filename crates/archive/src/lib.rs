//! Bytes at rest: the backup set. Nothing else knows its layout. `docs/format.md` is normative.

mod api;

pub use api::*;
