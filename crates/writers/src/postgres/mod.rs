//! PostgreSQL: a cluster, or databases of one, cut at the epoch.
//!
//! Two methods. `base-backup` ([`BaseBackupWriter`]) holds the whole cluster and recovers by replaying its log exactly to
//! a restore point; `view` ([`ViewWriter`]) holds databases as a consistent view of them. Neither stops the server: what
//! makes the cut agree with other components is that the applications are still.

mod access;
mod base_backup;
mod child;
mod cluster;
mod owner;
mod planting;
mod session;
mod view;

mod wal;

use stillpoint_model::site_file::{PostgresMethod, PostgresSettings};
use stillpoint_model::{Restorer, Writer};

pub use base_backup::{BaseBackupFacts, BaseBackupRestorer, BaseBackupWriter, SettingsFile};
pub use cluster::Tablespace;
pub use view::{DatabaseFacts, SequenceFacts, TableFacts, ViewFacts, ViewRestorer, ViewWriter};

/// The writer for `settings`, by their method.
pub fn writer(settings: &PostgresSettings) -> Box<dyn Writer> {
    match settings.method {
        PostgresMethod::BaseBackup => Box::new(BaseBackupWriter::new(settings.clone())),
        PostgresMethod::View => Box::new(ViewWriter::new(settings.clone())),
    }
}

/// The restorer for `settings`, by their method.
pub fn restorer(settings: &PostgresSettings) -> Box<dyn Restorer> {
    match settings.method {
        PostgresMethod::BaseBackup => Box::new(BaseBackupRestorer::new(settings.clone())),
        PostgresMethod::View => Box::new(ViewRestorer::new(settings.clone())),
    }
}
