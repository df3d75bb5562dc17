//! The words of Stillpoint as types: sites, components, phases, grades, status messages, and the two traits that
//! others implement ([`Writer`] and [`Provider`]).
//!
//! Nothing here does I/O. Every other crate may depend on this one; this one depends on none of them.

mod context;
mod grade;
mod ids;
mod monitor;
mod outcome;
mod phase;
pub mod plain;
mod provider;
pub mod site_file;
mod size;
pub mod status;
mod undo;
mod writer;

pub use context::{Cancel, Context, Deadline, StoredPrevious, Ticket, UndoError, UndoLog};
pub use grade::Grade;
pub use ids::{ArchiveName, ChannelName, ComponentName, EpochNumber, IdError, RunId, SiteCode};
pub use monitor::{Event, Monitor, NoMonitor, Problem};
pub use outcome::{ErrorKind, Outcome};
pub use phase::{Level, Phase, Step};
pub use provider::{Provider, ProviderError, ProviderKind, Suitability, TreeCut, TreeRequest};
pub use size::Bytes;
pub use undo::{CgroupVersion, Undo, Urgency};
pub use writer::{
    CaptureSink, Captured, Description, Quieting, RestoreOptions, Restored, Restorer, SinkError,
    StoredComponent, TreeSource, Writer, WriterError,
};
