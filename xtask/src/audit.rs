//! What the dependencies are allowed to be: licences, sources, bans, and known vulnerabilities.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::ci::{cargo, step};
use crate::top;

const VERSION: &str = "0.20.2";

/// The folder in which cargo-deny looks for the advisories of [`ADVISORIES`]: it ends with a hash of that address.
const ADVISORIES_FOLDER: &str = "advisory-db-3157b0e258782691";
const ADVISORIES: &str = "https://github.com/RustSec/advisory-db";

/// Names a folder with a copy of the RustSec advisories, for machines that do not reach the original.
const ADVISORIES_COPY: &str = "STILLPOINT_ADVISORY_DB";

/// Checks the dependencies as `deny.toml` says, and against the advisories where a copy of them is at hand.
pub fn audit() -> anyhow::Result<()> {
    let program = installed()?;
    let deny = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.arg("--locked").args(arguments).current_dir(top());
        command
    };
    step("licences", deny(&["check", "--hide-inclusion-graph", "licenses", "bans", "sources"]))?;
    let Some(copy) = std::env::var_os(ADVISORIES_COPY) else {
        println!(
            "xtask: NOT DONE: no check against known vulnerabilities: set {ADVISORIES_COPY} to a folder with a copy of the RustSec advisories"
        );
        return Ok(());
    };
    let settings = lay_out(Path::new(&copy))?;
    let settings = settings.to_string_lossy();
    step("advisories", deny(&["--offline", "--config", &settings, "check", "advisories"]))
}

/// The program, installed below `target` where it is not there yet.
fn installed() -> anyhow::Result<PathBuf> {
    let tools = top().join("target/tools");
    let program = tools.join(format!("cargo-deny-{VERSION}/bin/cargo-deny"));
    if !program.exists() {
        let root = tools.join(format!("cargo-deny-{VERSION}"));
        let mut install =
            cargo(&["install", "cargo-deny", "--version", VERSION, "--locked", "--quiet", "--root"]);
        install.arg(&root).env("CARGO_TARGET_DIR", tools.join("build"));
        step("install cargo-deny", install)?;
        std::fs::remove_dir_all(tools.join("build"))
            .context("what cargo-deny was built from cannot be removed")?;
    }
    Ok(program)
}

/// cargo-deny reads advisories from a clone only, so the copy becomes a repository of its own.
fn lay_out(copy: &Path) -> anyhow::Result<PathBuf> {
    ensure!(copy.join("crates").is_dir(), "{} is no copy of the RustSec advisories", copy.display());
    let folder = top().join("target/advisories");
    let clone = folder.join(ADVISORIES_FOLDER);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).context("the advisories of the last time cannot be removed")?;
    }
    std::fs::create_dir_all(&clone).context("the folder for the advisories cannot be made")?;
    let script = "cp -r \"$1/crates\" . && chmod -R u+w . && git init -q . && git add -A && \
        git -c user.name=audit -c user.email=audit@localhost commit -q -m copy && touch .git/FETCH_HEAD";
    let mut command = Command::new("sh");
    command.args(["-c", script, "advisories"]).arg(copy).current_dir(&clone);
    step("copy the advisories", command)?;
    let settings = folder.join("deny.toml");
    let text = format!("[advisories]\ndb-path = {folder:?}\ndb-urls = [\"{ADVISORIES}\"]\n");
    std::fs::write(&settings, text).context("the settings of the audit cannot be written")?;
    Ok(settings)
}
