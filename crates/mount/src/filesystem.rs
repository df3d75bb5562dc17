//! The answers to the kernel.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner, OpenFlags,
    ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyXattr, Request,
};
use stillpoint_model::ErrorKind;
use stillpoint_repository::{
    Browser, Contents, Folder, Id, Moment, Node, OpenFile, Repository, RepositoryError,
};
use stillpoint_tree::{RelPath, Xattr};

use crate::attributes::{kind_of, of_our_own};
use crate::table::{Found, Table};

/// Nothing ever changes.
const VALID: Duration = Duration::from_secs(3600);

/// What stands for a number that nobody was told yet, by the convention of libfuse.
const UNKNOWN: u64 = 0xffff_ffff;

const TOP: u64 = 1;
const LATEST: u64 = 2;
const FIRST_VERSION: u64 = 3;

/// A version as the top shows it.
struct Version {
    name: String,
    time: Moment,
    tree: Id,
}

/// The file system.
pub struct Archive {
    /// Oldest first.
    versions: Vec<Version>,
    state: Mutex<State>,
}

struct State {
    browser: Browser,
    table: Table,
    files: HashMap<u64, Arc<OpenFile>>,
    folders: HashMap<u64, Arc<Folder>>,
    next_handle: u64,
}

type Answer<T> = Result<T, Errno>;

