//! Putting a database back.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use stillpoint_model::site_file::SqliteSettings;
use stillpoint_model::{Context, Deadline, RestoreOptions, Restored, Restorer, StoredComponent, WriterError};
use stillpoint_tree::{PlantOptions, plant};

use super::worker::Worker;
use super::{COMPANIONS, companion};
use crate::tree_work::Advance;

/// Puts one database back.
pub struct SqliteRestorer {
    path: PathBuf,
}

impl SqliteRestorer {
    /// The restorer that puts it to the path of the site file.
    pub fn new(settings: &SqliteSettings) -> Self {
        Self { path: settings.path.clone() }
    }

    /// What lies where the database, or a file that SQLite keeps beside it, would be. A log or journal of another database
    /// would be played into the one that is put back.
    fn in_the_way(&self) -> Vec<PathBuf> {
        let all = std::iter::once(self.path.clone())
            .chain(COMPANIONS.iter().map(|ending| companion(&self.path, ending)));
        all.filter(|path| path.symlink_metadata().is_ok()).collect()
    }

    /// Moves what is in the way into `aside` and the new database into its place. A crash in between leaves no database
    /// rather than one with another's journal.
    fn exchange(&self, new: &Path, aside: &Path) -> Result<(), WriterError> {
        let move_to = |from: &Path, to: &Path| {
            fs::rename(from, to).map_err(|source| WriterError::Io {
                act: "move",
                path: from.to_owned(),
                source,
            })
        };
        let mut moved = Vec::new();
        let mut result = Ok(());
        for (number, old) in self.in_the_way().into_iter().enumerate() {
            let place = aside.join(format!("old-{number}"));
            result = move_to(&old, &place);
            if result.is_err() {
                break;
            }
            moved.push((old, place));
        }
        result = result.and_then(|()| move_to(new, &self.path));
        if result.is_err() {
            for (old, place) in moved.iter().rev() {
                move_to(place, old)?;
            }
        }
        result
    }
}

impl Restorer for SqliteRestorer {
    fn obstacles(&self, _stored: &StoredComponent) -> Result<Vec<String>, WriterError> {
        Ok(self
            .in_the_way()
            .iter()
            .map(|path| format!("{} exists and would be replaced", path.display()))
            .collect())
    }

    fn plan(&self, _stored: &StoredComponent) -> Result<Vec<String>, WriterError> {
        let mut steps: Vec<String> =
            self.in_the_way().iter().map(|path| format!("Remove {}", path.display())).collect();
        steps.push(format!("Put the database back at {} with its owner and mode", self.path.display()));
        Ok(steps)
    }

    fn restore(
        &mut self,
        context: &Context,
        stored: &StoredComponent,
        options: &RestoreOptions,
        deadline: Deadline,
    ) -> Result<Restored, WriterError> {
        if let Some(path) = self.in_the_way().first().filter(|_| !options.overwrite) {
            return Err(WriterError::Other(format!("{} exists and would be overwritten", path.display())));
        }
        if let Some(process) = user_of(&self.path) {
            return Err(WriterError::Other(format!(
                "process {process} has {} open; stop it, then restore again",
                self.path.display()
            )));
        }
        let folder = self
            .path
            .parent()
            .ok_or_else(|| WriterError::Other(format!("{} names no file", self.path.display())))?;
        let failed = |act: &'static str, path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| WriterError::Io { act, path, source }
        };
        fs::create_dir_all(folder).map_err(failed("create", folder))?;
        let aside = Aside::create(folder, context)?;
        let new = aside.0.join("new");
        fs::DirBuilder::new().mode(0o700).create(&new).map_err(failed("create", &new))?;
        let advance = Advance::new(context, deadline, "put the database back");
        let planted = plant(
            &stored.folder,
            &stored.index,
            &new,
            &PlantOptions { threads: 1, ..Default::default() },
            &advance,
        )
        .map_err(|error| advance.error(error))?;
        let database = only_file(&new).map_err(failed("look into", &new))?.ok_or_else(|| {
            WriterError::Other(format!("{} does not hold one database", stored.folder.display()))
        })?;
        // Before anything that is there is touched: a damaged one must not take its place.
        let (checked, cancel) = (database.clone(), Some(&context.cancel));
        Worker::start()?
            .call("checking the stored database", deadline, cancel, move |session| session.check(&checked))?;
        File::open(&database).and_then(|file| file.sync_all()).map_err(failed("write out", &database))?;
        self.exchange(&database, &aside.0)?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("write out", folder))?;
        let notes =
            planted.problems.iter().map(|problem| format!("{}: {}", self.path.display(), problem.text));
        Ok(Restored { files: planted.files, bytes: planted.bytes, notes: notes.collect() })
    }
}

/// A folder beside the database for what is on its way. Removed at the end, with what was in the way.
struct Aside(PathBuf);

impl Aside {
    fn create(folder: &Path, context: &Context) -> Result<Self, WriterError> {
        let path = folder.join(format!(".stillpoint-restore-{}-{}", context.component, context.run));
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|source| WriterError::Io { act: "create", path: path.clone(), source })?;
        Ok(Self(path))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // What is left is told by the next obstacle that a person meets; it is in nobody's way.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn only_file(folder: &Path) -> io::Result<Option<PathBuf>> {
    let mut files = fs::read_dir(folder)?;
    let first = files.next().transpose()?.map(|entry| entry.path());
    Ok(first.filter(|path| path.is_file() && files.next().is_none()))
}

/// A process with a lock on the database: in write-ahead mode everybody who has it open, else who is in a transaction.
pub(super) fn user_of(path: &Path) -> Option<u32> {
    let facts = fs::metadata(path).ok()?;
    let device = facts.dev();
    let wanted =
        format!("{:02x}:{:02x}:{}", rustix::fs::major(device), rustix::fs::minor(device), facts.ino());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    // `1: POSIX  ADVISORY  READ 4711 fe:00:1234 1073741826 1073742335` (proc_locks(5)).
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let at = fields.iter().position(|field| *field == wanted)?;
        fields.get(at.checked_sub(1)?)?.parse().ok()
    })
}
