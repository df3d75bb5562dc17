//! The site file: the TOML file that describes a site and its backup task (our backup control file), as types.
//!
//! The types are the single source: the parser reads into them, the JSON schema and the commented sample are made from
//! them. Text that is not a valid site file is answered with *all* its mistakes.

mod address;
mod advice;
mod alerts;
mod archives;
mod channels;
mod checks;
mod choice;
mod components;
mod console;
mod describe;
mod document;
mod leaf;
mod location;
mod mistake;
mod parse;
mod reader;
mod schedule;
mod secret;
mod settings;
mod wait;

pub use address::{Server, WebAddress};
pub use alerts::{AlertKind, AlertSettings, AlertSeverity};
pub use archives::{Archive, Keep};
pub use channels::{
    AddressSource, AlertmanagerSettings, Channel, ChannelKind, MailSettings, MailTls, NtfySettings,
    PingSettings, ProgramSettings, SendmailSettings, WebhookSettings,
};
pub use console::{ConsoleSettings, ConsoleTls};
pub use describe::{effective, sample, schema};
pub use document::site_file_document;
pub use location::{ArchiveLocation, WrongLocation};
pub use mistake::{Mistake, render};
pub use parse::parse;
pub use schedule::{HistorySettings, OnStop, ScheduleSettings, SideSchedule};
pub use secret::SecretSource;
pub use settings::{
    CommandSettings, Component, ComponentKind, Deadlines, Destination, FilesSettings, Hook, PostgresMethod,
    PostgresSettings, Probe, Quiet, ServiceSettings, Site, SiteFile, SiteType, SqliteSettings, Task,
};
pub use wait::Wait;
