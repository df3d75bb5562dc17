//! The nodes of a folder, as restic stores them (`doc/design.rst`, "Trees and Data"; `internal/restic/node.go` of its sources
//! for the names and the meaning of the fields).

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use stillpoint_tree::{Entry, FileFacts, Kind, RelPath, Timestamp, Xattr};

use crate::id::Id;
use crate::quote::{quote, unquote};
use crate::time::Moment;

/// The bits of Go's `os.FileMode`.
mod go_mode {
    pub const DIRECTORY: u32 = 1 << 31;
    pub const SYMLINK: u32 = 1 << 27;
    pub const DEVICE: u32 = 1 << 26;
    pub const FIFO: u32 = 1 << 25;
    pub const SOCKET: u32 = 1 << 24;
    pub const SET_USER: u32 = 1 << 23;
    pub const SET_GROUP: u32 = 1 << 22;
    pub const CHAR_DEVICE: u32 = 1 << 21;
    pub const STICKY: u32 = 1 << 20;
}

/// The nodes of a folder, sorted by name.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tree {
    #[serde(deserialize_with = "none_is_empty")]
    pub nodes: Vec<Node>,
}

fn none_is_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<Vec<T>>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeKind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A block device.
    Dev,
    /// A character device.
    CharDev,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// What restic could not make out.
    #[serde(other)]
    Irregular,
}

/// A file, folder or other entry of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Name in its folder: any bytes but NUL and `/`.
    #[serde(serialize_with = "to_quoted", deserialize_with = "from_quoted")]
    pub name: Vec<u8>,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: NodeKind,
    /// Go's `os.FileMode`: permission bits and, far above them, the kind.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub mode: u32,
    /// Modification time. This and what follows up to the group are missing where rustic wrote the folders above what it saved,
    /// and streams.
    #[serde(default)]
    pub mtime: Moment,
    /// Access time. What we write has the modification time here.
    #[serde(default)]
    pub atime: Moment,
    /// Change time of the original.
    #[serde(default)]
    pub ctime: Moment,
    /// Owner.
    #[serde(default)]
    pub uid: u32,
    /// Group.
    #[serde(default)]
    pub gid: u32,
    /// Name of the owner, when known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Name of the group, when known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Inode number of the original.
    #[serde(default, skip_serializing_if = "is_zero_64")]
    pub inode: u64,
    /// Number of the device of the original: files with the same inode and device are names of one.
    #[serde(default, skip_serializing_if = "is_zero_64")]
    pub device_id: u64,
    /// Size in bytes.
    #[serde(default, skip_serializing_if = "is_zero_64")]
    pub size: u64,
    /// How many names the original has.
    #[serde(default, skip_serializing_if = "is_zero_64")]
    pub links: u64,
    /// Target of a symbolic link; not whole when it is not UTF-8, see `linktarget_raw`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    linktarget: String,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_base64")]
    linktarget_raw: Option<Vec<u8>>,
    /// Extended attributes, sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    extended_attributes: Vec<Attribute>,
    /// `st_rdev` of a device.
    #[serde(default, skip_serializing_if = "is_zero_64")]
    pub device: u64,
    /// The blobs of a file, in order. `null` in what has no content.
    #[serde(default)]
    pub content: Option<Vec<Id>>,
    /// The blob of a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subtree: Option<Id>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Attribute {
    name: String,
    #[serde(default, with = "optional_base64")]
    value: Option<Vec<u8>>,
}

mod optional_base64 {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;

    use super::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(bytes) => serializer.serialize_str(&BASE64.encode(bytes)),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<super::Cow<'_, str>>::deserialize(deserializer)?;
        text.map(|text| BASE64.decode(text.as_bytes()).map_err(serde::de::Error::custom)).transpose()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero_64(value: &u64) -> bool {
    *value == 0
}

fn to_quoted<S: Serializer>(name: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&quote(name))
}

fn from_quoted<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = Cow::<'_, str>::deserialize(deserializer)?;
    let name =
        unquote(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a quoted name")))?;
    // It becomes a part of a path on somebody's disk.
    if name.is_empty() || name == b"." || name == b".." || name.iter().any(|byte| matches!(byte, b'/' | 0)) {
        return Err(serde::de::Error::custom(format!("{text:?} cannot be a name in a folder")));
    }
    Ok(name)
}

