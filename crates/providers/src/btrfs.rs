//! The btrfs provider: a read-only snapshot of the subvolume that holds the tree.
//!
//! A snapshot is atomic by itself. What makes it slow is what is dirty when it is taken: the kernel writes all that out
//! first. So `poise` flushes, again until there is little left, and the cut only pays for what came since.
//!
//! The snapshot lies in a hidden folder at the top of its own subvolume: the only place that is always on the same file
//! system and always there. Subvolumes nested in the tree are *not* in a snapshot; whoever walks it finds placeholders and
//! tells them as problems. Both undos are registered before anything is made: that of the folder first, so that undoing in
//! reverse order deletes the snapshot before the folder around it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::btrfs_ioctl::{SUBVOLUME_TOP_INODE, create_snapshot, delete_subvolume};
use crate::filesystem::FilesystemKind;
use crate::folder::{HiddenFolder, exclude_pattern};
use stillpoint_model::{
    Context, Deadline, Grade, Provider, ProviderError, ProviderKind, Suitability, Ticket, TreeCut,
    TreeRequest, TreeSource, Undo,
};

/// The name of the snapshot in its hidden folder.
const SNAPSHOT: &str = "snapshot";
/// Flushing before the cut ends when one flush takes less than this, or after [`FLUSHES_MAX`].
const FLUSH_SHORT: Duration = Duration::from_millis(40);
const FLUSHES_MAX: u32 = 4;

/// Makes read-only btrfs snapshots.
#[derive(Debug, Clone, Copy, Default)]
pub struct BtrfsProvider;

impl Provider for BtrfsProvider {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Btrfs
    }

    fn probe(&self, request: &TreeRequest, _context: &Context) -> Suitability {
        match suitable_top(&request.source) {
            Ok(Ok(top)) => Suitability::Suitable(format!(
                "a snapshot of the btrfs subvolume {} holds the whole tree at one instant",
                top.display()
            )),
            Ok(Err(why)) => Suitability::Unsuitable(why),
            Err(error) => {
                Suitability::Unsuitable(format!("{} cannot be looked at: {error}", request.source.display()))
            }
        }
    }

    fn open(&self, request: &TreeRequest, _context: &Context) -> Result<Box<dyn TreeCut>, ProviderError> {
        Ok(Box::new(BtrfsCut {
            request: request.clone(),
            place: None,
            folder: None,
            snapshot_undo: None,
            has_snapshot: false,
        }))
    }
}

/// The top of the subvolume that holds `source`, or why there is none that can be used.
fn suitable_top(source: &Path) -> io::Result<Result<PathBuf, String>> {
    let source = fs::canonicalize(source)?;
    if !FilesystemKind::of(&source)?.is_btrfs() {
        return Ok(Err("the file system is not btrfs".to_owned()));
    }
    if !rustix::process::geteuid().is_root() {
        return Ok(Err("deleting a snapshot again needs root".to_owned()));
    }
    let Some(top) = subvolume_top(&source)? else {
        return Ok(Err(format!(
            "the top of its subvolume cannot be reached from {}: mount the subvolume itself, not a folder of it",
            source.display()
        )));
    };
    let flags = rustix::fs::statvfs(&top)?.f_flag;
    if flags.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        return Ok(Err(format!("{} is mounted read-only", top.display())));
    }
    Ok(Ok(top))
}

/// Walks up to the top of the subvolume, which is known by its inode number.
fn subvolume_top(source: &Path) -> io::Result<Option<PathBuf>> {
    let device = fs::metadata(source)?.dev();
    for folder in source.ancestors() {
        let facts = fs::metadata(folder)?;
        if facts.dev() != device {
            return Ok(None);
        }
        if facts.ino() == SUBVOLUME_TOP_INODE {
            return Ok(Some(folder.to_path_buf()));
        }
    }
    Ok(None)
}

/// Where the tree is, looked up once.
#[derive(Debug)]
struct Place {
    top: PathBuf,
    top_file: File,
    /// The tree in the subvolume.
    inside: PathBuf,
}

