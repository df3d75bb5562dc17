//! The command line of the service and of what looks at it.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use stillpoint_model::site_file::Wait;

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub struct ServeArguments {
    /// Let the launcher behind this socket start tasks, instead of starting them with the rights of the service
    #[arg(long, value_name = "SOCKET")]
    pub launcher: Option<PathBuf>,
}

/// Arguments of `launcher`.
#[derive(Debug, Args)]
pub struct LauncherArguments {
    /// Listen on this socket [default: the one that systemd passes]
    #[arg(long, value_name = "SOCKET")]
    pub socket: Option<PathBuf>,
    /// The user who may ask: a name or a number
    #[arg(long, value_name = "USER", default_value = "stillpoint")]
    pub user: String,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArguments {
    /// Answer as a plugin for Nagios and its kin: one line with performance data; exit status 0 OK, 1 warning, 2 critical, 3 unknown
    #[arg(long, conflicts_with = "json")]
    pub nagios: bool,
    /// Write the metrics to this file, for the textfile collector of Prometheus
    #[arg(long, value_name = "FILE")]
    pub metrics: Option<PathBuf>,
}

/// Verbs of `alert`.
#[derive(Debug, Subcommand)]
pub enum AlertVerb {
    /// List the alerts that are active or postponed
    List {
        /// Those that were cleared, too
        #[arg(long)]
        all: bool,
    },
    /// Look once how the site stands, and tell the channels what is new: for machines without the service
    Check,
    /// Send a test through every channel
    Test,
    /// Let an alert be silent for a while
    Postpone {
        /// Its number, as `list` shows it
        id: i64,
        /// For how long, such as `8h`
        #[arg(value_name = "TIME")]
        wait: Wait,
    },
    /// Clear an alert by hand
    Clear {
        /// Its number, as `list` shows it
        id: i64,
        /// Why
        #[arg(long, value_name = "TEXT", default_value = "")]
        comment: String,
    },
}

/// Verbs of `console`.
#[derive(Debug, Subcommand)]
pub enum ConsoleVerb {
    /// Print a one-time link that makes an administrator, or gives one a new password
    ResetLink {
        /// The person; without it whoever opens the link chooses a name
        #[arg(long)]
        name: Option<String>,
    },
}
