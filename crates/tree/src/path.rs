//! Paths inside a tree: bytes, as the kernel has them.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A path relative to the top of a tree: bytes separated by `/`, never beginning or ending with one, never with an empty,
/// `.` or `..` part. The top itself is empty. Ordered part by part (canonical order): a folder comes right before what is
/// in it, and all that is in it comes before its next sibling.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct RelPath(Vec<u8>);

impl RelPath {
    /// The top of the tree.
    pub fn top() -> Self {
        Self(Vec::new())
    }

    /// The path of these bytes, or nothing when they are not a relative path as described above. Text that comes from a
    /// file must come through here: it is what keeps a restore inside its target.
    pub fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        let good = |part: &[u8]| !part.is_empty() && part != b"." && part != b".." && !part.contains(&0);
        (bytes.is_empty() || bytes.split(|&b| b == b'/').all(good)).then_some(Self(bytes))
    }

    /// Whether it is the top of the tree.
    pub fn is_top(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As a path of the standard library, relative.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// This path with `name`, one part, behind it.
    pub fn child(&self, name: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        bytes.extend_from_slice(&self.0);
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        Self(bytes)
    }

    /// The folder that it is in; nothing for the top.
    pub fn parent(&self) -> Option<Self> {
        if self.is_top() {
            return None;
        }
        let end = self.0.iter().rposition(|&b| b == b'/').unwrap_or(0);
        Some(Self(self.0[..end].to_vec()))
    }

    /// Where it is below `root`.
    pub fn under(&self, root: &Path) -> PathBuf {
        if self.is_top() { root.to_path_buf() } else { root.join(self.as_path()) }
    }
}

impl Ord for RelPath {
    fn cmp(&self, other: &Self) -> Ordering {
        // A separator sorts before every other byte, so that `a/b` comes before `a.b`. No part holds a NUL.
        let key = |&b: &u8| if b == b'/' { 0 } else { b };
        self.0.iter().map(key).cmp(other.0.iter().map(key))
    }
}

impl PartialOrd for RelPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_path().display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::from_bytes(text.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn what_is_in_a_folder_comes_before_the_next_sibling() {
        let mut paths = [path("a.b"), path("a/z"), path("a"), path("a/b/c"), path(""), path("a!")];
        paths.sort();
        assert_eq!(paths.map(|p| p.to_string()), ["", "a", "a/b/c", "a/z", "a!", "a.b"]);
    }

    #[test]
    fn a_path_never_leaves_its_tree() {
        for wrong in ["/a", "a/", "a//b", "..", "a/../b", "./a", "a\0b"] {
            assert!(RelPath::from_bytes(wrong.as_bytes().to_vec()).is_none(), "{wrong:?} was taken");
        }
    }
}
