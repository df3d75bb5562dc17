//! Where the content of components goes when it does not go into the folder of the set.

use std::io::Read;
use std::path::{Path, PathBuf};

use stillpoint_model::{ComponentName, Context, RunId, TreeSource};
use stillpoint_tree::{FileFacts, RelPath};

use crate::{ArchiveError, Place};

/// Takes the content of components to another place than the folder that is built, which then gets all but the content: a
/// site without a folder captures straight into its archive.
pub trait ContentTaker: Send + Sync {
    /// Takes a tree that belongs at `folder` of the component. Lists what it took at `list`, each file with its hash.
    ///
    /// # Errors
    ///
    /// The tree is not there as a whole. Single files that cannot be read are problems of the context's monitor.
    fn tree(
        &self,
        at: At<'_>,
        context: &Context,
        source: &TreeSource,
        list: &Path,
    ) -> Result<(), ArchiveError>;

    /// Takes a stream that belongs at this place of the component, to its end.
    ///
    /// # Errors
    ///
    /// The stream failed, or what it goes to.
    fn stream(&self, at: At<'_>, context: &Context, reader: &mut dyn Read)
    -> Result<FileFacts, ArchiveError>;
}

/// A set without its content.
#[derive(Debug)]
pub struct SealedApart {
    /// The folder that was built. The folders of the components in it have no content.
    pub folder: PathBuf,
    /// What at its top belongs to the set, besides the components.
    pub pieces: Vec<PathBuf>,
    /// Files and bytes of each component.
    pub sizes: Vec<(ComponentName, u64, u64)>,
    pub(crate) run: RunId,
}

impl SealedApart {
    /// Removes the folder: all of it lies elsewhere.
    ///
    /// # Errors
    ///
    /// It cannot be removed; the next run will.
    pub fn remove(self) -> Result<(), ArchiveError> {
        crate::disk::remove_marked(&self.folder, self.run.as_str())
    }
}

/// A place in a component.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    /// Which half of the set.
    pub place: Place,
    /// The component.
    pub component: &'a ComponentName,
    /// The path in it.
    pub path: &'a RelPath,
}
