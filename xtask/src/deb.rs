//! The Debian package: a tree of files made from the program and from `packaging`, closed by `dpkg-deb`.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::wheels::run;
use crate::{ci, notices, packages, top};

/// A program that shows that a package is there, and the package: what the building of ours needs.
const NEEDED: &[(&str, &str)] =
    &[("/usr/bin/dpkg-deb", "dpkg"), ("/usr/bin/strip", "binutils"), ("/usr/bin/gzip", "gzip")];
/// Which Debian package has a library that the program is linked with.
const LIBRARIES: &[(&str, &str)] = &[
    ("libc.so.6", "libc6"),
    ("libm.so.6", "libc6"),
    ("ld-linux-x86-64.so.2", "libc6"),
    ("ld-linux-aarch64.so.1", "libc6"),
    ("libgcc_s.so.1", "libgcc-s1"),
];
/// Which page of completions goes where.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/stillpoint"),
    ("zsh", "usr/share/zsh/vendor-completions/_stillpoint"),
    ("fish", "usr/share/fish/vendor_completions.d/stillpoint.fish"),
];
/// Whole folders of `packaging`, and where they go. Units go below `/usr`, which Debian 12 and later look into.
const FOLDERS: [(&str, &str); 3] = [
    ("packaging/systemd", "usr/lib/systemd/system"),
    ("packaging/sysusers.d", "usr/lib/sysusers.d"),
    ("packaging/tmpfiles.d", "usr/lib/tmpfiles.d"),
];
const DOCUMENTS: &str = "usr/share/doc/stillpoint";

/// Makes the package in the folder `output` out of the given program, or of one that is built in release mode.
pub fn deb(binary: Option<&Path>, output: &Path) -> anyhow::Result<()> {
    packages::install(NEEDED)?;
    let built = top().join("target/release/stillpoint");
    let binary = match binary {
        Some(binary) => binary,
        None => {
            ci::step("build", ci::cargo(&["build", "--release", "--locked", "--quiet", "-p", "stillpoint"]))?;
            &built
        }
    };
    std::fs::create_dir_all(output).with_context(|| format!("cannot make {}", output.display()))?;
    let stage = tempfile::Builder::new().prefix("stillpoint-deb-").tempdir()?;
    let package = Package::begin(stage.path())?;
    package.program(binary)?;
    package.documents()?;
    for (from, to) in FOLDERS {
        package.folder(from, to)?;
    }
    package.file(
        "packaging/prometheus/stillpoint.rules.yml",
        "usr/share/stillpoint/prometheus/stillpoint.rules.yml",
    )?;
    package.file("docs/site-file.schema.json", "usr/share/stillpoint/site-file.schema.json")?;
    package.file("packaging/debian/lintian-overrides", "usr/share/lintian/overrides/stillpoint")?;
    let name = package.close(output)?;
    println!("{}", name.display());
    Ok(())
}

/// The tree of the package while it is made.
struct Package {
    tree: PathBuf,
    version: String,
    /// When the source was last changed, in seconds since 1970: the time of everything in the package, so that the same source gives
    /// the same package.
    changed: String,
}

impl Package {
    fn begin(stage: &Path) -> anyhow::Result<Self> {
        let manifest: toml::Table = std::fs::read_to_string(top().join("Cargo.toml"))?.parse()?;
        let version = manifest["workspace"]["package"]["version"].as_str().context("no version")?.to_owned();
        let commit = said(Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(top()));
        // A source without its repository has no other time than now.
        let changed = commit.or_else(|_| said(Command::new("date").arg("+%s")))?;
        Ok(Self { tree: stage.join("tree"), version, changed: changed.trim().to_owned() })
    }

