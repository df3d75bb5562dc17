//! All that belongs to a set, piece by piece, for whoever keeps it elsewhere.

use std::path::PathBuf;

use stillpoint_tree::RelPath;

use crate::layout::{DATABASES_INSIDE, KIT, LISTS, MANIFEST, MANIFEST_SUM, PART, SUMS, WRITERS};
use crate::{BackupSet, Place};

/// A piece of a set, and where it lies in the set when that is one folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A component: its list has the metadata, the folder the content.
    Component {
        /// Where it lies in the set.
        at: RelPath,
        /// Its list of entries.
        list: PathBuf,
        /// The folder with its content.
        folder: PathBuf,
    },
    /// A folder as it lies.
    Folder {
        /// Where it lies in the set.
        at: RelPath,
        /// The folder.
        folder: PathBuf,
    },
    /// A file as it lies.
    File {
        /// Where it lies in the set.
        at: RelPath,
        /// The folder that it is in.
        folder: PathBuf,
        /// Its name there.
        name: RelPath,
    },
}

impl BackupSet {
    /// All pieces. The log is none: it is written to after the publish. Databases that lie apart are put into the set, where
    /// [`BackupSet::open`] finds them, too; without their marker, so that nothing removes them there.
    pub fn pieces(&self) -> Vec<Piece> {
        let top = RelPath::top();
        let apart = self.databases_folder().map(|folder| (folder, top.child(DATABASES_INSIDE.as_bytes())));
        let mut pieces = Vec::new();
        for (name, place, ..) in &self.facts().components {
            let Some(stored) = self.component(name) else { continue };
            let root = match (place, &apart) {
                (Place::SiteDbServer, Some((_, at))) => at,
                _ => &top,
            };
            let at = root.child(place.folder().as_bytes()).child(name.as_str().as_bytes());
            pieces.push(Piece::Component { at, list: stored.index, folder: stored.folder });
        }
        for name in [LISTS, WRITERS, KIT] {
            pieces.push(Piece::Folder { at: top.child(name.as_bytes()), folder: self.folder().join(name) });
        }
        let file = |at: &RelPath, folder: &std::path::Path, name: &str| Piece::File {
            at: at.child(name.as_bytes()),
            folder: folder.to_owned(),
            name: top.child(name.as_bytes()),
        };
        pieces.extend([MANIFEST, MANIFEST_SUM, SUMS].map(|name| file(&top, self.folder(), name)));
        if let Some((folder, at)) = &apart {
            pieces.extend([PART, SUMS].map(|name| file(at, folder, name)));
        }
        pieces
    }
}
