//! Which versions, components and files need what is lost.
//!
//! First each folder is judged once: whether anything in it or below is lost. Then each version is walked, only where
//! something is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::damage::Damage;
use crate::blob::BlobKind;
use crate::error::RepositoryError;
use crate::id::Id;
use crate::index::Index;
use crate::marks::{Bits, needs_of};
use crate::node::{Node, NodeKind};
use crate::repository::Repository;
use crate::snapshot::Snapshot;
use crate::time::Moment;
use crate::trees::TreeReader;
use crate::watch::Watcher;

/// A version that needs what is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touched {
    /// The version.
    pub version: Id,
    /// The moment of which it is.
    pub time: Moment,
    /// The components that are touched.
    pub components: Vec<String>,
    /// The first of the files and folders that are touched, as paths in the version.
    pub files: Vec<String>,
    /// How many there are.
    pub files_count: u64,
}

/// By pack; what no index file knows is in none.
pub(crate) type Touches = BTreeMap<Option<Id>, Vec<Touched>>;

/// Finds who is touched.
pub(crate) fn trace(
    repository: &Repository,
    index: &Arc<Index>,
    damage: &Damage<'_>,
    versions: &[(Id, Snapshot)],
    names_max: usize,
    watcher: &dyn Watcher,
) -> Result<Touches, RepositoryError> {
    let count = index.count(BlobKind::Tree);
    let reader = TreeReader::new(repository.clone(), Arc::clone(index));
    let (judged, touched) = (Bits::new(count), Bits::new(count));
    let mut tracer =
        Tracer { repository, index, damage, reader, judged, touched, names_max, touches: Touches::new() };
    for (id, version) in versions {
        watcher.check()?;
        tracer.judge(version.tree, watcher)?;
        tracer.walk(*id, version)?;
    }
    Ok(tracer.touches)
}

struct Tracer<'t> {
    repository: &'t Repository,
    index: &'t Arc<Index>,
    damage: &'t Damage<'t>,
    reader: TreeReader,
    /// By the numbers of the tree blobs.
    judged: Bits,
    touched: Bits,
    names_max: usize,
    touches: Touches,
}

/// A folder that is being judged.
struct Open {
    number: usize,
    below: Vec<Id>,
    touched: bool,
}

impl Tracer<'_> {
    /// Judges a folder and all below it that was not judged before.
    fn judge(&mut self, top: Id, watcher: &dyn Watcher) -> Result<(), RepositoryError> {
        let mut open: Vec<Open> = Vec::new();
        let mut next = Some(top);
        loop {
            if let Some(id) = next.take() {
                match self.index.number_of(BlobKind::Tree, &id) {
                    Some(number) if !self.judged.has(number) && !self.damage.is_lost(BlobKind::Tree, &id) => {
                        watcher.check()?;
                        open.push(self.open(number, &id)?);
                    }
                    _ => {
                        let is_touched = self.is_touched(&id);
                        if let Some(above) = open.last_mut() {
                            above.touched |= is_touched;
                        }
                    }
                }
            }
            let Some(folder) = open.last_mut() else { return Ok(()) };
            next = folder.below.pop();
            if next.is_none() {
                let (number, is_touched) = (folder.number, folder.touched);
                self.judged.set(number);
                if is_touched {
                    self.touched.set(number);
                }
                open.pop();
                if let Some(above) = open.last_mut() {
                    above.touched |= is_touched;
                }
            }
        }
    }

    fn open(&self, number: usize, id: &Id) -> Result<Open, RepositoryError> {
        let text = self.repository.read_blob(self.index, BlobKind::Tree, id)?;
        let mut folder = Open { number, below: Vec::new(), touched: false };
        for need in needs_of(id, &text)? {
            folder.touched |=
                need.content.iter().flatten().any(|blob| self.damage.is_lost(BlobKind::Data, blob));
            folder.touched |= need.kind == NodeKind::Dir && need.subtree.is_none();
            folder.below.extend(need.subtree);
        }
        Ok(folder)
    }

    /// Whether the folder, which was judged, or anything below it is lost.
    fn is_touched(&self, id: &Id) -> bool {
        let number = self.index.number_of(BlobKind::Tree, id);
        self.damage.is_lost(BlobKind::Tree, id) || number.is_none_or(|number| self.touched.has(number))
    }

    fn walk(&mut self, id: Id, version: &Snapshot) -> Result<(), RepositoryError> {
        if !self.is_touched(&version.tree) {
            return Ok(());
        }
        let depth = version.paths.first().map_or(0, |path| path.split('/').filter(|n| !n.is_empty()).count());
        let mut found = Found {
            version: id,
            time: version.time,
            depth,
            names_max: self.names_max,
            by_pack: BTreeMap::new(),
        };
        let mut waiting = vec![(Vec::new(), version.tree)];
        while let Some((path, folder)) = waiting.pop() {
            if self.damage.is_lost(BlobKind::Tree, &folder) {
                found.add(&self.places(BlobKind::Tree, &folder), &path);
                continue;
            }
            for node in self.reader.nodes(&folder)? {
                let node = node.map_err(|why| crate::trees::damaged_folder(&folder, &why))?;
                let path = [path.as_slice(), b"/", &node.name].concat();
                match node.subtree {
                    Some(subtree) if self.is_touched(&subtree) => waiting.push((path, subtree)),
                    None if node.kind == NodeKind::Dir => {
                        found.add(&self.places(BlobKind::Tree, &folder), &path)
                    }
                    _ => found.add(&self.lost_places(&node), &path),
                }
            }
        }
        for (pack, touched) in found.finish() {
            self.touches.entry(pack).or_default().push(touched);
        }
        Ok(())
    }

    /// The packs that hold what is lost of a file.
    fn lost_places(&self, node: &Node) -> BTreeSet<Option<Id>> {
        let lost = node.blobs().iter().filter(|blob| self.damage.is_lost(BlobKind::Data, blob));
        lost.flat_map(|blob| self.places(BlobKind::Data, blob)).collect()
    }

    fn places(&self, kind: BlobKind, id: &Id) -> BTreeSet<Option<Id>> {
        let mut places: BTreeSet<Option<Id>> =
            self.index.find(kind, id).map(|place| Some(place.pack)).collect();
        if places.is_empty() {
            places.insert(None);
        }
        places
    }
}

/// What is found of one version.
struct Found {
    version: Id,
    time: Moment,
    /// How many names the path of the version has. The next one is that of a component.
    depth: usize,
    names_max: usize,
    by_pack: BTreeMap<Option<Id>, (BTreeSet<String>, Vec<String>, u64)>,
}

impl Found {
    fn add(&mut self, packs: &BTreeSet<Option<Id>>, path: &[u8]) {
        let path = if path.is_empty() { b"/" } else { path };
        let text = String::from_utf8_lossy(path);
        let component = text.split('/').filter(|name| !name.is_empty()).nth(self.depth);
        for pack in packs {
            let (components, files, count) = self.by_pack.entry(*pack).or_default();
            components.extend(component.map(str::to_owned));
            if files.len() < self.names_max {
                files.push(text.clone().into_owned());
            }
            *count += 1;
        }
    }

    fn finish(self) -> impl Iterator<Item = (Option<Id>, Touched)> {
        let Self { version, time, by_pack, .. } = self;
        by_pack.into_iter().map(move |(pack, (components, files, files_count))| {
            let components = components.into_iter().collect();
            (pack, Touched { version, time, components, files, files_count })
        })
    }
}
