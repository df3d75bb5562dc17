//! What the kernel tells about the file system that a tree is on.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Magic numbers of `statfs(2)`, from the kernel's `linux/magic.h` (ZFS: from OpenZFS `zfs_super`).
const BTRFS: u32 = 0x9123_683e;
const EXT: u32 = 0xef53;
const XFS: u32 = 0x5846_5342;
const F2FS: u32 = 0xf2f5_2010;
const TMPFS: u32 = 0x0102_1994;
const OVERLAY: u32 = 0x794c_7630;
const ZFS: u32 = 0x2fc1_2fc1;

/// The kind of a file system, as far as the providers care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FilesystemKind(u32);

impl FilesystemKind {
    /// The kind of the file system at `path`.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        // The magic is 32 bits wide; the C type around it is wider on some machines.
        Ok(Self((rustix::fs::statfs(path)?.f_type as u64 & 0xffff_ffff) as u32))
    }

    /// Whether it is btrfs.
    pub(crate) fn is_btrfs(self) -> bool {
        self.0 == BTRFS
    }

    /// Whether a store through a shared mapping moves the change time when the page was clean before (the file system
    /// handles `page_mkwrite` with `file_update_time`). tmpfs does not, ZFS only at write-back, others are unknown.
    pub(crate) fn stamps_mapped_stores(self) -> bool {
        matches!(self.0, EXT | XFS | BTRFS | F2FS)
    }

    /// Whether change times come from this machine's clock.
    pub(crate) fn stamps_by_our_clock(self) -> bool {
        matches!(self.0, EXT | XFS | BTRFS | F2FS | TMPFS | OVERLAY | ZFS)
    }
}

/// One line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// `major:minor`.
    pub(crate) device: String,
    /// Where it is mounted.
    pub(crate) mount_point: PathBuf,
    /// The type, such as `ext4`.
    pub(crate) kind: String,
    /// The options of the file system itself.
    pub(crate) super_options: Vec<u8>,
}

/// The mounts that this process sees.
pub(crate) fn mounts() -> io::Result<Vec<Mount>> {
    Ok(parse_mounts(&fs::read("/proc/self/mountinfo")?))
}

fn parse_mounts(text: &[u8]) -> Vec<Mount> {
    text.split(|&b| b == b'\n').filter_map(parse_mount).collect()
}

fn parse_mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&b| b == b' ');
    let device = String::from_utf8_lossy(fields.nth(2)?).into_owned();
    let mount_point = PathBuf::from(OsString::from_vec(unescape(fields.nth(1)?)));
    // Optional fields end with a lone hyphen.
    let mut behind = fields.skip_while(|field| *field != b"-").skip(1);
    let kind = String::from_utf8_lossy(behind.next()?).into_owned();
    let super_options = behind.nth(1).unwrap_or_default().to_vec();
    Some(Mount { device, mount_point, kind, super_options })
}

/// Takes `\ooo` back to the byte that it stands for.
pub(crate) fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let digits = text.get(at + 1..at + 4);
        match digits {
            Some(octal) if text[at] == b'\\' && octal.iter().all(|b| (b'0'..=b'7').contains(b)) => {
                bytes.push(octal.iter().fold(0u8, |value, b| value.wrapping_mul(8).wrapping_add(b - b'0')));
                at += 4;
            }
            _ => {
                bytes.push(text[at]);
                at += 1;
            }
        }
    }
    bytes
}

/// The option `name=value` of comma-separated mount options, unescaped.
fn option_value(options: &[u8], name: &str) -> Option<Vec<u8>> {
    let prefix = format!("{name}=");
    options.split(|&b| b == b',').find_map(|option| option.strip_prefix(prefix.as_bytes())).map(unescape)
}

/// Why changes below `root` could escape a watch of its whole file system; nothing when they cannot, as far as the mount
/// table shows. A write through an overlay to a file of its upper folder sends no event for that file, and what is mounted
/// at a second place inside the tree is told by its first place only.
pub(crate) fn blind_spot(root: &Path) -> io::Result<Option<String>> {
    let root_device = fs::metadata(root)?.dev();
    let device = format!("{}:{}", libc::major(root_device), libc::minor(root_device));
    for mount in mounts()? {
        if mount.device == device && mount.mount_point != root && mount.mount_point.starts_with(root) {
            return Ok(Some(format!(
                "the same file system is mounted again at {}",
                mount.mount_point.display()
            )));
        }
        if mount.kind == "overlay" {
            let Some(upper) = option_value(&mount.super_options, "upperdir") else { continue };
            let upper = PathBuf::from(OsString::from_vec(upper));
            // A path that does not resolve here may be anywhere, so it counts as inside.
            let inside =
                fs::canonicalize(&upper).map_or(true, |u| u.starts_with(root) || root.starts_with(&u));
            if inside {
                return Ok(Some(format!(
                    "the overlay at {} writes into {}",
                    mount.mount_point.display(),
                    upper.display()
                )));
            }
        }
    }
    Ok(None)
}

/// The top of the mount that `path` is on: the highest folder above it on the same device.
pub(crate) fn top_of_mount(path: &Path) -> io::Result<PathBuf> {
    let device = fs::metadata(path)?.dev();
    let mut top = path.to_path_buf();
    while let Some(parent) = top.parent() {
        if fs::metadata(parent)?.dev() != device {
            break;
        }
        top = parent.to_path_buf();
    }
    Ok(top)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_with_blanks_and_optional_fields_is_read() {
        let line = b"36 35 98:0 /mnt1 /mnt/a\\040b rw,noatime master:1 shared:7 - ext4 /dev/root rw,upperdir=/x\\054y,z\n";
        let mounts = parse_mounts(line);
        assert_eq!(mounts.len(), 1);
        assert_eq!(mounts[0].device, "98:0");
        assert_eq!(mounts[0].mount_point, Path::new("/mnt/a b"));
        assert_eq!(mounts[0].kind, "ext4");
        assert_eq!(option_value(&mounts[0].super_options, "upperdir"), Some(b"/x,y".to_vec()));
    }
}
