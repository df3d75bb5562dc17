//! The archives of a site: what opens them, what goes in, what stays.

mod key;
mod recovery_key;

pub use key::{make_key_file, read_secret};
pub use recovery_key::{NotARecoveryKey, RecoveryKey};
