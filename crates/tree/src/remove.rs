//! Removing a folder with all that is in it, however deep, never through a link and never from another file system.

use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::place::Place;
use crate::walk::{Attributes, Step, Walker};
use crate::{Filter, Kind, RelPath, TreeError};

/// Removes the folder at `path` below the place. What is mounted in it stays, and is an error.
pub(crate) fn remove_folder(place: &mut Place, path: &RelPath) -> Result<(), TreeError> {
    let mut inside = place.below(path).map_err(|e| place.failed("open the folder", path, e))?;
    let walker = Walker::at(inside.another(), Filter::default(), Attributes::OfNone)?;
    for step in walker {
        match step {
            Step::Entry(found) if found.entry.kind != Kind::Directory => {
                remove_name(&mut inside, &found.entry.path, AtFlags::empty())?;
            }
            Step::Leave(folder) if !folder.path.is_top() => {
                remove_name(&mut inside, &folder.path, AtFlags::REMOVEDIR)?;
            }
            // What a problem is about is still there, so that its folder cannot be removed: that is the error.
            Step::Entry(_) | Step::Leave(_) | Step::Problem(_) => {}
        }
    }
    place.forget();
    remove_name(place, path, AtFlags::REMOVEDIR)
}

/// Removes one name; that it is gone already is as good.
pub(crate) fn remove_name(place: &mut Place, path: &RelPath, how: AtFlags) -> Result<(), TreeError> {
    let removed = place.parent_of(path).and_then(|(parent, name)| rustix::fs::unlinkat(parent, name, how));
    match removed {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(place.failed("remove", path, error)),
    }
}
