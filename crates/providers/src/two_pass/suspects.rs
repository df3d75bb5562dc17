//! From what a tracker tells, or from a scan, to the entries that a pass must take.

use std::collections::{BTreeMap, HashMap};
use std::io;

use stillpoint_tree::{Filter, RelPath, Timestamp};

use super::delta::{Delta, Fact, is_below, is_listed};
use super::links::Links;
use super::reader::{Reader, Stat};
use super::scan::{Names, Scan};
use super::tracker::{How, Suspect};

/// One entry to be taken.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// Where.
    pub(super) path: RelPath,
    /// What was seen there; nothing when it is gone.
    pub(super) stat: Option<Stat>,
    /// Of a folder: all that is in it is to be taken as well, and nothing else is in it.
    pub(super) whole: bool,
    /// Of a folder: the names in it.
    pub(super) names: Option<Names>,
}

/// The search for what changed.
pub(super) struct Search<'a> {
    /// Looks at the source.
    pub(super) reader: &'a mut Reader,
    /// What is taken at all.
    pub(super) filter: &'a Filter,
    /// What earlier passes found.
    pub(super) delta: &'a Delta,
    /// Files with several names.
    pub(super) links: &'a mut Links,
    /// When the first pass began.
    pub(super) first: Timestamp,
    /// Entries found so far.
    items: BTreeMap<RelPath, Item>,
    /// What could not be looked at.
    unseen: Vec<(RelPath, io::Error)>,
}

