//! The tables and keys of the site file.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AlertSettings, Archive, Channel, ConsoleSettings, HistorySettings, ScheduleSettings, Wait};
use crate::{ComponentName, Grade, Level, ProviderKind, SiteCode};

/// A whole site file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SiteFile {
    /// What the site is.
    pub site: Site,
    /// Where its backup set goes.
    pub destination: Destination,
    /// How the backup task behaves.
    #[serde(default)]
    pub task: Task,
    /// How long each phase may take.
    #[serde(default)]
    pub deadlines: Deadlines,
    /// What runs after a successful backup.
    #[serde(default)]
    pub hook: Hook,
    /// What is backed up, in order.
    #[serde(rename = "component")]
    #[schemars(length(min = 1))]
    pub components: Vec<Component>,
    /// Where its versions are kept.
    #[serde(rename = "archive", default, skip_serializing_if = "Vec::is_empty")]
    pub archives: Vec<Archive>,
    /// How to see that the site works, after a recovery.
    #[serde(rename = "probe", default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<Probe>,
    /// When the tasks run by themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleSettings>,
    /// How long is kept what happened.
    #[serde(default)]
    pub history: HistorySettings,
    /// What is told, and when.
    #[serde(default)]
    pub alerts: AlertSettings,
    /// Whom alerts are told.
    #[serde(rename = "channel", default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<Channel>,
    /// Where the console, the API and the metrics are.
    #[serde(default)]
    pub console: ConsoleSettings,
}

/// What a site is in its hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SiteType {
    /// The top of a hierarchy.
    Central,
    /// A site that manages, alone or under a central site.
    Primary,
    /// A branch of a primary site. Has no backup: it is rebuilt from its parent.
    Secondary,
}

/// What the site is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// Site code: three letters or digits.
    pub code: SiteCode,
    /// Name for people.
    pub name: String,
    /// Type in the hierarchy.
    #[serde(rename = "type", default = "primary")]
    pub site_type: SiteType,
    /// Site code of the parent, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<SiteCode>,
}

pub(super) fn primary() -> SiteType {
    SiteType::Primary
}

/// Where the backup set goes: exactly one of `folder`, `share`, `files` with `databases`, or, for a site whose sets go straight
/// into its archive, `staging`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields)]
pub struct Destination {
    /// One local folder for everything. Absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^/"))]
    pub folder: Option<PathBuf>,
    /// A folder on a mounted network share (or any mounted file system), for everything. Refused when nothing is mounted
    /// at it or above it but the root file system. Absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^/"))]
    pub share: Option<PathBuf>,
    /// The folder for everything but databases. Absolute; goes with `databases`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^/"))]
    pub files: Option<PathBuf>,
    /// The folder for databases. Absolute; goes with `files`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^/"))]
    pub databases: Option<PathBuf>,
    /// There is no folder with a set: what is captured goes straight into the archive. Here lies only what must be put down for
    /// a while (first passes of file trees without snapshots, base backups), and nothing stays. Absolute; needs an archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^/"))]
    pub staging: Option<PathBuf>,
}

impl Destination {
    /// All folders that it names.
    pub fn folders(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.folder, &self.share, &self.files, &self.databases].into_iter().flatten()
    }
}

/// How the backup task behaves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Task {
    /// A set with a component below this grade is not published.
    pub minimum_grade: Grade,
    /// How much room must stay free at the destination, in percent.
    #[schemars(range(max = 99))]
    pub keep_free_percent: u8,
}

impl Default for Task {
    fn default() -> Self {
        Self { minimum_grade: Grade::Crash, keep_free_percent: 5 }
    }
}

/// How long each phase may take. A missed deadline gives the epoch up, with everything thawed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Deadlines {
    /// All writers describe their components.
    pub identify: Wait,
    /// Heavy work before the freeze.
    pub prepare: Wait,
    /// Freezing one level.
    pub freeze: Wait,
    /// The cut, while the site stands still.
    pub snapshot: Wait,
    /// Thawing one level.
    pub thaw: Wait,
    /// From the first freeze to the last thaw, all in all. The guard thaws by force shortly after it.
    pub window: Wait,
    /// Reading the data into the set.
    pub capture: Wait,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            identify: Wait::seconds(60),
            prepare: Wait::seconds(6 * 3600),
            freeze: Wait::seconds(10),
            snapshot: Wait::seconds(10),
            thaw: Wait::seconds(10),
            window: Wait::seconds(20),
            capture: Wait::seconds(12 * 3600),
        }
    }
}

/// What runs after a successful backup. Its failure never unmakes the backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Hook {
    /// The program. Absolute. Without it, an executable `after-backup` beside the site file is taken if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^/"))]
    pub program: Option<PathBuf>,
    /// How long it may take; then its process group is killed.
    pub timeout: Wait,
}

impl Hook {
    /// The name of the executable beside the site file that is taken when the site file names none.
    pub const DEFAULT_NAME: &str = "after-backup";
}

impl Default for Hook {
    fn default() -> Self {
        Self { program: None, timeout: Wait::seconds(3600) }
    }
}

/// One component. Levels act one after another, components of one level in parallel: a service that must rest before
/// another gets an earlier `level`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Component {
    /// Its name, unique in the file; also its folder in the set.
    pub name: ComponentName,
    /// When in the freeze it acts. Each type has its own default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// What it is.
    #[serde(flatten)]
    pub kind: ComponentKind,
}

