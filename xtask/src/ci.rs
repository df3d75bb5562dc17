//! The chores, each a list of commands run one after another.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Subcommand;

use crate::postgres::Newest;
use crate::{audit, packages, tools, top};

/// What can be measured.
#[derive(Subcommand)]
pub enum Bench {
    /// The freeze window over file systems and databases
    Freeze {
        /// Runs of each kind; the median is what counts
        #[arg(long, default_value_t = 20)]
        runs: u32,
        /// Files in the tree
        #[arg(long, default_value_t = 50_000)]
        files: u64,
        /// Only this file system: btrfs, xfs or ext4
        #[arg(long)]
        only: Option<String>,
    },
    /// First and second set, and memory at a million files
    Capture {
        /// Runs of each kind; the median is what counts
        #[arg(long, default_value_t = 3)]
        runs: u32,
        /// Files in the tree
        #[arg(long, default_value_t = 50_000)]
        files: u64,
        /// Files for the measurement of memory; 0 leaves it out
        #[arg(long, default_value_t = 1_000_000)]
        many: u64,
    },
    /// The archive beside restic, rustic and borg
    Archive {
        /// Which data: mixed, small, stream, s3 or index, with commas between them; all where nothing is said
        #[arg(long)]
        rows: Option<String>,
        /// Runs of each; the median is what counts
        #[arg(long, default_value_t = 3)]
        runs: u32,
        /// A tenth of the data, to see that everything works
        #[arg(long)]
        quick: bool,
    },
}

/// Everything that must pass.
pub fn ci() -> anyhow::Result<()> {
    packages::install_missing()?;
    step("format", cargo(&["fmt", "--all", "--check"]))?;
    step("lints", cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))?;
    step(
        "documents of the code",
        cargo(&["doc", "--workspace", "--no-deps", "--locked", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    let mut tests = cargo(&["test", "--workspace", "--locked", "--no-fail-fast"]);
    // Judges that a developer may do without must be there.
    step("tests", tests.env("STILLPOINT_CI", "1"))?;
    newest_postgres()?;
    audit::audit()?;
    step("demo", cargo(&["run", "--release", "--locked", "--quiet", "--", "demo"]))
}

/// What deals with PostgreSQL once more, with the newest one.
fn newest_postgres() -> anyhow::Result<()> {
    let newest = Newest::prepare()?;
    let tests: [&[&str]; 2] = [
        &["-p", "stillpoint-writers", "--test", "postgres_base_backup", "--test", "postgres_view"],
        &[
            "-p",
            "stillpoint-testkit",
            "--test",
            "proof",
            "--",
            "postgres_base_backup_and_reflinks",
            "postgres_view_and_a_btrfs",
        ],
    ];
    for arguments in tests {
        let mut test = cargo(&["test", "--locked", "--no-fail-fast"]);
        step(
            "tests with the newest PostgreSQL",
            test.args(arguments).env("STILLPOINT_POSTGRES_BIN", newest.bin()),
        )?;
    }
    Ok(())
}

/// Makes the generated documents anew.
pub fn generate() -> anyhow::Result<()> {
    step(
        "generate",
        cargo(&["test", "--workspace", "--locked", "--quiet", "golden"]).env("UPDATE_GOLDEN", "1"),
    )
}

/// Runs the demo.
pub fn demo() -> anyhow::Result<()> {
    step("demo", cargo(&["run", "--release", "--locked", "--quiet", "--", "demo"]))
}

/// Measures. The work is done by a program of the test kit, built in release mode.
pub fn bench(what: &Bench) -> anyhow::Result<()> {
    packages::install_missing()?;
    let (name, options) = match what {
        Bench::Freeze { runs, files, only } => {
            let only = only.iter().flat_map(|only| ["--only".to_owned(), only.clone()]);
            ("freeze", [number("--runs", *runs), number("--files", *files), only.collect()].concat())
        }
        Bench::Capture { runs, files, many } => (
            "capture",
            [number("--runs", *runs), number("--files", *files), number("--many", *many)].concat(),
        ),
        Bench::Archive { rows, runs, quick } => {
            tools::build_peers();
            let rows = rows.iter().flat_map(|rows| ["--rows".to_owned(), rows.clone()]).collect();
            let quick = quick.then(|| "--quick".to_owned()).into_iter().collect();
            ("archive", [number("--runs", *runs), rows, quick].concat())
        }
    };
    step(
        "build",
        cargo(&["build", "--release", "--locked", "--quiet", "-p", "stillpoint", "-p", "stillpoint-testkit"]),
    )?;
    let run =
        ["run", "--release", "--locked", "--quiet", "-p", "stillpoint-testkit", "--bin", "bench", "--", name];
    step(name, cargo(&run).args(options))
}

fn number(option: &str, value: impl ToString) -> Vec<String> {
    vec![option.to_owned(), value.to_string()]
}

pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(top());
    command
}

pub fn step(name: &str, mut command: impl std::borrow::BorrowMut<Command>) -> anyhow::Result<()> {
    let command = command.borrow_mut();
    println!("xtask: {name}");
    let started = Instant::now();
    let status = command.status().with_context(|| format!("{name}: the command could not be started"))?;
    ensure!(status.success(), "{name} failed ({status})");
    println!("xtask: {name} took {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}
