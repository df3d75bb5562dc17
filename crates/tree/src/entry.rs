//! One entry of a tree with all the metadata that a restore puts back.

/// Seconds and nanoseconds since 1970-01-01 UTC; seconds may be negative. Ordered by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Whole seconds.
    pub seconds: i64,
    /// Nanoseconds on top, below 1,000,000,000.
    pub nanoseconds: u32,
}

/// One extended attribute. POSIX ACLs are the attributes `system.posix_acl_access` and `system.posix_acl_default`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Xattr {
    /// Its name, with the namespace.
    pub name: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File(FileFacts),
    /// A folder.
    Directory,
    /// A symbolic link with the bytes of its target.
    Symlink(Vec<u8>),
    /// A named pipe.
    Fifo,
    /// A Unix socket. Listed, never stored: it means nothing without the process that made it.
    Socket,
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

/// What is particular to a regular file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileFacts {
    /// Its size in bytes, holes included.
    pub size: u64,
    /// SHA-256 of its content, holes read as zeros; by the block rule for a file of [`crate::BLOCK_RULE_SIZE`] and more
    /// (see there). Nothing while it is not known yet.
    pub sha256: Option<[u8; 32]>,
}

/// Where the original of an entry was, to tell by the next run whether it changed. Of the original, not of the copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Origin {
    /// Inode number.
    pub inode: u64,
    /// Change time.
    pub ctime: Timestamp,
    /// Whether the content was read late enough after the last change that a further change must move the change time.
    /// False when the change time lay within the pass that read it (see `feasibility`: a store to an already dirty mapped
    /// page does not move it): such a file is read again by the next run.
    pub settled: bool,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it is in the tree.
    pub path: super::RelPath,
    /// What it is.
    pub kind: Kind,
    /// Permission bits with set-user-id, set-group-id and sticky (`st_mode & 0o7777`).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time.
    pub mtime: Timestamp,
    /// Extended attributes, sorted by name.
    pub xattrs: Vec<Xattr>,
    /// For a file with several names: the first of them in canonical order, when this is not it. The content is stored
    /// with that one only.
    pub hard_link: Option<super::RelPath>,
    /// Where the original was.
    pub origin: Option<Origin>,
}
