//! Removing a folder of ours, and never anything else.
//!
//! The folder must carry the marker file with the id of the run. The marker goes last, so that a removal that was
//! interrupted is taken up again. The walk holds at most two folders open whatever the depth, never follows a link, and
//! refuses to enter another file system, another subvolume, or anything that is mounted (`openat2`, RESOLVE_NO_XDEV,
//! which also knows bind mounts).

use std::ffi::CString;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fchmod, fstat, open, openat, openat2, unlinkat,
};
use rustix::io::Errno;
use stillpoint_model::Undo;

use super::{Ending, Undone};

/// How often the folder is gone through when something appears in it meanwhile.
const PASSES: usize = 3;

/// Removes the folder at `path` when its marker names `run`. An empty folder without a marker is removed as well: it is
/// what is left when we died between creating it and marking it, or between the last two steps of a removal.
pub(super) fn remove_tree(path: &Path, run: &str) -> Ending {
    let plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    if !path.is_absolute() || path.file_name().is_none() || !path.components().all(plain) {
        return Err("the path is not absolute and plain; nothing was removed".to_owned());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = match open(path, flags, Mode::empty()) {
        Ok(top) => top,
        Err(Errno::NOENT) => return Ok(Undone::Nothing),
        Err(Errno::NOTDIR | Errno::LOOP) => return Err("it is not a folder; nothing was removed".to_owned()),
        Err(error) => return Err(error.to_string()),
    };
    match marker(&top)? {
        Some(named) if named == run => {}
        // Another run's, or published meanwhile: not ours any more.
        Some(_) => return Ok(Undone::Nothing),
        None => return remove_empty(path),
    }
    let mut last = Ok(());
    for _ in 0..PASSES {
        last = empty(&top);
        if last.is_ok() {
            let gone = unlinkat(&top, Undo::MARKER, AtFlags::empty());
            if !matches!(gone, Ok(()) | Err(Errno::NOENT)) {
                return Err("its marker file cannot be removed".to_owned());
            }
            return remove_empty(path);
        }
    }
    last.map(|()| Undone::Nothing)
}

fn remove_empty(path: &Path) -> Ending {
    match std::fs::remove_dir(path) {
        Ok(()) => Ok(Undone::Acted),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Undone::Nothing),
        // No marker and something in it: not ours.
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(Undone::Nothing),
        Err(error) => Err(error.to_string()),
    }
}

fn marker(top: &OwnedFd) -> Result<Option<String>, String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match openat(top, Undo::MARKER, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(format!("its marker file cannot be read: {error}")),
    };
    let mut text = String::new();
    let read = std::fs::File::from(file).take(256).read_to_string(&mut text);
    read.map_err(|error| format!("its marker file cannot be read: {error}"))?;
    Ok(Some(text.trim().to_owned()))
}

/// A folder on the way down: its identity, and what is still to be removed in it.
struct Level {
    device: u64,
    inode: u64,
    name: CString,
    left: Vec<CString>,
}

/// Removes all that is in `top`, but for the marker of the top itself.
fn empty(top: &OwnedFd) -> Result<(), String> {
    let told = |error: Errno| format!("a folder in it cannot be read: {error}");
    let first = fstat(top).map_err(told)?;
    let mut here = openat(top, c".", folder_flags(), Mode::empty()).map_err(told)?;
    let mut left = names(&here)?;
    left.retain(|name| name.as_bytes() != Undo::MARKER.as_bytes());
    let mut levels =
        vec![Level { device: first.st_dev, inode: first.st_ino, name: CString::default(), left }];
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.left.pop() else {
            let Some(done) = levels.pop() else { break };
            let Some(above) = levels.last() else { break };
            here = ascend(&here, above)?;
            remove_folder(&here, &done.name)?;
            continue;
        };
        if let Some((folder, facts)) = remove_or_enter(&here, &name, first.st_dev)? {
            let left = names(&folder)?;
            levels.push(Level { device: facts.st_dev, inode: facts.st_ino, name, left });
            here = folder;
        }
    }
    Ok(())
}

fn folder_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

/// Goes back up, and makes sure that it is where we came from: somebody may have moved the folder.
fn ascend(here: &OwnedFd, above: &Level) -> Result<OwnedFd, String> {
    let parent = openat(here, c"..", folder_flags(), Mode::empty()).map_err(|error| error.to_string())?;
    let facts = fstat(&parent).map_err(|error| error.to_string())?;
    match facts.st_dev == above.device && facts.st_ino == above.inode {
        true => Ok(parent),
        false => Err("a folder in it was moved meanwhile".to_owned()),
    }
}

/// Removes one entry, or opens it when it is a folder.
fn remove_or_enter(here: &OwnedFd, name: &CString, device: u64) -> Result<Option<(OwnedFd, Stat)>, String> {
    let told = |error: Errno| format!("{} in it cannot be removed: {error}", name.to_string_lossy());
    match open_inside(here, name) {
        Ok(folder) => {
            let facts = fstat(&folder).map_err(told)?;
            if facts.st_dev != device {
                return Err(format!("{} in it is another file system or subvolume", name.to_string_lossy()));
            }
            Ok(Some((folder, facts)))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::XDEV) => Err(format!("something is mounted on {} in it", name.to_string_lossy())),
        // A file, or a link: openat2 with NOFOLLOW answers LOOP for one.
        Err(Errno::NOTDIR | Errno::LOOP) => {
            match with_rights(here, || unlinkat(here, name, AtFlags::empty())) {
                Ok(()) | Err(Errno::NOENT) => Ok(None),
                Err(error) => Err(told(error)),
            }
        }
        Err(error) => Err(told(error)),
    }
}

