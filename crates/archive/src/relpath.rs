//! Joining and comparing paths inside a tree.

use stillpoint_tree::RelPath;

/// `path` below `prefix`.
pub(crate) fn join(prefix: &RelPath, path: &RelPath) -> RelPath {
    if path.is_top() { prefix.clone() } else { prefix.child(path.as_bytes()) }
}

/// Whether `path` is `folder` or lies in it.
pub(crate) fn within(path: &RelPath, folder: &RelPath) -> bool {
    folder.is_top()
        || path
            .as_bytes()
            .strip_prefix(folder.as_bytes())
            .is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'/'))
}
