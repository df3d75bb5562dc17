//! What was found damaged: one bit a place of a blob, and a sentence a pack.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use crate::blob::BlobKind;
use crate::id::Id;
use crate::index::{Index, Location};
use crate::marks::{Flaw, Used};
use crate::save::upload::lock;

/// Collects, from several threads.
pub(crate) struct Damage<'i> {
    index: &'i Index,
    /// Places where a blob cannot be read, by their numbers.
    bad: Used,
    /// What is wrong with packs. The first thing found is told.
    packs: Mutex<BTreeMap<Id, String>>,
    /// Blobs that versions need and no index file knows.
    unknown: Mutex<BTreeSet<(BlobKind, Id)>>,
}

impl<'i> Damage<'i> {
    pub fn none_of(index: &'i Index) -> Self {
        Self { index, bad: Used::none_of(index), packs: Mutex::default(), unknown: Mutex::default() }
    }

    pub fn pack(&self, pack: Id, why: &str) {
        lock(&self.packs).entry(pack).or_insert_with(|| why.to_owned());
    }

    /// The blob at this place is damaged.
    pub fn blob(&self, number: usize, location: &Location, why: &str) {
        self.bad.of(location.blob.kind).set(number);
        let (kind, id) = (location.blob.kind, location.blob.id.short());
        lock(&self.packs)
            .entry(location.pack)
            .or_insert_with(|| format!("the {kind} blob {id} in it is damaged: {why}"));
    }

    /// What was missed when the versions were gone through.
    pub fn flaw(&self, flaw: &Flaw) {
        let Some(first) = self.index.number_of(flaw.kind, &flaw.id) else {
            lock(&self.unknown).insert((flaw.kind, flaw.id));
            return;
        };
        for (number, location) in (first..).zip(self.index.find(flaw.kind, &flaw.id)) {
            self.bad.of(flaw.kind).set(number);
            self.pack(location.pack, &flaw.error.text);
        }
    }

    /// Whether the blob can be read nowhere.
    pub fn is_lost(&self, kind: BlobKind, id: &Id) -> bool {
        match self.index.number_of(kind, id) {
            None => true,
            Some(first) => {
                (first..).zip(self.index.find(kind, id)).all(|(number, _)| self.bad.of(kind).has(number))
            }
        }
    }

    pub fn is_none(&self) -> bool {
        lock(&self.packs).is_empty() && lock(&self.unknown).is_empty()
    }

    /// The packs with what is wrong with them, how many of their blobs are damaged, and how many of those are lost.
    pub fn packs(&self) -> Vec<(Id, String, u64, u64)> {
        let mut counts: BTreeMap<Id, (u64, u64)> = BTreeMap::new();
        for kind in BlobKind::ALL {
            for (number, location) in self.index.places(kind).enumerate() {
                if self.bad.of(kind).has(number) {
                    let (bad, lost) = counts.entry(location.pack).or_default();
                    *bad += 1;
                    *lost += u64::from(self.is_lost(kind, &location.blob.id));
                }
            }
        }
        let packs = lock(&self.packs);
        let with_counts = packs.iter().map(|(id, why)| {
            let (bad, lost) = counts.get(id).copied().unwrap_or_default();
            (*id, why.clone(), bad, lost)
        });
        with_counts.collect()
    }

    /// Whether the pack has anything wrong with it.
    pub fn has(&self, pack: &Id) -> bool {
        lock(&self.packs).contains_key(pack)
    }

    /// Whether the blob cannot be read at this place.
    pub fn is_bad(&self, kind: BlobKind, number: usize) -> bool {
        self.bad.of(kind).has(number)
    }

    /// The blobs that are needed and can be read nowhere.
    pub fn lost(&self, used: &Used) -> BTreeSet<(BlobKind, Id)> {
        let mut lost = lock(&self.unknown).clone();
        for kind in BlobKind::ALL {
            for (number, location) in self.index.places(kind).enumerate() {
                if used.of(kind).has(number) && self.is_lost(kind, &location.blob.id) {
                    lost.insert((kind, location.blob.id));
                }
            }
        }
        lost
    }

    /// The same damage in the numbers of a newer index of the same archive.
    pub fn in_index<'n>(&self, newer: &'n Index) -> Damage<'n> {
        let damage = Damage::none_of(newer);
        lock(&damage.packs).clone_from(&lock(&self.packs));
        for kind in BlobKind::ALL {
            for (_, old) in
                self.index.places(kind).enumerate().filter(|(number, _)| self.is_bad(kind, *number))
            {
                let first = newer.number_of(kind, &old.blob.id).unwrap_or_default();
                for (number, new) in (first..).zip(newer.find(kind, &old.blob.id)) {
                    if (new.pack, new.blob) == (old.pack, old.blob) {
                        damage.bad.of(kind).set(number);
                    }
                }
            }
        }
        damage
    }

    pub fn unknown_count(&self) -> u64 {
        lock(&self.unknown).len() as u64
    }
}
