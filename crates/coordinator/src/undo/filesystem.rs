//! Undos that ask a file system: let it go on, delete a snapshot of ours.

use std::ffi::CString;
use std::io::Error;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, fstat, fstatfs, open};
use rustix::io::Errno;

use super::{Ending, Undone};

/// `_IOWR('X', 120, int)` (linux/fs.h).
const FITHAW: libc::Ioctl = 0xC004_5878_u32 as libc::Ioctl;
/// `_IOR(0x94, 25, __u64)` (linux/btrfs.h).
const BTRFS_IOC_SUBVOL_GETFLAGS: libc::Ioctl = 0x8008_9419_u32 as libc::Ioctl;
/// `_IOW(0x94, 15, struct btrfs_ioctl_vol_args)` (linux/btrfs.h).
const BTRFS_IOC_SNAP_DESTROY: libc::Ioctl = 0x5000_940F_u32 as libc::Ioctl;
/// linux/btrfs.h.
const BTRFS_SUBVOL_RDONLY: u64 = 1 << 1;
/// linux/magic.h.
const BTRFS_SUPER_MAGIC: u64 = 0x9123_683E;
/// The inode number of the top of every subvolume (`BTRFS_FIRST_FREE_OBJECTID`, linux/btrfs_tree.h).
const SUBVOLUME_INODE: u64 = 256;
/// The longest name plus its end (linux/btrfs.h, `BTRFS_PATH_NAME_MAX` + 1).
const NAME_ROOM: usize = 4088;

/// `struct btrfs_ioctl_vol_args` (linux/btrfs.h).
#[repr(C)]
struct VolumeArguments {
    fd: i64,
    name: [u8; NAME_ROOM],
}

/// Lets a file system go on. One that is not frozen answers EINVAL, which is as good.
pub(super) fn thaw(mount_point: &Path) -> Ending {
    let Some(folder) = open_folder(mount_point)? else { return Ok(Undone::Nothing) };
    // SAFETY: FITHAW takes no argument and touches no memory of ours; the descriptor is open.
    let answer = unsafe { libc::ioctl(folder.as_raw_fd(), FITHAW, 0) };
    if answer == 0 {
        return Ok(Undone::Acted);
    }
    let error = Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EINVAL) => Ok(Undone::Nothing),
        _ => Err(error.to_string()),
    }
}

/// Deletes a read-only btrfs snapshot. Anything else at that path is left alone and told.
pub(super) fn delete_subvolume(path: &Path) -> Ending {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err("it is not the path of a snapshot".to_owned());
    };
    let Some(subvolume) = open_folder(path)? else { return Ok(Undone::Nothing) };
    check_snapshot(&subvolume)?;
    let Some(folder) = open_folder(parent)? else { return Ok(Undone::Nothing) };
    let name = CString::new(name.as_bytes()).map_err(|_| "its name holds a NUL")?;
    let mut arguments = VolumeArguments { fd: 0, name: [0; NAME_ROOM] };
    let bytes = name.as_bytes();
    arguments.name.get_mut(..bytes.len()).ok_or("its name is too long")?.copy_from_slice(bytes);
    // SAFETY: the argument has the layout that linux/btrfs.h gives it and outlives the call; its name ends with a NUL,
    // since names of files are shorter than the room.
    let answer = unsafe { libc::ioctl(folder.as_raw_fd(), BTRFS_IOC_SNAP_DESTROY, &arguments) };
    match answer {
        0 => Ok(Undone::Acted),
        _ if Error::last_os_error().raw_os_error() == Some(libc::ENOENT) => Ok(Undone::Nothing),
        _ => Err(Error::last_os_error().to_string()),
    }
}

fn check_snapshot(subvolume: &OwnedFd) -> Result<(), String> {
    let facts = fstat(subvolume).map_err(|error| error.to_string())?;
    let system = fstatfs(subvolume).map_err(|error| error.to_string())?;
    if system.f_type as u64 & 0xFFFF_FFFF != BTRFS_SUPER_MAGIC
        || facts.st_ino != SUBVOLUME_INODE
        || FileType::from_raw_mode(facts.st_mode) != FileType::Directory
    {
        return Err("it is not a btrfs subvolume; nothing was deleted".to_owned());
    }
    let mut flags = 0_u64;
    // SAFETY: the call writes one u64 (linux/btrfs.h) to `flags`, which outlives it.
    let answer = unsafe { libc::ioctl(subvolume.as_raw_fd(), BTRFS_IOC_SUBVOL_GETFLAGS, &mut flags) };
    if answer != 0 {
        return Err(format!("its flags cannot be read: {}", Error::last_os_error()));
    }
    match flags & BTRFS_SUBVOL_RDONLY != 0 {
        true => Ok(()),
        false => {
            Err("it is a subvolume that can be written to, so it is no snapshot of ours; nothing was deleted"
                .to_owned())
        }
    }
}

/// Opens a folder without following a link at its end; nothing when it is not there.
fn open_folder(path: &Path) -> Result<Option<OwnedFd>, String> {
    if !path.is_absolute() {
        return Err("the path is not absolute".to_owned());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match open(path, flags, Mode::empty()) {
        Ok(folder) => Ok(Some(folder)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(format!("{} cannot be opened: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_folder_is_never_deleted_as_a_snapshot() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("precious"), "x").unwrap();
        assert!(delete_subvolume(folder.path()).unwrap_err().contains("not a btrfs subvolume"));
        assert!(folder.path().join("precious").exists());
        assert_eq!(delete_subvolume(&folder.path().join("absent")), Ok(Undone::Nothing));
        assert!(delete_subvolume(Path::new("/")).is_err());
        assert!(delete_subvolume(Path::new("relative")).is_err());
    }

    #[test]
    fn a_file_system_that_is_not_there_is_as_good_as_thawed() {
        assert_eq!(thaw(Path::new("/nowhere/at/all")), Ok(Undone::Nothing));
    }
}
