//! A process-like thread that changes a tree all the time, in every way, and can be held.

use std::fs::{self, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Numbers that look random (xorshift), the same for the same seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// A file that is mapped, shared and writable.
pub struct Mapping {
    address: *mut u8,
    length: usize,
}

// SAFETY: the mapping belongs to the value, and only who has it stores to it.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps an existing file; the descriptor is closed again.
    pub fn new(path: &Path) -> Self {
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        Self::of(&file)
    }

    pub fn of(file: &fs::File) -> Self {
        let length = file.metadata().unwrap().len() as usize;
        // SAFETY: a new mapping of an open file of that length, at a place that the kernel chooses.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        assert_ne!(address, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
        Self { address: address.cast(), length }
    }

    /// Stores one byte.
    pub fn store(&mut self, at: usize, byte: u8) {
        assert!(at < self.length);
        // SAFETY: within the mapping (asserted), and the file is never made shorter.
        unsafe { self.address.add(at).write_volatile(byte) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this address and length, and nobody uses it any more.
        unsafe { libc::munmap(self.address.cast(), self.length) };
    }
}

/// The thread. It holds the lock for each act, so whoever takes the lock holds the tree.
pub struct Churn {
    pub lock: Arc<Mutex<()>>,
    acts: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Churn {
    /// Begins to change `tree`.
    pub fn start(tree: &Path, seed: u64) -> Self {
        let lock = Arc::new(Mutex::new(()));
        let stop = Arc::new(AtomicBool::new(false));
        let acts = Arc::new(AtomicU64::new(0));
        let mut work = Work::new(tree, seed);
        let (theirs, stopped, count) = (lock.clone(), stop.clone(), acts.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let held = theirs.lock().unwrap();
                work.act();
                count.fetch_add(1, Ordering::Relaxed);
                drop(held);
                // Lets whoever waits for the lock have it.
                std::thread::yield_now();
            }
        });
        Self { lock, acts, stop, thread: Some(thread) }
    }

    /// Waits until so many more acts were done.
    pub fn wait_for(&self, count: u64) {
        let until = self.acts.load(Ordering::Relaxed) + count;
        while self.acts.load(Ordering::Relaxed) < until {
            assert!(!self.thread.as_ref().unwrap().is_finished(), "the churn ended");
            std::thread::yield_now();
        }
    }
}

impl Drop for Churn {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the churn panicked");
        }
    }
}

/// What the thread does.
pub struct Work {
    tree: PathBuf,
    dice: Dice,
    number: u64,
    files: Vec<PathBuf>,
    folders: Vec<PathBuf>,
    mapped: Vec<Mapping>,
}

const MAPPED_BYTES: u64 = 3 * 4096;

impl Work {
    pub fn new(tree: &Path, seed: u64) -> Self {
        let mapped = (0..3).map(|i| {
            let path = tree.join(format!("mapped-{seed}-{i}"));
            fs::write(&path, vec![0; MAPPED_BYTES as usize]).unwrap();
            Mapping::new(&path)
        });
        let mapped = mapped.collect();
        let mut work = Self {
            tree: tree.to_path_buf(),
            dice: Dice::new(seed),
            number: 0,
            files: Vec::new(),
            folders: vec![tree.to_path_buf()],
            mapped,
        };
        for _ in 0..40 {
            work.create();
            work.make_folder();
        }
        work
    }

    fn fresh(&mut self, what: &str) -> PathBuf {
        self.number += 1;
        let at = self.dice.roll(self.folders.len() as u64) as usize;
        self.folders[at].join(format!("{what}-{}", self.number))
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = self.dice.roll(20_000) as usize;
        let byte = self.dice.roll(256) as u8;
        (0..length).map(|i| byte.wrapping_add(i as u8)).collect()
    }

    fn pick(&mut self) -> Option<usize> {
        let count = self.files.len() as u64;
        (count > 0).then(|| self.dice.roll(count) as usize)
    }

    fn pick_folder(&mut self) -> Option<usize> {
        let count = self.folders.len() as u64;
        (count > 1).then(|| 1 + self.dice.roll(count - 1) as usize)
    }

    fn create(&mut self) {
        let path = self.fresh("file");
        let bytes = self.bytes();
        fs::write(&path, bytes).unwrap();
        self.files.push(path);
    }

    fn make_folder(&mut self) {
        if self.folders.len() < 60 {
            let path = self.fresh("folder");
            fs::create_dir(&path).unwrap();
            self.folders.push(path);
        }
    }

    /// Moves everything that is known below `from` in memory.
    fn moved(&mut self, from: &Path, to: &Path) {
        for path in self.files.iter_mut().chain(self.folders.iter_mut()) {
            if let Ok(inside) = path.strip_prefix(from) {
                *path = if inside.as_os_str().is_empty() { to.to_path_buf() } else { to.join(inside) };
            }
        }
    }

    fn forget_below(&mut self, folder: &Path) {
        self.files.retain(|path| !path.starts_with(folder));
        self.folders.retain(|path| !path.starts_with(folder));
    }

