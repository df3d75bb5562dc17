//! From what a tracker tells, or from a scan, to the entries that a pass must take.

use std::collections::BTreeMap;
use std::io;

use stillpoint_tree::{Filter, RelPath, Timestamp};

use super::delta::{Delta, Fact, child_towards, is_below, is_listed};
use super::links::Links;
use super::reader::{Reader, Stat};
use super::remembered::Remembered;
use super::scan::{Names, Scan, Visit};
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
    has_scanned: bool,
}

/// What a search found.
#[derive(Debug)]
pub(super) struct Findings {
    /// What must be taken, in canonical order.
    pub(super) items: Vec<Item>,
    /// What could not be looked at.
    pub(super) unseen: Vec<(RelPath, io::Error)>,
    /// A file has names that are not known: only a scan can tell whether they are in the tree.
    pub(super) misses_names: bool,
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
        Self {
            reader,
            filter,
            delta,
            links,
            first,
            items: BTreeMap::new(),
            unseen: Vec::new(),
            has_scanned: false,
        }
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

    /// Looks at every entry, and compares it with what is known of its path. `remembered` is what the first list says.
    ///
    /// Change times alone would not do: a folder that was moved away while a pass came by, and back again, holds entries that
    /// no pass has seen and whose own change times are old.
    pub(super) fn add_by_scan(&mut self, remembered: &Remembered) {
        self.has_scanned = true;
        let mut above: Vec<Above<'_>> = Vec::new();
        let mut scan = Scan::new(self.reader, RelPath::top());
        while let Some(visit) = scan.next() {
            let visit = match visit {
                Ok(visit) => visit,
                Err(unseen) => {
                    self.unseen.push((unseen.path, unseen.error));
                    continue;
                }
            };
            while above.last().is_some_and(|folder| !is_below(&visit.path, &folder.path)) {
                above.pop();
            }
            let folder = above.last();
            let fact = self.delta.get(&visit.path);
            let from_list = folder.is_none_or(|folder| folder.first_list_counts(&visit.path));
            let (known_inode, limit) = match fact {
                Some(Fact::Here(here)) => {
                    (here.entry.origin.map(|o| (o.inode, o.ctime)), here.pass.threshold())
                }
                Some(Fact::Gone) => (None, self.first),
                None if from_list => (remembered.get(&visit.path), self.first),
                None => (None, self.first),
            };
            let Visit { path, stat, names } = visit;
            let is_folder = stat.is_folder();
            let is_same = known_inode.is_some_and(|(inode, _)| inode == stat.inode);
            let unchanged = known_inode == Some((stat.inode, stat.ctime)) && stat.ctime < limit;
            // Filters are slow; what is known and unchanged was taken before.
            if (is_folder || !unchanged) && !self.filter.takes(&path, is_folder) {
                if names.is_some() {
                    scan.leave_out();
                }
                continue;
            }
            let whole = is_folder && !is_same && !path.is_top();
            if is_folder {
                let (was_whole, listed) = match fact {
                    Some(Fact::Here(here)) => (here.whole, here.names.as_ref()),
                    _ => (false, None),
                };
                above.push(Above { path: path.clone(), nothing: !from_list || whole || was_whole, listed });
            }
            if !unchanged {
                let names = names.filter(|_| !whole);
                self.items.insert(path.clone(), Item { path, stat: Some(stat), whole, names });
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
        let misses_names = self.update_links();
        Findings { items: self.items.into_values().collect(), unseen: self.unseen, misses_names }
    }

    /// Puts down what was seen of files with several names. Whether some of their names are not known.
    fn update_links(&mut self) -> bool {
        let linked = |item: &Item| item.stat.filter(|stat| !stat.is_folder() && stat.links > 1);
        for item in self.items.values() {
            match linked(item) {
                Some(stat) => self.links.add(stat.inode, &item.path),
                None => self.links.remove(&item.path),
            }
        }
        let mut misses_names = false;
        for stat in self.items.values().filter_map(linked) {
            if self.has_scanned {
                self.links.settle(stat.inode, stat.links);
            } else {
                misses_names |= !self.links.are_complete(stat.inode, stat.links);
            }
        }
        misses_names
    }

    /// The names of files with several names that an item concerns.
    fn concerned(&self, item: &Item) -> Vec<RelPath> {
        let mut names: Vec<RelPath> = Vec::new();
        names.extend(self.links.of_path(&item.path).into_iter().flatten().cloned());
        let stat = item.stat;
        if let Some(stat) = stat.filter(|stat| !stat.is_folder() && stat.links > 1) {
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

    /// Puts down an item; what a scan found out of the same folder stays true.
    fn put(&mut self, path: RelPath, stat: Option<Stat>, whole: bool) {
        let before = self.items.remove(&path).filter(|_| stat.is_some_and(|stat| stat.is_folder()));
        let (was_whole, names) = before.map_or((false, None), |item| (item.whole, item.names));
        self.items.insert(path.clone(), Item { path, stat, whole: whole || was_whole, names });
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

/// A folder above the entry that a scan has come to.
struct Above<'a> {
    path: RelPath,
    /// Nothing of the first list counts in it.
    nothing: bool,
    /// The names that were in it when an earlier pass listed it: nothing else of the first list counts.
    listed: Option<&'a Names>,
}

impl Above<'_> {
    /// Whether what the first list says of an entry of this folder still counts.
    fn first_list_counts(&self, path: &RelPath) -> bool {
        !self.nothing && self.listed.is_none_or(|names| is_listed(names, path))
    }
}
