//! What the kernel is told of an entry.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo};
use stillpoint_repository::{Moment, Node, NodeKind};

/// What is told of the size of blocks: big, so that programs read much at once.
const BLOCK_BYTES: u32 = 128 << 10;

/// The kind of a node; nothing for what the program that saved it could not make out.
pub fn kind_of(node: &Node) -> Option<FileType> {
    Some(match node.kind {
        NodeKind::File => FileType::RegularFile,
        NodeKind::Dir => FileType::Directory,
        NodeKind::Symlink => FileType::Symlink,
        NodeKind::Dev => FileType::BlockDevice,
        NodeKind::CharDev => FileType::CharDevice,
        NodeKind::Fifo => FileType::NamedPipe,
        NodeKind::Socket => FileType::Socket,
        NodeKind::Irregular => return None,
    })
}

/// The attributes of a node.
pub fn of_node(node: &Node, number: u64) -> Option<FileAttr> {
    let kind = kind_of(node)?;
    let size = match node.kind {
        NodeKind::Symlink => node.link_target().len() as u64,
        _ => node.size,
    };
    Some(FileAttr {
        ino: INodeNo(number),
        size,
        blocks: size.div_ceil(512),
        atime: time_of(node.atime),
        mtime: time_of(node.mtime),
        ctime: time_of(node.ctime),
        crtime: UNIX_EPOCH,
        kind,
        perm: u16::try_from(node.permissions()).unwrap_or_default(),
        nlink: u32::try_from(node.links).unwrap_or(u32::MAX).max(1),
        uid: node.uid,
        gid: node.gid,
        // FUSE carries 32 bits, in which the kernel has 12 for the major and 20 for the minor number.
        rdev: u32::try_from(node.device).unwrap_or_default(),
        blksize: BLOCK_BYTES,
        flags: 0,
    })
}

/// The attributes of a folder that no version has.
pub fn of_our_own(number: u64, kind: FileType, time: Moment) -> FileAttr {
    let time = time_of(time);
    FileAttr {
        ino: INodeNo(number),
        size: 0,
        blocks: 0,
        atime: time,
        mtime: time,
        ctime: time,
        crtime: UNIX_EPOCH,
        kind,
        perm: if kind == FileType::Directory { 0o755 } else { 0o777 },
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK_BYTES,
        flags: 0,
    }
}

fn time_of(moment: Moment) -> SystemTime {
    let time = moment.to_file();
    let whole = Duration::from_secs(time.seconds.unsigned_abs());
    let begin = if time.seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    let nanoseconds = Duration::from_nanos(u64::from(time.nanoseconds));
    begin.and_then(|begin| begin.checked_add(nanoseconds)).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_survive() {
        let moment: Moment = "1969-07-20T20:17:40.5Z".parse().unwrap();
        let before = UNIX_EPOCH.duration_since(time_of(moment)).unwrap();
        assert_eq!(before, Duration::from_millis(14_182_939_500));
    }
}
