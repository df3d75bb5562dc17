//! The tracker that has the kernel tell what changes, with a mark on the whole file system.
//!
//! Events name a folder by its handle, and an entry in it by its name. Handles are resolved to paths when somebody asks,
//! so a path is the one that the folder has *then*: a folder that was renamed meanwhile is found at its new place, and the
//! rename itself is an event of its own that makes the whole new place suspect.
//!
//! A file can be changed through a name that is outside the tree, or that is gone by now, while another name in the tree
//! stays. So of events outside, and of names that came and went, the file itself is looked up: is it one of the files that
//! are known to have several names, all its names are suspect; has it several names and is not known, or a single one that
//! cannot be found, only a scan can tell whether one is in the tree.
//!
//! What our own process does outside the tree is passed over: the copies that we make may lie on the same file system, and
//! would drown the rest.
//!
//! A thread of its own empties the kernel's queue. Whoever drains takes over its work under the same lock, so all that was
//! queued before a drain is in its answer.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use stillpoint_tree::RelPath;

use super::collect::{Collected, Told};
use super::raw::{CHANGES, Group, Handle, RawEvent, handle, next_event};
use super::{Changes, How, Suspect, Tracker};
use crate::two_pass::links::Links;
use crate::two_pass::reader::{Reader, stat_at, stat_of};

const BUFFER_BYTES: usize = 256 * 1024;
/// One drain reads at most so many buffers: on a tree that is not held the queue may never be empty.
const READS_MAX: usize = 4096;
/// How long the queue fills after it was emptied.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
/// So many folders of our own work are remembered.
const KNOWN_MAX: usize = 100_000;

const ENTRY_CAME_OR_WENT: u64 =
    libc::FAN_CREATE | libc::FAN_DELETE | libc::FAN_MOVED_FROM | libc::FAN_MOVED_TO;
const CAME: u64 = libc::FAN_CREATE | libc::FAN_MOVED_TO;
/// What happens to a file itself, and not to one of its names.
const FILE_ITSELF: u64 = libc::FAN_MODIFY | libc::FAN_ATTRIB | libc::FAN_CLOSE_WRITE | libc::FAN_OPEN;
const STIRRED: u64 = ENTRY_CAME_OR_WENT | libc::FAN_MODIFY | libc::FAN_ATTRIB;

struct Shared {
    group: Group,
    stop: OwnedFd,
    state: Mutex<State>,
}

struct State {
    collected: Collected,
    own: OwnWork,
}

/// Knows which events come from the copies that we make ourselves.
struct OwnWork {
    pid: i32,
    top: OwnedFd,
    root: PathBuf,
    /// Our folder, which may lie in the tree.
    hidden: Option<PathBuf>,
    /// Folders that were looked up.
    known: HashMap<Box<[u8]>, bool>,
}

impl OwnWork {
    fn is(&mut self, event: &RawEvent<'_>) -> bool {
        if event.pid != self.pid {
            return false;
        }
        let Some((folder, _)) = event.at else { return event.mask & libc::FAN_Q_OVERFLOW == 0 };
        if let Some(known) = self.known.get(folder) {
            return *known;
        }
        let Ok(path) = handle(folder).open(&self.top).and_then(path_of) else { return false };
        let hidden = self.hidden.as_ref().is_some_and(|hidden| path.starts_with(hidden));
        let own = hidden || !path.starts_with(&self.root);
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        self.known.insert(folder.into(), own);
        own
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Empties the kernel's queue into the collection.
    fn pump(&self, state: &mut State, buffer: &mut [u8]) {
        let State { collected, own } = state;
        for _ in 0..READS_MAX {
            match self.group.read(buffer) {
                Ok(0) => return,
                Ok(length) => {
                    let mut rest = &buffer[..length];
                    while let Some(event) = next_event(&mut rest) {
                        if !own.is(&event) {
                            collected.add(&event);
                        }
                    }
                    if !rest.is_empty() {
                        collected.lose("the kernel told events in a form that is not known");
                    }
                }
                Err(error) => return collected.lose(&format!("events could not be read: {error}")),
            }
        }
        collected.lose("events came faster than they could be read");
    }

    fn read_until_stopped(&self) {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let mut waits = [PollFd::new(&self.group, PollFlags::IN), PollFd::new(&self.stop, PollFlags::IN)];
            match poll(&mut waits, None) {
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => {
                    return self.lock().collected.lose(&format!("events could not be waited for: {error}"));
                }
                Ok(_) if !waits[1].revents().is_empty() => return,
                Ok(_) => self.pump(&mut self.lock(), &mut buffer),
            }
            // Events mostly come in crowds. To wake up for each would take the processor from whoever works, us included.
            let _ = poll(&mut [PollFd::new(&self.stop, PollFlags::IN)], Some(&PAUSE));
        }
    }
}

