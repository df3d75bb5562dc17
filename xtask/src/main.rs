//! Work on the repository itself: `cargo xtask ci | prepare | gen | bench | audit | demo | deb`.

mod audit;
mod ci;
mod deb;
mod notices;
mod packages;
mod postgres;
#[cfg(test)]
mod tidy;
mod tools;
mod wheels;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Work on the repository itself
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Everything that must pass: installs what the tests need, then format, lints, all tests, audit, the demo
    Ci,
    /// Make the generated documents anew (messages, exit codes, schema, command line)
    Gen,
    /// Install and fetch what the tests need, and nothing else
    Prepare,
    /// Measure: freeze windows, captures and the archive, beside what users have today
    Bench {
        /// What to measure
        #[command(subcommand)]
        what: ci::Bench,
    },
    /// Check licences, sources and known vulnerabilities of the dependencies
    Audit,
    /// Run the demo
    Demo,
    /// Make the Debian package; prints its path
    Deb {
        /// Take this program instead of one that is built in release mode
        #[arg(long, value_name = "PATH")]
        binary: Option<PathBuf>,
        /// The folder to put it into
        #[arg(long, value_name = "FOLDER", default_value_os_t = top().join("target/debian"))]
        output: PathBuf,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Ci => ci::ci(),
        Verb::Prepare => packages::install_missing(),
        Verb::Gen => ci::generate(),
        Verb::Bench { what } => ci::bench(&what),
        Verb::Audit => audit::audit(),
        Verb::Demo => ci::demo(),
        Verb::Deb { binary, output } => deb::deb(binary.as_deref(), &output),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The top of the repository.
fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().map(PathBuf::from).unwrap_or_default()
}
