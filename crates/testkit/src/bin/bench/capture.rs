//! How long a set takes, beside `cp -a` and hashing of the same data, and how much memory a million files take.
//!
//! All of it happens on an ext4 of its own, past the cache of the machine's own file system, and nothing is removed before
//! the end: for minutes after a removal ext4 looks for free inodes among those that were just freed, which made whoever
//! came next, in turn the copy and the set, up to twice as slow. Both find the tree in the page cache and nothing to be
//! written out; who comes first changes from run to run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use stillpoint_testkit::{Filesystem, LoopMount, capability, program};

use crate::run::backup;
use crate::stats::Spread;
use crate::tree;

/// Files of the tree that is timed have this many bytes to twice as many.
const FILE_BYTES_MIN: usize = 27 << 10;
/// Those of which a million are made.
const SMALL_FILE_BYTES_MIN: usize = 64;
/// ext4 has an inode for so much of its size.
const BYTES_PER_INODE: u64 = 16 << 10;
const MIB: u64 = 1 << 20;
/// Besides the data: lists, journal, what must stay free.
const ROOM_MIB: u64 = 4 << 10;

/// Measures and prints two tables.
pub fn measure(runs: usize, files: u64, many: u64) {
    capability::require_program("time", "time");
    times(runs, files);
    if many > 0 {
        memory(many);
    }
}

fn times(runs: usize, files: u64) {
    let copies = 1 + 2 * runs as u64;
    let mount = quiet_mount(files * copies * 2 * FILE_BYTES_MIN as u64 / MIB + ROOM_MIB);
    let site = Site::build(&mount.path(), files, FILE_BYTES_MIN);
    let (mut first, mut second, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..runs {
        let plain_first = run % 2 == 0;
        if plain_first {
            plain.push(site.plain_copy(run));
        }
        let destination = site.destination(run);
        first.push(destination.backup());
        // The set after the first trusts no change time of the first pass's own moment; from then on it is every night's.
        destination.backup();
        second.push(destination.backup());
        if !plain_first {
            plain.push(site.plain_copy(run));
        }
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
}

fn memory(files: u64) {
    let mount = quiet_mount(files * 3 * BYTES_PER_INODE / MIB + ROOM_MIB);
    let destination = Site::build(&mount.path(), files, SMALL_FILE_BYTES_MIN).destination(0);
    println!("\n| {files} files | seconds | most memory of a process |\n|---|---|---|");
    for name in ["first set", "second set", "third set"] {
        let run = backup(&destination.file, &destination.state);
        println!("| {name} | {:.1} | {:.0} MiB |", run.seconds, run.memory_mib);
    }
}

/// A file system that nobody else works on. What is read back from it comes from its device.
fn quiet_mount(size_mib: u64) -> LoopMount {
    let mount = LoopMount::new(Filesystem::Ext4, size_mib);
    mount.bypass_cache();
    mount
}

/// A site that is one file tree.
struct Site {
    top: PathBuf,
    bytes: u64,
}

/// A destination of the site that nothing was backed up to yet.
struct Destination {
    file: PathBuf,
    state: PathBuf,
    top: PathBuf,
}

impl Site {
    fn build(top: &Path, files: u64, size: usize) -> Self {
        let bytes = tree::make(&top.join("tree"), files, size);
        Self { top: top.to_path_buf(), bytes }
    }

    fn destination(&self, number: usize) -> Destination {
        let (top, folder) = (&self.top, self.top.join(format!("backups-{number}")));
        std::fs::create_dir(&folder).expect("create the destination");
        std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .expect("set its mode");
        let text = format!(
            "[site]\ncode = \"BEN\"\nname = \"Bench\"\n[destination]\nfolder = \"{}\"\n[[component]]\nname = \"content\"\ntype = \"files\"\npath = \"{}/tree\"\n",
            folder.display(),
            top.display()
        );
        let file = top.join(format!("site-{number}.toml"));
        std::fs::write(&file, text).expect("write the site file");
        Destination { file, state: top.join(format!("state-{number}")), top: top.clone() }
    }

    /// What an administrator's script would do, in seconds.
    fn plain_copy(&self, number: usize) -> f64 {
        settle(&self.top);
        let script = format!(
            "cp -a tree plain-{number} && sync -f plain-{number} && cd plain-{number} && find . -type f -print0 | xargs -0 sha256sum >../sums-{number}"
        );
        let started = Instant::now();
        program::succeed(Command::new("sh").args(["-c", &script]).current_dir(&self.top));
        started.elapsed().as_secs_f64()
    }
}

impl Destination {
    fn backup(&self) -> f64 {
        settle(&self.top);
        backup(&self.file, &self.state).seconds
    }
}

/// Nothing is left to be written out.
fn settle(top: &Path) {
    program::succeed(Command::new("sync").arg("-f").arg(top));
}
