//! How long a set takes, beside `cp -a` and hashing of the same data, and how much memory a million files take.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use stillpoint_testkit::{capability, program};

use crate::run::backup;
use crate::stats::Spread;
use crate::tree;

/// Measures and prints two tables.
pub fn measure(runs: usize, files: u64, many: u64) {
    capability::require_program("time", "time");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let site = Site::build(folder.path(), files, 27 << 10);
    let (mut first, mut second, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        plain.push(site.plain_copy());
        site.forget();
        first.push(backup(&site.file(), &site.state()).seconds);
        // The set after the first trusts no change time of the first pass's own moment; from then on it is every night's.
        backup(&site.file(), &site.state());
        second.push(backup(&site.file(), &site.state()).seconds);
    }
    let (plain, first, second) = (Spread::of(plain), Spread::of(first), Spread::of(second));
    println!(
        "\n{files} files, {:.1} GB; {runs} runs; min / median / max in seconds\n",
        site.bytes as f64 / 1e9
    );
    println!("| what | seconds | ratio |\n|---|---|---|");
    println!("| `cp -a`, `sync`, then `sha256sum` of every file | {plain} | 1 |");
    println!(
        "| first set: copied, hashed, synced, verified, published | {first} | {:.2} of the speed of the row above |",
        plain.median / first.median
    );
    println!(
        "| a set with nothing changed | {second} | {:.1} times faster than the first |",
        first.median / second.median
    );
    drop(folder);
    if many > 0 {
        memory(many);
    }
}

fn memory(files: u64) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let site = Site::build(folder.path(), files, 64);
    let first = backup(&site.file(), &site.state());
    let second = backup(&site.file(), &site.state());
    println!("\n| {files} files | seconds | most memory of a process |\n|---|---|---|");
    for (name, run) in [("first set", first), ("second set", second)] {
        println!("| {name} | {:.1} | {:.0} MiB |", run.seconds, run.memory_mib);
    }
}

/// A site that is one file tree.
struct Site {
    top: PathBuf,
    bytes: u64,
}

impl Site {
    fn build(top: &Path, files: u64, size: usize) -> Self {
        let backups = top.join("backups");
        std::fs::create_dir(&backups).expect("create the destination");
        std::fs::set_permissions(&backups, std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .expect("set its mode");
        let text = format!(
            "[site]\ncode = \"BEN\"\nname = \"Bench\"\n[destination]\nfolder = \"{top}/backups\"\n[[component]]\nname = \"content\"\ntype = \"files\"\npath = \"{top}/tree\"\n",
            top = top.display()
        );
        std::fs::write(top.join("site.toml"), text).expect("write the site file");
        let bytes = tree::make(&top.join("tree"), files, size);
        Self { top: top.to_path_buf(), bytes }
    }

    fn file(&self) -> PathBuf {
        self.top.join("site.toml")
    }

    fn state(&self) -> PathBuf {
        self.top.join("state")
    }

    /// Removes the set, so that the next one is a first one.
    fn forget(&self) {
        let set = self.top.join("backups/BENBackup");
        if set.exists() {
            std::fs::remove_dir_all(set).expect("remove the set");
        }
    }

    /// What an administrator's script would do, in seconds.
    fn plain_copy(&self) -> f64 {
        let script = "cp -a tree plain && sync -f plain && cd plain && find . -type f -print0 | xargs -0 sha256sum >../sums";
        let started = Instant::now();
        program::succeed(Command::new("sh").args(["-c", script]).current_dir(&self.top));
        let seconds = started.elapsed().as_secs_f64();
        std::fs::remove_dir_all(self.top.join("plain")).expect("remove the plain copy");
        seconds
    }
}
