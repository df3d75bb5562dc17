//! The contract of a writer: it knows one kind of component. The events are those of the Volume Shadow Copy Service.

use std::io::Read;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{ComponentName, Context, Deadline, EpochNumber, Grade, Level, ProviderError};

/// What a writer could not do. Any of these in prepare, freeze or cut is a veto: the epoch is given up.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    /// An act on a path failed.
    #[error("cannot {act} {path}", path = path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A database or service answered with an error, or not at all.
    #[error("{act}: {reason}")]
    Service {
        /// What was tried.
        act: String,
        /// What came back, in its own words.
        reason: String,
    },
    /// A program that we ran failed.
    #[error("{program} ended with {status}: {output}")]
    Program {
        /// The program.
        program: String,
        /// How it ended.
        status: String,
        /// The end of what it wrote to standard error.
        output: String,
    },
    /// The deadline passed.
    #[error("{act} was not done in time")]
    Late {
        /// What was under way.
        act: String,
    },
    /// The undo could not be registered, so nothing was done.
    #[error("nothing was done")]
    Undo(#[from] crate::UndoError),
    /// The provider failed.
    #[error("the file tree could not be cut")]
    Provider(#[from] ProviderError),
    /// The set could not take the data.
    #[error("the set could not take the data")]
    Sink(#[from] SinkError),
    /// What lies in the set is not what was stored.
    #[error("{0}")]
    Damaged(String),
    /// Somebody cancelled the run.
    #[error("cancelled")]
    Cancelled,
    /// Anything else; the text says what, where, and how to mend it.
    #[error("{0}")]
    Other(String),
}

/// What a writer says of its component. Stored verbatim in the set.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Description {
    /// The writer's kind, such as `postgres`.
    pub writer: String,
    /// When in the freeze it acts.
    pub level: Level,
    /// How it quiets the application, if that is what it does.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub quieting: Option<Quieting>,
    /// How many bytes it will add to the set at most, if it can tell.
    pub estimate_bytes: Option<u64>,
    /// Paths that it reads: the destination must not lie in them.
    pub sources: Vec<PathBuf>,
    /// Anything else worth keeping: versions, settings, layout.
    pub facts: serde_json::Value,
}

/// How an application is brought to rest, which decides how good the set can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quieting {
    /// It comes to rest by itself (stopped, or its own command): no operation is under way.
    Rest,
    /// It is held where it happens to be (freezer, signal): as a power cut would find it.
    Hold,
}

/// What a capture achieved.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Captured {
    /// How good it is taken for itself. The coordinator lowers it to [`Grade::Crash`] for file trees when an
    /// application was only held.
    pub grade: Grade,
    /// What a restore needs to know. Stored verbatim in the set.
    pub facts: serde_json::Value,
}

/// Where captured data lies before the set takes it.
#[derive(Debug, Clone)]
pub struct TreeSource {
    /// The top of the tree.
    pub root: PathBuf,
    /// The list of its entries with the metadata of the *original* files (`stillpoint_tree::IndexReader`). Without it
    /// the tree is walked and its own metadata counts.
    pub index: Option<PathBuf>,
    /// Whether the tree is ours and lies on the destination's file system, so that the set may move it instead of
    /// copying.
    pub owned: bool,
    /// Patterns of what to take, relative to the top; empty means everything. Only for a tree that is walked.
    pub include: Vec<String>,
    /// Patterns of what to leave out. Only for a tree that is walked.
    pub exclude: Vec<String>,
}

/// The set could not take the data.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SinkError(pub String, #[source] pub Option<Box<dyn std::error::Error + Send + Sync>>);

/// Takes a component's data into the set that is being built. Hashes it on the way.
pub trait CaptureSink: Send {
    /// Takes a whole tree as the content of the component's sub-folder `folder` (`""` for the component's own folder).
    /// Files that could not be read are told to the context's monitor as problems; an error means that the component
    /// as a whole is not there.
    fn tree(&mut self, context: &Context, folder: &str, source: TreeSource) -> Result<(), SinkError>;