impl Node {
    /// The node of an entry, under this name. A file has its content, a folder its subtree still to come.
    #[must_use]
    pub fn of_entry(entry: &Entry, name: &[u8]) -> Self {
        let (kind, go_kind) = match entry.kind {
            Kind::File(_) => (NodeKind::File, 0),
            Kind::Directory => (NodeKind::Dir, go_mode::DIRECTORY),
            Kind::Symlink(_) => (NodeKind::Symlink, go_mode::SYMLINK),
            Kind::Fifo => (NodeKind::Fifo, go_mode::FIFO),
            Kind::Socket => (NodeKind::Socket, go_mode::SOCKET),
            Kind::CharDevice { .. } => (NodeKind::CharDev, go_mode::DEVICE | go_mode::CHAR_DEVICE),
            Kind::BlockDevice { .. } => (NodeKind::Dev, go_mode::DEVICE),
        };
        let device = match entry.kind {
            Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                rustix::fs::makedev(major, minor)
            }
            _ => 0,
        };
        let target: &[u8] = if let Kind::Symlink(target) = &entry.kind { target } else { b"" };
        let mtime = Moment::of_file(entry.mtime);
        Self {
            name: name.to_vec(),
            kind,
            mode: go_kind | to_go_permissions(entry.mode),
            mtime,
            atime: mtime,
            ctime: entry.origin.map_or(mtime, |origin| {
                // A file that was read so soon after its change that another one need not move the time must be read again
                // by the next run: it gets a time that no file will have.
                let time = Moment::of_file(origin.ctime);
                if origin.settled { time } else { time.just_before() }
            }),
            uid: entry.uid,
            gid: entry.gid,
            user: String::new(),
            group: String::new(),
            inode: entry.origin.map_or(0, |origin| origin.inode),
            device_id: 0,
            size: if let Kind::File(facts) = &entry.kind { facts.size } else { 0 },
            links: 1,
            linktarget: String::from_utf8_lossy(target).into_owned(),
            linktarget_raw: std::str::from_utf8(target).is_err().then(|| target.to_vec()),
            extended_attributes: entry
                .xattrs
                .iter()
                .map(|Xattr { name, value }| Attribute {
                    name: quote_attribute(name),
                    value: Some(value.clone()),
                })
                .collect(),
            device,
            content: matches!(entry.kind, Kind::File(_)).then(Vec::new),
            subtree: None,
        }
    }

    /// The entry of this node at this path; nothing for what restic could not make out. The names of one file know nothing
    /// of each other here: that they are one is told by inode and device.
    #[must_use]
    pub fn to_entry(&self, path: RelPath) -> Option<Entry> {
        let (major, minor) = (rustix::fs::major(self.device), rustix::fs::minor(self.device));
        let kind = match self.kind {
            NodeKind::File => Kind::File(FileFacts { size: self.size, sha256: None }),
            NodeKind::Dir => Kind::Directory,
            NodeKind::Symlink => Kind::Symlink(self.link_target().to_vec()),
            NodeKind::Fifo => Kind::Fifo,
            NodeKind::Socket => Kind::Socket,
            NodeKind::CharDev => Kind::CharDevice { major, minor },
            NodeKind::Dev => Kind::BlockDevice { major, minor },
            NodeKind::Irregular => return None,
        };
        let mut xattrs: Vec<Xattr> = self
            .extended_attributes
            .iter()
            .map(|Attribute { name, value }| Xattr {
                name: unquote_attribute(name),
                value: value.clone().unwrap_or_default(),
            })
            .collect();
        xattrs.sort();
        Some(Entry {
            path,
            kind,
            mode: self.permissions(),
            uid: self.uid,
            gid: self.gid,
            mtime: self.mtime.to_file(),
            xattrs,
            hard_link: None,
            origin: None,
        })
    }

    /// Permission bits with set-user-id, set-group-id and sticky, as in `st_mode & 0o7777`.
    #[must_use]
    pub fn permissions(&self) -> u32 {
        let special = [(go_mode::SET_USER, 0o4000), (go_mode::SET_GROUP, 0o2000), (go_mode::STICKY, 0o1000)];
        let special = special.iter().filter(|(go, _)| self.mode & go != 0).map(|(_, bit)| bit);
        special.fold(self.mode & 0o777, |mode, bit| mode | bit)
    }

    /// The target of a symbolic link.
    #[must_use]
    pub fn link_target(&self) -> &[u8] {
        self.linktarget_raw.as_deref().unwrap_or(self.linktarget.as_bytes())
    }

    /// The blobs of a file.
    #[must_use]
    pub fn blobs(&self) -> &[Id] {
        self.content.as_deref().unwrap_or_default()
    }

    /// What tells the names of one file from other files; nothing for a file with one name.
    #[must_use]
    pub fn link_group(&self) -> Option<(u64, u64)> {
        let several = self.kind != NodeKind::Dir && self.links > 1 && self.inode != 0;
        several.then_some((self.device_id, self.inode))
    }

    /// The modification time.
    #[must_use]
    pub fn modified(&self) -> Timestamp {
        self.mtime.to_file()
    }
}

