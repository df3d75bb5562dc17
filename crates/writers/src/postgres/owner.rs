//! The operating-system user that a server runs as.

use std::ffi::{CStr, CString};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use stillpoint_model::WriterError;

/// An operating-system user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// The number of its group.
    pub gid: u32,
}

/// How much room the C library gets for the strings of an entry of the user or group list.
const ENTRY_BYTES: usize = 64 * 1024;

impl User {
    /// The user with this name, if there is one.
    pub fn named(name: &str) -> Option<Self> {
        let c_name = CString::new(name).ok()?;
        // SAFETY: an all-zero passwd (numbers and null pointers) is a valid value; the call fills it.
        let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
        let mut buffer = vec![0; ENTRY_BYTES];
        let mut found = std::ptr::null_mut();
        // SAFETY: all pointers are valid for the call, and the length is that of the buffer.
        let status = unsafe {
            libc::getpwnam_r(c_name.as_ptr(), &mut entry, buffer.as_mut_ptr(), buffer.len(), &mut found)
        };
        (status == 0 && !found.is_null()).then(|| Self {
            name: name.to_owned(),
            uid: entry.pw_uid,
            gid: entry.pw_gid,
        })
    }

    /// The owner of what is at `path`.
    pub fn owning(path: &Path) -> std::io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        let name = user_name(metadata.uid()).unwrap_or_else(|| metadata.uid().to_string());
        Ok(Self { name, uid: metadata.uid(), gid: metadata.gid() })
    }

    /// The user that a restored cluster must belong to: `name`, or the user who runs us when we are not root and could not
    /// give anything away.
    pub fn for_restore(name: &str) -> Result<Self, WriterError> {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        if uid != 0 {
            return Ok(Self { name: user_name(uid).unwrap_or_else(|| uid.to_string()), uid, gid });
        }
        Self::named(name).filter(|user| user.uid != 0).ok_or_else(|| {
            WriterError::Other(format!(
                "the operating-system user {name}, who owned the cluster, is not on this machine; create it, or \
                 install the PostgreSQL packages that do"
            ))
        })
    }

    /// What a program needs to run as this user: nothing when we are that user.
    pub fn switch(&self) -> Option<(u32, u32)> {
        (rustix::process::geteuid().as_raw() != self.uid).then_some((self.uid, self.gid))
    }
}

fn user_name(uid: u32) -> Option<String> {
    // SAFETY: an all-zero passwd (numbers and null pointers) is a valid value; the call fills it.
    let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
    let mut buffer = vec![0; ENTRY_BYTES];
    let mut found = std::ptr::null_mut();
    // SAFETY: all pointers are valid for the call, and the length is that of the buffer.
    let status = unsafe { libc::getpwuid_r(uid, &mut entry, buffer.as_mut_ptr(), buffer.len(), &mut found) };
    if status != 0 || found.is_null() {
        return None;
    }
    // SAFETY: the call succeeded, so that the name is a C string in the buffer, which is still there.
    let name = unsafe { CStr::from_ptr(entry.pw_name) };
    name.to_str().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_by_what_they_own() {
        let root = User::named("root").unwrap();
        assert_eq!((root.uid, root.name.as_str()), (0, "root"));
        assert_eq!(User::owning(Path::new("/")).unwrap(), root);
        assert_eq!(User::named("no such user"), None);
    }
}
