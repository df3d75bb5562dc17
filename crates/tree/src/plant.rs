//! Putting a tree back.

use std::path::Path;

use crate::{FileProblem, Progress, TreeError};

/// How a tree is put back.
#[derive(Debug, Clone, Default)]
pub struct PlantOptions {
    /// Whether existing files may be replaced. Without it the first that exists ends the work before anything is written.
    pub overwrite: bool,
    /// Whether what is in the target but not in the list is removed.
    pub remove_extra: bool,
    /// How many threads copy.
    pub threads: usize,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlantReport {
    /// Files put back.
    pub files: u64,
    /// Bytes put back, holes included.
    pub bytes: u64,
    /// Files that could not be put back fully (rights, attributes).
    pub problems: Vec<FileProblem>,
}

/// Puts the tree that is stored in `folder` and listed in `index` back at `target`, with content (checked against its
/// hash on the way), holes, hard links, owners, modes, times, extended attributes and ACLs, pipes and devices. Each file
/// is written under a temporary name and renamed.
pub fn plant(
    _folder: &Path,
    _index: &Path,
    _target: &Path,
    _options: &PlantOptions,
    _progress: &dyn Progress,
) -> Result<PlantReport, TreeError> {
    todo!()
}
