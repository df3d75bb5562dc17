//! Measures what users wait for: how long a site stands still, how long a set takes, how much memory, and
//! what the archive takes beside other programs. Run through
//! `cargo xtask bench`; prints Markdown for `docs/benchmarks.md`.

mod archive;
mod capture;
mod changer;
mod freeze;
mod run;
mod service;
mod stats;
mod tree;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The freeze window over file systems and databases
    Freeze {
        #[arg(long, default_value_t = 20)]
        runs: usize,
        /// Files in the tree
        #[arg(long, default_value_t = 50_000)]
        files: u64,
        /// Only this file system: btrfs, xfs or ext4
        #[arg(long)]
        only: Option<String>,
        /// Scale of pgbench
        #[arg(long, default_value_t = 50)]
        scale: u32,
    },
    /// First and second set beside `cp -a` and hashing, and memory
    Capture {
        #[arg(long, default_value_t = 3)]
        runs: usize,
        #[arg(long, default_value_t = 50_000)]
        files: u64,
        /// Files for the memory row; 0 leaves it out
        #[arg(long, default_value_t = 1_000_000)]
        many: u64,
    },
    /// The archive beside restic, rustic and borg
    Archive {
        /// Which data; all where nothing is said
        #[arg(long, value_delimiter = ',')]
        rows: Vec<archive::Row>,
        #[arg(long, default_value_t = 3)]
        runs: usize,
        /// A tenth of the data
        #[arg(long)]
        quick: bool,
    },
    /// The service with years of history: start, pages, memory
    Service {
        #[arg(long, default_value_t = 100_000)]
        runs: u64,
        #[arg(long, default_value_t = 5_000_000)]
        messages: u64,
        /// Measure this program
        #[arg(long)]
        program: Option<PathBuf>,
    },
    /// Does one thing with one archive (started by `archive`)
    #[command(hide = true)]
    Drive { act: String, address: String, path: Option<PathBuf> },
    /// Rewrites files of a tree all the time (started by `freeze`)
    #[command(hide = true)]
    Change { tree: PathBuf, files: u64, rate: u64, stall: PathBuf },
}

fn main() {
    match Arguments::parse().what {
        What::Freeze { runs, files, only, scale } => freeze::measure(runs, files, only.as_deref(), scale),
        What::Capture { runs, files, many } => capture::measure(runs, files, many),
        What::Archive { rows, runs, quick } => archive::measure(&rows, runs, quick),
        What::Service { runs, messages, program } => service::measure(runs, messages, program),
        What::Drive { act, address, path } => archive::drive(&act, &address, path.as_deref()),
        What::Change { tree, files, rate, stall } => changer::change(&tree, files, rate, &stall),
    }
}
