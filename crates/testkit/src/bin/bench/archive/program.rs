//! The programs that are measured, and how each is told what to do.

use std::path::{Path, PathBuf};

use super::drive::PASSWORD;
use super::timed::{Act, Usage};
use stillpoint_testkit::servers::SeaweedFs;
use stillpoint_testkit::{Filesystem, LoopMount};

/// The size of the file system that is restored to; it has an inode for each 16 KiB. Only what is written takes room.
const TARGET_MIB: u64 = 16 << 10;

/// Who does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    Ours,
    /// As it is used.
    Restic,
    /// With `--no-cache`: a local repository needs none.
    ResticNoCache,
    Rustic,
    Borg,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    First,
    Unchanged,
    Changed,
    Restore,
    Verify,
    Prune,
}

impl Step {
    pub const ALL: [Self; 6] =
        [Self::First, Self::Unchanged, Self::Changed, Self::Restore, Self::Verify, Self::Prune];

    pub fn name(self) -> &'static str {
        match self {
            Self::First => "first backup",
            Self::Unchanged => "unchanged",
            Self::Changed => "1 % changed",
            Self::Restore => "restore",
            Self::Verify => "verify, all data",
            Self::Prune => "forget and prune",
        }
    }
}

/// What is saved.
#[derive(Debug, Clone, Copy)]
pub enum Data<'d> {
    /// A folder.
    Tree(&'d Path),
    /// A file that is fed to the program; it is restored to standard output.
    Stream(&'d Path),
    /// What the archive has already.
    Archive,
}

/// One program and its repository.
pub struct Bench {
    pub program: Program,
    /// For the repository and caches.
    folder: PathBuf,
    /// Where the repository is, in the program's own words.
    address: String,
    /// The same in the words that ours and restic share.
    plain: String,
    versions: u32,
}

/// The path of a program that was fetched or built for the bench, by the beginning of its name.
pub fn tool(beginning: &str) -> Option<PathBuf> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools");
    let listed = std::fs::read_dir(tools).into_iter().flatten().flatten().map(|entry| entry.path());
    let named = |path: &PathBuf| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(beginning));
    listed.filter(|path| path.is_file() && named(path)).max()
}

impl Program {
    pub const ALL: [Self; 5] = [Self::Ours, Self::Restic, Self::ResticNoCache, Self::Rustic, Self::Borg];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "Stillpoint",
            Self::Restic => "restic",
            Self::ResticNoCache => "restic --no-cache",
            Self::Rustic => "rustic",
            Self::Borg => "borg",
        }
    }

    /// Where it is, when it is there.
    pub fn path(self) -> Option<PathBuf> {
        match self {
            Self::Ours => std::env::current_exe().ok(),
            Self::Restic | Self::ResticNoCache => tool("restic-0.18"),
            Self::Rustic => tool("rustic-"),
            Self::Borg => tool("borg-"),
        }
    }
}

impl Bench {
    /// In a folder of its own below `top`; or with its repository in the bucket of a server.
    pub fn new(program: Program, top: &Path, server: Option<&SeaweedFs>) -> Self {
        let name = format!("{program:?}").to_lowercase();
        let folder = top.join(&name);
        std::fs::create_dir(&folder).expect("create a folder");
        let address = match (server, program) {
            (Some(_), Program::Rustic) => "opendal:s3".into(),
            (Some(server), _) => server.address(&name),
            (None, _) => folder.join("repository").display().to_string(),
        };
        let plain = match server {
            Some(server) => server.address(&name),
            None => address.clone(),
        };
        if let (Some(server), Program::Rustic) = (server, program) {
            write_profile(&folder, &server.endpoint());
        }
        Self { program, folder, address, plain, versions: 0 }
    }

