//! The data that is saved, and how a hundredth of it changes.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use stillpoint_testkit::program;

use crate::tree::Noise;

const MIB: u64 = 1 << 20;
/// Pages of databases have this many bytes.
const PAGE_BYTES: usize = 8 << 10;
/// So many of them do not compress.
const NOISE_BYTES: usize = 2 << 10;
/// One file in so many changes.
const CHANGED_ONE_IN: usize = 100;
/// Files that are longer do not change by being appended to.
const APPENDED_MAX: u64 = 10 * MIB;

/// What programs, documents and source code make up on this machine, a large file of noise, a large text, a second name of it,
/// and a file that is mostly a hole.
pub fn make_mixed(top: &Path, quick: bool) {
    std::fs::create_dir(top).expect("create a folder");
    let home = std::env::var("CARGO_HOME").map_or_else(
        |_| PathBuf::from(std::env::var("HOME").unwrap_or_default()).join(".cargo"),
        PathBuf::from,
    );
    let all = [
        ("include", "/usr/include".into()),
        ("share", "/usr/share".into()),
        ("sources", home.join("registry/src")),
    ];
    for (name, from) in &all[..if quick { 1 } else { 3 }] {
        program::succeed(Command::new("cp").arg("-a").arg(from).arg(top.join(name)));
    }
    let tenth = if quick { 10 } else { 1 };
    fill(&top.join("random"), 512 * MIB / tenth, |noise, buffer| noise.fill(buffer));
    fill(&top.join("dump.sql"), 400 * MIB / tenth, write_statements);
    std::fs::hard_link(top.join("dump.sql"), top.join("dump-again.sql")).expect("link a file");
    let image = File::create(top.join("image")).expect("create a file");
    image.set_len(300 * MIB).expect("make a hole");
    let mut content = vec![0; 5 << 20];
    Noise::new(5).fill(&mut content);
    image.write_all_at(&content, 100 * MIB).expect("write a file");
}

/// Pages with rows, a third of their size when compressed.
pub fn make_stream(file: &Path, quick: bool) {
    let mut text = vec![0; PAGE_BYTES];
    write_statements(&mut Noise::new(7), &mut text);
    fill(file, if quick { 400 * MIB } else { 4000 * MIB }, |noise, buffer| {
        for page in buffer.chunks_mut(PAGE_BYTES) {
            let shift = usize::try_from(noise.next()).unwrap_or(0) % PAGE_BYTES;
            let length = page.len();
            page.copy_from_slice(&text[..length]);
            page.rotate_left(shift % length.max(1));
            noise.fill(&mut page[..NOISE_BYTES.min(length)]);
        }
    });
}

fn fill(path: &Path, bytes: u64, mut write: impl FnMut(&mut Noise, &mut [u8])) {
    let mut file = File::create(path).expect("create a file");
    let (mut noise, mut buffer) = (Noise::new(bytes), vec![0; 1 << 20]);
    for _ in 0..bytes / MIB {
        write(&mut noise, &mut buffer);
        file.write_all(&buffer).expect("write a file");
    }
}

fn write_statements(noise: &mut Noise, buffer: &mut [u8]) {
    let mut left = &mut buffer[..];
    while !left.is_empty() {
        let (number, amount) = (noise.next(), noise.next());
        let line = format!(
            "INSERT INTO orders VALUES ({}, 'customer-{}', {}.{:02}, '2026-{:02}-{:02}', 'in transit', NULL);\n",
            number >> 32,
            number % 100_000,
            amount % 10_000,
            amount % 100,
            amount % 12 + 1,
            amount % 28 + 1
        );
        let length = line.len().min(left.len());
        left[..length].copy_from_slice(&line.as_bytes()[..length]);
        left = &mut left[length..];
    }
}

/// Files and their bytes, each name counted.
pub fn amount(top: &Path) -> (u64, u64) {
    let (mut files, mut bytes) = (0, 0);
    each_file(top, &mut |path| {
        files += 1;
        bytes += std::fs::symlink_metadata(path).expect("look at a file").len();
    });
    (files, bytes)
}

fn each_file(folder: &Path, found: &mut dyn FnMut(&Path)) {
    let mut entries: Vec<_> = std::fs::read_dir(folder)
        .expect("list a folder")
        .map(|entry| entry.expect("list a folder"))
        .collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type().expect("look at a file");
        if kind.is_dir() {
            each_file(&entry.path(), found);
        } else if kind.is_file() {
            found(&entry.path());
        }
    }
}

/// Appends to one file in a hundred, and rewrites a hundredth of what is too long for that.
pub fn change_tree(top: &Path, round: u64) {
    let mut number = 0;
    each_file(top, &mut |path| {
        let length = std::fs::metadata(path).expect("look at a file").len();
        number += 1;
        if length > APPENDED_MAX && path.ends_with("random") {
            change_stream(path, round);
        } else if length <= APPENDED_MAX && number % CHANGED_ONE_IN == 0 {
            let mut more = vec![0; 1000];
            Noise::new(round + number as u64).fill(&mut more);
            let file = File::options().append(true).open(path).map(BufWriter::new);
            file.and_then(|mut file| file.write_all(&more)).expect("append to a file");
        }
    });
}

/// Rewrites a hundredth of a file, in places of a MiB.
pub fn change_stream(path: &Path, round: u64) {
    let file = File::options().write(true).open(path).expect("open a file");
    let length = file.metadata().expect("look at a file").len();
    let (mut noise, mut content) = (Noise::new(round), vec![0; 1 << 20]);
    for _ in 0..length / MIB / 100 {
        noise.fill(&mut content);
        let at = noise.next() % (length - MIB);
        file.write_all_at(&content, at).expect("rewrite a part of a file");
    }
}
