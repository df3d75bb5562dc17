//! Backup programs that stand beside ours: as judges in tests and in the bench. Kept below `target/tools`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::wheels::run;
use crate::{packages, top};

/// The release of Debian that has restic 0.18, and whose programs run on the release before as well.
const RELEASE: &str = "trixie";
/// What its keys are checked with.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// How often a download is tried.
const TRIES: u32 = 4;

const RUSTIC: &str = "0.11.4";
const BORG: &str = "1.4.5";
/// A file that shows that a package is there, and the package: what borg is built from besides its own sources.
const NEEDED_BY_BORG: &[(&str, &str)] = &[
    ("/usr/include/sys/acl.h", "libacl1-dev"),
    ("/usr/include/lz4.h", "liblz4-dev"),
    ("/usr/include/openssl/evp.h", "libssl-dev"),
    ("/usr/include/xxhash.h", "libxxhash-dev"),
    ("/usr/include/zstd.h", "libzstd-dev"),
    ("/usr/bin/gcc", "gcc"),
    ("/usr/bin/pkg-config", "pkg-config"),
    ("/usr/share/doc/python3-dev", "python3-dev"),
    ("/usr/share/doc/python3-venv", "python3-venv"),
];

/// Where they are kept.
pub fn tools() -> PathBuf {
    top().join("target/tools")
}

/// A newer restic than the one of the system, as `target/tools/restic-0.18`: the tests of the archive run it, too.
///
/// It is taken from Debian's newer release, as a package that Debian signed, without a change to the system's own lists. Which
/// mirror is asked is what the system's own sources say.
pub fn fetch_restic() -> anyhow::Result<()> {
    let kept = tools().join("restic-0.18");
    if kept.exists() {
        return Ok(());
    }
    fetch("restic 0.18", |area| download_restic(area, &kept)).context(
        "the tests of the archive need restic 0.18 beside the one of the system; \
         put it at target/tools/restic-0.18 by hand where the network does not give it",
    )
}

/// Fetches something through a folder that is there for nothing else, and tries that more than once.
fn fetch(what: &str, download: impl Fn(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
    println!("xtask: fetching {what}");
    let area = tools().join("apt");
    let mut tried = Ok(());
    for wait in 0..TRIES {
        std::thread::sleep(Duration::from_secs(u64::from(wait) * 10));
        run(Command::new("rm").arg("-rf").arg(&area))?;
        std::fs::create_dir_all(&area)?;
        tried = download(&area);
        match &tried {
            Ok(()) => break,
            Err(error) => eprintln!("xtask: {what} could not be fetched (try {}): {error:#}", wait + 1),
        }
    }
    run(Command::new("rm").arg("-rf").arg(&area))?;
    tried
}

/// The judge of our alert rules, as `target/tools/promtool`: out of Debian's package of Prometheus, which is not installed, because
/// its server would start.
pub fn fetch_promtool() -> anyhow::Result<()> {
    let kept = tools().join("promtool");
    if kept.exists() {
        return Ok(());
    }
    fetch("promtool", |area| {
        let mut apt = Command::new("apt-get");
        apt.args(["-qq", "-o", "APT::Sandbox::User=root", "download", "prometheus"]).current_dir(area);
        if run(apt.stdin(Stdio::null())).is_err() {
            // A new system knows of no package, and an old one of packages that are gone.
            packages::update_lists()?;
            run(&mut apt)?;
        }
        let program = unpack(area, area, "usr/bin/promtool")?;
        expect_version(&program, "promtool, version ")?;
        Ok(std::fs::rename(program, &kept)?)
    })
}

/// A file out of the only package in a folder.
fn unpack(area: &Path, folder: &Path, file: &str) -> anyhow::Result<PathBuf> {
    let package =
        std::fs::read_dir(folder)?.next().context("apt-get downloaded nothing and said nothing")??;
    run(Command::new("dpkg-deb").arg("-x").arg(package.path()).arg(area.join("unpacked")))?;
    Ok(area.join("unpacked").join(file))
}

fn download_restic(area: &Path, kept: &Path) -> anyhow::Result<()> {
    for folder in ["lists/partial", "cache/archives/partial", "package"] {
        std::fs::create_dir_all(area.join(folder))?;
    }
    std::fs::write(area.join("status"), "")?;
    let sources = format!("deb [signed-by={KEYRING}] {} {RELEASE} main\n", mirror()?);
    std::fs::write(area.join("sources.list"), sources)?;
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        for (option, path) in [
            ("Dir::Etc::SourceList", "sources.list"),
            ("Dir::Etc::SourceParts", "none"),
            ("Dir::State::Lists", "lists"),
            ("Dir::State::status", "status"),
            ("Dir::Cache", "cache"),
        ] {
            command.arg("-o").arg(format!("{option}={}", area.join(path).display()));
        }
        for option in [
            "Acquire::Retries=3",
            "Acquire::Languages=none",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
            // A checkout may be in a folder that only root may enter.
            "APT::Sandbox::User=root",
        ] {
            command.arg("-o").arg(option);
        }
        run(command.arg("-qq").args(arguments).current_dir(area.join("package")).stdin(Stdio::null()))
    };
    apt(&["update"])?;
    apt(&["download", "restic"])?;
    let program = unpack(area, &area.join("package"), "usr/bin/restic")?;
    expect_version(&program, "restic 0.18.")?;
    std::fs::rename(program, kept)?;
    Ok(())
}

