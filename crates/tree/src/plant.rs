//! Putting a tree back.
//!
//! First the list is read to its end and held against what is in the target, so that nothing is written when it is damaged
//! or something would be overwritten. Then folders are made in order, files come from several threads, later names and
//! the metadata of folders when what they need is done. What is too much is removed last, when everything else is back.

use std::path::Path;

use crate::content::Meter;
use crate::extra::remove_extra;
use crate::pipeline::{self, Ended, Feeder};
use crate::place::{Place, look};
use crate::planter::{Planted, Planter};
use crate::take::size_of;
use crate::target::{Permission, Target};
use crate::{Entry, FileProblem, IndexReader, Kind, Progress, RelPath, TreeError};

/// How many problems a report keeps.
const PROBLEMS_MAX: usize = 1000;

/// How a tree is put back.
#[derive(Debug, Clone, Default)]
pub struct PlantOptions {
    /// Whether existing files may be replaced. Without it the first that exists ends the work before anything is written.
    /// Existing folders are used as they are, and get the metadata of the list. A folder where the list has something else
    /// is replaced only with `remove_extra`, too.
    pub overwrite: bool,
    /// Whether what is in the target but not in the list is removed. Never what is mounted in it.
    pub remove_extra: bool,
    /// How many threads copy; 0 means as many as there are processors, at most 8.
    pub threads: usize,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlantReport {
    /// Files put back, each name counted.
    pub files: u64,
    /// Bytes put back, holes included; of a file with several names once.
    pub bytes: u64,
    /// Files that could not be put back fully (rights, attributes). At most the first 1,000; `problem_count` has the
    /// number.
    pub problems: Vec<FileProblem>,
    /// How many problems there were.
    pub problem_count: u64,
}

impl PlantReport {
    pub(crate) fn add(&mut self, problem: FileProblem) {
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }
}

/// Puts the tree that is stored in `folder` and listed in `index` back at `target`, with content (checked against its
/// hash on the way), holes, hard links, owners, modes, times, extended attributes and ACLs, pipes and devices. Each file
/// is written under a temporary name and renamed. `target` is made when it is not there; nothing outside of it is ever
/// touched, whatever symbolic links are in it. Sockets are left out. Nothing is synced to the disk: that is the caller's.
/// After an error, what was put back until then stays.
pub fn plant(
    folder: &Path,
    index: &Path,
    target: &Path,
    options: &PlantOptions,
    progress: &dyn Progress,
) -> Result<PlantReport, TreeError> {
    let permission =
        Permission { files: options.overwrite, folders: options.overwrite && options.remove_extra };
    let stored = Place::open(folder)?;
    std::fs::create_dir_all(target).map_err(|source| TreeError::Io {
        act: "create the folder",
        path: target.to_owned(),
        source,
    })?;
    let place = Place::open(target)?;
    look_before(index, place.another(), permission)?;
    let meter = Meter::new(progress);
    let planter = || Planter::new(stored.another(), Target::at(place.another(), permission), &meter);
    let workers: Vec<_> = (0..pipeline::thread_count(options.threads))
        .map(|_| {
            let mut planter = planter();
            move |entry: Entry| planter.plant(&entry).map_or_else(Item::Failed, Item::Planted)
        })
        .collect();
    let feed = Feed { folders: planter(), open: Vec::new(), entries: IndexReader::open(index)? };
    let mut collector = Collector { planter: planter(), report: PlantReport::default() };
    pipeline::run(workers, &meter, |feeder| feed.run(feeder), |item| collector.collect(item))?;
    let mut report = collector.report;
    if options.remove_extra {
        remove_extra(place.another(), index, &mut planter(), &mut report)?;
    }
    Ok(report)
}

/// Reads the whole list and refuses what would be overwritten without permission.
fn look_before(index: &Path, mut target: Place, permission: Permission) -> Result<(), TreeError> {
    // A folder of the list that is not in the target yet: there is nothing to look for in it.
    let mut absent: Option<RelPath> = None;
    for entry in IndexReader::open(index)? {
        let entry = entry?;
        if entry.kind == Kind::Socket || absent.as_ref().is_some_and(|folder| is_in(&entry.path, folder)) {
            continue;
        }
        let there = target.parent_of(&entry.path).and_then(|(parent, name)| look(parent, name));
        let is_folder = match there {
            Ok(stat) => rustix::fs::FileType::from_raw_mode(u32::from(stat.stx_mode)).is_dir(),
            Err(error) if crate::place::is_gone(error) => {
                absent = (entry.kind == Kind::Directory).then_some(entry.path);
                continue;
            }
            Err(error) => return Err(target.failed("look for", &entry.path, error)),
        };
        let fits = entry.kind == Kind::Directory && is_folder;
        let allowed = permission.files && (permission.folders || !is_folder);
        if !fits && !allowed {
            return Err(TreeError::Exists { path: target.path_of(&entry.path) });
        }
        if entry.kind == Kind::Directory && !is_folder {
            absent = Some(entry.path);
        }
    }
    Ok(())
}

/// Whether `path` lies in `folder`, at whatever depth.
pub(crate) fn is_in(path: &RelPath, folder: &RelPath) -> bool {
    let rest = path.as_bytes().strip_prefix(folder.as_bytes());
    !path.is_top() && (folder.is_top() || rest.is_some_and(|rest| rest.first() == Some(&b'/')))
}

enum Item {
    Planted(Planted),
    Link(Entry),
    Leave(Entry),
    Failed(TreeError),
}

/// Reads the list, makes folders and hands everything else out.
struct Feed<'a> {
    folders: Planter<'a>,
    /// The folders that the entry read last is in.
    open: Vec<Entry>,
    entries: IndexReader,
}