/// The tracker.
pub(in crate::two_pass) struct Fanotify {
    shared: Arc<Shared>,
    top: OwnedFd,
    thread: Option<JoinHandle<()>>,
    buffer: Vec<u8>,
}

impl Fanotify {
    /// Whether it can serve the tree: a group, a mark, and a handle of the top that opens again.
    pub(in crate::two_pass) fn probe(reader: &Reader) -> io::Result<()> {
        Group::open()?.watch(reader.top(), CHANGES)?;
        let opened = Handle::of(reader.path(), false)?.open(reader.top())?;
        if stat_of(opened)?.inode == stat_of(reader.top())?.inode {
            Ok(())
        } else {
            Err(io::Error::other("the file system's handles do not lead back"))
        }
    }

    /// Begins to follow changes.
    pub(in crate::two_pass) fn begin(reader: &Reader, hidden: Option<PathBuf>) -> io::Result<Self> {
        let group = Group::open()?;
        group.watch(reader.top(), CHANGES)?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC)?;
        let own = OwnWork {
            pid: rustix::process::getpid().as_raw_nonzero().get(),
            top: reader.top().try_clone_to_owned()?,
            root: reader.path().to_path_buf(),
            hidden,
            known: HashMap::new(),
        };
        let state = Mutex::new(State { collected: Collected::default(), own });
        let shared = Arc::new(Shared { group, stop, state });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("fanotify".to_owned())
            .spawn(move || theirs.read_until_stopped())?;
        let top = reader.top().try_clone_to_owned()?;
        Ok(Self { shared, top, thread: Some(thread), buffer: vec![0; BUFFER_BYTES] })
    }

    /// Looks up all that was collected.
    fn resolve(&self, collected: Collected, links: &Links) -> Changes {
        let root = match path_of(&self.top) {
            Ok(root) => root,
            Err(error) => return Changes::Unknown(format!("the tree's own path is not known: {error}")),
        };
        let mut lookup = Lookup { top: &self.top, root, links, suspects: BTreeMap::new() };
        let mut lost = collected.lost;
        for (folder, names) in collected.folders {
            if lost.is_some() {
                break;
            }
            lost = lookup.folder(&folder, names).err();
        }
        for (file, told) in collected.files {
            if lost.is_some() {
                break;
            }
            lost = lookup.file(&file, &told, false).err();
        }
        lost.map_or(Changes::Known(lookup.suspects), Changes::Unknown)
    }
}

impl Tracker for Fanotify {
    fn watch_opens(&mut self) -> io::Result<()> {
        self.shared.group.watch(self.top.as_fd(), CHANGES | libc::FAN_OPEN)
    }

    fn drain(&mut self, links: &Links) -> Changes {
        let collected = {
            let mut state = self.shared.lock();
            self.shared.pump(&mut state, &mut self.buffer);
            std::mem::take(&mut state.collected)
        };
        self.resolve(collected, links)
    }
}

impl Drop for Fanotify {
    fn drop(&mut self) {
        // Writing to an eventfd fails only when its counter is full, and then the thread is awake as well.
        let _ = rustix::io::write(&self.shared.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The path of what is open, as this process sees it.
fn path_of(file: impl AsFd) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()))
}

struct Lookup<'a> {
    top: &'a OwnedFd,
    root: PathBuf,
    links: &'a Links,
    suspects: BTreeMap<RelPath, Suspect>,
}

