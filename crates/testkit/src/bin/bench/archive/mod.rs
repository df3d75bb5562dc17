//! The archive beside restic, rustic and borg: each does the same with the same data, in turn, in a process of its own.
//!
//! Between any two everything is written out. The data and the repositories stay in the page cache, for all alike.

mod data;
mod drive;
mod program;
mod table;
mod timed;

use std::path::Path;
use std::process::Command;

use stillpoint_testkit::servers::SeaweedFs;
use stillpoint_testkit::{capability, program as run};

use crate::tree;
use program::{Bench, Data, Program, Step};
use table::Results;

pub use drive::drive;

/// Files of the row of small files have this many bytes to twice as many.
const SMALL_BYTES_MIN: usize = 1 << 10;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Row {
    /// About 2.5 GB of files of all kinds
    Mixed,
    /// 500,000 small files
    Small,
    /// A stream of 4 GB as of a database
    Stream,
    /// The data of `mixed`, over an S3 server on the loopback
    S3,
    /// An archive with a million blobs
    Index,
}

impl Row {
    const ALL: [Self; 5] = [Self::Mixed, Self::Small, Self::Stream, Self::S3, Self::Index];

    /// Disk that it takes at most, in MiB.
    fn room(self) -> u64 {
        match self {
            Self::Small => 10 << 10,
            Self::Index => 8 << 10,
            Self::Mixed | Self::Stream | Self::S3 => 12 << 10,
        }
    }
}

/// Measures and prints a table for each row; all rows when none is named.
pub fn measure(rows: &[Row], runs: usize, quick: bool) {
    capability::require_program("time", "time");
    for program in Program::ALL {
        match program.path() {
            Some(path) => println!("{}: {}", program.name(), path.display()),
            None => println!(
                "{} is not there (cargo xtask bench archive builds it), and left out",
                program.name()
            ),
        }
    }
    for row in Row::ALL {
        if rows.is_empty() || rows.contains(&row) {
            measure_row(row, runs, quick);
        }
    }
}

fn measure_row(row: Row, runs: usize, quick: bool) {
    let folder = tempfile::Builder::new().prefix("stillpoint-bench-").tempdir().expect("a temporary folder");
    let top = folder.path();
    require_room(top, if quick { row.room() / 8 } else { row.room() });
    println!("\n## {row:?}{}, {runs} runs", if quick { ", a tenth" } else { "" });
    let data = top.join("data");
    let small = if quick { 50_000 } else { 500_000 };
    match row {
        Row::Mixed | Row::S3 => data::make_mixed(&data, quick),
        Row::Small => drop(tree::make(&data, small, SMALL_BYTES_MIN)),
        Row::Stream => data::make_stream(&data, quick),
        Row::Index => {}
    }
    let mut results = Results::default();
    for round in 0..runs {
        match row {
            Row::Mixed | Row::Small => steps(&mut results, top, Data::Tree(&data), None, round),
            Row::Stream => steps(&mut results, top, Data::Stream(&data), None, round),
            Row::S3 => {
                let server = SeaweedFs::start();
                steps(&mut results, top, Data::Tree(&data), Some(&server), round);
            }
            Row::Index => index(&mut results, top, if quick { 100_000 } else { 1_000_000 }),
        }
    }
    results.print();
}

/// Every step by every program, in turn; who comes first changes from round to round.
fn steps(results: &mut Results, top: &Path, data: Data<'_>, server: Option<&SeaweedFs>, round: usize) {
    let mut programs: Vec<Program> = Program::ALL.into_iter().filter(|one| one.path().is_some()).collect();
    // It speaks no S3.
    programs.retain(|one| server.is_none() || *one != Program::Borg);
    let count = programs.len();
    programs.rotate_left(round % count);
    let place = top.join("programs");
    std::fs::create_dir(&place).expect("create a folder");
    let mut benches: Vec<Bench> =
        programs.into_iter().map(|program| Bench::new(program, &place, server)).collect();
    benches.retain(|bench| taken(results, bench.init(), "init").is_some());
    for step in Step::ALL {
        match (step, data) {
            (Step::Changed, Data::Tree(tree)) => data::change_tree(tree, round as u64),
            (Step::Changed, Data::Stream(file)) => data::change_stream(file, round as u64),
            _ => {}
        }
        each(results, &mut benches, step, data);
    }
    std::fs::remove_dir_all(place).expect("remove the repositories");
}

/// One step by every program. Who fails does not go on.
fn each(results: &mut Results, benches: &mut Vec<Bench>, step: Step, data: Data<'_>) {
    benches.retain_mut(|bench| {
        let measured = bench.measure(step, data);
        let Some(usage) = taken(results, measured, step.name()) else { return false };
        eprintln!("{}, {}: {usage:.1?}", step.name(), bench.program.name());
        results.usages.entry((step, bench.program)).or_default().push(usage);
        if !matches!(step, Step::Restore | Step::Verify) {
            results.sizes.entry((step, bench.program)).or_default().push(bench.size());
        }
        true
    });
}

fn taken<T>(results: &mut Results, done: Result<T, String>, what: &str) -> Option<T> {
    done.map_err(|error| {
        eprintln!("{what}: {error}");
        results.failures.push(format!("{what}: {error}"));
    })
    .ok()
}

/// All work with the same archive of many blobs, which ours makes: it is their format, too.
fn index(results: &mut Results, top: &Path, blobs: u64) {
    let place = top.join("programs");
    std::fs::create_dir(&place).expect("create a folder");
    let ours = Bench::new(Program::Ours, &place, None);
    ours.init().expect("make the archive");
    let count = blobs.to_string();
    let made = ours.many(&count).expect("fill the archive");
    eprintln!("two versions, {blobs} blobs: {made:.1?}");
    results.usages.entry((Step::First, Program::Ours)).or_default().push(made);
    let mut benches = vec![ours];
    for program in [Program::Restic, Program::ResticNoCache, Program::Rustic] {
        if program.path().is_some() {
            let bench = Bench::new(program, &place, None);
            run::succeed(Command::new("cp").args(["-a", benches[0].place(), bench.place()]));
            benches.push(bench);
        }
    }
    // What is restored is not there to be compared with.
    let nothing = Data::Archive;
    for step in [Step::Restore, Step::Verify, Step::Prune] {
        each(results, &mut benches, step, nothing);
    }
    std::fs::remove_dir_all(place).expect("remove the repositories");
}

fn require_room(top: &Path, mebibytes: u64) {
    let room = rustix::fs::statvfs(top).expect("look at the disk");
    let free = (room.f_bavail * room.f_frsize) >> 20;
    assert!(free > mebibytes, "{} has {free} MiB free, and this needs {mebibytes}", top.display());
}