/// What a search found.
#[derive(Debug)]
pub(super) struct Findings {
    /// What must be taken, in canonical order.
    pub(super) items: Vec<Item>,
    /// What could not be looked at.
    pub(super) unseen: Vec<(RelPath, io::Error)>,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        reader: &'a mut Reader,
        filter: &'a Filter,
        delta: &'a Delta,
        links: &'a mut Links,
        first: Timestamp,
    ) -> Self {
        reader.forget();
        Self { reader, filter, delta, links, first, items: BTreeMap::new(), unseen: Vec::new() }
    }

    /// Looks at suspects.
    pub(super) fn add_suspects(&mut self, suspects: &BTreeMap<RelPath, Suspect>) {
        let mut covered: Option<RelPath> = None;
        for (path, suspect) in suspects {
            if covered.as_ref().is_some_and(|folder| is_below(path, folder)) {
                continue;
            }
            self.look(path, suspect.how);
            covered =
                self.items.get(path).filter(|item| item.whole).map(|item| item.path.clone()).or(covered);
        }
    }

    /// Looks at every entry: takes what changed at or after `since`. `folders` has the inode of every folder of the first
    /// list. Without `stamps_renames` an entry may have come to its place without a new change time, so all entries of a
    /// changed folder are taken.
    pub(super) fn add_changed_since(
        &mut self,
        since: Timestamp,
        folders: &HashMap<RelPath, u64>,
        stamps_renames: bool,
    ) {
        let mut above: Vec<(RelPath, bool, bool)> = Vec::new();
        let mut scan = Scan::new(self.reader, RelPath::top());
        while let Some(visit) = scan.next() {
            let visit = match visit {
                Ok(visit) => visit,
                Err(unseen) => {
                    self.unseen.push((unseen.path, unseen.error));
                    continue;
                }
            };
            while above.last().is_some_and(|(folder, ..)| !is_below(&visit.path, folder)) {
                above.pop();
            }
            let (parent_changed, parent_whole) = above.last().map_or((false, false), |l| (l.1, l.2));
            let is_folder = visit.stat.is_folder();
            let fresh = visit.stat.ctime >= since;
            let moved_here = is_folder
                && parent_changed
                && folder_inode(self.delta, folders, &visit.path) != Some(visit.stat.inode);
            let whole = is_folder && (parent_whole || moved_here);
            let changed = fresh || whole || parent_whole || (parent_changed && !stamps_renames);
            // Filters are slow; an unchanged file need not be asked about.
            if (is_folder || changed) && !self.filter.takes(&visit.path, is_folder) {
                if visit.names.is_some() {
                    scan.leave_out();
                }
                continue;
            }
            if is_folder {
                above.push((visit.path.clone(), changed, whole));
            }
            if changed {
                let names = visit.names.filter(|_| !whole);
                let item = Item { path: visit.path.clone(), stat: Some(visit.stat), whole, names };
                self.items.insert(visit.path, item);
            }
        }
    }

    /// Adds all names of files with several of which one is concerned, and ends the search.
    pub(super) fn finish(mut self) -> Findings {
        let mut looked: Vec<RelPath> = self.items.keys().cloned().collect();
        while !looked.is_empty() {
            let mut more = Vec::new();
            for path in &looked {
                if let Some(item) = self.items.get(path) {
                    more.extend(self.concerned(item));
                }
            }
            looked.clear();
            for path in more {
                if !self.items.contains_key(&path) {
                    self.look(&path, How::Changed);
                    looked.push(path);
                }
            }
            looked.retain(|path| self.items.contains_key(path));
        }
        for item in self.items.values() {
            if let Some(stat) = item.stat.filter(|stat| stat.is_file() && stat.links > 1) {
                self.links.add(stat.inode, &item.path);
            }
        }
        Findings { items: self.items.into_values().collect(), unseen: self.unseen }
    }

    /// The names of files with several names that an item concerns.
    fn concerned(&self, item: &Item) -> Vec<RelPath> {
        let mut names: Vec<RelPath> = Vec::new();
        names.extend(self.links.of_path(&item.path).into_iter().flatten().cloned());
        let stat = item.stat;
        if let Some(stat) = stat.filter(|stat| stat.is_file() && stat.links > 1) {
            names.extend(self.links.of_inode(stat.inode).into_iter().flatten().cloned());
        }
        // Names that went with a folder: no event and no change time tells of them.
        let kept = |path: &RelPath| {
            stat.is_some_and(|stat| stat.is_folder())
                && !item.whole
                && item
                    .names
                    .as_ref()
                    .is_none_or(|listed| is_listed(listed, &child_towards(&item.path, path)))
        };
        for lost in self.links.below(&item.path).filter(|path| !kept(path)) {
            names.extend(self.links.of_path(lost).into_iter().flatten().cloned());
        }
        names
    }

    /// Looks at one entry.
    fn look(&mut self, path: &RelPath, how: How) {
        let stat = match self.reader.stat(path) {
            Ok(stat) => stat,
            Err(error) => return self.unseen.push((path.clone(), error)),
        };
        let is_folder = stat.is_some_and(|stat| stat.is_folder());
        if !self.filter.takes(path, is_folder) {
            // It may have been taken while it was something else.
            if self.filter.takes(path, !is_folder) {
                self.put(path.clone(), None, false);
            }
            return;
        }
        let Some(stat) = stat else { return self.put(path.clone(), None, false) };
        if how == How::Look && self.is_unchanged(path, &stat) {
            return;
        }
        let was_gone = matches!(self.delta.get(path), Some(Fact::Gone));
        if is_folder && (how == How::Whole || was_gone) && !path.is_top() {
            self.look_through(path);
        } else {
            self.put(path.clone(), Some(stat), false);
        }
    }

    /// Takes a folder with all that is in it.
    fn look_through(&mut self, folder: &RelPath) {
        let mut scan = Scan::new(self.reader, folder.clone());
        let mut found = Vec::new();
        while let Some(visit) = scan.next() {
            match visit {
                Ok(visit) => {
                    let is_folder = visit.stat.is_folder();
                    if self.filter.takes(&visit.path, is_folder) {
                        found.push((visit.path, visit.stat, is_folder));
                    } else if visit.names.is_some() {
                        scan.leave_out();
                    }
                }
                Err(unseen) => self.unseen.push((unseen.path, unseen.error)),
            }
        }
        for (path, stat, whole) in found {
            self.put(path, Some(stat), whole);
        }
    }

    fn put(&mut self, path: RelPath, stat: Option<Stat>, whole: bool) {
        self.items.insert(path.clone(), Item { path, stat, whole, names: None });
    }

    /// Whether what was taken of it still counts: nothing changed at or after the beginning of the pass that took it.
    fn is_unchanged(&self, path: &RelPath, stat: &Stat) -> bool {
        match self.delta.get(path) {
            Some(Fact::Here(here)) => here.inode() == stat.inode && stat.ctime < here.pass.threshold(),
            Some(Fact::Gone) => false,
            None => stat.ctime < self.first,
        }
    }
}

/// The inode of the folder that was known at `path`.
fn folder_inode(delta: &Delta, folders: &HashMap<RelPath, u64>, path: &RelPath) -> Option<u64> {
    match delta.get(path) {
        Some(Fact::Here(here)) => here.is_folder().then(|| here.inode()),
        Some(Fact::Gone) => None,
        None if delta.is_under_whole(path) => None,
        None => folders.get(path).copied(),
    }
}

/// The entry directly in `folder` that is `path` or that `path` lies in.
fn child_towards(folder: &RelPath, path: &RelPath) -> RelPath {
    let mut child = path.clone();
    while let Some(parent) = child.parent() {
        if parent == *folder {
            break;
        }
        child = parent;
    }
    child
}