/// Where this system has its Debian from.
fn mirror() -> anyhow::Result<String> {
    let format = "$(CREATED_BY) $(RELEASE) $(COMPONENT) $(SITE)";
    let output = Command::new("apt-get").args(["indextargets", "--format", format]).output();
    let output = output.context("apt-get could not be started")?;
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let release = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).unwrap_or_default();
    choose_mirror(&String::from_utf8_lossy(&output.stdout), release)
        .with_context(|| format!("no source of this system gives Debian's release {release:?}"))
}

fn choose_mirror(targets: &str, release: &str) -> Option<String> {
    let wanted = format!("Packages {release} main ");
    targets.lines().find_map(|line| line.strip_prefix(&wanted)).map(str::to_owned)
}

/// What the bench measures beside restic: programs that are built here. One that cannot be built is left out, loudly.
pub fn build_peers() {
    for (name, build) in [("rustic", build_rustic as fn() -> anyhow::Result<()>), ("borg", build_borg)] {
        if let Err(error) = build() {
            eprintln!("xtask: the bench goes on without {name}: {error:#}");
        }
    }
}

/// Built for local and remote stores, without its console, web server and metrics.
fn build_rustic() -> anyhow::Result<()> {
    let kept = tools().join(format!("rustic-{RUSTIC}"));
    if kept.exists() {
        return Ok(());
    }
    println!("xtask: building rustic {RUSTIC}, which takes ten minutes and more");
    let aside = tools().join("rustic-incomplete");
    let mut cargo = crate::ci::cargo(&["install", "rustic-rs", "--version", RUSTIC, "--locked", "--quiet"]);
    cargo.args(["--no-default-features", "--root"]).arg(&aside);
    // Kept when it is interrupted, so that the next time goes on; away when it is done.
    let objects = tools().join("rustic-objects");
    run(cargo.arg("--target-dir").arg(&objects))?;
    expect_version(&aside.join("bin/rustic"), &format!("rustic {RUSTIC}"))?;
    std::fs::rename(aside.join("bin/rustic"), kept)?;
    run(Command::new("rm").arg("-rf").arg(&aside).arg(&objects))
}

fn build_borg() -> anyhow::Result<()> {
    let kept = tools().join(format!("borg-{BORG}"));
    if kept.exists() {
        return Ok(());
    }
    println!("xtask: building borg {BORG}");
    packages::install(NEEDED_BY_BORG)?;
    // Made where it stays: a virtual environment knows its own path.
    let aside = tools().join("borg-environment");
    run(Command::new("rm").arg("-rf").arg(&aside))?;
    run(Command::new("python3").args(["-m", "venv"]).arg(&aside))?;
    let mut pip = Command::new(aside.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    run(pip.arg(format!("borgbackup=={BORG}")))?;
    expect_version(&aside.join("bin/borg"), &format!("borg {BORG}"))?;
    std::os::unix::fs::symlink(aside.join("bin/borg"), kept)?;
    Ok(())
}

fn expect_version(program: &Path, wanted: &str) -> anyhow::Result<()> {
    let mut said = String::new();
    // Each program has its own way to be asked.
    for question in ["version", "--version"] {
        let output = Command::new(program).arg(question).output();
        let output = output.with_context(|| format!("{} does not run here", program.display()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if text.starts_with(wanted) {
            return Ok(());
        }
        write!(said, "{text}{}", String::from_utf8_lossy(&output.stderr))?;
    }
    ensure!(said.is_empty(), "{} is not {wanted}: {}", program.display(), said.trim());
    bail!("{} does not say its version", program.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_one_of_the_systems_own_release() {
        let targets = "Packages main nodistro https://other.example\n\
            Packages bookworm-security main http://mirror.example/debian-security\n\
            DEP-11 bookworm main http://mirror.example/wrong\n\
            Packages bookworm contrib http://mirror.example/wrong\n\
            Packages bookworm main http://mirror.example/debian\n";
        assert_eq!(choose_mirror(targets, "bookworm").as_deref(), Some("http://mirror.example/debian"));
        assert_eq!(choose_mirror(targets, "sid"), None);
    }
}
