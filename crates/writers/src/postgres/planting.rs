//! Putting a part of a stored component back at a place and for an owner of its own.

use std::fs;
use std::path::Path;

use stillpoint_model::{Context, Deadline, Restored, StoredComponent, WriterError};
use stillpoint_tree::{IndexAppender, IndexReader, PlantOptions, RelPath, TreeError, plant};

use super::owner::User;
use crate::tree_work::{Advance, tree_error};

/// How many threads copy.
const THREADS: usize = 2;

/// Puts the sub-folder `part` of the component back at `target`, all of it belonging to `owner`. With `into_existing`, beside
/// what is there.
pub fn plant_part(
    context: &Context,
    stored: &StoredComponent,
    part: &str,
    target: &Path,
    owner: &User,
    (into_existing, deadline): (bool, Deadline),
) -> Result<Restored, WriterError> {
    let list = context.workspace.join(format!("{}.list", part.replace('/', "-")));
    list_part(&stored.index, part, &list, owner).map_err(tree_error)?;
    let options = PlantOptions { overwrite: into_existing, remove_extra: false, threads: THREADS };
    let advance = Advance::new(context, deadline, "put back");
    let report = plant(&stored.folder.join(part), &list, target, &options, &advance)
        .map_err(|error| advance.error(error))?;
    // It lies in our workspace, which goes with the run anyhow.
    let _ = fs::remove_file(&list);
    let notes = report.problems.iter().map(|problem| {
        format!("{}/{} could not be put back fully: {}", target.display(), problem.path, problem.text)
    });
    Ok(Restored { files: report.files, bytes: report.bytes, notes: notes.collect() })
}

/// Writes the list of one part: its entries, relative to it, with the owner's numbers.
fn list_part(index: &Path, part: &str, target: &Path, owner: &User) -> Result<(), TreeError> {
    let inside = |path: &RelPath| -> Option<RelPath> {
        let rest = path.as_bytes().strip_prefix(part.as_bytes())?;
        match rest {
            [] => Some(RelPath::top()),
            [b'/', rest @ ..] => RelPath::from_bytes(rest.to_vec()),
            _ => None,
        }
    };
    let mut appender = IndexAppender::create(target)?;
    for entry in IndexReader::open(index)? {
        let mut entry = entry?;
        let Some(path) = inside(&entry.path) else { continue };
        entry.path = path;
        entry.hard_link = entry.hard_link.as_ref().and_then(inside);
        (entry.uid, entry.gid) = (owner.uid, owner.gid);
        appender.append(&entry)?;
    }
    appender.finish().map(drop)
}