/// Opens a folder inside `here`; gives us the right to when it is ours and we do not have it.
fn open_inside(here: &OwnedFd, name: &CString) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let attempt = || openat2(here, name, folder_flags(), Mode::empty(), resolve);
    match attempt() {
        Err(Errno::ACCESS) => {
            let facts = rustix::fs::statat(here, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(facts.st_mode) == FileType::Directory {
                rustix::fs::chmodat(here, name, Mode::RWXU, AtFlags::empty())?;
            }
            attempt()
        }
        answer => answer,
    }
}

fn remove_folder(here: &OwnedFd, name: &CString) -> Result<(), String> {
    match with_rights(here, || unlinkat(here, name, AtFlags::REMOVEDIR)) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(format!("{} in it cannot be removed: {error}", name.to_string_lossy())),
    }
}

/// Does it again with the right to write to the folder when that was missing.
fn with_rights(here: &OwnedFd, act: impl Fn() -> Result<(), Errno>) -> Result<(), Errno> {
    match act() {
        Err(Errno::ACCESS) => {
            fchmod(here, Mode::RWXU)?;
            act()
        }
        answer => answer,
    }
}

fn names(folder: &OwnedFd) -> Result<Vec<CString>, String> {
    let told = |error: Errno| format!("a folder in it cannot be read: {error}");
    let mut names = Vec::new();
    for entry in Dir::read_from(folder).map_err(told)? {
        let name = entry.map_err(told)?.file_name().to_owned();
        if name.as_bytes() != b"." && name.as_bytes() != b".." {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;

    use super::*;

    fn ours(run: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("set");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join(Undo::MARKER), format!("{run}\n")).unwrap();
        (folder, path)
    }

    #[test]
    fn a_folder_of_the_run_is_removed_and_a_link_in_it_is_not_followed() {
        let (folder, path) = ours("r1");
        let outside = folder.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("precious"), "x").unwrap();
        symlink(&outside, path.join("link")).unwrap();
        std::fs::create_dir_all(path.join("a/b/c")).unwrap();
        std::fs::write(path.join("a/b/c/file"), "x").unwrap();
        std::fs::set_permissions(path.join("a/b"), PermissionsExt::from_mode(0o500)).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, path.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert_eq!(remove_tree(&path, "r1"), Ok(Undone::Acted));
        assert!(!path.exists() && outside.join("precious").exists());
        assert_eq!(remove_tree(&path, "r1"), Ok(Undone::Nothing));
    }

    #[test]
    fn a_folder_that_is_not_of_the_run_stays() {
        let (_folder, path) = ours("another");
        assert_eq!(remove_tree(&path, "r1"), Ok(Undone::Nothing));
        std::fs::remove_file(path.join(Undo::MARKER)).unwrap();
        std::fs::write(path.join("file"), "x").unwrap();
        assert_eq!(remove_tree(&path, "r1"), Ok(Undone::Nothing));
        assert!(path.join("file").exists());
    }

    #[test]
    fn a_path_that_could_be_anything_is_refused() {
        for wrong in ["/", "relative", "", "/tmp/../etc", "/.."] {
            assert!(remove_tree(Path::new(wrong), "r1").is_err(), "{wrong:?} was taken");
        }
        let (folder, path) = ours("r1");
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(remove_tree(&link, "r1").is_err());
        assert!(path.exists());
    }

    #[test]
    fn a_tree_of_a_thousand_levels_is_removed() {
        let (_folder, path) = ours("r1");
        let mut here = open(&path, folder_flags(), Mode::empty()).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&here, c"deeper", Mode::RWXU).unwrap();
            here = openat(&here, c"deeper", folder_flags(), Mode::empty()).unwrap();
        }
        drop(here);
        assert_eq!(remove_tree(&path, "r1"), Ok(Undone::Acted));
    }

    /// A bind mount that ends with the value.
    struct Bind(PathBuf);

    impl Drop for Bind {
        fn drop(&mut self) {
            rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).unwrap();
        }
    }

    #[test]
    fn what_is_mounted_in_it_is_never_entered() {
        let (folder, path) = ours("r1");
        let precious = folder.path().join("precious");
        std::fs::create_dir(&precious).unwrap();
        std::fs::write(precious.join("file"), "x").unwrap();
        let inside = path.join("mounted");
        std::fs::create_dir(&inside).unwrap();
        rustix::mount::mount_bind(&precious, &inside)
            .expect("this test needs the right to mount (CAP_SYS_ADMIN)");
        let bind = Bind(inside);
        assert!(remove_tree(&path, "r1").unwrap_err().contains("mounted"));
        assert!(precious.join("file").exists(), "a bind mount was emptied");
        drop(bind);
        assert_eq!(remove_tree(&path, "r1"), Ok(Undone::Acted));
        assert!(precious.join("file").exists());
    }
}