impl Feed<'_> {
    fn run(mut self, feeder: &mut Feeder<Entry, Item>) -> Result<(), Ended> {
        while let Some(entry) = self.entries.next() {
            match entry {
                Ok(entry) => self.feed(entry, feeder)?,
                Err(error) => return feeder.done(Item::Failed(error)),
            }
        }
        while let Some(folder) = self.open.pop() {
            feeder.done(Item::Leave(folder))?;
        }
        Ok(())
    }

    fn feed(&mut self, entry: Entry, feeder: &mut Feeder<Entry, Item>) -> Result<(), Ended> {
        while let Some(folder) = self.open.pop_if(|folder| !is_in(&entry.path, &folder.path)) {
            feeder.done(Item::Leave(folder))?;
        }
        match &entry.kind {
            Kind::Socket => Ok(()),
            Kind::Directory => {
                if !entry.path.is_top()
                    && let Err(error) = self.folders.make_folder(&entry.path)
                {
                    return feeder.done(Item::Failed(error));
                }
                self.open.push(entry);
                Ok(())
            }
            Kind::File(_) if entry.hard_link.is_some() => feeder.done(Item::Link(entry)),
            _ => {
                let bytes = size_of(&entry);
                feeder.work(entry, bytes)
            }
        }
    }
}

struct Collector<'a> {
    planter: Planter<'a>,
    report: PlantReport,
}

impl Collector<'_> {
    fn collect(&mut self, item: Item) -> Result<(), TreeError> {
        let planted = match item {
            Item::Failed(error) => return Err(error),
            Item::Planted(planted) => planted,
            Item::Link(entry) => match &entry.hard_link {
                Some(first) => self.planter.plant_link(&entry, first)?,
                None => return Ok(()),
            },
            Item::Leave(entry) => {
                Planted { problems: self.planter.finish_folder(&entry)?, ..Planted::default() }
            }
        };
        self.report.files += planted.files;
        self.report.bytes += planted.bytes;
        planted.problems.into_iter().for_each(|problem| self.report.add(problem));
        Ok(())
    }
}
