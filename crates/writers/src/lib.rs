//! The writers: each knows one kind of component, makes it still, captures it and puts it back.

pub mod command;
pub mod files;
pub mod postgres;
pub mod process;
pub mod services;
pub mod sqlite;
mod tree_work;
