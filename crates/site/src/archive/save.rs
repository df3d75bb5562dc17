//! A published set becomes a version.
//!
//! What lies in the version is the folder of the set: what any program restores from it is a set. Only the metadata of what
//! belongs to a component is that of the original, from the list, wherever the set's own files have others: the
//! destination may be a share that knows no owners.
//!
//! A set must be whole to become a version. Of a file that is damaged in it, the hash in the list tells so while it is
//! read; then there is no version.

use std::path::Path;
use std::sync::Arc;

use stillpoint_archive::{BackupSet, Piece, SetFacts};
use stillpoint_model::{ErrorKind, Outcome};
use stillpoint_repository::{
    Amount, Content, Id, Moment, Part, RepositoryError, Saver, Snapshot, SnapshotFacts, Watcher,
};
use stillpoint_tree::{Entry, Filter, Kind, Opener, RelPath, read_entry};

use super::open::{OpenArchive, about};
use super::versions::{EPOCH, OUTCOME, RUN, SITE, VersionFacts};
use crate::SiteError;

/// A set that is in an archive now.
#[derive(Debug, Clone)]
pub struct SavedVersion {
    /// The version.
    pub id: Id,
    /// Bytes that were new to the archive, before compression; nothing when the set was there already.
    pub added_bytes: Option<u64>,
    /// Bytes that they take in it.
    pub stored_bytes: Option<u64>,
}

impl OpenArchive {
    /// Saves the set as a version. One that is in the archive already is not saved again.
    pub fn save(&self, set: &BackupSet, watcher: &Arc<dyn Watcher>) -> Result<SavedVersion, SiteError> {
        let snapshots = self.repository.snapshots().map_err(|error| about(&self.settings, error))?;
        let run = set.facts().run.as_str();
        if let Some((id, _)) = snapshots.iter().find(|(_, snapshot)| snapshot.tag(RUN) == Some(run)) {
            return Ok(SavedVersion { id: *id, added_bytes: None, stored_bytes: None });
        }
        let parent = parent_of(snapshots, set.facts().site.as_str());
        self.save_new(set, parent, watcher)
    }

    fn save_new(
        &self,
        set: &BackupSet,
        parent: Option<(Id, Snapshot)>,
        watcher: &Arc<dyn Watcher>,
    ) -> Result<SavedVersion, SiteError> {
        let failed = |error: RepositoryError| about(&self.settings, error);
        let facts = version_facts(set.facts(), set.folder())?;
        // Held to the end: what is saved must not be taken for rubbish before the version names it.
        let lock = self.lock_for_adding(&**watcher)?;
        watcher.stage("saving", amount_of(set));
        let saver = Saver::begin(&self.repository, parent, Arc::clone(watcher)).map_err(failed)?;
        for piece in set.pieces() {
            save_piece(&saver, &piece).map_err(failed)?;
        }
        lock.still_ours().map_err(failed)?;
        let saved = saver.finish(&facts).map_err(failed)?;
        lock.release(&**watcher);
        Ok(SavedVersion {
            id: saved.id,
            added_bytes: Some(saved.added_bytes),
            stored_bytes: Some(saved.stored_bytes),
        })
    }
}

/// The newest version of the site: what did not change since is not read again.
pub(crate) fn parent_of(snapshots: Vec<(Id, Snapshot)>, site: &str) -> Option<(Id, Snapshot)> {
    let mine = |(id, snapshot): &(Id, Snapshot)| {
        let version = VersionFacts::of(*id, snapshot);
        version.ours && version.site == site
    };
    snapshots.into_iter().rfind(mine)
}

fn amount_of(set: &BackupSet) -> Amount {
    let sizes = set.facts().components.iter().filter_map(|(name, ..)| set.size(name));
    sizes.fold(Amount::default(), |sum, (files, bytes)| Amount {
        items: sum.items + files,
        bytes: sum.bytes + bytes,
    })
}

/// What the version with this set is called. `folder` lends its metadata to the folders of the set.
pub(crate) fn version_facts(facts: &SetFacts, folder: &Path) -> Result<SnapshotFacts, SiteError> {
    let outcome = if facts.outcome == Outcome::Complete { "complete" } else { "incomplete" };
    let site = facts.site.as_str();
    Ok(SnapshotFacts {
        time: Moment::new(facts.cut_at),
        hostname: site.to_owned(),
        path: format!("/{}", facts.site.set_folder()),
        tags: vec![
            format!("{SITE}={site}"),
            format!("{EPOCH}={}", facts.epoch),
            format!("{RUN}={}", facts.run),
            format!("{OUTCOME}={outcome}"),
        ],
        // What the run could not read is told in the manifest. Of the set itself nothing may be left out.
        incomplete: false,
        folder: own_entry(folder, &RelPath::top())?,
    })
}

/// An entry of the set's own, as it lies.
fn own_entry(folder: &Path, path: &RelPath) -> Result<Entry, SiteError> {
    let text = || format!("{} of the set cannot be read", path.under(folder).display());
    let found = read_entry(folder, path)
        .map_err(|error| SiteError::new(ErrorKind::Environment, text()).because(error))?;
    found.ok_or_else(|| SiteError::new(ErrorKind::Damaged, format!("{}: it is gone", text())))
}

fn save_piece(saver: &Saver, piece: &Piece) -> Result<(), RepositoryError> {
    let (Piece::Component { at, .. } | Piece::Folder { at, .. } | Piece::File { at, .. }) = piece;
    let mut part = saver.part(at)?;
    match piece {
        Piece::Component { list, folder, .. } => part.listed(list, folder)?,
        Piece::Folder { folder, .. } => part.tree(folder, Filter::default(), None)?,
        Piece::File { folder, name, .. } => save_file(&mut part, folder, name)?,
    }
    let report = part.end()?;
    match report.problems.first() {
        None => Ok(()),
        Some(problem) => {
            let path = problem.path.as_path().display();
            let (at, text) = (at.as_path().display(), &problem.text);
            let text = format!("{at} of the set is not as it was published: {path}: {text}");
            Err(RepositoryError::damaged(text).with_hint(
                "`stillpoint verify` tells all that is damaged in the set; make a new backup. No version was made.",
            ))
        }
    }
}

/// A file or a folder as it lies, as a part of a version.
pub(crate) fn save_folder_piece(saver: &Saver, at: &RelPath, path: &Path) -> Result<(), RepositoryError> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(RepositoryError::new(ErrorKind::Bug, format!("{} is no piece of a set", path.display())));
    };
    let piece = if path.is_dir() {
        Piece::Folder { at: at.clone(), folder: path.to_owned() }
    } else {
        let name = RelPath::top().child(std::os::unix::ffi::OsStrExt::as_bytes(name));
        Piece::File { at: at.clone(), folder: folder.to_owned(), name }
    };
    save_piece(saver, &piece)
}

fn save_file(part: &mut Part, folder: &Path, name: &RelPath) -> Result<(), RepositoryError> {
    let failed = |error: stillpoint_tree::TreeError| {
        RepositoryError::new(ErrorKind::Environment, format!("the set cannot be read: {error}"))
    };
    let found = read_entry(folder, name).map_err(failed)?;
    let entry = found.filter(|entry| matches!(entry.kind, Kind::File(_))).ok_or_else(|| {
        let path = name.under(folder);
        RepositoryError::damaged(format!("{} of the set is not there or no file", path.display()))
    })?;
    let place = Arc::new(Opener::new(folder).map_err(failed)?);
    let entry = Entry { path: RelPath::top(), ..entry };
    part.entry(&entry, Content::Stored { place: &place, at: name.clone() }, false)
}
