//! The ledger: a small living site that writes to a database and to files all the time, and the check that says whether a
//! copy of it is of one instant.
//!
//! Each worker does operation after operation. An operation commits one row to each store and writes one content file with
//! the same hash, in an order that depends on its number, moves the worker's high-water marks, and retires the operation
//! that has left the window. Rows form a hash chain. So every skew between database and files, however small, shows: a row
//! without its file, a file without its row, a step that happened before the one that goes before it.
//!
//! The application ([`app::run`]) is run in a process of its own and is asked to rest through its control socket
//! ([`control`]). The check ([`check::check`]) reads stores and files and changes neither, but for what a store does on its
//! own when it is opened after a power cut.

pub mod app;
pub mod check;
mod content;
pub mod control;
mod error;
mod gate;
mod operation;
mod signal;
mod store;
mod store_postgres;
mod store_sqlite;
mod worker;

pub use error::LedgerError;
pub use store::{JournalMode, StoreSettings};