    fn put(&self, to: &str, content: &[u8], mode: u32) -> anyhow::Result<()> {
        let path = self.tree.join(to);
        std::fs::create_dir_all(path.parent().context("no folder")?)?;
        std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode))?;
        Ok(())
    }

    /// A file of the repository.
    fn file(&self, from: &str, to: &str) -> anyhow::Result<()> {
        let content = std::fs::read(top().join(from)).with_context(|| format!("cannot read {from}"))?;
        self.put(to, &content, 0o644)
    }

    /// The files of a folder of the repository.
    fn folder(&self, from: &str, to: &str) -> anyhow::Result<()> {
        for name in names(&top().join(from))? {
            self.file(&format!("{from}/{name}"), &format!("{to}/{name}"))?;
        }
        Ok(())
    }

    /// As [`Self::put`], compressed; always the same for the same content.
    fn compressed(&self, to: &str, content: &[u8]) -> anyhow::Result<()> {
        self.put(to, content, 0o644)?;
        run(Command::new("gzip").args(["--best", "--no-name"]).arg(self.tree.join(to)))
    }

    /// The program, and the pages that it makes of itself.
    fn program(&self, binary: &Path) -> anyhow::Result<()> {
        self.put("usr/bin/stillpoint", b"", 0o755)?;
        let program = self.tree.join("usr/bin/stillpoint");
        run(Command::new("strip").arg("--strip-unneeded").arg("-o").arg(&program).arg(binary))?;
        for (shell, to) in COMPLETIONS {
            let page = said(Command::new(&program).args(["completions", shell]))?;
            self.put(to, page.as_bytes(), 0o644)?;
        }
        let sample = said(Command::new(&program).args(["init", "--sample", "-"]))?;
        self.put(&format!("{DOCUMENTS}/examples/site.toml"), sample.as_bytes(), 0o644)?;
        let pages = tempfile::tempdir()?;
        run(Command::new(&program).args(["man", "--all"]).arg(pages.path()))?;
        for name in names(pages.path())? {
            let page = std::fs::read(pages.path().join(&name))?;
            self.compressed(&format!("usr/share/man/man1/{name}"), &page)?;
        }
        Ok(())
    }

    fn documents(&self) -> anyhow::Result<()> {
        for name in names(&top().join("docs"))?.iter().filter(|name| name.ends_with(".md")) {
            self.file(&format!("docs/{name}"), &format!("{DOCUMENTS}/{name}"))?;
        }
        self.file("packaging/debian/copyright", &format!("{DOCUMENTS}/copyright"))?;
        let notices = notices::of_libraries()?;
        self.compressed(&format!("{DOCUMENTS}/third-party"), notices.as_bytes())?;
        let date = said(Command::new("date").args(["-R", "-u", "-d", &format!("@{}", self.changed)]))?;
        let changes = format!(
            "stillpoint ({}) unstable; urgency=medium\n\n  * As of the source of this date.\n\n -- {}  {date}",
            self.version,
            maintainer()?
        );
        self.compressed(&format!("{DOCUMENTS}/changelog"), changes.as_bytes())
    }

    /// Adds what `dpkg` must know and makes the package; returns its path.
    fn close(&self, output: &Path) -> anyhow::Result<PathBuf> {
        let mut sums = Command::new("sh");
        sums.args(["-c", "find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum"]);
        let sums = said(sums.current_dir(&self.tree))?;
        self.put("DEBIAN/md5sums", sums.as_bytes(), 0o644)?;
        for script in ["postinst", "prerm", "postrm"] {
            let text = std::fs::read(top().join("packaging/debian").join(script))?;
            self.put(&format!("DEBIAN/{script}"), &text, 0o755)?;
        }
        let architecture = said(Command::new("dpkg").arg("--print-architecture"))?;
        let size = said(Command::new("du").args(["-sk", "--apparent-size"]).arg(self.tree.join("usr")))?;
        let headers = said(Command::new("objdump").arg("-p").arg(self.tree.join("usr/bin/stillpoint")))?;
        let control = std::fs::read_to_string(top().join("packaging/debian/control"))?
            .replace("@VERSION@", &self.version)
            .replace("@ARCHITECTURE@", architecture.trim())
            .replace("@KIBIBYTES@", size.split_whitespace().next().unwrap_or_default())
            .replace("@LIBRARIES@", &libraries(&headers)?);
        self.put("DEBIAN/control", control.as_bytes(), 0o644)?;
        // Whatever the one who builds has as a mask for new folders.
        run(Command::new("find").arg(&self.tree).args(["-type", "d", "-exec", "chmod", "0755", "{}", "+"]))?;
        let name = output.join(format!("stillpoint_{}_{}.deb", self.version, architecture.trim()));
        let mut build = Command::new("dpkg-deb");
        // The best level takes five times as long and saves a seventh.
        build.args(["--root-owner-group", "-Zxz", "-z1", "--build"]).arg(&self.tree).arg(&name);
        // Standard output has the path of the package and nothing else.
        said(build.env("SOURCE_DATE_EPOCH", &self.changed))?;
        Ok(name)
    }
}

/// Who is named in `control`.
fn maintainer() -> anyhow::Result<String> {
    let control = std::fs::read_to_string(top().join("packaging/debian/control"))?;
    let line = control.lines().find_map(|line| line.strip_prefix("Maintainer: "));
    Ok(line.context("packaging/debian/control names no maintainer")?.to_owned())
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// What a program that must succeed wrote to standard output.
pub fn said(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("{command:?} could not be started"))?;
    let errors = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    ensure!(output.status.success(), "{command:?} ended with {}: {errors}", output.status);
    String::from_utf8(output.stdout).with_context(|| format!("{command:?} wrote what is no text"))
}

/// The packages with the libraries that a program needs, with the oldest C library that it runs with, from what `objdump -p` says
/// of it.
fn libraries(headers: &str) -> anyhow::Result<String> {
    let mut packages = Vec::new();
    for name in headers.lines().filter_map(|line| line.trim().strip_prefix("NEEDED")).map(str::trim) {
        match LIBRARIES.iter().find(|(library, _)| *library == name) {
            Some((_, package)) => packages.push(*package),
            None => bail!("the program needs {name}, and which Debian package has it is not known here"),
        }
    }
    packages.sort_unstable();
    packages.dedup();
    let versions = headers.lines().filter_map(|line| line.rsplit_once(" GLIBC_")?.1.trim().split_once('.'));
    let newest = versions.filter_map(|(major, minor)| {
        // `2.2.5` is older than any that is still there.
        Some((major.parse::<u32>().ok()?, minor.parse::<u32>().unwrap_or(0)))
    });
    let (major, minor) = newest.max().context("the program names no version of the C library")?;
    let shown = packages.iter().map(|package| match *package {
        "libc6" => format!("libc6 (>= {major}.{minor})"),
        other => other.to_owned(),
    });
    Ok(shown.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADERS: &str = "\nDynamic Section:\n  NEEDED               libgcc_s.so.1\n  NEEDED               libm.so.6\n  \
        NEEDED               libc.so.6\n  SONAME   x\n\nVersion References:\n  required from libc.so.6:\n    \
        0x09691a75 0x00 12 GLIBC_2.2.5\n    0x069691b4 0x00 09 GLIBC_2.34\n    0x06969189 0x00 08 GLIBC_2.9\n";

    #[test]
    fn the_libraries_are_those_of_the_program_and_the_oldest_that_it_runs_with() {
        assert_eq!(libraries(HEADERS).unwrap(), "libc6 (>= 2.34), libgcc-s1");
        let more = format!("{HEADERS}  NEEDED   libssl.so.3\n");
        assert!(libraries(&more).unwrap_err().to_string().contains("libssl.so.3"));
    }
}
