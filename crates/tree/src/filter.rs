//! Which entries of a tree are taken.

use crate::{RelPath, TreeError};

/// Compiled include and exclude patterns, relative to the top of the tree. A pattern without `/` matches a name at any
/// depth; one with `/` matches from the top; a trailing `/` matches folders only; `*` does not cross `/`, `**` does. What
/// an exclude matches is left out with all that is in it. When there are includes, what no include matches (and that is
/// not in a folder that one matches) is left out, but for the folders on the way.
#[derive(Debug, Clone, Default)]
pub struct Filter {}

impl Filter {
    /// Compiles patterns; the error names the first that cannot be understood.
    pub fn new(_include: &[String], _exclude: &[String]) -> Result<Self, TreeError> {
        todo!()
    }

    /// Whether the entry is taken.
    pub fn takes(&self, _path: &RelPath, _is_directory: bool) -> bool {
        todo!()
    }
}
