//! The raw face of fanotify(7) and of file handles (open_by_handle_at(2)). Layouts from the kernel's `linux/fanotify.h`.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What changes entries, folders included.
pub(super) const CHANGES: u64 = libc::FAN_CREATE
    | libc::FAN_DELETE
    | libc::FAN_MOVED_FROM
    | libc::FAN_MOVED_TO
    | libc::FAN_MODIFY
    | libc::FAN_CLOSE_WRITE
    | libc::FAN_ATTRIB
    | libc::FAN_ONDIR;

/// A file handle: four bytes of type, then the handle itself (`struct file_handle` without its length).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::two_pass) struct Handle(Box<[u8]>);

/// `MAX_HANDLE_SZ`: no file system has longer handles.
const HANDLE_BYTES_MAX: usize = 128;
/// `handle_bytes` and `handle_type` come before the handle.
const HANDLE_HEADER: usize = 8;

impl Handle {
    /// The handle of what a path leads to; with `follow`, through a last symbolic link.
    pub(in crate::two_pass) fn of(path: &Path, follow: bool) -> io::Result<Self> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let mut buffer = [0u32; (HANDLE_BYTES_MAX + HANDLE_HEADER) / 4];
        buffer[0] = HANDLE_BYTES_MAX as u32;
        let mut mount = 0;
        let flags = if follow { libc::AT_SYMLINK_FOLLOW } else { 0 };
        // SAFETY: the buffer is aligned for `struct file_handle` and as long as its first field says (plus the header);
        // the path ends with a NUL; the mount id is a valid place for an int.
        let result = unsafe {
            libc::name_to_handle_at(
                libc::AT_FDCWD,
                path.as_ptr(),
                buffer.as_mut_ptr().cast::<libc::file_handle>(),
                &raw mut mount,
                flags,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        let length = buffer[0] as usize;
        let bytes: Vec<u8> = buffer.iter().flat_map(|word| word.to_ne_bytes()).collect();
        Ok(Self(bytes[4..HANDLE_HEADER + length].into()))
    }

    /// Opens what it stands for, as a mere place (`O_PATH`), on the file system that `mount` is on.
    pub(in crate::two_pass) fn open(&self, mount: impl AsFd) -> io::Result<OwnedFd> {
        let mut buffer = [0u32; (HANDLE_BYTES_MAX + HANDLE_HEADER) / 4];
        let length = self.0.len().checked_sub(4).filter(|length| *length <= HANDLE_BYTES_MAX);
        buffer[0] = length.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))? as u32;
        for (word, chunk) in buffer[1..].iter_mut().zip(self.0.chunks(4)) {
            let mut bytes = [0; 4];
            bytes[..chunk.len()].copy_from_slice(chunk);
            *word = u32::from_ne_bytes(bytes);
        }
        // SAFETY: the buffer holds a `struct file_handle`, aligned, of the length that its first field says; the call only
        // reads it; `mount` is open.
        let fd = unsafe {
            libc::open_by_handle_at(
                mount.as_fd().as_raw_fd(),
                buffer.as_mut_ptr().cast::<libc::file_handle>(),
                libc::O_PATH | libc::O_CLOEXEC,
            )
        };
        owned(fd)
    }
}

fn owned(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A notification group; its marks end with it.
#[derive(Debug)]
pub(super) struct Group(OwnedFd);

impl Group {
    /// Opens a group whose events carry the folder, the name and the file, and whose queue has no limit. Before Linux 5.17
    /// events of names that come and go do not carry the file.
    pub(super) fn open() -> io::Result<Self> {
        Self::open_with(libc::FAN_REPORT_TARGET_FID).or_else(|_| Self::open_with(0))
    }

    fn open_with(more: u32) -> io::Result<Self> {
        let flags = more
            | libc::FAN_CLASS_NOTIF
            | libc::FAN_REPORT_FID
            | libc::FAN_REPORT_DFID_NAME
            | libc::FAN_UNLIMITED_QUEUE
            | libc::FAN_CLOEXEC
            | libc::FAN_NONBLOCK;
        // SAFETY: a plain call without pointers.
        owned(unsafe { libc::fanotify_init(flags, libc::O_RDONLY as u32) }).map(Self)
    }

    /// Adds `mask` to what is told of the whole file system that `top` is on.
    pub(super) fn watch(&self, top: BorrowedFd<'_>, mask: u64) -> io::Result<()> {
        let flags = libc::FAN_MARK_ADD | libc::FAN_MARK_FILESYSTEM;
        // SAFETY: both descriptors are open; the path is a constant that ends with a NUL.
        let result =
            unsafe { libc::fanotify_mark(self.0.as_raw_fd(), flags, mask, top.as_raw_fd(), c".".as_ptr()) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Reads events; 0 when there are none.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match rustix::io::read(&self.0, &mut *buffer) {
            Err(rustix::io::Errno::AGAIN) => Ok(0),
            Err(rustix::io::Errno::INTR) => self.read(buffer),
            read => Ok(read?),
        }
    }
}

impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// One event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RawEvent<'a> {
    pub(super) mask: u64,
    pub(super) pid: i32,
    /// The folder and the name in it.
    pub(super) at: Option<(&'a [u8], &'a [u8])>,
    /// The file itself.
    pub(super) file: Option<&'a [u8]>,
}

/// The handle of these bytes, as they are in an event.
pub(super) fn handle(bytes: &[u8]) -> Handle {
    Handle(bytes.into())
}

const METADATA: usize = 24;
const INFO_HEADER: usize = 4;
const FSID: usize = 8;

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// Takes the first event off the buffer. Nothing at its end, or when the bytes make no sense.
pub(super) fn next_event<'a>(buffer: &mut &'a [u8]) -> Option<RawEvent<'a>> {
    let length = u32::from_ne_bytes(number(buffer, 0)?) as usize;
    let metadata = usize::from(u16::from_ne_bytes(number(buffer, 6)?));
    if buffer.get(4) != Some(&libc::FANOTIFY_METADATA_VERSION) || metadata < METADATA || length < metadata {
        return None;
    }
    let event = buffer.get(..length)?;
    let mut found = RawEvent {
        mask: u64::from_ne_bytes(number(event, 8)?),
        pid: i32::from_ne_bytes(number(event, 20)?),
        ..RawEvent::default()
    };
    let mut rest = &event[metadata..];
    while rest.len() >= INFO_HEADER {
        let kind = rest[0];
        let record = rest.get(..usize::from(u16::from_ne_bytes(number(rest, 2)?)).max(INFO_HEADER))?;
        rest = &rest[record.len()..];
        let body = record.get(INFO_HEADER + FSID..)?;
        let handle_length = u32::from_ne_bytes(number(body, 0)?) as usize;
        let handle = body.get(4..HANDLE_HEADER + handle_length)?;
        match kind {
            libc::FAN_EVENT_INFO_TYPE_FID => found.file = Some(handle),
            libc::FAN_EVENT_INFO_TYPE_DFID_NAME => {
                let name = &body[HANDLE_HEADER + handle_length..];
                let end = name.iter().position(|&b| b == 0).unwrap_or(name.len());
                found.at = Some((handle, &name[..end]));
            }
            libc::FAN_EVENT_INFO_TYPE_DFID => found.at = Some((handle, b".")),
            _ => {}
        }
    }
    *buffer = &buffer[length..];
    Some(found)
}
