//! The command line of the service and of what looks at it.

use std::path::PathBuf;

use clap::Args;

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
