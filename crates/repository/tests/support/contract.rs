//! What every store promises, as one suite for all of them. See the words of the trait `Store`.

#![allow(clippy::unwrap_used, reason = "what breaks a promise ends the test")]

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::thread;

use stillpoint_repository::Id;
use stillpoint_repository::store::{FileKind, FileName, Store, StoreErrorKind};

/// A kind of store to put to the test.
pub trait Place {
    /// An empty store that was made.
    fn fresh(&self) -> Box<dyn Store>;

    /// One that was never made; nothing where that cannot be.
    fn nowhere(&self) -> Option<Box<dyn Store>>;

    /// Whether one of several who write the same name at the same moment is refused by the service itself.
    fn excludes(&self) -> bool {
        true
    }

    /// Puts things beside the files of the repository that are none of it, where that can be done.
    fn litter(&self, _store: &dyn Store) {}
}

type Check = fn(&dyn Place);

/// Holds the whole contract against a place.
pub fn holds(place: &dyn Place) {
    let promises: [(&str, Check); 9] = [
        ("what was written is read, whole and in parts", what_was_written_is_read),
        ("too little is never given", too_little_is_never_given),
        ("nothing is replaced", nothing_is_replaced),
        ("lists are exact", lists_are_exact),
        ("what is removed is gone", what_is_removed_is_gone),
        ("no store is told from no file", no_store_is_told_from_no_file),
        ("making it again loses nothing", making_it_again_loses_nothing),
        ("one of many writers wins", one_of_many_writers_wins),
        ("large files and many names", large_files_and_many_names),
    ];
    for (promise, check) in promises {
        eprintln!("promise: {promise}");
        check(place);
    }
}

fn of(kind: FileKind, content: &[u8]) -> FileName {
    FileName::Of(kind, Id::of(content))
}

fn kind_of<T: std::fmt::Debug>(
    result: Result<T, stillpoint_repository::store::StoreError>,
) -> StoreErrorKind {
    let error = result.expect_err("this must fail");
    let text = error.to_string();
    assert!(!text.is_empty() && !text.contains('\n'), "one sentence: {text}");
    error.kind
}

/// Bytes that neither compress nor repeat.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut content: Vec<u8> = std::iter::repeat_with(&mut next).take(length.div_ceil(8)).flatten().collect();
    content.truncate(length);
    content
}

fn what_was_written_is_read(place: &dyn Place) {
    let store = place.fresh();
    let content = noise(300_000);
    let files = FileKind::ALL.map(|kind| of(kind, &content)).into_iter().chain([FileName::Config]);
    for file in files {
        store.write_new(file, &content).unwrap();
        assert!(store.read(file, None).unwrap() == content, "{file}");
        assert_eq!(store.stat(file).unwrap(), 300_000, "{file}");
        for range in [0..1, 0..300_000, 1..2, 32_767..98_305, 299_999..300_000] {
            let part = store.read(file, Some(range.clone())).unwrap();
            let wanted = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
            assert!(part == content[wanted], "{file} {range:?}");
        }
    }
}

fn too_little_is_never_given(place: &dyn Place) {
    let store = place.fresh();
    let (content, file) = (b"ten bytes!", of(FileKind::Pack, b"ten bytes!"));
    store.write_new(file, content).unwrap();
    for range in [0..11, 9..11, 10..11, 20..30] {
        assert_eq!(kind_of(store.read(file, Some(range.clone()))), StoreErrorKind::Lied, "{range:?}");
    }
    let missing = of(FileKind::Pack, b"missing");
    assert_eq!(kind_of(store.read(missing, None)), StoreErrorKind::NotFound);
    assert_eq!(kind_of(store.read(missing, Some(0..1))), StoreErrorKind::NotFound);
    assert_eq!(kind_of(store.stat(missing)), StoreErrorKind::NotFound);
    assert_eq!(kind_of(store.stat(FileName::Config)), StoreErrorKind::NotFound);
    let empty = of(FileKind::Index, b"");
    store.write_new(empty, b"").unwrap();
    assert_eq!(store.read(empty, None).unwrap(), b"");
    assert_eq!(store.stat(empty).unwrap(), 0);
}

fn nothing_is_replaced(place: &dyn Place) {
    let store = place.fresh();
    for file in [FileName::Config, of(FileKind::Key, b"a"), of(FileKind::Pack, b"a")] {
        store.write_new(file, b"first").unwrap();
        assert_eq!(
            kind_of(store.write_new(file, b"second, and longer")),
            StoreErrorKind::AlreadyExists,
            "{file}"
        );
        assert_eq!(kind_of(store.write_new(file, b"first")), StoreErrorKind::AlreadyExists, "{file}");
        assert_eq!(store.read(file, None).unwrap(), b"first", "{file}");
    }
}

fn listed(store: &dyn Store, kind: FileKind) -> Vec<(Id, u64)> {
    let mut found = Vec::new();
    store.list(kind, &mut |id, size| found.push((id, size))).unwrap();
    found.sort_unstable();
    found
}

