//! The Debian packages that the tests need, and their installation where it is ours to do.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

use crate::{tools, wheels};

/// A program that shows that a package is there, and the package.
const NEEDED: &[(&str, &str)] = &[
    ("/usr/bin/btrfs", "btrfs-progs"),
    ("/usr/sbin/mkfs.xfs", "xfsprogs"),
    ("/usr/sbin/mkfs.ext4", "e2fsprogs"),
    ("/usr/sbin/losetup", "mount"),
    ("/usr/bin/setfacl", "acl"),
    ("/usr/bin/setfattr", "attr"),
    ("/usr/bin/rsync", "rsync"),
    ("/usr/bin/restic", "restic"),
    ("/usr/bin/sqlite3", "sqlite3"),
    ("/usr/bin/systemd-nspawn", "systemd-container"),
    ("/usr/bin/time", "time"),
    ("/usr/bin/pg_dump", "postgresql"),
    ("/usr/share/doc/postgresql-contrib", "postgresql-contrib"),
    ("/usr/sbin/sshd", "openssh-server"),
    ("/usr/bin/ssh", "openssh-client"),
    ("/usr/bin/openssl", "openssl"),
    ("/usr/bin/curl", "curl"),
    ("/usr/bin/chromium", "chromium"),
    ("/usr/bin/chromedriver", "chromium-driver"),
    ("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf", "fonts-dejavu-core"),
];

/// Installs and fetches what is missing. Needs root; says what to install when it is not.
pub fn install_missing() -> anyhow::Result<()> {
    install_packages()?;
    wheels::fetch_servers()?;
    wheels::fetch_python_tools()?;
    tools::fetch_promtool()?;
    tools::fetch_restic()
}

/// Installs those of a list that are missing. Needs root; says what to install when it is not.
pub fn install(wanted: &[(&str, &str)]) -> anyhow::Result<()> {
    install_these(wanted.iter().filter(|(sign, _)| !present(sign)).map(|(_, package)| *package).collect())
}

fn install_packages() -> anyhow::Result<()> {
    let mut missing: Vec<&str> =
        NEEDED.iter().filter(|(sign, _)| !present(sign)).map(|(_, package)| *package).collect();
    if !server_present() {
        missing.push("postgresql");
    }
    if !pip_present() {
        missing.push("python3-pip");
    }
    if !venv_present() {
        missing.push("python3-venv");
    }
    install_these(missing)
}

fn install_these(mut missing: Vec<&str>) -> anyhow::Result<()> {
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        bail!("this needs root and these Debian packages: apt-get install {}", missing.join(" "));
    }
    println!("xtask: installing {}", missing.join(" "));
    if missing.contains(&"openssh-server") {
        keep_sshd_from_starting()?;
    }
    update_lists()?;
    let mut arguments = vec!["install", "-qq", "-y", "--no-install-recommends"];
    arguments.extend(&missing);
    apt(&arguments)
}

/// Whether the sign is there, also under the other name of a merged `/usr`.
fn present(sign: &str) -> bool {
    Path::new(sign).exists() || sign.strip_prefix("/usr").is_some_and(|short| Path::new(short).exists())
}

/// Whether a PostgreSQL server with its tools is installed, of any version.
fn server_present() -> bool {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions.into_iter().any(|version| version.path().join("bin/initdb").exists())
}

/// Whether Python's installer is there, from Debian or from elsewhere.
fn pip_present() -> bool {
    let version = Command::new("python3").args(["-m", "pip", "--version"]).output();
    version.is_ok_and(|output| output.status.success())
}

/// Whether Python can make virtual environments: Debian has what it needs for that in a package of its own.
fn venv_present() -> bool {
    let asked = Command::new("python3").args(["-c", "import ensurepip, venv"]).output();
    asked.is_ok_and(|output| output.status.success())
}

/// The server of the package would let people in; the tests start their own, which listens on the loopback only.
fn keep_sshd_from_starting() -> anyhow::Result<()> {
    std::fs::create_dir_all("/etc/ssh").context("/etc/ssh cannot be made")?;
    let sign = "/etc/ssh/sshd_not_to_be_run";
    std::fs::write(sign, "").with_context(|| format!("{sign} cannot be written"))
}

/// Asks what packages there are. Needs root.
pub fn update_lists() -> anyhow::Result<()> {
    apt(&["update", "-qq"])
}

fn apt(arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // A cluster of the package's own would listen on the machine; the tests start their own.
        .env("PG_CREATE_MAIN_CLUSTER", "false")
        .stdin(Stdio::null())
        .status()
        .context("apt-get could not be started")?;
    ensure!(status.success(), "apt-get {} ended with {status}", arguments.join(" "));
    Ok(())
}
