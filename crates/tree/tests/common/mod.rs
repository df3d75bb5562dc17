//! What the tests of this crate share: small trees, mounts that end with the test, threads with fewer rights.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::ffi::{CString, OsStr};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use stillpoint_tree::*;

/// Unmounts `$1`. A process that is just being started somewhere may hold it for a moment, so it is tried for a while.
const UNMOUNT: &str =
    "for _ in $(seq 100); do umount \"$1\" 2>/dev/null && exit 0; sleep 0.1; done; exec umount \"$1\"";

pub fn rel(path: impl AsRef<[u8]>) -> RelPath {
    RelPath::from_bytes(path.as_ref().to_vec()).expect("a relative path")
}

pub fn write(path: &Path, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// Runs a program that must succeed; returns what it wrote.
pub fn run(program: &str, args: &[&OsStr]) -> String {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|e| panic!("this test needs {program}: {e}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs `script` with `sh` in `folder`.
pub fn sh(folder: &Path, script: &str) -> String {
    let output =
        Command::new("sh").arg("-ec").arg(script).current_dir(folder).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A mount that ends with the test. Needs root.
pub struct Mount(PathBuf);

impl Mount {
    pub fn tmpfs(at: &Path) -> Self {
        run(
            "mount",
            &["-t", "tmpfs", "none"].map(OsStr::new).into_iter().chain([at.as_os_str()]).collect::<Vec<_>>(),
        );
        Self(at.to_owned())
    }

    pub fn bind(from: &Path, at: &Path) -> Self {
        run("mount", &[OsStr::new("--bind"), from.as_os_str(), at.as_os_str()]);
        Self(at.to_owned())
    }

    /// A new file system in a file beside `at`, mounted at `at`. The loop device goes with the mount.
    pub fn image(mkfs: &[&str], size_mib: u64, at: &Path) -> Self {
        let image = at.with_extension("image");
        fs::create_dir_all(at).unwrap();
        fs::File::create(&image).unwrap().set_len(size_mib << 20).unwrap();
        let mut args: Vec<&OsStr> = mkfs[1..].iter().map(OsStr::new).collect();
        args.push(image.as_os_str());
        run(mkfs[0], &args);
        run("mount", &[OsStr::new("-o"), OsStr::new("loop"), image.as_os_str(), at.as_os_str()]);
        Self(at.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ =
            Command::new("sh").args(["-c", UNMOUNT, "umount"]).arg(&self.0).stderr(Stdio::null()).status();
    }
}

/// Does `work` on a thread with the rights of the user nobody.
pub fn as_nobody<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // The plain system calls change this thread only (those of the C library would change the process).
            // SAFETY: they take numbers and touch no memory of ours.
            let dropped = unsafe {
                libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()) == 0
                    && libc::syscall(libc::SYS_setresgid, 65534, 65534, 65534) == 0
                    && libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) == 0
            };
            assert!(dropped, "this test needs root, to act as nobody");
            work()
        });
        thread.join().unwrap()
    })
}

pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

/// Sets an extended attribute.
pub fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, rustix::fs::XattrFlags::empty())
        .unwrap_or_else(|e| panic!("this test needs extended attributes on {}: {e}", path.display()));
}

/// Everything that can be said of a tree, by other means than the crate under test: one line an entry.
pub fn fingerprint(root: &Path) -> Vec<String> {
    let listing = Command::new("find").arg(".").arg("-print0").current_dir(root).output().unwrap();
    let mut inodes = std::collections::HashMap::new();
    let mut lines = Vec::new();
    let mut names: Vec<&[u8]> = listing.stdout.split(|&b| b == 0).filter(|n| !n.is_empty()).collect();
    names.sort_unstable();
    for name in names {
        let path = root.join(OsStr::from_bytes(name));
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.file_type().is_socket() {
            continue;
        }
        let first = inodes.entry((meta.dev(), meta.ino())).or_insert_with(|| name.to_vec()).clone();
        let content = if meta.is_file() {
            format!(
                "{} bytes",
                fs::read(&path)
                    .map(|c| c.len() as u64 + c.iter().map(|b| u64::from(*b)).sum::<u64>())
                    .unwrap()
            )
        } else if meta.is_symlink() {
            format!("{:?}", fs::read_link(&path).unwrap())
        } else {
            String::new()
        };
        let size = if meta.is_file() { meta.len() } else { 0 };
        lines.push(format!(
            "{:?} mode {:o} owner {}:{} mtime {}.{:09} size {size} rdev {} first {:?} content {content} xattrs {:?}",
            OsStr::from_bytes(name),
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.rdev(),
            OsStr::from_bytes(&first),
            xattrs(&path),
        ));
    }
    lines
}

