//! The contract of stores, held by those that need no server. Those of other machines: `stores.rs` of the test kit.

#![allow(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

#[path = "support/contract.rs"]
mod suite;

use std::fs;

use stillpoint_repository::Id;
use stillpoint_repository::store::{FileKind, FileName, LocalStore, MemoryStore, Store};
use suite::{Place, holds};

struct Memory;

impl Place for Memory {
    fn fresh(&self) -> Box<dyn Store> {
        Box::new(MemoryStore::default())
    }

    fn nowhere(&self) -> Option<Box<dyn Store>> {
        None
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn other(&self) -> LocalStore {
        LocalStore::new(&self.0.path().join(Id::random().unwrap().short()))
    }
}

impl Place for Folder {
    fn fresh(&self) -> Box<dyn Store> {
        let store = self.other();
        store.create().unwrap();
        Box::new(store)
    }

    fn nowhere(&self) -> Option<Box<dyn Store>> {
        // A disk that is not mounted leaves an empty folder.
        let empty = self.0.path().join("empty");
        fs::create_dir_all(&empty).unwrap();
        Some(Box::new(LocalStore::new(&empty)))
    }

    fn litter(&self, store: &dyn Store) {
        let root = store.name().strip_prefix("the archive in ").unwrap().to_owned();
        let id = Id::of(b"litter");
        for path in [
            format!("keys/{id}-tmp-0123456789abcdef"),
            format!("data/00/{id}-tmp-0123456789abcdef"),
            "data/note".to_owned(),
            format!("index/.{id}"),
        ] {
            fs::write(format!("{root}/{path}"), "litter").unwrap();
        }
        fs::create_dir(format!("{root}/snapshots/{id}")).unwrap();
    }
}

#[test]
fn memory_keeps_the_contract() {
    holds(&Memory);
}

#[test]
fn a_folder_keeps_the_contract() {
    holds(&Folder(tempfile::tempdir().unwrap()));
}

#[test]
fn empty_folders_that_got_lost_are_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::new(folder.path());
    store.create().unwrap();
    store.write_new(FileName::Config, b"config").unwrap();
    fs::remove_dir_all(folder.path().join("data")).unwrap();
    fs::remove_dir(folder.path().join("locks")).unwrap();
    store.list(FileKind::Lock, &mut |_, _| panic!("nothing is there")).unwrap();
    store.list(FileKind::Pack, &mut |_, _| panic!("nothing is there")).unwrap();
    let file = FileName::Of(FileKind::Pack, Id::of(b"a"));
    store.write_new(file, b"a").unwrap();
    assert_eq!(store.read(file, None).unwrap(), b"a");
}