fn lists_are_exact(place: &dyn Place) {
    let store = place.fresh();
    for kind in FileKind::ALL {
        assert_eq!(listed(&*store, kind), []);
    }
    place.litter(&*store);
    let mut wanted: BTreeMap<FileKind, Vec<(Id, u64)>> = BTreeMap::new();
    for (number, kind) in (0..20_usize).flat_map(|number| FileKind::ALL.map(|kind| (number, kind))) {
        let content = noise(number);
        let id = Id::of(format!("{kind:?} {number}").as_bytes());
        store.write_new(FileName::Of(kind, id), &content).unwrap();
        wanted.entry(kind).or_default().push((id, number as u64));
    }
    store.write_new(FileName::Config, b"config").unwrap();
    for (kind, mut files) in wanted {
        files.sort_unstable();
        assert_eq!(listed(&*store, kind), files, "{kind:?}");
    }
}

fn what_is_removed_is_gone(place: &dyn Place) {
    let store = place.fresh();
    for file in [of(FileKind::Lock, b"a"), of(FileKind::Pack, b"a")] {
        let FileName::Of(kind, _) = file else { unreachable!() };
        assert_eq!(kind_of(store.remove(file)), StoreErrorKind::NotFound, "{file}");
        store.write_new(file, b"a").unwrap();
        store.remove(file).unwrap();
        assert_eq!(kind_of(store.read(file, None)), StoreErrorKind::NotFound, "{file}");
        assert_eq!(kind_of(store.remove(file)), StoreErrorKind::NotFound, "{file}");
        assert_eq!(listed(&*store, kind), []);
        store.write_new(file, b"again").unwrap();
        assert_eq!(store.read(file, None).unwrap(), b"again", "{file}");
    }
}

fn no_store_is_told_from_no_file(place: &dyn Place) {
    let Some(store) = place.nowhere() else { return };
    let file = of(FileKind::Pack, b"a");
    assert_eq!(kind_of(store.read(FileName::Config, None)), StoreErrorKind::NoStore);
    assert_eq!(kind_of(store.read(file, Some(0..1))), StoreErrorKind::NoStore);
    assert_eq!(kind_of(store.stat(file)), StoreErrorKind::NoStore);
    assert_eq!(kind_of(store.write_new(file, b"a")), StoreErrorKind::NoStore);
    assert_eq!(kind_of(store.remove(file)), StoreErrorKind::NoStore);
    for kind in FileKind::ALL {
        assert_eq!(kind_of(store.list(kind, &mut |_, _| {})), StoreErrorKind::NoStore);
    }
}

fn making_it_again_loses_nothing(place: &dyn Place) {
    let store = place.fresh();
    store.write_new(FileName::Config, b"config").unwrap();
    store.create().unwrap();
    assert_eq!(store.read(FileName::Config, None).unwrap(), b"config");
}

fn one_of_many_writers_wins(place: &dyn Place) {
    if !place.excludes() {
        return;
    }
    let store = place.fresh();
    for round in 0..3_u8 {
        let file = match round {
            0 => FileName::Config,
            _ => of(FileKind::Lock, &[round]),
        };
        let start = Barrier::new(6);
        let outcomes: Vec<_> = thread::scope(|scope| {
            let write = |writer: u8| {
                let (store, start) = (&store, &start);
                scope.spawn(move || {
                    let content = vec![writer; 100_000 + usize::from(writer)];
                    start.wait();
                    (content.clone(), store.write_new(file, &content))
                })
            };
            let writers: Vec<_> = (0..6).map(write).collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(|(_, outcome)| outcome.is_ok());
        assert!(
            !won.is_empty() && (won.len() == 1 || !place.excludes()),
            "{file}: {} won, {lost:?}",
            won.len()
        );
        let content = store.read(file, None).unwrap();
        assert!(won.iter().any(|(written, _)| *written == content), "{file}");
        for (_, outcome) in lost {
            assert_eq!(kind_of(outcome), StoreErrorKind::AlreadyExists, "{file}");
        }
    }
}

fn large_files_and_many_names(place: &dyn Place) {
    let store = place.fresh();
    let large = noise(20_000_000);
    let file = FileName::Of(FileKind::Pack, Id::of(&large));
    store.write_new(file, &large).unwrap();
    assert!(store.read(file, None).unwrap() == large);
    assert!(store.read(file, Some(15_000_000..20_000_000)).unwrap() == large[15_000_000..]);
    store.remove(file).unwrap();
    // More than a page of any service has.
    let names: Vec<Id> = (0..1500_u32).map(|number| Id::of(&number.to_le_bytes())).collect();
    thread::scope(|scope| {
        for some in names.chunks(names.len() / 6) {
            let store = &store;
            scope.spawn(move || {
                for id in some {
                    store.write_new(FileName::Of(FileKind::Pack, *id), b"12345").unwrap();
                    store.write_new(FileName::Of(FileKind::Snapshot, *id), b"123456").unwrap();
                }
            });
        }
    });
    for (kind, size) in [(FileKind::Pack, 5), (FileKind::Snapshot, 6)] {
        let mut wanted: Vec<(Id, u64)> = names.iter().map(|id| (*id, size)).collect();
        wanted.sort_unstable();
        assert!(listed(&*store, kind) == wanted, "{kind:?}");
    }
}