    /// Takes one stream as the file `name` of the component. The caller checks, before it returns, that the stream
    /// ended as it should (exit status, end marker); returns the number of bytes.
    fn stream(&mut self, context: &Context, name: &str, reader: &mut dyn Read) -> Result<u64, SinkError>;
}

/// Knows one kind of component. One instance serves one component in one run, on a thread of its own; the calls come in
/// the order of [`crate::Step`]. After an error, or when the run is given up, only [`Writer::thaw`] (if `freeze` was
/// called) and [`Writer::release`] are called.
pub trait Writer: Send {
    /// Describes the component. Only looks; changes nothing.
    fn identify(&mut self, context: &Context, deadline: Deadline) -> Result<Description, WriterError>;

    /// Heavy work before the freeze. Registers every undo that the freeze will need (they reach the disk here).
    fn prepare(&mut self, context: &Context, deadline: Deadline) -> Result<(), WriterError>;

    /// Everybody is prepared and the freeze is next: catch up with what changed. The last act while the site works.
    fn poise(&mut self, _context: &Context, _deadline: Deadline) -> Result<(), WriterError> {
        Ok(())
    }

    /// Makes the component still. The last point at which it may veto for its own sake.
    fn freeze(&mut self, context: &Context, deadline: Deadline) -> Result<(), WriterError>;

    /// Cuts: a snapshot is taken, a view is pinned. All components are still.
    fn cut(&mut self, context: &Context, deadline: Deadline) -> Result<(), WriterError>;

    /// Lets the component go on, in the state in which it was found. Idempotent; does all it can even when a part of it
    /// fails. Also called when `freeze` failed.
    fn thaw(&mut self, context: &Context, deadline: Deadline) -> Result<(), WriterError>;

    /// Brings the data of the cut into the set. The site works.
    fn capture(
        &mut self,
        context: &Context,
        deadline: Deadline,
        sink: &mut dyn CaptureSink,
    ) -> Result<Captured, WriterError>;

    /// Ends sessions, deletes snapshots, removes what is left. Called last, however the run ends. Idempotent.
    fn release(&mut self, context: &Context) -> Result<(), WriterError>;
}

/// A component as it lies in a set.
#[derive(Debug, Clone)]
pub struct StoredComponent {
    /// Its name.
    pub name: ComponentName,
    /// Its folder in the set.
    pub folder: PathBuf,
    /// The list of its entries (`stillpoint_tree::IndexReader`).
    pub index: PathBuf,
    /// What the writer stored with it ([`Captured::facts`]).
    pub facts: serde_json::Value,
    /// Its grade.
    pub grade: Grade,
    /// The epoch of the set.
    pub epoch: EpochNumber,
}

/// What a restore may do.
#[derive(Debug, Clone, Default)]
pub struct RestoreOptions {
    /// Whether what is there may be replaced.
    pub overwrite: bool,
}

/// What a restore did.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Restored {
    /// Files put back.
    pub files: u64,
    /// Bytes put back.
    pub bytes: u64,
    /// What a person should know or do, one sentence each.
    pub notes: Vec<String>,
}

/// Puts one kind of component back.
pub trait Restorer: Send {
    /// What is in the way: one sentence for each thing that would be overwritten, or that makes a restore impossible.
    /// Only looks.
    fn obstacles(&self, stored: &StoredComponent) -> Result<Vec<String>, WriterError>;

    /// What would be done, step by step, for a person to read. Only looks.
    fn plan(&self, stored: &StoredComponent) -> Result<Vec<String>, WriterError>;

    /// Brings the running component to rest before anything is put back (a service is stopped).
    fn stop(&mut self, _context: &Context, _deadline: Deadline) -> Result<(), WriterError> {
        Ok(())
    }

    /// Puts the data back.
    fn restore(
        &mut self,
        context: &Context,
        stored: &StoredComponent,
        options: &RestoreOptions,
        deadline: Deadline,
    ) -> Result<Restored, WriterError>;

    /// Whether it worked when [`Restorer::stop`] was called, so that it is at rest by our doing.
    fn was_working(&self) -> bool {
        false
    }

    /// Starts the component, once everything is back.
    fn start(&mut self, _context: &Context, _deadline: Deadline) -> Result<(), WriterError> {
        Ok(())
    }
}