fn xattrs(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names = vec![0_u8; 65536];
    let length = rustix::fs::llistxattr(path, names.as_mut_slice()).unwrap_or(0);
    let mut found = Vec::new();
    for name in names[..length].split(|&b| b == 0).filter(|n| !n.is_empty()) {
        let mut value = vec![0_u8; 65536];
        let length = rustix::fs::lgetxattr(path, name, value.as_mut_slice()).unwrap();
        found.push((String::from_utf8_lossy(name).into_owned(), value[..length].to_vec()));
    }
    found.sort();
    found
}

/// Counts, and goes on.
#[derive(Default)]
pub struct Counter {
    pub files: std::sync::atomic::AtomicU64,
    pub bytes: std::sync::atomic::AtomicU64,
}

impl Progress for Counter {
    fn advance(&self, files: u64, bytes: u64) -> bool {
        self.files.fetch_add(files, std::sync::atomic::Ordering::SeqCst);
        self.bytes.fetch_add(bytes, std::sync::atomic::Ordering::SeqCst);
        true
    }
}

/// Folders one in the other, with a file at the bottom; the path becomes longer than the kernel takes at once.
pub fn deep_tree(root: &Path, depth: usize) {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = rustix::fs::openat(rustix::fs::CWD, root, flags, Mode::empty()).unwrap();
    for _ in 0..depth {
        rustix::fs::mkdirat(&at, "folder", Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, "folder", flags, Mode::empty()).unwrap();
    }
    let write = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&at, "bottom", write, Mode::RUSR).unwrap();
    rustix::io::write(file, b"deep").unwrap();
}

/// Mirrors with these options changed from a plain copy of a tree at rest; the list is beside the target.
pub fn mirror_with(
    source: &Path,
    target: &Path,
    progress: &dyn Progress,
    change: impl FnOnce(&mut MirrorOptions),
) -> Result<(MirrorReport, Vec<Entry>), TreeError> {
    let mut options = MirrorOptions {
        filter: Filter::default(),
        transfer: Transfer::Copy,
        baseline: None,
        hash: true,
        live: false,
        settled_before: None,
        threads: 2,
    };
    change(&mut options);
    fs::create_dir_all(target).unwrap();
    let list = list_of(target);
    let mut index = IndexAppender::create(&list).unwrap();
    let report = mirror(source, target, &mut index, &options, progress)?;
    index.finish().unwrap();
    Ok((report, IndexReader::open(&list).unwrap().map(Result::unwrap).collect()))
}

/// The list that [`mirror_with`] writes for a target.
pub fn list_of(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".list");
    PathBuf::from(name)
}

pub fn entry<'e>(entries: &'e [Entry], path: &str) -> &'e Entry {
    entries.iter().find(|e| e.path == rel(path)).unwrap_or_else(|| panic!("{path} is not listed"))
}

pub fn sha256(entry: &Entry) -> Option<[u8; 32]> {
    match &entry.kind {
        Kind::File(facts) => facts.sha256,
        other => panic!("{other:?} is no file"),
    }
}

pub fn size(entry: &Entry) -> u64 {
    match &entry.kind {
        Kind::File(facts) => facts.size,
        other => panic!("{other:?} is no file"),
    }
}

/// A tree with everything that a restore must put back. Needs root for owners, devices and ACLs.
pub fn rich_tree(root: &Path) {
    fs::create_dir_all(root).unwrap();
    write(&root.join("docs/readme.txt"), "hello\n");
    write(&root.join("docs/empty"), "");
    write(&root.join("big"), (0..3_500_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>());
    write(&root.join(OsStr::from_bytes(b"new\nline \xff\xfe/in \"quotes\"\\")), "odd");
    write(&root.join("ünï/文件"), "unicode");
    let script = r#"
        mkdir -p empty/folder links
        ln docs/readme.txt links/second; ln docs/readme.txt a-first-name
        ln -s ../docs/readme.txt links/soft; ln -s /nowhere links/dangling; ln -s docs links/to-folder
        mkfifo pipe; mknod char c 1 3; mknod block b 7 3
        truncate -s 5M sparse; printf data | dd of=sparse bs=1 seek=2500000 conv=notrunc status=none
        truncate -s 3M all-hole
        setfacl -m u:1234:rw docs/readme.txt; setfacl -d -m g:4321:rx docs
        setfattr -n user.note -v 'a value' docs/readme.txt; setfattr -n user.empty docs/empty
        setfattr -n user.on.folder -v x empty; setfattr -h -n trusted.link -v y links/soft
        chown 1000:2000 docs/empty empty/folder; chown -h 7:8 links/soft; chown 5:6 pipe char
        chmod 4751 docs/empty; chmod 2775 empty; chmod 1777 empty/folder; chmod 600 char; chmod 000 big
        touch -d '1969-12-31 23:59:58.5 UTC' docs/empty; touch -h -d '2001-02-03 04:05:06.789' links/soft
        touch -d '2010-01-01 00:00:00.123456789' docs links empty pipe char .
    "#;
    sh(root, script);
}