/// The types of component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ComponentKind {
    /// An application that is brought to rest for the cut. Adds no data.
    Service(ServiceSettings),
    /// A file tree.
    Files(FilesSettings),
    /// A PostgreSQL cluster, or databases of one.
    Postgres(PostgresSettings),
    /// An SQLite database.
    Sqlite(SqliteSettings),
    /// A command whose standard output is kept.
    Command(CommandSettings),
}

impl ComponentKind {
    /// The level of a component of this type that names none. A database in SQLite may be found to need an earlier one.
    pub fn usual_level(&self) -> Level {
        match self {
            Self::Service(_) => Level::FrontEnd,
            Self::Postgres(_) | Self::Sqlite(_) => Level::BackEnd,
            Self::Files(_) | Self::Command(_) => Level::System,
        }
    }
}

/// How a service is brought to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Quiet {
    /// The cgroup freezer holds it where it is: milliseconds, as a power cut would find it. Needs `unit` or `cgroup`.
    Freeze,
    /// It is stopped and started. Needs `unit`, or `freeze_command` with `thaw_command`.
    Stop,
    /// Its own commands bring it to rest and let it go on. Needs `freeze_command` and `thaw_command`.
    Command,
}

/// An application that is brought to rest for the cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceSettings {
    /// How it is brought to rest.
    pub quiet: Quiet,
    /// The systemd unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The folder of its cgroup, for `quiet = "freeze"` without systemd. Absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^/"))]
    pub cgroup: Option<PathBuf>,
    /// Program (absolute) and arguments that bring it to rest; must return only when it is at rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub freeze_command: Option<Vec<String>>,
    /// Program (absolute) and arguments that let it go on. Must be harmless when it never stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub thaw_command: Option<Vec<String>>,
    /// Program (absolute) and arguments that tell by exit status 0 that the application runs. Asked before: what was
    /// found at rest is left at rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub running_command: Option<Vec<String>>,
}

/// A file tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilesSettings {
    /// The top of the tree. Absolute.
    #[schemars(extend("pattern" = "^/"))]
    pub path: PathBuf,
    /// Patterns of what to take, relative to `path`, as in `.gitignore` lines; nothing means everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// Patterns of what to leave out. They win over `include`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// The provider to use; without it the best that the probe finds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderKind>,
}

/// How a PostgreSQL cluster is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "kebab-case")]
pub enum PostgresMethod {
    /// A base backup before the freeze, a named restore point in it, and the write-ahead log between. Holds the whole
    /// cluster: all databases, roles and sequences.
    #[default]
    BaseBackup,
    /// A view exported in the freeze and read afterwards by sessions that locked their tables before. Holds the named
    /// databases.
    View,
}

/// A PostgreSQL cluster, or databases of one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresSettings {
    /// How it is cut.
    #[serde(default)]
    pub method: PostgresMethod,
    /// Host name, or the folder of the Unix socket.
    #[serde(default = "default_host")]
    pub host: String,
    /// Port.
    #[serde(default = "default_port")]
    #[schemars(range(min = 1))]
    pub port: u16,
    /// Role to connect as: a superuser, or for the base backup one with REPLICATION and EXECUTE on
    /// `pg_create_restore_point` and `pg_switch_wal`.
    #[serde(default = "default_user")]
    pub user: String,
    /// A file with the password and nothing else, readable by its owner only. Without it, `~/.pgpass` and trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^/"))]
    pub password_file: Option<PathBuf>,
    /// The databases, for `method = "view"`; nothing means all that allow connections.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub databases: Vec<String>,
    /// The folder with `pg_basebackup` and the others; without it, where the server's own version is installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^/"))]
    pub bin: Option<PathBuf>,
    /// The data folder to restore to; without it, the one that the server had. Absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^/"))]
    pub data: Option<PathBuf>,
}

pub(super) fn default_host() -> String {
    "/var/run/postgresql".into()
}

pub(super) fn default_port() -> u16 {
    5432
}

pub(super) fn default_user() -> String {
    "postgres".into()
}

/// An SQLite database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqliteSettings {
    /// The database file. Absolute.
    #[schemars(extend("pattern" = "^/"))]
    pub path: PathBuf,
}

/// A command whose standard output is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandSettings {
    /// Program (absolute) and arguments.
    #[schemars(length(min = 1))]
    pub run: Vec<String>,
    /// The file in the set that its output becomes.
    #[serde(default = "default_output")]
    pub output: String,
    /// How long it may take; then its process group is killed.
    #[serde(default = "default_timeout")]
    pub timeout: Wait,
    /// When it runs: in the freeze (its output is of the epoch, and the site waits for it) or in the capture.
    #[serde(default)]
    pub in_freeze: bool,
}

pub(super) fn default_output() -> String {
    "output".into()
}

pub(super) fn default_timeout() -> Wait {
    Wait::seconds(300)
}

/// How to see that the site works: a command that ends with status 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// What it shows, for people.
    pub name: String,
    /// Program (absolute) and arguments.
    #[schemars(length(min = 1))]
    pub run: Vec<String>,
    /// How long it is tried until it succeeds.
    #[serde(default = "default_probe_timeout")]
    pub timeout: Wait,
}

pub(super) fn default_probe_timeout() -> Wait {
    Wait::seconds(60)
}
