//! The providers `copy` and `reflink`: where their shadow lies, and what they need.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use stillpoint_model::{
    Context, Deadline, Grade, Provider, ProviderError, ProviderKind, Suitability, TreeCut, TreeRequest,
    TreeSource,
};
use stillpoint_tree::{Baseline, Filter, Transfer};

use super::engine::{Engine, Plan};
use super::reader::Reader;
use super::take::tree_error;
use super::tracker::{self, Fanotify, ScanTracker, Tracker, TrackerKind};
use crate::btrfs::failed;
use crate::filesystem::{FilesystemKind, top_of_mount};
use crate::folder::{HiddenFolder, exclude_pattern};

/// Copies every file before the freeze, and what changed since in it. Serves any file system. The copies lie in the
/// workspace; unchanged files are shared with the last good set.
#[derive(Debug, Clone, Copy, Default)]
pub struct CopyProvider {
    tracker: Option<TrackerKind>,
}

/// Clones every file before the freeze (`FICLONE`), and takes what changed since in it. The clones lie in the workspace when
/// that is on the same file system, else in a hidden folder on the source's.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReflinkProvider {
    tracker: Option<TrackerKind>,
}

impl CopyProvider {
    /// Follows changes in this way, whatever a probe would find.
    pub fn with_tracker(tracker: TrackerKind) -> Self {
        Self { tracker: Some(tracker) }
    }
}

impl ReflinkProvider {
    /// Follows changes in this way, whatever a probe would find.
    pub fn with_tracker(tracker: TrackerKind) -> Self {
        Self { tracker: Some(tracker) }
    }
}

impl Provider for CopyProvider {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Copy
    }

    fn probe(&self, request: &TreeRequest, _context: &Context) -> Suitability {
        match readable_root(&request.source) {
            Ok(root) => Suitability::Suitable(format!(
                "serves any file system by copying before the freeze; {}",
                tracker::probe(&root, self.tracker).1
            )),
            Err(error) => Suitability::Unsuitable(error),
        }
    }

    fn open(&self, request: &TreeRequest, _context: &Context) -> Result<Box<dyn TreeCut>, ProviderError> {
        Ok(Box::new(TwoPassCut::new(request, Transfer::Copy, self.tracker)))
    }
}

impl Provider for ReflinkProvider {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Reflink
    }

    fn probe(&self, request: &TreeRequest, context: &Context) -> Suitability {
        let root = match readable_root(&request.source) {
            Ok(root) => root,
            Err(error) => return Suitability::Unsuitable(error),
        };
        match try_clone(&root, context) {
            Ok(()) => Suitability::Suitable(format!(
                "the file system shares the blocks of cloned files; {}",
                tracker::probe(&root, self.tracker).1
            )),
            Err(why) => Suitability::Unsuitable(why),
        }
    }

    fn open(&self, request: &TreeRequest, _context: &Context) -> Result<Box<dyn TreeCut>, ProviderError> {
        Ok(Box::new(TwoPassCut::new(request, Transfer::Reflink, self.tracker)))
    }
}

/// The tree's own path, when it can be listed.
fn readable_root(source: &Path) -> Result<PathBuf, String> {
    let root = fs::canonicalize(source).and_then(|root| fs::read_dir(&root).map(|_| root));
    root.map_err(|error| format!("{} cannot be listed: {error}", source.display()))
}

/// Clones a small file on the tree's file system, in the place where the shadow would lie.
fn try_clone(root: &Path, context: &Context) -> Result<(), String> {
    let in_words = |what: &str, place: &Path, error: &dyn std::fmt::Display| {
        format!("{what} {}: {error}", place.display())
    };
    let on_workspace = same_device(root, &context.workspace).unwrap_or(false);
    let mut hidden = None;
    let place = if on_workspace {
        context.workspace.clone()
    } else {
        let parent = hidden_parent(root).map_err(|e| in_words("cannot look at", root, &e))?;
        let folder = HiddenFolder::create(&parent, context).map_err(|e| {
            format!("nothing can be written beside the tree: {}", super::take::with_causes(&e))
        })?;
        hidden.insert(folder).path().to_path_buf()
    };
    let cloned = clone_in(&place);
    let removed = hidden.as_mut().map_or(Ok(()), |folder| folder.remove(context));
    cloned.map_err(|error| match error.raw_os_error() {
        Some(libc::EOPNOTSUPP | libc::ENOTTY | libc::EXDEV | libc::EINVAL | libc::ENOSYS) => {
            "the file system cannot clone files".to_owned()
        }
        _ => in_words("cannot clone a file in", &place, &error),
    })?;
    removed.map_err(|e| super::take::with_causes(&e))
}

fn clone_in(place: &Path) -> io::Result<()> {
    let (from, to) = (place.join(".stillpoint-clone-from"), place.join(".stillpoint-clone-to"));
    let cloned = fs::write(&from, [7u8; 4096]).and_then(|()| {
        let target = File::create_new(&to)?;
        Ok(rustix::fs::ioctl_ficlone(&target, File::open(&from)?)?)
    });
    for path in [&from, &to] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    cloned
}

