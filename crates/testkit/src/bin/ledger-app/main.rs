//! The ledger application on the command line: runs it, starts and stops it as a service manager would, asks it to rest,
//! checks it.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use stillpoint_ledger::app::{self, LedgerSettings};
use stillpoint_ledger::check::{CheckSettings, Mode, check};
use stillpoint_ledger::{JournalMode, LedgerError, StoreSettings, control};

/// A living site: commits rows and writes matching files, as fast as it can.
#[derive(Debug, Parser)]
#[command(name = "ledger-app")]
enum Arguments {
    /// Run it until SIGTERM or `stop`
    Run(Site),
    /// Start it as a process of its own, and return when it works; no harm when it works already
    Start(Site),
    /// Check it; it must not run. Exit status 1: it is not of one instant
    Check {
        #[command(flatten)]
        stores: Stores,
        /// The folder of the content files
        #[arg(long)]
        content: PathBuf,
        /// What the state may be
        #[arg(long, value_enum, default_value_t = CheckMode::Strict)]
        mode: CheckMode,
    },
    /// Ask a running one
    #[command(flatten)]
    Ask(Ask),
}

#[derive(Debug, Subcommand)]
enum Ask {
    /// Bring it to rest: returns when no operation is under way
    Quiesce(Control),
    /// Let it go on; no harm when it never rested
    Resume(Control),
    /// End it after the operations under way; no harm when it does not run
    Stop(Control),
    /// Exit status 0 when it runs and answers
    Running(Control),
    /// How it does, as JSON
    Status(Control),
    /// The longest stall since last asked, in microseconds
    Stall(Control),
}

#[derive(Debug, Args)]
struct Control {
    /// The control socket
    #[arg(long)]
    control: PathBuf,
    /// How long it may take
    #[arg(long, default_value_t = 10_000, value_name = "MILLISECONDS")]
    timeout_ms: u64,
}

#[derive(Debug, Args)]
struct Stores {
    /// An SQLite database in WAL mode
    #[arg(long, value_name = "FILE")]
    sqlite: Vec<PathBuf>,
    /// An SQLite database with a rollback journal
    #[arg(long, value_name = "FILE")]
    sqlite_rollback: Vec<PathBuf>,
    /// A PostgreSQL database
    #[arg(long, value_name = "CONNECTION")]
    postgres: Vec<String>,
}

#[derive(Debug, Args)]
struct Site {
    #[command(flatten)]
    stores: Stores,
    /// The folder of the content files
    #[arg(long)]
    content: PathBuf,
    /// The control socket
    #[arg(long)]
    control: PathBuf,
    /// How many workers
    #[arg(long, default_value_t = 4)]
    workers: u32,
    /// How many operations of a worker are kept
    #[arg(long, default_value_t = 1000)]
    window: u64,
    /// At most this many operations a second
    #[arg(long)]
    rate: Option<u32>,
    /// Move a mark in a mapped file as well
    #[arg(long)]
    mapped: bool,
    /// End when this process ends
    #[arg(long, value_name = "PROCESS")]
    leader: Option<u32>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CheckMode {
    Strict,
    PowerCut,
}

impl Stores {
    /// SQLite in WAL mode, then with a rollback journal, then PostgreSQL.
    fn settings(&self) -> Vec<StoreSettings> {
        let sqlite = |path: &PathBuf, journal| StoreSettings::Sqlite { path: path.clone(), journal };
        let wal = self.sqlite.iter().map(|path| sqlite(path, JournalMode::Wal));
        let rollback = self.sqlite_rollback.iter().map(|path| sqlite(path, JournalMode::Rollback));
        let postgres = self.postgres.iter().map(|text| StoreSettings::Postgres { connection: text.clone() });
        wal.chain(rollback).chain(postgres).collect()
    }
}

impl Site {
    fn settings(&self) -> LedgerSettings {
        LedgerSettings {
            workers: self.workers,
            window: self.window,
            rate: self.rate,
            mapped: self.mapped,
            leader: self.leader,
            ..LedgerSettings::new(self.stores.settings(), &self.content, &self.control)
        }
    }
}

fn main() -> ExitCode {
    match act(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{}", error.chain());
            match error {
                LedgerError::Running { .. } => ExitCode::from(app::RUNNING_EXIT_CODE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn act(arguments: &Arguments) -> Result<ExitCode, LedgerError> {
    match arguments {
        Arguments::Run(site) => {
            app::run(&site.settings())?;
        }
        Arguments::Start(site) => {
            let program = std::env::current_exe()
                .map_err(|error| LedgerError::Settings(format!("the own program is not known: {error}")))?;
            let mut command = Command::new(program);
            command.arg("run").args(stillpoint_testkit::ledger_arguments(&site.settings()));
            app::start(command, &site.control, Duration::from_secs(30))?;
        }
        Arguments::Check { stores, content, mode } => {
            let mode = match mode {
                CheckMode::Strict => Mode::Strict,
                CheckMode::PowerCut => Mode::PowerCut,
            };
            let report = check(&CheckSettings { stores: stores.settings(), content: content.clone(), mode })?;
            println!("{report}");
            if !report.is_whole() {
                return Ok(ExitCode::FAILURE);
            }
        }
        Arguments::Ask(ask) => answer(ask)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn answer(ask: &Ask) -> Result<(), LedgerError> {
    let wait = |own: &Control| Duration::from_millis(own.timeout_ms);
    match ask {
        Ask::Quiesce(own) => control::quiesce(&own.control, wait(own)),
        Ask::Resume(own) => control::resume(&own.control, wait(own)),
        Ask::Stop(own) => control::stop(&own.control, wait(own)),
        Ask::Running(own) => control::status(&own.control, wait(own)).map(drop),
        Ask::Status(own) => {
            let status = control::status(&own.control, wait(own))?;
            println!("{}", serde_json::json!(status));
            Ok(())
        }
        Ask::Stall(own) => {
            println!("{}", control::take_stall_us(&own.control, wait(own))?);
            Ok(())
        }
    }
}
