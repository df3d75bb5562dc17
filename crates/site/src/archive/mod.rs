//! The archives of a site: what opens them, what goes in, what stays.

mod access;
mod contents;
mod copy;
mod init;
mod key;
mod keys;
mod open;
mod recovery_key;
mod repair;
mod retain;
mod save;
mod verify;
mod versions;
mod watch;

pub use contents::{OpenVersion, RestoreWish};
pub use init::{MadeArchive, make_archive};
pub use key::{make_key_file, read_secret};
pub use keys::{AddedKey, try_recovery_key};
pub use open::{OpenArchive, find_archive, open_archive};
pub use recovery_key::{NotARecoveryKey, RecoveryKey};
pub use retain::{Retention, RetentionPlan};
pub use save::SavedVersion;
pub(crate) use save::{parent_of, save_folder_piece, version_facts};
pub use verify::VerifyScope;
pub use versions::VersionFacts;
pub use watch::ArchiveWatcher;
