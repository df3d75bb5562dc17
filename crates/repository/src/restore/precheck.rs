//! Looking for what would be overwritten before anything is.

use std::path::Path;

use stillpoint_model::ErrorKind;
use stillpoint_tree::{Entry, Kind, Permission, Present, RelPath, Target};

use super::{Shared, shown, target_error};
use crate::error::RepositoryError;
use crate::trees::Step;

/// How many of those that are in the way are named.
const NAMED_MAX: usize = 5;

/// Refuses when anything stands where an entry goes.
pub(super) fn refuse_conflicts(shared: &Shared<'_>, target: &Path) -> Result<(), RepositoryError> {
    let nothing = Permission { files: false, folders: false };
    let mut place = Target::open(target, nothing).map_err(target_error)?;
    let options = shared.options;
    let mut steps = shared.contents.steps(&options.from, options.filter.clone())?;
    let mut named = Vec::new();
    let mut count = 0_u64;
    while let Some(step) = steps.next() {
        shared.watcher.check()?;
        let (path, node, is_folder) = match step {
            Step::Enter(path, node) => (path, node, true),
            Step::Node(path, node) => (path, node, false),
            Step::Leave(..) | Step::Unreadable(_) => continue,
        };
        let path = shared.in_target(&path, is_folder);
        let Some(entry) = node.to_entry(path.clone()) else { continue };
        let Some(present) = place.look(&path).map_err(target_error)? else {
            if is_folder {
                steps.skip_folder();
            }
            continue;
        };
        if entry.kind == Kind::Socket || (is_folder && present.entry.kind == Kind::Directory) {
            continue;
        }
        if is_folder {
            steps.skip_folder();
        } else if looks_the_same(&entry, &present) {
            continue;
        }
        count += 1;
        if named.len() < NAMED_MAX {
            named.push(shown(target, &path).display().to_string());
        }
    }
    if count == 0 { Ok(()) } else { Err(refused(&named, count)) }
}

fn refused(named: &[String], count: u64) -> RepositoryError {
    let more = count - named.len() as u64;
    let rest = if more == 0 { String::new() } else { format!(" and {more} more") };
    let text = format!("the restore would overwrite {}{rest}", named.join(", "));
    RepositoryError::new(ErrorKind::WouldOverwrite, text)
        .with_hint("Nothing was changed. Choose an empty folder, or allow it to overwrite.")
}

/// Whether what is there is the entry, as far as one can see without reading it.
pub(super) fn looks_the_same(entry: &Entry, present: &Present) -> bool {
    let Present { entry: there, .. } = present;
    let facts = |entry: &Entry| (entry.mtime, entry.uid, entry.gid);
    let is_link = matches!(entry.kind, Kind::Symlink(_));
    entry.kind == there.kind && facts(entry) == facts(there) && (is_link || entry.mode == there.mode)
}

/// Whether an entry without content needs nothing.
pub(super) fn is_there(entry: &Entry, present: Option<&Present>, path: &RelPath) -> bool {
    present.is_some_and(|present| present.entry.path == *path && looks_the_same(entry, present))
}
