//! Healing what an interrupted run left at a destination. Removes only what carries the marker of the run that its own
//! name says, and never what the published manifest refers to.

use std::fs;
use std::path::{Path, PathBuf};

use stillpoint_model::SiteCode;
use stillpoint_model::site_file::Destination;

use crate::layout::{aside_prefix, building_prefix, databases_building_prefix, databases_prefix, roots};
use crate::manifest::Manifest;
use crate::{ArchiveError, destination, disk};

/// Heals the destination: an old set that waits between the two renames of a swap (on a file system that cannot
/// exchange) gets its name back; half-built sets, replaced sets and replaced parts with databases are removed. Says what
/// was done, one sentence each. The caller must hold the site's lock. A share that is not mounted is left alone.
///
/// # Errors
/// When the destination is none, or refuses a rename or a removal.
pub fn heal(destination: &Destination, code: &SiteCode) -> Result<Vec<String>, ArchiveError> {
    let (root, databases) = roots(destination)?;
    let mut done = Vec::new();
    if !root.is_dir() || destination.share.as_deref().and_then(destination::share_missing).is_some() {
        return Ok(done);
    }
    for folder in [Some(&root), databases.as_ref()].into_iter().flatten() {
        destination::remove_probes(folder, &mut done);
    }
    let set = code.set_folder();
    let published = root.join(&set);
    heal_swap(&root, &published, &aside_prefix(&set), &mut done)?;
    remove_ours(&root, &building_prefix(&set), &mut done)?;
    let manifest = Manifest::read(&published).ok();
    if let Some(manifest) = &manifest {
        disk::unmark(&published)?;
        if let Some(databases) = &databases {
            heal_databases(databases, &databases_prefix(&set), manifest, &mut done)?;
        }
    }
    if let Some(databases) = &databases {
        remove_ours(databases, &databases_building_prefix(&set), &mut done)?;
    }
    Ok(done)
}

/// The set that was put aside, if the swap was interrupted before the new one had its name.
pub(crate) fn put_aside(root: &Path, set: &str) -> Option<PathBuf> {
    if fs::symlink_metadata(root.join(set)).is_ok() {
        return None;
    }
    with_prefix(root, &aside_prefix(set)).ok()?.pop().map(|(folder, _)| folder)
}

fn heal_swap(
    root: &Path,
    published: &Path,
    prefix: &str,
    done: &mut Vec<String>,
) -> Result<(), ArchiveError> {
    for (folder, run) in with_prefix(root, prefix)? {
        if fs::symlink_metadata(published).is_err() {
            disk::rename_new(root, &folder, published)?;
            disk::sync_folder(root)?;
            done.push(format!(
                "put {} back, which an interrupted publish had put aside",
                published.display()
            ));
        } else if disk::marker(&folder).as_deref() == Some(run.as_str()) {
            disk::remove_marked(&folder, &run)?;
            done.push(format!("removed {}, which was replaced", folder.display()));
        }
    }
    Ok(())
}

/// Removes the folders that begin with `prefix` and carry the marker of the run that their name says.
fn remove_ours(root: &Path, prefix: &str, done: &mut Vec<String>) -> Result<(), ArchiveError> {
    for (folder, run) in with_prefix(root, prefix)? {
        // Interrupted between its creation and its marker, it is empty, or holds a marker that was never written out.
        let torn = || disk::marker(&folder).is_none_or(|text| text.is_empty());
        if disk::marker(&folder).as_deref() == Some(run.as_str()) {
            disk::remove_marked(&folder, &run)?;
        } else if !torn() || disk::unmark(&folder).is_err() || fs::remove_dir(&folder).is_err() {
            continue;
        }
        done.push(format!("removed {}, which an interrupted run left", folder.display()));
    }
    Ok(())
}

fn heal_databases(
    databases: &Path,
    prefix: &str,
    manifest: &Manifest,
    done: &mut Vec<String>,
) -> Result<(), ArchiveError> {
    for (folder, run) in with_prefix(databases, prefix)? {
        let Some(marker) = disk::marker(&folder) else { continue };
        if manifest.databases.as_ref().is_some_and(|part| part.folder == folder)
            || run == manifest.run.as_str()
        {
            disk::unmark(&folder)?;
        } else {
            disk::remove_marked(&folder, &marker)?;
            done.push(format!("removed {}, to which no set refers", folder.display()));
        }
    }
    Ok(())
}

/// The folders in `root` whose name begins with `prefix`, with the rest of the name.
fn with_prefix(root: &Path, prefix: &str) -> Result<Vec<(PathBuf, String)>, ArchiveError> {
    let failed = |error| ArchiveError::io("read the folder", root, error);
    let mut found = Vec::new();
    for entry in fs::read_dir(root).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let rest = entry.file_name().to_str().and_then(|name| name.strip_prefix(prefix)).map(str::to_owned);
        if let Some(rest) = rest
            && entry.file_type().map_err(failed)?.is_dir()
        {
            found.push((entry.path(), rest));
        }
    }
    found.sort();
    Ok(found)
}