fn same_device(one: &Path, other: &Path) -> io::Result<bool> {
    Ok(fs::metadata(one)?.dev() == fs::metadata(other)?.dev())
}

/// Where a hidden folder on the tree's file system goes: beside the tree, or into it when it is the top of its mount.
fn hidden_parent(root: &Path) -> io::Result<PathBuf> {
    let top = top_of_mount(root)?;
    match root.parent() {
        Some(parent) if top != root => Ok(parent.to_path_buf()),
        _ => Ok(root.to_path_buf()),
    }
}

struct TwoPassCut {
    request: TreeRequest,
    transfer: Transfer,
    forced: Option<TrackerKind>,
    hidden: Option<HiddenFolder>,
    engine: Option<Engine>,
    owned: bool,
}

impl TwoPassCut {
    fn new(request: &TreeRequest, transfer: Transfer, forced: Option<TrackerKind>) -> Self {
        Self { request: request.clone(), transfer, forced, hidden: None, engine: None, owned: false }
    }

    fn engine(&mut self) -> Result<&mut Engine, ProviderError> {
        let source = &self.request.source;
        let missing = || ProviderError::Other(format!("the copy of {} was not prepared", source.display()));
        self.engine.as_mut().ok_or_else(missing)
    }

    /// Finds the place of the shadow and makes it.
    fn make_shadow(&mut self, root: &Path, context: &Context) -> Result<PathBuf, ProviderError> {
        let in_workspace = self.transfer == Transfer::Copy
            || same_device(root, &context.workspace).map_err(failed("look at", &context.workspace))?;
        self.owned = in_workspace;
        let base = if in_workspace {
            context.workspace.clone()
        } else {
            let parent = hidden_parent(root).map_err(failed("look at", root))?;
            self.hidden.insert(HiddenFolder::create(&parent, context)?).path().to_path_buf()
        };
        let shadow = base.join("shadow");
        fs::create_dir(&shadow).map_err(failed("make the folder", &shadow))?;
        Ok(shadow)
    }

    fn tracker(
        &self,
        root: &Path,
        reader: &Reader,
    ) -> Result<(TrackerKind, Box<dyn Tracker>), ProviderError> {
        match tracker::probe(root, self.forced).0 {
            TrackerKind::Scan => Ok((TrackerKind::Scan, Box::new(ScanTracker))),
            TrackerKind::Fanotify => {
                let hidden = self.hidden.as_ref().map(|hidden| hidden.path().to_path_buf());
                let tracker =
                    Fanotify::begin(reader, hidden).map_err(failed("follow the changes of", root))?;
                Ok((TrackerKind::Fanotify, Box::new(tracker)))
            }
        }
    }
}

impl TreeCut for TwoPassCut {
    fn prepare(&mut self, context: &Context, deadline: Deadline) -> Result<(), ProviderError> {
        let root = fs::canonicalize(&self.request.source).map_err(failed("look at", &self.request.source))?;
        let shadow = self.make_shadow(&root, context)?;
        let mut exclude = self.request.exclude.clone();
        exclude.push(exclude_pattern(&context.run));
        let filter = Filter::new(&self.request.include, &exclude).map_err(tree_error)?;
        let baseline = context
            .previous
            .as_ref()
            .filter(|_| self.owned)
            .map(|previous| Baseline { root: previous.folder.clone(), index: previous.index.clone() });
        let reader = Reader::open(&root).map_err(failed("open", &root))?;
        let filesystem = FilesystemKind::of(&root).map_err(failed("look at", &root))?;
        let (kind, tracker) = self.tracker(&root, &reader)?;
        let lists = context.workspace.clone();
        let plan = Plan { filter, transfer: self.transfer, shadow, lists, baseline };
        let engine = self.engine.insert(Engine::new(plan, reader, filesystem, tracker));
        engine.first_pass(context, deadline)?;
        if kind == TrackerKind::Scan { engine.expect_scans() } else { Ok(()) }
    }

    fn poise(&mut self, context: &Context, deadline: Deadline) -> Result<(), ProviderError> {
        self.engine()?.catch_up(context, deadline)
    }

    fn cut(&mut self, context: &Context, deadline: Deadline) -> Result<(), ProviderError> {
        self.engine()?.cut(context, deadline)
    }

    fn image(&mut self, context: &Context, deadline: Deadline) -> Result<(TreeSource, Grade), ProviderError> {
        let owned = self.owned;
        let engine = self.engine()?;
        let grade = engine.finish(context, deadline)?;
        let source = TreeSource {
            root: engine.shadow().to_path_buf(),
            index: Some(engine.final_list()),
            owned,
            include: Vec::new(),
            exclude: Vec::new(),
        };
        Ok((source, grade))
    }

    fn release(&mut self, context: &Context) -> Result<(), ProviderError> {
        self.engine = None;
        self.hidden.as_mut().map_or(Ok(()), |hidden| hidden.remove(context))
    }
}
