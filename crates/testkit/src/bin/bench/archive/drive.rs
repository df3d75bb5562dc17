//! One act of our own archive in a process of its own, so that its time and memory are its own.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use stillpoint_repository::store::{Credentials, FileKind, FileName, open};
use stillpoint_repository::{
    CheckOptions, Content, Contents, DataShare, Location, Moment, Part, PruneOptions, ReadState, Repository,
    RepositoryError, RestoreOptions, Saver, Secret, SnapshotFacts, Unwatched, check, forget, prune,
};
use stillpoint_tree::{Entry, FileFacts, Filter, Kind, RelPath, Timestamp};

use crate::tree::Noise;

/// Opens every repository of the bench.
pub const PASSWORD: &str = "benchmark";
/// Where the data lies in each version.
const PART: &str = "data";
/// Bytes of each blob of the archive with many blobs.
const TINY_BYTES: usize = 100;

/// Does it, and panics with the reason where it fails. `path` is the data for `save`, the target for `restore`, and for `many`
/// the number of blobs.
pub fn drive(act: &str, address: &str, path: Option<&Path>) {
    match act {
        "init" => drop(opened(address, |store, key| Repository::create(store, key, "bench"))),
        "save" => save(address, |part| part.tree(wanted(path), Filter::default(), None)),
        "save-stream" => save(address, |part| {
            let entry = file("", 0);
            part.entry(&entry, Content::Stream(&mut std::io::stdin().lock()), false)
        }),
        "many" => many(address, wanted(path).display().to_string().parse().expect("a number")),
        "restore" => {
            let report = latest(address).1.restore(wanted(path), &RestoreOptions::default(), &Unwatched);
            let report = report.expect("restore");
            assert!(report.problem_count == 0, "restore: {:?}", report.problems);
        }
        "dump" => {
            let at = name(&format!("version/{PART}"));
            latest(address).1.dump(&at, &mut std::io::stdout().lock(), &Unwatched).expect("dump");
        }
        "verify" => {
            let options = CheckOptions { data: DataShare::All, ..CheckOptions::default() };
            let report = check(&existing(address), &options, &mut ReadState::default(), &Unwatched);
            let report = report.expect("check");
            assert!(report.is_good() && report.unfinished.is_none(), "check: {report:?}");
        }
        "prune" => {
            let repository = existing(address);
            let mut versions = repository.snapshots().expect("list the versions");
            versions.pop();
            let versions: Vec<_> = versions.into_iter().map(|(id, _)| id).collect();
            forget(&repository, &versions, Duration::from_secs(60), &Unwatched).expect("forget");
            let report = prune(&repository, &PruneOptions::default(), &Unwatched).expect("prune");
            assert!(report.postponed.is_none(), "prune: {report:?}");
        }
        "size" => println!("{}", size(&existing(address))),
        _ => unreachable!("{act}: what is that?"),
    }
}

fn wanted(path: Option<&Path>) -> &Path {
    path.expect("a path")
}

fn opened(
    address: &str,
    open_it: impl FnOnce(
        Box<dyn stillpoint_repository::store::Store>,
        &Secret,
    ) -> Result<Repository, RepositoryError>,
) -> Repository {
    let variable = |name: &str| std::env::var(name).ok();
    let credentials = Credentials {
        access_key_id: variable("AWS_ACCESS_KEY_ID"),
        secret_access_key: variable("AWS_SECRET_ACCESS_KEY"),
        ..Credentials::default()
    };
    let store =
        open(&Location::from_str(address).expect("an address"), &credentials).expect("open the store");
    open_it(store, &Secret::new(PASSWORD.into())).expect("open the archive")
}

fn existing(address: &str) -> Repository {
    opened(address, Repository::open)
}

fn latest(address: &str) -> (Repository, Contents) {
    let repository = existing(address);
    let (_, snapshot) = repository.snapshots().expect("list the versions").pop().expect("a version");
    let contents = Contents::open(&repository, &snapshot).expect("open the version");
    (repository, contents)
}

fn save(address: &str, fill: impl FnOnce(&mut Part) -> Result<(), RepositoryError>) {
    let repository = existing(address);
    let parent = repository.snapshots().expect("list the versions").pop();
    let saver = Saver::begin(&repository, parent, Arc::new(Unwatched)).expect("begin a version");
    let mut part = saver.part(&name(PART)).expect("begin a part");
    fill(&mut part).expect("save");
    let report = part.end().expect("end the part");
    assert!(report.left_out == 0, "something could not be read: {report:?}");
    let facts = SnapshotFacts {
        time: Moment::now(),
        hostname: "bench".into(),
        path: "/version".into(),
        tags: Vec::new(),
        incomplete: false,
        folder: entry("", Kind::Directory),
    };
    saver.finish(&facts).expect("finish the version");
}

/// A version with this many files, each a blob of its own, and one that lacks a tenth of them.
fn many(address: &str, count: u64) {
    for version in 0..2 {
        save(address, |part| {
            part.entry(&entry("", Kind::Directory), Content::None, false)?;
            for number in 0..count {
                if number % 1000 == 0 {
                    let folder = format!("{:06}", number / 1000);
                    part.entry(&entry(&folder, Kind::Directory), Content::None, false)?;
                }
                if version == 1 && number % 10 == 0 {
                    continue;
                }
                let mut content = [0; TINY_BYTES];
                Noise::new(number).fill(&mut content);
                let entry = file(&format!("{:06}/{number:09}", number / 1000), TINY_BYTES as u64);
                part.entry(&entry, Content::Stream(&mut &content[..]), false)?;
            }
            Ok(())
        });
    }
}

/// Bytes of all files of the repository.
fn size(repository: &Repository) -> u64 {
    let mut total = 0;
    for kind in [FileKind::Key, FileKind::Lock, FileKind::Snapshot, FileKind::Index, FileKind::Pack] {
        repository.store().list(kind, &mut |_, size| total += size).expect("list the archive");
    }
    total + repository.store().stat(FileName::Config).expect("look at config")
}

fn name(text: &str) -> RelPath {
    RelPath::from_bytes(text.into()).expect("a path")
}

fn file(path: &str, size: u64) -> Entry {
    entry(path, Kind::File(FileFacts { size, sha256: None }))
}

fn entry(path: &str, kind: Kind) -> Entry {
    let path = if path.is_empty() { RelPath::top() } else { name(path) };
    Entry {
        path,
        kind,
        mode: 0o700,
        uid: 0,
        gid: 0,
        mtime: Timestamp::default(),
        xattrs: Vec::new(),
        hard_link: None,
        origin: None,
    }
}