fn to_go_permissions(mode: u32) -> u32 {
    let special = [(0o4000, go_mode::SET_USER), (0o2000, go_mode::SET_GROUP), (0o1000, go_mode::STICKY)];
    let special = special.iter().filter(|(bit, _)| mode & bit != 0).map(|(_, go)| go);
    special.fold(mode & 0o777, |all, go| all | go)
}

/// Go puts the bytes of a string into JSON as they are, but what is not UTF-8 is lost. A name of an attribute that is not
/// UTF-8 is so rare that nobody has met one; ours survive in the escapes that names of files have.
fn quote_attribute(name: &[u8]) -> String {
    std::str::from_utf8(name).map_or_else(|_| quote(name), str::to_owned)
}

fn unquote_attribute(name: &str) -> Vec<u8> {
    if name.contains("\\x") {
        unquote(name).unwrap_or_else(|| name.as_bytes().to_vec())
    } else {
        name.as_bytes().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: Kind) -> Entry {
        Entry {
            path: RelPath::from_bytes(b"folder/name".to_vec()).unwrap(),
            kind,
            mode: 0o7751,
            uid: 4_294_967_295,
            gid: 7,
            mtime: Timestamp { seconds: -5, nanoseconds: 999_999_999 },
            xattrs: vec![Xattr { name: b"user.a".to_vec(), value: vec![0, 255] }],
            hard_link: None,
            origin: None,
        }
    }

    #[test]
    fn every_kind_of_entry_survives() {
        for kind in [
            Kind::File(FileFacts { size: 5, sha256: None }),
            Kind::Directory,
            Kind::Symlink(b"../\xff target".to_vec()),
            Kind::Symlink(b"target".to_vec()),
            Kind::Fifo,
            Kind::Socket,
            Kind::CharDevice { major: 4095, minor: 1_048_575 },
            Kind::BlockDevice { major: 8, minor: 1 },
        ] {
            let entry = entry(kind);
            let node = Node::of_entry(&entry, b"na\xffme");
            let text = serde_json::to_string(&node).unwrap();
            let back: Node = serde_json::from_str(&text).unwrap();
            assert_eq!(back, node, "{text}");
            assert_eq!(back.name, b"na\xffme");
            assert_eq!(back.to_entry(entry.path.clone()).unwrap(), entry);
        }
    }

    #[test]
    fn a_node_with_nothing_but_a_name_and_content_is_read() {
        let text = r#"{"name":"stream","type":"file","content":[]}"#;
        let node: Node = serde_json::from_str(text).unwrap();
        assert_eq!((node.mtime, node.uid, node.size), (Moment::default(), 0, 0));
        assert_eq!(Moment::default().to_file(), Timestamp::default());
    }

    #[test]
    fn a_name_that_would_lead_out_of_its_folder_is_refused() {
        let node = Node::of_entry(&entry(Kind::Fifo), b"name");
        let text = serde_json::to_string(&node).unwrap();
        for bad in ["", ".", "..", "a/b", "\\\\x00", "/"] {
            let text = text.replacen("\"name\":\"name\"", &format!("\"name\":\"{bad}\""), 1);
            assert!(serde_json::from_str::<Node>(&text).is_err(), "{text}");
        }
    }
}
