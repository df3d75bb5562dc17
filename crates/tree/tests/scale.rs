//! How much memory a big tree takes. Alone in its program, because it looks at the memory of the whole process.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail with a panic")]

mod common;

use std::fs;

use common::*;
use stillpoint_tree::*;

const FILES: usize = 1_000_000;
const FOLDERS: usize = 1_000;

/// The most memory that this process ever had, in KiB.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A quarter of the files lies in one folder. Run it with `--release --ignored --nocapture`.
#[test]
#[ignore = "takes minutes and 3 GB of room"]
fn memory_stays_below_200_mib_at_a_million_files() {
    let folder = tempfile::tempdir().unwrap();
    let mounted = folder.path().join("ext4");
    let inodes = (7 * FILES / 2).to_string();
    let mkfs = ["mkfs.ext4", "-q", "-F", "-O", "inline_data", "-I", "256", "-N", &inodes];
    let _ext4 = Mount::image(&mkfs, 4000, &mounted);
    let [source, first, second, target] =
        ["source", "first", "second", "target"].map(|name| mounted.join(name));
    for number in 0..FOLDERS {
        let name = source.join(format!("folder-{number:04}"));
        let files = if number == 0 { FILES / 4 } else { FILES * 3 / 4 / (FOLDERS - 1) };
        fs::create_dir_all(&name).unwrap();
        for file in 0..files {
            fs::write(name.join(format!("a-file-of-the-usual-length-{file:06}.txt")), b"content").unwrap();
        }
    }
    let measured = |what: &str| {
        let peak = peak_kib();
        println!("{what}: peak {peak} KiB");
        assert!(peak < 200 << 10, "{what} took {peak} KiB");
    };
    measured("making the files");
    let copy = |to: &std::path::Path, baseline: Option<Baseline>| {
        fs::create_dir(to).unwrap();
        let options = MirrorOptions {
            filter: Filter::default(),
            transfer: Transfer::Copy,
            baseline,
            hash: true,
            live: false,
            settled_before: None,
            threads: 2,
        };
        let mut index = IndexAppender::create(&list_of(to)).unwrap();
        let begin = std::time::Instant::now();
        let report = mirror(&source, to, &mut index, &options, &Counter::default()).unwrap();
        let (entries, _) = index.finish().unwrap();
        println!("{entries} entries in {:.1} s: {report:?}", begin.elapsed().as_secs_f64());
        assert_eq!(report.problem_count, 0);
    };
    copy(&first, None);
    measured("the first copy");
    copy(&second, Some(Baseline { root: first.clone(), index: list_of(&first) }));
    measured("the second copy");
    let options = PlantOptions { overwrite: true, remove_extra: true, threads: 2 };
    plant(&second, &list_of(&second), &target, &options, &Counter::default()).unwrap();
    measured("putting it back");
}
