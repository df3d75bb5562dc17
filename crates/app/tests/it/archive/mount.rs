//! The versions of an archive as folders.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use super::site_with_archive;
use crate::site::contents;

/// Ends the program, and takes the mount away if it is still there.
struct Mounted {
    child: Child,
    at: std::path::PathBuf,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = rustix::mount::unmount(&self.at, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn the_versions_are_folders_until_it_is_told_to_end() {
    assert!(std::path::Path::new("/dev/fuse").exists(), "this test needs /dev/fuse: modprobe fuse");
    let site = site_with_archive("");
    site.run(&["archive", "init"]).exits(0);
    site.run(&["backup"]).exits(0);
    let at = site.path("mounted");
    let missing = site.run(&["archive", "mount", at.to_str().unwrap()]).exits(2);
    assert!(missing.err.contains("not a folder"), "{}", missing.err);
    std::fs::create_dir(&at).unwrap();
    let mut command = site.command(&["archive", "mount", at.to_str().unwrap()]);
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut mounted = Mounted { child, at: at.clone() };
    let mut said = String::new();
    BufReader::new(mounted.child.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.contains("is mounted at"), "{said}");
    let content = at.join("latest/T01Backup/SiteServer/content");
    assert_eq!(contents(&content), contents(&site.path("tree")));
    assert!(std::fs::write(content.join("a/1.txt"), "x").is_err());
    let pid = rustix::process::Pid::from_child(&mounted.child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(mounted.child.wait().unwrap().code(), Some(0));
    assert!(std::fs::read_dir(&at).unwrap().next().is_none());
}
