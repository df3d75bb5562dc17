//! The ioctls of btrfs that the snapshot needs. Layouts and numbers from the kernel's UAPI header `linux/btrfs.h`.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// The inode number of the top of every subvolume (`BTRFS_FIRST_FREE_OBJECTID`).
pub(crate) const SUBVOLUME_TOP_INODE: u64 = 256;

const NAME_MAX: usize = 4039;
const READ_ONLY: u64 = 1 << 1;

/// `struct btrfs_ioctl_vol_args_v2`.
#[repr(C)]
struct SnapshotArguments {
    source: i64,
    transid: u64,
    flags: u64,
    unused: [u64; 4],
    name: [u8; NAME_MAX + 1],
}

/// `struct btrfs_ioctl_vol_args`.
#[repr(C)]
struct VolumeArguments {
    fd: i64,
    name: [u8; 4088],
}

const SIZE: usize = 4096;
const _: () = assert!(size_of::<SnapshotArguments>() == SIZE);
const _: () = assert!(size_of::<VolumeArguments>() == SIZE);

const GROUP: u8 = 0x94;
const SNAP_DESTROY: u32 = rustix::ioctl::opcode::write::<VolumeArguments>(GROUP, 15);
const SNAP_CREATE_V2: u32 = rustix::ioctl::opcode::write::<SnapshotArguments>(GROUP, 23);

/// Makes a read-only snapshot, named `name` in the open folder `parent`, of the subvolume whose top is open as `top`.
pub(crate) fn create_snapshot(parent: impl AsFd, name: &[u8], top: impl AsFd) -> io::Result<()> {
    let mut arguments = SnapshotArguments {
        source: i64::from(top.as_fd().as_raw_fd()),
        transid: 0,
        flags: READ_ONLY,
        unused: [0; 4],
        name: [0; NAME_MAX + 1],
    };
    fill(&mut arguments.name, name)?;
    // SAFETY: the kernel reads one SnapshotArguments, which is of the size in the opcode (asserted above) and lives
    // through the call; both descriptors are open.
    unsafe { call(parent, SNAP_CREATE_V2, &mut arguments) }
}

/// Deletes the subvolume or snapshot `name` in the open folder `parent`.
pub(crate) fn delete_subvolume(parent: impl AsFd, name: &[u8]) -> io::Result<()> {
    let mut arguments = VolumeArguments { fd: 0, name: [0; 4088] };
    fill(&mut arguments.name, name)?;
    // SAFETY: as above, with one VolumeArguments.
    unsafe { call(parent, SNAP_DESTROY, &mut arguments) }
}

fn fill(field: &mut [u8], name: &[u8]) -> io::Result<()> {
    if name.is_empty() || name.len() >= field.len() || name.contains(&b'/') || name.contains(&0) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    field[..name.len()].copy_from_slice(name);
    Ok(())
}

/// # Safety
/// `request` must read or write at most one `T` as the kernel lays it out.
unsafe fn call<T>(fd: impl AsFd, request: u32, arguments: &mut T) -> io::Result<()> {
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: the caller vouches for the layout; the pointer is valid for the whole call and is ours alone.
    let result = unsafe { libc::ioctl(fd, libc::Ioctl::from(request), std::ptr::from_mut(arguments)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
