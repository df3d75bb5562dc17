//! Where the content of components goes when it does not go into the folder of the set.

use std::io::Read;
use std::path::Path;

use stillpoint_model::{ComponentName, Context, TreeSource};
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
