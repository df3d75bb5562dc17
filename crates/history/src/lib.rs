//! What happened, kept: runs, status messages, alerts and people, in one SQLite file for each site.
//!
//! The process that does a run records it ([`Recorder`]); everybody else reads ([`History`]).

mod alert;
mod alert_book;
mod alerts;
mod alive;
mod audit;
mod error;
mod marks;
mod messages;
mod people;
mod recorder;
mod run;
mod runs;
mod store;
mod tokens;

pub use alert::{Alert, AlertQuery, AlertState, AlertWords, ChannelState, Delivery, NoticeKind};
pub use alert_book::AlertBook;
pub use alive::{Follower, under_way};
pub use audit::{Audit, AuditAction, AuditQuery, AuditRow};
pub use error::HistoryError;
pub use messages::{ComponentStatus, Message, MessageQuery};
pub use people::{Invitation, Person, Role, SecretHash, Session};
pub use recorder::{Asked, Ending, Recorder};
pub use run::{PROBLEMS_KEPT_MAX, Run, RunComponent, RunDetails, RunPhase, RunStep, RunVersion, Task};
pub use runs::RunQuery;
pub use store::History;
pub use tokens::Token;