impl Archive {
    pub fn open(repository: &Repository) -> Result<Self, RepositoryError> {
        let snapshots = repository.snapshots()?;
        let Some((_, newest)) = snapshots.last() else {
            let text = format!("{} has no version yet", repository.store().name());
            return Err(RepositoryError::new(ErrorKind::Usage, text));
        };
        let browser = Browser::new(&Contents::open(repository, newest)?);
        let versions: Vec<Version> = snapshots
            .iter()
            .map(|(id, snapshot)| Version {
                name: format!("{}_{}", snapshot.time.timestamp().strftime("%Y-%m-%dT%H%M%SZ"), id.short()),
                time: snapshot.time,
                tree: snapshot.tree,
            })
            .collect();
        let table = Table::new(FIRST_VERSION + versions.len() as u64);
        let state = State { browser, table, files: HashMap::new(), folders: HashMap::new(), next_handle: 1 };
        Ok(Self { versions, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn version(&self, number: u64) -> Option<(usize, &Version)> {
        let at = usize::try_from(number.checked_sub(FIRST_VERSION)?).ok()?;
        Some((at, self.versions.get(at)?))
    }

    fn newest(&self) -> Option<&Version> {
        self.versions.last()
    }

    /// The version and the blob of a folder below the top.
    fn folder_of(&self, state: &State, number: u64) -> Answer<(usize, Id)> {
        if let Some((at, version)) = self.version(number) {
            return Ok((at, version.tree));
        }
        let known = state.table.get(number).ok_or(Errno::ESTALE)?;
        Ok((known.version, known.subtree.ok_or(Errno::ENOTDIR)?))
    }

    fn attributes(&self, number: u64) -> Answer<FileAttr> {
        let newest = self.newest().map(|version| version.time).ok_or(Errno::ENOENT)?;
        match number {
            TOP => Ok(of_our_own(TOP, FileType::Directory, newest)),
            LATEST => {
                let size = self.newest().map_or(0, |version| version.name.len() as u64);
                Ok(FileAttr { size, ..of_our_own(LATEST, FileType::Symlink, newest) })
            }
            _ => match self.version(number) {
                Some((_, version)) => Ok(of_our_own(number, FileType::Directory, version.time)),
                None => Ok(self.state().table.get(number).ok_or(Errno::ESTALE)?.attributes),
            },
        }
    }

    fn find(&self, parent: u64, name: &OsStr) -> Answer<FileAttr> {
        if parent == TOP {
            let own = name.to_str().and_then(|name| {
                let at = self.versions.iter().position(|version| version.name == name);
                at.map(|at| FIRST_VERSION + at as u64).or((name == "latest").then_some(LATEST))
            });
            return self.attributes(own.ok_or(Errno::ENOENT)?);
        }
        let mut state = self.state();
        let (version, folder) = self.folder_of(&state, parent)?;
        let node = look(&mut state, &folder, name.as_bytes())?;
        state.table.tell(&node, Found { version, parent, folder }).ok_or(Errno::EIO)
    }

    /// The node of an entry that the kernel knows.
    fn node(&self, number: u64) -> Answer<Node> {
        let mut state = self.state();
        let known = state.table.get(number).ok_or(Errno::ESTALE)?;
        let (folder, name) = (known.folder, known.name.clone());
        look(&mut state, &folder, &name)
    }

    fn open_file(&self, number: u64) -> Answer<u64> {
        let node = self.node(number)?;
        let mut state = self.state();
        let file = state.browser.open(node).map_err(|error| told(&error))?;
        let handle = state.handle();
        state.files.insert(handle, Arc::new(file));
        Ok(handle)
    }

    fn read_file(&self, handle: FileHandle, at: u64, size: u32) -> Answer<Vec<u8>> {
        let mut state = self.state();
        let file = Arc::clone(state.files.get(&u64::from(handle)).ok_or(Errno::EBADF)?);
        state.browser.read(&file, at, size as usize).map_err(|error| told(&error))
    }

    fn open_folder(&self, number: u64) -> Answer<u64> {
        if number == TOP {
            return Ok(0);
        }
        let mut state = self.state();
        let (_, blob) = self.folder_of(&state, number)?;
        let folder = state.browser.folder(&blob).map_err(|error| told(&error))?;
        let handle = state.handle();
        state.folders.insert(handle, folder);
        Ok(handle)
    }

    /// The names in the folder from this one on: with `.` and `..`, which every folder has.
    fn list(&self, number: u64, handle: FileHandle, from: u64, reply: &mut ReplyDirectory) -> Answer<()> {
        let folder = self.state().folders.get(&u64::from(handle)).cloned();
        for at in from.. {
            let next = at + 1;
            let full = match (at, &folder) {
                (0, _) => reply.add(INodeNo(number), next, FileType::Directory, "."),
                (1, _) => reply.add(INodeNo(TOP), next, FileType::Directory, ".."),
                (_, None) if number == TOP => {
                    let own = usize::try_from(at - 2).unwrap_or(usize::MAX);
                    match self.versions.get(own) {
                        Some(version) => {
                            let number = FIRST_VERSION + own as u64;
                            reply.add(INodeNo(number), next, FileType::Directory, &version.name)
                        }
                        None if own == self.versions.len() => {
                            reply.add(INodeNo(LATEST), next, FileType::Symlink, "latest")
                        }
                        None => return Ok(()),
                    }
                }
                (_, None) => return Err(Errno::EBADF),
                (_, Some(folder)) => {
                    let own = usize::try_from(at - 2).unwrap_or(usize::MAX);
                    let Some(node) = folder.get(own) else { return Ok(()) };
                    // The number is known when the kernel asks for the entry; until then any but 0 does.
                    let kind = kind_of(&node);
                    kind.is_some_and(|kind| {
                        reply.add(INodeNo(UNKNOWN), next, kind, OsStr::from_bytes(&node.name))
                    })
                }
            };
            if full {
                break;
            }
        }
        Ok(())
    }

    /// The attributes of an entry, besides its own.
    fn xattrs(&self, number: u64) -> Answer<Vec<Xattr>> {
        if number < FIRST_VERSION || self.version(number).is_some() {
            return Ok(Vec::new());
        }
        Ok(self.node(number)?.to_entry(RelPath::top()).map(|entry| entry.xattrs).unwrap_or_default())
    }
}

impl State {
    fn handle(&mut self) -> u64 {
        self.next_handle += 1;
        self.next_handle - 1
    }
}

fn look(state: &mut State, folder: &Id, name: &[u8]) -> Answer<Node> {
    let folder = state.browser.folder(folder).map_err(|error| told(&error))?;
    folder.find(name).ok_or(Errno::ENOENT)
}

/// The program that asks learns no more than that; the rest is for the log.
fn told(error: &RepositoryError) -> Errno {
    tracing::warn!(%error, "the archive cannot be read");
    Errno::EIO
}

/// The kernel asks for the size first, and then for what it has room for.
fn give(reply: ReplyXattr, size: u32, content: &[u8]) {
    match u32::try_from(content.len()) {
        Ok(length) if size == 0 => reply.size(length),
        Ok(length) if length <= size => reply.data(content),
        _ => reply.error(Errno::ERANGE),
    }
}

impl Filesystem for Archive {
    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.find(parent.into(), name) {
            Ok(attributes) => reply.entry(&VALID, &attributes, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn forget(&self, _request: &Request, number: INodeNo, times: u64) {
        self.state().table.forget(number.into(), times);
    }

    fn getattr(&self, _request: &Request, number: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(number.into()) {
            Ok(attributes) => reply.attr(&VALID, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, _request: &Request, number: INodeNo, reply: ReplyData) {
        let number = u64::from(number);
        if number == LATEST {
            return reply.data(self.newest().map_or(&b""[..], |version| version.name.as_bytes()));
        }
        match self.node(number) {
            Ok(node) => reply.data(node.link_target()),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _request: &Request, number: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.open_file(number.into()) {
            Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::FOPEN_KEEP_CACHE),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.read_file(handle, offset, size) {
            Ok(content) => reply.data(&content),
            Err(error) => reply.error(error),
        }
    }

    fn release(
        &self,
        _request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.state().files.remove(&u64::from(handle));
        reply.ok();
    }

    fn opendir(&self, _request: &Request, number: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.open_folder(number.into()) {
            Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::FOPEN_CACHE_DIR),
            Err(error) => reply.error(error),
        }
    }

    fn readdir(
        &self,
        _request: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        match self.list(number.into(), handle, offset, &mut reply) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn releasedir(
        &self,
        _request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.state().folders.remove(&u64::from(handle));
        reply.ok();
    }

    fn getxattr(&self, _request: &Request, number: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        match self.xattrs(number.into()) {
            Ok(xattrs) => match xattrs.iter().find(|xattr| xattr.name == name.as_bytes()) {
                Some(xattr) => give(reply, size, &xattr.value),
                None => reply.error(Errno::ENODATA),
            },
            Err(error) => reply.error(error),
        }
    }

    fn listxattr(&self, _request: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        match self.xattrs(number.into()) {
            Ok(xattrs) => {
                let names: Vec<u8> =
                    xattrs.iter().flat_map(|xattr| xattr.name.iter().chain(&[0])).copied().collect();
                give(reply, size, &names);
            }
            Err(error) => reply.error(error),
        }
    }
}