impl Lookup<'_> {
    fn suspect(&mut self, path: RelPath, how: How, told: &Told) {
        let stirred = told.mask & STIRRED != 0;
        let suspect = self.suspects.entry(path).or_insert(Suspect { how, stirred, pid: told.pid });
        suspect.how = suspect.how.max(how);
        suspect.stirred |= stirred;
    }

    /// Where the open file is.
    fn place(&self, file: &OwnedFd) -> Place {
        let Ok(path) = path_of(file) else { return Place::Unknown };
        // Of what lies outside a bind mount, or has lost its name, the kernel tells a path that leads nowhere or elsewhere.
        let there = stat_at(rustix::fs::CWD, path.as_os_str().as_bytes());
        match (there, stat_of(file)) {
            (Ok(there), Ok(here)) if (there.inode, there.device) == (here.inode, here.device) => {}
            _ => return Place::Unknown,
        }
        let Ok(inside) = path.strip_prefix(&self.root) else { return Place::Outside };
        RelPath::from_bytes(inside.as_os_str().as_bytes().to_vec()).map_or(Place::Unknown, Place::Inside)
    }

    /// What was told of the names in one folder. The error says why only a scan can help.
    fn folder(&mut self, folder: &Handle, names: HashMap<Box<[u8]>, Told>) -> Result<(), String> {
        // A folder that does not open is gone, and its going was told of its own folder.
        let Ok(opened) = folder.open(self.top) else { return self.gone(names) };
        if stat_of(&opened).map_or(true, |stat| stat.links == 0) {
            return self.gone(names);
        }
        let Place::Inside(place) = self.place(&opened) else { return self.outside(names) };
        for (name, told) in names {
            let changes = told.mask & CHANGES & !libc::FAN_ONDIR;
            let how = match changes {
                0 => How::Look,
                _ if told.mask & libc::FAN_ONDIR != 0 && changes & CAME != 0 => How::Whole,
                _ => How::Changed,
            };
            if changes & ENTRY_CAME_OR_WENT != 0 {
                // The folder's own times moved, and nothing else tells.
                self.suspect(place.clone(), How::Changed, &told);
            }
            let path = if &*name == b"." { place.clone() } else { place.child(&name) };
            self.suspect(path, how, &told);
            if changes & ENTRY_CAME_OR_WENT != 0 {
                for file in &told.files {
                    self.file(file, &told, true)?;
                }
            }
        }
        Ok(())
    }

    /// What was told of a folder that is gone: it may have been in the tree, and what had a name in it may have others.
    fn gone(&mut self, names: HashMap<Box<[u8]>, Told>) -> Result<(), String> {
        for told in names.into_values() {
            for file in &told.files {
                self.file(file, &told, true)?;
            }
        }
        Ok(())
    }

    /// What was told of a folder outside: only files with other names can concern us.
    fn outside(&mut self, names: HashMap<Box<[u8]>, Told>) -> Result<(), String> {
        for told in names.into_values().filter(|told| told.mask & FILE_ITSELF != 0) {
            for file in &told.files {
                self.file(file, &told, false)?;
            }
        }
        Ok(())
    }

    /// What was told of a file, by whatever name. `was_inside`: one of its names was in the tree.
    fn file(&mut self, file: &Handle, told: &Told, was_inside: bool) -> Result<(), String> {
        // A file that does not open has no name left, here or elsewhere.
        let Ok(opened) = file.open(self.top) else { return Ok(()) };
        let Ok(stat) = stat_of(&opened) else { return Ok(()) };
        if stat.links == 0 || stat.is_folder() {
            return Ok(());
        }
        let how = if told.mask & CHANGES == 0 { How::Look } else { How::Changed };
        let links = self.links;
        if let Some(names) = links.of_inode(stat.inode) {
            for name in names {
                self.suspect(name.clone(), how, told);
            }
        }
        let is_known = links.of_inode(stat.inode).is_some();
        match self.place(&opened) {
            Place::Inside(place) => self.suspect(place, how, told),
            // Whoever takes its names checks that they are all.
            _ if is_known && stat.links > 1 => {}
            _ if stat.links > 1 => {
                return Err(
                    "a file with several names changed, and one of them may be in the tree".to_owned()
                );
            }
            Place::Unknown if was_inside => {
                return Err("a file changed whose name in the tree is not known".to_owned());
            }
            Place::Outside | Place::Unknown => {}
        }
        Ok(())
    }
}

/// Where a file is.
enum Place {
    Inside(RelPath),
    Outside,
    Unknown,
}
