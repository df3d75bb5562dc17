//! What a person must know of: rules, the life of an alert, and the channels that tell it.
//!
//! [`Facts::gather`] looks, [`conditions`] judges, [`settle()`] compares with what is known and writes down who must be told what,
//! and [`deliver()`] tells it. All state is in the history: a restart forgets nothing.

mod channel;
mod condition;
mod deliver;
mod facts;
mod from_site_file;
mod kind;
mod notice;
mod rules;
mod settle;
#[cfg(test)]
mod tests;
mod words;

pub use channel::{
    Channel, ChannelError, ChannelSettings, DEADLINE, Login, Mail, MailTls, Ping, Program, Secret, Sendmail,
    Signal, Web,
};
pub use condition::Condition;
pub use deliver::{Told, deliver, ping, test_channels};
pub use facts::{ArchiveFacts, Expected, Facts, Room, TaskRuns, Trouble};
pub use from_site_file::{Channels, SecretReader};
pub use kind::{begins, clears, remedy};
pub use notice::Place;
pub use rules::conditions;
pub use settle::{CLOSED_BY_SETTINGS, Listener, Notice, Policy, settle};
pub use stillpoint_history::{AlertState, NoticeKind};
pub use stillpoint_model::site_file::{AlertKind, AlertSeverity};
