//! After the thaw: was everything seen, and was the tree really held?
//!
//! The live tree is laid beside the known one. What is different and changed *after* the cut is the site at work, and says
//! nothing. What is different and changed *before* the cut was missed by the tracker. What changed *during* the cut was
//! done by somebody who was not held. A change time tells only the last change, so this finds what was not touched again
//! since; it is a net under the tracker, not a part of it. And an entry that is not the known one tells nothing when its
//! folder changed after the cut: not every rename moves the change time of what is renamed.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use stillpoint_tree::{Filter, Kind, RelPath, Timestamp, TreeError};

use super::delta::{Delta, Fact, is_below};
use super::known::{Known, known_tree};
use super::reader::{Reader, Stat};
use super::scan::{Scan, Visit};
use super::suspects::Item;

/// What to lay beside each other.
pub(super) struct Comparison<'a> {
    /// Looks at the source.
    pub(super) reader: &'a Reader,
    /// What is taken at all.
    pub(super) filter: &'a Filter,
    /// The list of the first pass.
    pub(super) first_list: &'a Path,
    /// What later passes found.
    pub(super) delta: &'a Delta,
    /// Entries that could not be read, and are told already.
    pub(super) unreadable: &'a BTreeSet<RelPath>,
    /// When the cut began.
    pub(super) begin: Timestamp,
    /// When it ended.
    pub(super) end: Timestamp,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Differences {
    /// Changed before the cut and not seen.
    pub(super) missed: Vec<Item>,
    /// Changed during the cut.
    pub(super) stirred: Vec<RelPath>,
}

/// What is known of one path.
struct Expected {
    path: RelPath,
    inode: u64,
    ctime: Timestamp,
}

impl Comparison<'_> {
    /// Walks both trees side by side.
    pub(super) fn run(&self) -> Result<Differences, TreeError> {
        let newest = newest_of_linked(self.delta);
        let mut known = known_tree(self.first_list, self.delta)?;
        let mut next_known = || -> Result<Option<Expected>, TreeError> {
            for known in known.by_ref() {
                let entry = match known? {
                    Known::Listed(entry) => entry,
                    Known::Changed(_, here) => here.entry.clone(),
                    Known::Dropped(_) | Known::Orphan(_) => continue,
                };
                let Some(origin) = entry.origin else { continue };
                let linked = newest.get(&origin.inode).filter(|_| !matches!(entry.kind, Kind::Directory));
                let ctime = linked.copied().unwrap_or(origin.ctime);
                return Ok(Some(Expected { path: entry.path, inode: origin.inode, ctime }));
            }
            Ok(None)
        };
        let mut found = Differences::default();
        let mut folders: Vec<(RelPath, Timestamp)> = Vec::new();
        let mut expected = next_known()?;
        let mut scan = Scan::new(self.reader, RelPath::top());
        while let Some(visit) = scan.next() {
            // What cannot be looked at now was told by the pass that tried to take it.
            let Ok(visit) = visit else { continue };
            while expected.as_ref().is_some_and(|e| e.path < visit.path) {
                expected = next_known()?;
            }
            while folders.last().is_some_and(|(folder, _)| !is_below(&visit.path, folder)) {
                folders.pop();
            }
            let may_have_come = folders.last().is_some_and(|(_, ctime)| *ctime >= self.end);
            let same_path = expected.as_ref().filter(|e| e.path == visit.path);
            let enter = self.compare(same_path, &visit, may_have_come, &mut found);
            if visit.names.is_some() {
                if enter {
                    folders.push((visit.path, visit.stat.ctime));
                } else {
                    scan.leave_out();
                }
            }
        }
        Ok(found)
    }

    /// Compares one entry; whether what is in it can be compared as well.
    fn compare(
        &self,
        expected: Option<&Expected>,
        visit: &Visit,
        may_have_come: bool,
        found: &mut Differences,
    ) -> bool {
        let Visit { path, stat, .. } = visit;
        let is_same = expected.is_some_and(|e| e.inode == stat.inode);
        if !is_same && may_have_come {
            return false;
        }
        if is_same && expected.is_some_and(|e| e.ctime == stat.ctime) || stat.ctime >= self.end {
            return is_same;
        }
        if self.unreadable.contains(path)
            || (expected.is_none() && !self.filter.takes(path, stat.is_folder()))
        {
            return false;
        }
        if stat.ctime >= self.begin {
            found.stirred.push(path.clone());
            return is_same;
        }
        self.missed(path, stat, is_same, found);
        is_same
    }

    fn missed(&self, path: &RelPath, stat: &Stat, is_same: bool, found: &mut Differences) {
        if stat.is_folder() && !is_same {
            let scan = Scan::new(self.reader, path.clone());
            let inside = scan.flatten().filter(|visit| {
                is_below(&visit.path, path) && self.filter.takes(&visit.path, visit.stat.is_folder())
            });
            found.missed.push(Item { path: path.clone(), stat: Some(*stat), whole: true, names: None });
            found.missed.extend(inside.map(|visit| Item {
                whole: visit.stat.is_folder(),
                path: visit.path,
                stat: Some(visit.stat),
                names: None,
            }));
        } else {
            found.missed.push(Item { path: path.clone(), stat: Some(*stat), whole: false, names: None });
        }
    }
}

/// The newest change time of each file with several names: the other names in the first list show an older one.
fn newest_of_linked(delta: &Delta) -> HashMap<u64, Timestamp> {
    let mut newest = HashMap::new();
    for (_, fact) in delta.iter() {
        if let Fact::Here(here) = fact
            && here.is_linked()
            && let Some(origin) = here.entry.origin
        {
            let time = newest.entry(origin.inode).or_insert(origin.ctime);
            *time = origin.ctime.max(*time);
        }
    }
    newest
}
