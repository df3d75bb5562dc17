//! The arguments of `archive`, whose verbs are a command line of their own.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use stillpoint_model::ArchiveName;

/// Arguments of `archive`.
#[derive(Debug, Args)]
pub struct ArchiveArguments {
    /// Which archive of the site file [default: the only one; `list` shows all]
    #[arg(short, long, global = true, value_name = "NAME")]
    pub archive: Option<ArchiveName>,
    /// What to do.
    #[command(subcommand)]
    pub verb: ArchiveVerb,
}

/// Verbs of `archive`.
#[derive(Debug, Subcommand)]
pub enum ArchiveVerb {
    /// Make an archive, and its key file if there is none
    Init,
    /// Save the published set as a version now, in the archives that do not have it yet
    Save(SaveArguments),
    /// List the versions
    List,
    /// Add, list or remove keys: passwords that open the archive
    #[command(subcommand)]
    Key(KeyVerb),
    /// Make one more key, to be kept on paper, and show it as text and as a QR code
    ///
    /// It is shown once and stored nowhere. It opens the archive as long as it is not removed with `archive key remove`, with
    /// Stillpoint and with restic.
    RecoveryKey(RecoveryKeyArguments),
}

/// Arguments of `archive save`.
#[derive(Debug, Args)]
pub struct SaveArguments {
    /// The set, or the destination that holds it [default: that of the site file]
    pub set: Option<PathBuf>,
}

/// Verbs of `archive key`.
#[derive(Debug, Subcommand)]
pub enum KeyVerb {
    /// Add a key
    Add {
        /// The file with the new password; a new one is made when it is not there
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
        /// Whose it is, for the list of keys
        #[arg(long, value_name = "TEXT")]
        label: Option<String>,
    },
    /// List the keys
    List,
    /// Remove a key: its password opens the archive no longer
    Remove {
        /// The key's name, or its beginning, as `archive key list` shows it
        key: String,
    },
}

/// Arguments of `archive recovery-key`.
#[derive(Debug, Args)]
pub struct RecoveryKeyArguments {
    /// Make none: read one from standard input, as it stands on paper, and say whether it opens the archive
    #[arg(long)]
    pub check: bool,
    /// Show no QR code
    #[arg(long)]
    pub no_qr: bool,
}
