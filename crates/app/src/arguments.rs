//! The command line as types.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand};
use stillpoint_model::ComponentName;
use stillpoint_site::{LoadedSite, SiteError};

use crate::archive_arguments::ArchiveArguments;
use crate::service_arguments::{AlertVerb, ConsoleVerb, LauncherArguments, ServeArguments, StatusArguments};

/// Backs up a whole site at one instant, and brings it back.
#[derive(Debug, Parser)]
#[command(name = "stillpoint", version, propagate_version = true, max_term_width = WIDTH_MAX)]
#[command(
    after_help = "Exit status: 0 complete, 3 incomplete (with problems), anything else: failed. `stillpoint man` lists all."
)]
pub struct Arguments {
    /// What every verb takes.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// How wide a help may be, in columns.
const WIDTH_MAX: usize = 100;

/// Verbs, and the options of every verb that do nothing in them: taken, but not shown in their help.
const WITHOUT: [(&str, &[&str]); 7] = [
    ("demo", &["config", "state_dir"]),
    ("init", &["state_dir"]),
    ("config", &["state_dir"]),
    ("show", &["config", "state_dir"]),
    ("list", &["state_dir"]),
    ("completions", &["config", "state_dir", "json", "verbose", "quiet"]),
    ("man", &["config", "state_dir", "json", "verbose", "quiet"]),
];

impl Arguments {
    /// The whole command line.
    pub fn whole() -> Command {
        let all = Self::command();
        let hidden = |ids: &[&str]| -> Vec<Arg> {
            let named = all.get_arguments().filter(|argument| ids.contains(&argument.get_id().as_str()));
            named.map(|argument| argument.clone().hide(true)).collect()
        };
        // What a verb has under the name of an option of every verb takes the place of that.
        WITHOUT
            .iter()
            .fold(all.clone(), |all, (verb, ids)| all.mut_subcommand(verb, |verb| verb.args(hidden(ids))))
    }

    /// The command line as people and their shells should know it: without the verbs that a run calls by itself.
    pub fn public() -> Command {
        let whole = Self::whole();
        let mut public = Command::new("stillpoint")
            .version(env!("CARGO_PKG_VERSION"))
            .propagate_version(true)
            .max_term_width(WIDTH_MAX)
            .subcommand_required(true)
            .args(whole.get_arguments().cloned())
            .subcommands(whole.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned());
        if let (Some(about), Some(after)) = (whole.get_about(), whole.get_after_help()) {
            public = public.about(about.clone()).after_help(after.clone());
        }
        public
    }

    /// What the command line of this process says.
    pub fn read() -> Result<Self, clap::Error> {
        let mut whole = Self::whole();
        let matches = whole.try_get_matches_from_mut(std::env::args_os())?;
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut whole))
    }
}

/// Options of every verb.
#[derive(Debug, Args)]
pub struct Common {
    /// The site file
    #[arg(
        short,
        long,
        global = true,
        env = "STILLPOINT_CONFIG",
        hide_env_values = true,
        default_value = "/etc/stillpoint/site.toml"
    )]
    pub config: PathBuf,
    /// What the site file said when it was last valid: in force until it is valid again (the service passes it)
    #[arg(long, global = true, hide = true, value_name = "FILE")]
    pub config_copy: Option<PathBuf>,
    /// Where the state of runs is kept [default: /var/lib/stillpoint, or the user's state folder]
    #[arg(long, global = true, env = "STILLPOINT_STATE_DIR", hide_env_values = true)]
    pub state_dir: Option<PathBuf>,
    /// Print events and results as JSON, one object a line
    #[arg(long, global = true)]
    pub json: bool,
    /// Say more on standard error (-vv: still more)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Print nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

