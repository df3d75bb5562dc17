//! The site file: the TOML file that describes a site and its backup task (our backup control file), as types.
//!
//! The types are the single source: the parser reads into them, the JSON schema and the commented sample are made from
//! them. Text that is not a valid site file is answered with *all* its mistakes.

mod archives;
mod checks;
mod components;
mod describe;
mod document;
mod leaf;
mod location;
mod mistake;
mod nearest;
mod parse;
mod reader;
mod settings;
mod wait;

pub use archives::{Archive, Keep, SecretSource};
pub use describe::{effective, sample, schema};
pub use document::site_file_document;
pub use location::{ArchiveLocation, WrongLocation};
pub use mistake::{Mistake, render};
pub use parse::parse;
pub use settings::{
    CommandSettings, Component, ComponentKind, Deadlines, Destination, FilesSettings, Hook, PostgresMethod,
    PostgresSettings, Probe, Quiet, ServiceSettings, Site, SiteFile, SiteType, SqliteSettings, Task,
};
pub use wait::Wait;
