//! The arguments of `archive`, whose verbs are a command line of their own.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use stillpoint_model::{ArchiveName, ComponentName};

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
    /// List what is in a version
    Ls(LsArguments),
    /// Find files and folders in all versions of the site
    Find(FindArguments),
    /// Show what differs between two versions
    Diff(DiffArguments),
    /// Write the content of one file to standard output
    ///
    /// With --component and without a path: the only file of a component that has one, such as a database or the output of a
    /// command.
    Dump(DumpArguments),
    /// Restore a version, or a part of it, into a folder or to its place
    ///
    /// What is restored of a whole version is a backup set: `stillpoint recover` brings the site back from it. An interrupted
    /// restore goes on where it stopped when the same command is given again.
    Restore(RestoreArguments),
    /// Show the versions as folders, read-only, until Ctrl-C
    Mount(MountArguments),
    /// Let versions go: those that no rule of the archive keeps, or those that are named
    Forget(ForgetArguments),
    /// Remove the data that no version needs any more
    Prune(PruneArguments),
    /// Put a version on hold: no rule lets it go
    Hold {
        /// The version
        #[arg(value_name = "VERSION")]
        id: String,
    },
    /// Release a version that is on hold
    Release {
        /// The version
        #[arg(value_name = "VERSION")]
        id: String,
    },
    /// Copy versions from another archive of the site file
    ///
    /// Without versions: those that --archive (or each other archive) has not and its rules keep. A run does this by itself for
    /// what an archive missed while it was away.
    Copy(CopyArguments),
    /// Check the structure and read a share of the data, so that all of it is read every `verify_every`
    ///
    /// Names each damaged pack with the versions, components and files that it touches. Where the reading stopped is kept in the
    /// state folder, and the next time goes on there.
    Verify(VerifyArguments),
    /// Heal an archive: lost data is taken from the other archives and from the published set
    Repair(RepairArguments),
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

/// Where in a version something is.
#[derive(Debug, Args)]
pub struct Whereabouts {
    /// Paths begin at this component, instead of at the top of the version
    #[arg(long, value_name = "NAME")]
    pub component: Option<ComponentName>,
}

/// Arguments of `archive ls`.
#[derive(Debug, Args)]
pub struct LsArguments {
    /// The version: its name or the beginning of it, `latest`, or `epoch=17`
    #[arg(value_name = "VERSION", default_value = "latest")]
    pub id: String,
    /// Only what is below this path
    pub path: Option<PathBuf>,
    /// Where it is.
    #[command(flatten)]
    pub whereabouts: Whereabouts,
    /// Show kind, mode, owner, size and time
    #[arg(short, long)]
    pub long: bool,
    /// Only what lies directly in the folder, and not what is below
    #[arg(long)]
    pub flat: bool,
}

/// Arguments of `archive find`.
#[derive(Debug, Args)]
pub struct FindArguments {
    /// Patterns, as in the site file: without `/` a name at any depth, with `/` a path from the top; `*`, `**`, `?`, `[a-z]`
    #[arg(required = true, value_name = "PATTERN")]
    pub patterns: Vec<String>,
    /// Where it is.
    #[command(flatten)]
    pub whereabouts: Whereabouts,
    /// Tell it of every version, not only of those in which it is new or changed
    #[arg(long)]
    pub all: bool,
}

/// Arguments of `archive diff`.
#[derive(Debug, Args)]
pub struct DiffArguments {
    /// The version before
    #[arg(value_name = "BEFORE")]
    pub before: String,
    /// The version after
    #[arg(value_name = "AFTER", default_value = "latest")]
    pub after: String,
    /// Where it is.
    #[command(flatten)]
    pub whereabouts: Whereabouts,
}

/// Arguments of `archive dump`.
#[derive(Debug, Args)]
pub struct DumpArguments {
    /// The version: its name or the beginning of it, `latest`, or `epoch=17`
    #[arg(value_name = "VERSION")]
    pub id: String,
    /// The file
    #[arg(required_unless_present = "component")]
    pub path: Option<PathBuf>,
    /// Where it is.
    #[command(flatten)]
    pub whereabouts: Whereabouts,
}

/// Arguments of `archive restore`.
#[derive(Debug, Args)]
pub struct RestoreArguments {
    /// The version: its name or the beginning of it, `latest`, or `epoch=17`
    #[arg(value_name = "VERSION")]
    pub id: String,
    /// The folder to restore into; it is made when it is not there
    #[arg(long, value_name = "FOLDER", required_unless_present = "in_place", conflicts_with = "in_place")]
    pub target: Option<PathBuf>,
    /// Restore a file tree to where the site file says that it is; needs --component
    #[arg(long, requires = "component")]
    pub in_place: bool,
    /// Where it is.
    #[command(flatten)]
    pub whereabouts: Whereabouts,
    /// Only this file, or what is in this folder
    #[arg(long)]
    pub path: Option<PathBuf>,
    /// Only what one of these patterns matches
    #[arg(long, value_name = "PATTERN")]
    pub include: Vec<String>,
    /// Not what one of these patterns matches
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Replace what is there and differs
    #[arg(long)]
    pub overwrite: bool,
    /// Remove what is there and not in the version
    #[arg(long, requires = "overwrite")]
    pub delete: bool,
    /// Say what would be done; touch nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `archive forget`.
#[derive(Debug, Args)]
pub struct ForgetArguments {
    /// These versions, whatever the rules say; one on hold is released before [default: those that no rule keeps]
    #[arg(value_name = "VERSION")]
    pub ids: Vec<String>,
    /// Say what would go and what would stay, and why; touch nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Prune afterwards
    #[arg(long)]
    pub prune: bool,
}

/// Arguments of `archive prune`.
#[derive(Debug, Args)]
pub struct PruneArguments {
    /// Say what would be removed; touch nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `archive copy`.
#[derive(Debug, Args)]
pub struct CopyArguments {
    /// The archive to copy from
    #[arg(value_name = "FROM")]
    pub from: ArchiveName,
    /// These versions of it
    #[arg(value_name = "VERSION")]
    pub ids: Vec<String>,
    /// Say what would be copied; touch nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `archive verify`.
#[derive(Debug, Args)]
pub struct VerifyArguments {
    /// Read all data
    #[arg(long, conflicts_with = "structure")]
    pub all: bool,
    /// Read no data
    #[arg(long)]
    pub structure: bool,
}

/// Arguments of `archive repair`.
#[derive(Debug, Args)]
pub struct RepairArguments {
    /// Take what is lost from this archive [default: all others of the site, and its published set]
    #[arg(long, value_name = "NAME")]
    pub from: Vec<ArchiveName>,
    /// Take lost content from the files in this folder, such as a backup set or the site itself
    #[arg(long, value_name = "FOLDER")]
    pub folder: Vec<PathBuf>,
}

/// Arguments of `archive mount`.
#[derive(Debug, Args)]
pub struct MountArguments {
    /// An existing folder
    pub folder: PathBuf,
    /// Let other users look in, too, as far as modes and owners of what is there let them
    #[arg(long)]
    pub for_all: bool,
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
