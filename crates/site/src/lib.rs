//! The use cases that the command line and, later, the server share: back up, recover, verify, draft a site file. They know
//! what the site file says and put writers, providers, coordinator and archive together; they know nothing of terminals.

pub mod archive;
mod assemble;
mod backup;
mod error;
mod healing;
pub mod init;
mod load;
mod no_undos;
mod recover;
mod recovery_kit;

pub use backup::{
    ArchivedSet, BackupOptions, BackupPlan, BackupReport, PlannedBackup, backup, backup_plan,
    destination_folder, reconcile_site,
};
pub use error::SiteError;
pub use healing::tell as tell_healed;
pub use load::{LoadedSite, SiteCheck, check, load, load_copy};
pub use recover::{PlannedComponent, RecoverOptions, RecoverPlan, RecoverReport, recover, recover_plan};