    /// Does one thing.
    pub fn act(&mut self) {
        match self.dice.roll(20) {
            0..=2 if self.files.len() < 400 => self.create(),
            3..=4 => self.overwrite(),
            5 => self.append_or_truncate(),
            6 => self.delete(),
            7..=8 => self.rename(),
            9 => self.replace(),
            10 => self.make_folder(),
            11 => self.rename_folder(),
            12 => self.delete_folder(),
            13 => self.hard_link(),
            14 => self.symlink(),
            15 => self.change_metadata(),
            16 => self.change_kind(),
            17 => self.exchange_folders(),
            _ => {
                let which = self.dice.roll(self.mapped.len() as u64) as usize;
                let (at, byte) = (self.dice.roll(MAPPED_BYTES) as usize, self.dice.roll(256) as u8);
                self.mapped[which].store(at, byte);
            }
        }
    }

    fn overwrite(&mut self) {
        let Some(at) = self.pick() else { return };
        let bytes = self.bytes();
        let offset = self.dice.roll(10_000);
        if let Ok(file) = OpenOptions::new().write(true).open(&self.files[at]) {
            file.write_all_at(&bytes, offset).unwrap();
        }
    }

    fn append_or_truncate(&mut self) {
        let Some(at) = self.pick() else { return };
        let length = self.dice.roll(30_000);
        if let Ok(file) = OpenOptions::new().write(true).open(&self.files[at]) {
            file.set_len(length).unwrap();
        }
    }

    fn delete(&mut self) {
        let Some(at) = self.pick() else { return };
        let path = self.files.swap_remove(at);
        fs::remove_file(path).unwrap();
    }

    fn rename(&mut self) {
        let Some(at) = self.pick() else { return };
        let to = self.fresh("renamed");
        fs::rename(&self.files[at], &to).unwrap();
        self.files[at] = to;
    }

    fn replace(&mut self) {
        let (Some(from), Some(to)) = (self.pick(), self.pick()) else { return };
        let (from, to) = (self.files[from].clone(), self.files[to].clone());
        fs::rename(&from, &to).unwrap();
        // Two names of one file stay both.
        if !from.exists() && fs::symlink_metadata(&from).is_err() {
            self.files.retain(|path| *path != from);
        }
    }

    fn rename_folder(&mut self) {
        let Some(at) = self.pick_folder() else { return };
        let from = self.folders[at].clone();
        let to = self.fresh("moved");
        if !to.starts_with(&from) {
            fs::rename(&from, &to).unwrap();
            self.moved(&from, &to);
        }
    }

    fn delete_folder(&mut self) {
        if self.folders.len() < 20 {
            return;
        }
        let Some(at) = self.pick_folder() else { return };
        let folder = self.folders[at].clone();
        fs::remove_dir_all(&folder).unwrap();
        self.forget_below(&folder);
    }

    fn hard_link(&mut self) {
        let Some(at) = self.pick() else { return };
        let path = self.fresh("linked");
        fs::hard_link(&self.files[at], &path).unwrap();
        self.files.push(path);
    }

    fn symlink(&mut self) {
        let path = self.fresh("symlink");
        std::os::unix::fs::symlink(format!("nowhere-{}", self.number), &path).unwrap();
        self.files.push(path);
    }

    fn change_metadata(&mut self) {
        let Some(at) = self.pick() else { return };
        let path = self.files[at].clone();
        let number = self.dice.roll(5000) as u32;
        std::os::unix::fs::lchown(&path, Some(number), Some(number)).unwrap();
        if fs::symlink_metadata(&path).unwrap().is_file() {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600 | (number & 0o77))).unwrap();
            let value = number.to_le_bytes();
            rustix_setxattr(&path, &value);
        }
    }

    fn change_kind(&mut self) {
        let Some(at) = self.pick() else { return };
        let path = self.files.swap_remove(at);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), "was a file").unwrap();
        self.files.push(path.join("inside"));
        self.folders.push(path);
    }

    /// Swaps two folders, so that both paths stay and all below them is another.
    fn exchange_folders(&mut self) {
        let (Some(one), Some(other)) = (self.pick_folder(), self.pick_folder()) else { return };
        let (one, other) = (self.folders[one].clone(), self.folders[other].clone());
        if one.starts_with(&other) || other.starts_with(&one) {
            return;
        }
        let (a, b) = (cstring(&one), cstring(&other));
        // SAFETY: both paths end with a NUL and live through the call.
        let result = unsafe {
            libc::renameat2(libc::AT_FDCWD, a.as_ptr(), libc::AT_FDCWD, b.as_ptr(), libc::RENAME_EXCHANGE)
        };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        let aside = self.tree.join("aside");
        self.moved(&one, &aside);
        self.moved(&other, &one);
        self.moved(&aside, &other);
    }
}

fn cstring(path: &Path) -> std::ffi::CString {
    std::ffi::CString::new(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str())).unwrap()
}

fn rustix_setxattr(path: &Path, value: &[u8]) {
    rustix::fs::setxattr(path, "user.number", value, rustix::fs::XattrFlags::empty()).unwrap();
}