struct BtrfsCut {
    request: TreeRequest,
    place: Option<Place>,
    folder: Option<HiddenFolder>,
    snapshot_undo: Option<Ticket>,
    has_snapshot: bool,
}

impl BtrfsCut {
    fn place(&self) -> Result<(&Place, &HiddenFolder), ProviderError> {
        match (&self.place, &self.folder) {
            (Some(place), Some(folder)) => Ok((place, folder)),
            _ => Err(ProviderError::Other("the btrfs snapshot was not prepared".to_owned())),
        }
    }

    fn flush(&self) -> Result<(), ProviderError> {
        let (place, _) = self.place()?;
        rustix::fs::syncfs(&place.top_file).map_err(|e| failed("flush", &place.top)(e.into()))
    }
}

impl TreeCut for BtrfsCut {
    fn prepare(&mut self, context: &Context, _deadline: Deadline) -> Result<(), ProviderError> {
        let source =
            fs::canonicalize(&self.request.source).map_err(failed("look at", &self.request.source))?;
        let top = suitable_top(&source).map_err(failed("look at", &source))?.map_err(ProviderError::Other)?;
        let top_file = File::open(&top).map_err(failed("open", &top))?;
        let inside = source.strip_prefix(&top).unwrap_or(Path::new("")).to_path_buf();
        let folder = self.folder.insert(HiddenFolder::create(&top, context)?);
        self.snapshot_undo =
            Some(context.undos.intend(Undo::DeleteSubvolume { path: folder.path().join(SNAPSHOT) })?);
        self.place = Some(Place { top, top_file, inside });
        Ok(())
    }

    fn poise(&mut self, context: &Context, deadline: Deadline) -> Result<(), ProviderError> {
        for _ in 0..FLUSHES_MAX {
            if context.cancel.is_cancelled() {
                return Err(ProviderError::Cancelled);
            }
            let start = Instant::now();
            self.flush()?;
            let took = start.elapsed();
            // A flush is a help, not a need: none is begun that may not end in time.
            if took < FLUSH_SHORT || deadline.remaining() < took * 2 {
                break;
            }
        }
        Ok(())
    }

    fn cut(&mut self, _context: &Context, deadline: Deadline) -> Result<(), ProviderError> {
        let (place, folder) = self.place()?;
        if deadline.passed() {
            return Err(ProviderError::Late { act: "snapshot", path: place.top.clone() });
        }
        let parent = File::open(folder.path()).map_err(failed("open", folder.path()))?;
        create_snapshot(&parent, SNAPSHOT.as_bytes(), &place.top_file)
            .map_err(failed("snapshot", &place.top))?;
        self.has_snapshot = true;
        Ok(())
    }

    fn image(
        &mut self,
        context: &Context,
        _deadline: Deadline,
    ) -> Result<(TreeSource, Grade), ProviderError> {
        let mut exclude = self.request.exclude.clone();
        exclude.push(exclude_pattern(&context.run));
        let (place, folder) = self.place()?;
        if !self.has_snapshot {
            return Err(ProviderError::Other(format!("no snapshot of {} was taken", place.top.display())));
        }
        let root = folder.path().join(SNAPSHOT).join(&place.inside);
        let source =
            TreeSource { root, index: None, owned: false, include: self.request.include.clone(), exclude };
        Ok((source, Grade::Frozen))
    }

    fn release(&mut self, context: &Context) -> Result<(), ProviderError> {
        let Some(folder) = &mut self.folder else { return Ok(()) };
        if let Some(ticket) = self.snapshot_undo {
            let path = folder.path().join(SNAPSHOT);
            match File::open(folder.path()).and_then(|parent| delete_subvolume(&parent, SNAPSHOT.as_bytes()))
            {
                // It may never have been made, or the guard was faster.
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("delete the snapshot", &path)(error));
                }
                _ => context.undos.settle(ticket),
            }
            self.snapshot_undo = None;
            self.has_snapshot = false;
        }
        folder.remove(context)
    }
}

/// Turns an I/O error into ours.
pub(crate) fn failed(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ProviderError {
    let path = path.to_path_buf();
    move |source| ProviderError::Io { act, path, source }
}