    fn act(&self, arguments: &[&str]) -> Act {
        let path = self.program.path().expect("the program is there");
        let mut act = Act::new(&path, arguments, &self.folder);
        for (variable, value) in [
            ("RESTIC_PASSWORD", PASSWORD),
            ("RUSTIC_PASSWORD", PASSWORD),
            ("BORG_PASSPHRASE", PASSWORD),
            ("AWS_ACCESS_KEY_ID", SeaweedFs::KEY),
            ("AWS_SECRET_ACCESS_KEY", SeaweedFs::SECRET),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("RESTIC_REPOSITORY", &self.address),
            ("RUSTIC_REPOSITORY", &self.address),
            ("BORG_REPO", &self.address),
            ("RUSTIC_NO_PROGRESS", "true"),
        ] {
            act.command.env(variable, value);
        }
        // Caches and settings are the bench's own and go with it.
        for variable in ["HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "BORG_BASE_DIR"] {
            act.command.env(variable, &self.folder);
        }
        act.within(&self.folder)
    }

    fn ours(&self, act: &str) -> Act {
        self.act(&["drive", act, &self.address])
    }

    fn restic(&self, arguments: &[&str]) -> Act {
        let cache: &[&str] = if self.program == Program::ResticNoCache { &["--no-cache"] } else { &[] };
        self.act(&[&["--quiet"], cache, arguments].concat())
    }

    pub fn init(&self) -> Result<(), String> {
        let act = match self.program {
            Program::Ours => self.ours("init"),
            Program::Restic | Program::ResticNoCache => self.restic(&["init"]),
            Program::Rustic => self.act(&["init"]),
            Program::Borg => self.act(&["init", "--encryption", "repokey-blake2"]),
        };
        act.measure(&self.folder).map(drop)
    }

    /// Fills an archive with this many tiny blobs, in two versions.
    pub fn many(&self, blobs: &str) -> Result<Usage, String> {
        self.ours("many").arg(blobs).measure(&self.folder)
    }

    /// The folder of the repository.
    pub fn place(&self) -> &str {
        &self.address
    }