impl Common {
    /// The site file.
    pub fn site(&self) -> Result<LoadedSite, SiteError> {
        match &self.config_copy {
            Some(copy) => stillpoint_site::load_copy(&self.config, copy),
            None => stillpoint_site::load(&self.config),
        }
    }
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// See it work: a small living site is backed up under load, destroyed and recovered
    Demo(DemoArguments),
    /// Draft a site file from what runs on this machine
    Init(InitArguments),
    /// Check or show the site file
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Back the site up now
    Backup(BackupArguments),
    /// Put a site, or one component of it, back from a backup set
    Recover(RecoverArguments),
    /// Read every byte of a backup set and compare it with what was stored
    Verify(VerifyArguments),
    /// Show what a backup set holds
    Show(SetArguments),
    /// List the backup sets at a destination
    List(ListArguments),
    /// Keep many versions of the set, encrypted, and bring them back
    Archive(ArchiveArguments),
    /// Heal what a dead run left: frozen services, snapshots, half-built sets
    Reconcile(ReconcileArguments),
    /// Say how the site stands: the last backup, the next one, what is the matter
    Status(StatusArguments),
    /// List, test, postpone alerts
    #[command(subcommand)]
    Alert(AlertVerb),
    /// Let people into the console
    #[command(subcommand)]
    Console(ConsoleVerb),
    /// Serve the site: schedule, alerts, console, API and metrics
    Serve(ServeArguments),
    /// Start tasks for the service, with the rights that it does not have
    Launcher(LauncherArguments),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print a manual page
    Man(ManArguments),
    /// Watches over a freeze (started by a run, not by people)
    #[command(hide = true)]
    Guard {
        /// What the run passes.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// The living site of the demo
    #[command(hide = true)]
    DemoSite {
        /// Its folder.
        folder: PathBuf,
        /// What it shall do.
        act: DemoAct,
        /// The demo's process: the site ends with it.
        #[arg(long)]
        leader: u32,
    },
}

/// What the living site of the demo shall do.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum DemoAct {
    /// Work until it is stopped.
    Run,
    /// Tell by exit status 0 that it works.
    Running,
    /// Come to rest.
    Rest,
    /// Go on, or start.
    GoOn,
    /// Tell by exit status 0 that it gets on with its work.
    Advances,
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct DemoArguments {
    /// Keep the demo's folder instead of removing it at the end
    #[arg(long)]
    pub keep: bool,
    /// How long the site lives before it is backed up, in seconds
    #[arg(long, default_value_t = 3.0, value_name = "SECONDS")]
    pub warm_up: f64,
}

/// Arguments of `init`.
#[derive(Debug, Args)]
pub struct InitArguments {
    /// Where to write the site file; `-` for standard output [default: the file that --config names]
    pub file: Option<PathBuf>,
    /// Write the commented sample with every key, instead of a draft from what runs
    #[arg(long)]
    pub sample: bool,
    /// Replace a file that is there
    #[arg(long)]
    pub overwrite: bool,
}

/// Verbs of `config`.
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Print the effective settings, defaults included
    Show,
    /// Say whether the site file is valid; list every mistake
    Check,
    /// Print the JSON schema of the site file
    Schema,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
pub struct ManArguments {
    /// The verb, such as `backup` or `config check` [default: the page of the program as a whole]
    pub verb: Vec<String>,
    /// Write all pages into this folder
    #[arg(long, value_name = "FOLDER", conflicts_with = "verb")]
    pub all: Option<PathBuf>,
}

/// Arguments of `backup`.
#[derive(Debug, Args)]
pub struct BackupArguments {
    /// Check everything and say what would be done; touch nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Wait while another run holds this site or this machine, instead of giving up
    #[arg(long, conflicts_with = "dry_run")]
    pub wait: bool,
}

/// Arguments of `reconcile`.
#[derive(Debug, Args)]
pub struct ReconcileArguments {
    /// Dismiss the undo with this ticket if it fails once more: its unit or program is gone for good, and you have put
    /// the site right by hand
    #[arg(long, value_name = "TICKET")]
    pub forget: Option<u64>,
}

/// Arguments of `recover`.
#[derive(Debug, Args)]
pub struct RecoverArguments {
    /// The backup set, or the destination that holds it
    pub set: PathBuf,
    /// Only this component
    #[arg(long, value_name = "NAME")]
    pub component: Option<ComponentName>,
    /// Replace what is there
    #[arg(long)]
    pub overwrite: bool,
    /// Do not read the set for damage first: sooner begun, but what is damaged is met when a part is replaced already
    #[arg(long)]
    pub no_verify: bool,
    /// Put the data back, but start nothing and run no probes
    #[arg(long)]
    pub no_start: bool,
    /// Use the site file of --config instead of the one in the set, to put components elsewhere
    #[arg(long)]
    pub with_config: bool,
    /// Say what would be done; touch nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of verbs about one set.
#[derive(Debug, Args)]
pub struct SetArguments {
    /// The backup set, or the destination that holds it
    pub set: PathBuf,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArguments {
    /// The backup set, or the destination that holds it [default: what the site file names: the set, and a share of each
    /// archive]
    pub set: Option<PathBuf>,
}

/// Arguments of `list`.
#[derive(Debug, Args)]
pub struct ListArguments {
    /// The destination [default: that of the site file]
    pub destination: Option<PathBuf>,
}
