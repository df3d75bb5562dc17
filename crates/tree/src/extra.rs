//! Removing from a target what the list does not have.

use std::iter::Peekable;
use std::path::Path;

use rustix::fs::AtFlags;

use crate::place::Place;
use crate::plant::is_in;
use crate::planter::Planter;
use crate::remove::{remove_folder, remove_name};
use crate::walk::{Attributes, Step, Walker};
use crate::{Entry, FileProblem, Filter, IndexReader, Kind, PlantReport, RelPath, TreeError};

/// Removes what is in the target and not in the list; what cannot be removed is a problem. The folders that it was in get
/// their times back.
pub(crate) fn remove_extra(
    target: Place,
    index: &Path,
    planter: &mut Planter<'_>,
    report: &mut PlantReport,
) -> Result<(), TreeError> {
    let mut list = List { entries: IndexReader::open(index)?.peekable(), folders: Vec::new() };
    let mut place = target.another();
    let mut walker = Walker::at(target, Filter::default(), Attributes::OfNone)?;
    while let Some(step) = walker.next() {
        match step {
            Step::Problem(problem) => {
                let text = format!("what is too much in it could not be removed: {}", problem.text);
                report.add(FileProblem { path: problem.path, text });
            }
            Step::Leave(folder) => {
                if let Some(entry) = list.leave(&folder.path) {
                    planter.finish_folder(&entry)?.into_iter().for_each(|problem| report.add(problem));
                }
            }
            Step::Entry(found) if list.has(&found.entry.path)? => {}
            Step::Entry(found) => {
                let path = &found.entry.path;
                let removed = if found.entry.kind == Kind::Directory {
                    walker.skip_folder();
                    remove_folder(&mut place, path)
                } else {
                    remove_name(&mut place, path, AtFlags::empty())
                };
                list.touch();
                if let Err(error) = removed {
                    let reason =
                        std::error::Error::source(&error).map(|e| format!(": {e}")).unwrap_or_default();
                    let text = format!("it is too much, but {error}{reason}");
                    report.add(FileProblem { path: path.clone(), text });
                }
            }
        }
    }
    Ok(())
}

/// The list, read alongside a walk.
struct List {
    entries: Peekable<IndexReader>,
    /// The listed folders that the walk is in, and whether something was removed from each.
    folders: Vec<(Entry, bool)>,
}

impl List {
    /// Whether the list has this path; paths are asked for in canonical order.
    fn has(&mut self, path: &RelPath) -> Result<bool, TreeError> {
        while self.folders.pop_if(|(folder, _)| !is_in(path, &folder.path)).is_some() {}
        while let Some(entry) =
            self.entries.next_if(|entry| !matches!(entry, Ok(entry) if entry.path > *path))
        {
            let entry = entry?;
            if entry.path == *path {
                if entry.kind == Kind::Directory {
                    self.folders.push((entry, false));
                }
                return Ok(true);
            }
        }
        // A list need not have the top: it is never too much.
        Ok(path.is_top())
    }

    /// Something was removed from the folder that the walk is in.
    fn touch(&mut self) {
        if let Some((_, touched)) = self.folders.last_mut() {
            *touched = true;
        }
    }

    /// The walk leaves the folder: its entry, when something was removed from it.
    fn leave(&mut self, path: &RelPath) -> Option<Entry> {
        self.folders
            .pop_if(|(folder, _)| folder.path == *path)
            .filter(|(_, touched)| *touched)
            .map(|(entry, _)| entry)
    }
}