    /// How a step is done.
    fn prepare(&mut self, step: Step, data: Data<'_>, target: &Path) -> Act {
        match step {
            Step::First | Step::Unchanged | Step::Changed => self.save(data),
            Step::Restore => self.restore(data, target),
            Step::Verify => match self.program {
                Program::Ours => self.ours("verify"),
                Program::Restic | Program::ResticNoCache => self.restic(&["check", "--read-data"]),
                Program::Rustic => self.act(&["check", "--read-data"]),
                Program::Borg => self.act(&["check", "--verify-data"]),
            },
            Step::Prune => match self.program {
                Program::Ours => self.ours("prune"),
                Program::Restic | Program::ResticNoCache => {
                    self.restic(&["forget", "--keep-last", "1", "--prune"])
                }
                // Without it, packs would only be marked for the prune after the next.
                Program::Rustic => self.act(&["forget", "--keep-last", "1", "--prune", "--instant-delete"]),
                Program::Borg => {
                    let borg = self.program.path().expect("borg is there").display().to_string();
                    let script = format!("'{borg}' prune --keep-last 1 && '{borg}' compact");
                    let mut act = self.act(&[]);
                    let mut shell = Act::new(Path::new("/bin/sh"), &["-c", &script], &self.folder);
                    shell
                        .command
                        .envs(act.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
                    act.command = shell.command;
                    act
                }
            },
        }
    }

    fn save(&mut self, data: Data<'_>) -> Act {
        self.versions += 1;
        let archive = format!("::version-{}", self.versions);
        match (self.program, data) {
            (Program::Ours, Data::Tree(tree)) => self.ours("save").arg(tree),
            (Program::Ours, Data::Stream(file)) => self.ours("save-stream").fed(file),
            (Program::Restic | Program::ResticNoCache, Data::Tree(tree)) => {
                self.restic(&["backup", "."]).within(tree)
            }
            (Program::Restic | Program::ResticNoCache, Data::Stream(file)) => {
                self.restic(&["backup", "--stdin", "--stdin-filename", "stream"]).fed(file)
            }
            (Program::Rustic, Data::Tree(tree)) => self.act(&["backup", "."]).within(tree),
            (Program::Rustic, Data::Stream(file)) => {
                // Without it, it takes every stream after the first for unchanged and does not read it.
                self.act(&["backup", "--force", "--stdin-filename", "stream", "-"]).fed(file)
            }
            (Program::Borg, Data::Tree(tree)) => {
                self.act(&["create", "--compression", "zstd,3", &archive, "."]).within(tree)
            }
            (Program::Borg, Data::Stream(file)) => {
                self.act(&["create", "--compression", "zstd,3", &archive, "-"]).fed(file)
            }
            (_, Data::Archive) => unreachable!("nothing is saved"),
        }
    }

    fn restore(&self, data: Data<'_>, target: &Path) -> Act {
        let archive = format!("::version-{}", self.versions);
        match (self.program, data) {
            (Program::Ours, Data::Tree(_) | Data::Archive) => self.ours("restore").arg(target),
            (Program::Ours, Data::Stream(_)) => self.ours("dump"),
            (Program::Restic | Program::ResticNoCache, Data::Tree(_) | Data::Archive) => {
                self.restic(&["restore", "latest", "--sparse", "--target"]).arg(target)
            }
            (Program::Restic | Program::ResticNoCache, Data::Stream(_)) => {
                self.restic(&["dump", "latest", "/stream"])
            }
            (Program::Rustic, Data::Tree(_) | Data::Archive) => {
                self.act(&["restore", "latest", "--sparse", "by-content"]).arg(target)
            }
            (Program::Rustic, Data::Stream(_)) => self.act(&["dump", "latest:stream"]),
            (Program::Borg, Data::Tree(_) | Data::Archive) => {
                self.act(&["extract", "--sparse", &archive]).within(target)
            }
            (Program::Borg, Data::Stream(_)) => self.act(&["extract", "--stdout", &archive]),
        }
    }

    /// Measures one step. What was restored is looked at. It goes to a file system of its own, which is new each time: for
    /// minutes after a removal ext4 looks for free inodes among those that were just freed.
    pub fn measure(&mut self, step: Step, data: Data<'_>) -> Result<Usage, String> {
        if step != Step::Restore || matches!(data, Data::Stream(_)) {
            let act = self.prepare(step, data, &self.folder.clone());
            return act.measure(&self.folder);
        }
        let mount = LoopMount::new(Filesystem::Ext4, TARGET_MIB);
        mount.bypass_cache();
        let target = mount.path().join("restored");
        std::fs::create_dir(&target).expect("create the target");
        let usage = self.prepare(step, data, &target).measure(&self.folder)?;
        if let Data::Tree(tree) = data {
            let (wanted, there) = (super::data::amount(tree), super::data::amount(&target));
            assert_eq!(wanted, there, "{} restored something else", self.program.name());
        }
        Ok(usage)
    }

    /// Bytes of the repository.
    pub fn size(&self) -> f64 {
        if self.program == Program::Borg {
            return super::data::amount(&self.folder.join("repository")).1 as f64;
        }
        let ours = std::env::current_exe().expect("the path of this program");
        // All others have the same format.
        let mut command = std::process::Command::new(ours);
        command.args(["drive", "size", &self.plain]);
        command.env("AWS_ACCESS_KEY_ID", SeaweedFs::KEY).env("AWS_SECRET_ACCESS_KEY", SeaweedFs::SECRET);
        stillpoint_testkit::program::succeed(&mut command).trim().parse().unwrap_or(f64::NAN)
    }
}

/// rustic learns from a file how to reach a server.
fn write_profile(folder: &Path, endpoint: &str) {
    let (key, secret) = (SeaweedFs::KEY, SeaweedFs::SECRET);
    let profile = format!(
        "[repository]\nrepository = \"opendal:s3\"\n[repository.options]\nendpoint = \"{endpoint}\"\n\
         bucket = \"archives\"\nroot = \"/rustic\"\nregion = \"us-east-1\"\n\
         access_key_id = \"{key}\"\nsecret_access_key = \"{secret}\"\n"
    );
    let place = folder.join("rustic");
    let written =
        std::fs::create_dir(&place).and_then(|()| std::fs::write(place.join("rustic.toml"), profile));
    written.expect("write the profile of rustic");
}
