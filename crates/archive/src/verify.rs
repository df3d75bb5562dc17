//! Holding a set against what it says of itself: every list, every name, every byte.

use std::collections::BTreeSet;
use std::fs::{self, FileType};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::Sender;
use serde::Serialize;
use stillpoint_model::{Cancel, ComponentName, ErrorKind, Monitor, Problem};
use stillpoint_tree::{Entry, IndexReader, Kind};

use crate::content::HASH_THREADS;
use crate::layout::{KIT, LISTS, PART, Place, SUMS, WRITERS};
use crate::manifest::{Manifest, ManifestComponent, Part, StoredFile};
use crate::names::{Found, Names};
use crate::progress::Pulse;
use crate::reader::{Batch, Reader, Stored};
use crate::{ArchiveError, disk};

/// So many batches wait for a reader.
const BATCHES_WAITING: usize = 8;

/// What a verify found.
#[derive(Debug, Clone, Serialize)]
pub struct VerifyReport {
    /// The folder of the set that was read.
    pub set: PathBuf,
    /// Files read.
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// What is damaged, missing or too much: component, path and what is wrong.
    pub damage: Vec<Problem>,
}

/// Where the parts of a set are.
#[derive(Debug, Clone)]
pub(crate) struct Roots {
    /// The folder of the set.
    pub set: PathBuf,
    /// The separate folder with the databases.
    pub databases: Option<PathBuf>,
}

/// What is read back.
pub(crate) enum Reading {
    /// Every byte.
    Everything,
    /// Every byte of these components, and nothing else.
    Components(BTreeSet<ComponentName>),
    /// Every byte but those of files that are shared with the set at `old`: they were read when they were written.
    Written { old: Option<Roots> },
}

/// Looks at everything that the manifest names, and reads what is asked for.
pub(crate) fn check(
    manifest: &Manifest,
    roots: &Roots,
    reading: &Reading,
    monitor: &Arc<dyn Monitor>,
    cancel: &Cancel,
) -> Result<VerifyReport, ArchiveError> {
    let wanted = |part: &&ManifestComponent| match reading {
        Reading::Components(names) => names.contains(&part.name),
        Reading::Everything | Reading::Written { .. } => true,
    };
    let total = (!matches!(reading, Reading::Written { .. }))
        .then(|| manifest.components.iter().filter(wanted).map(|part| part.bytes).sum());
    let check = Check {
        roots,
        reading,
        cancel,
        pulse: Pulse::new(monitor, None, "verify", total),
        damage: Mutex::default(),
    };
    if !matches!(reading, Reading::Components(_)) {
        check.own_files(manifest);
        check.strangers(manifest);
    }
    let (batches, work) = crossbeam_channel::bounded::<Batch>(BATCHES_WAITING);
    std::thread::scope(|scope| {
        for _ in 0..HASH_THREADS {
            let (work, mut reader) = (work.clone(), Reader::new(&check));
            scope.spawn(move || work.into_iter().for_each(|batch| reader.read(batch)));
        }
        for part in manifest.components.iter().filter(wanted) {
            if !check.component(part, &batches) {
                break;
            }
        }
        drop(batches);
    });
    if cancel.is_cancelled() {
        return Err(ArchiveError::new(ErrorKind::Cancelled, "the verification was cancelled"));
    }
    let (files, bytes) = check.pulse.done();
    let mut damage = check.damage.into_inner().unwrap_or_else(PoisonError::into_inner);
    damage.sort_by(|one, other| (&one.component, &one.path).cmp(&(&other.component, &other.path)));
    Ok(VerifyReport { set: roots.set.clone(), files, bytes, damage })
}

/// What is wrong with the list of a component, if something is.
pub(crate) fn list_trouble(set: &Path, part: &ManifestComponent) -> Option<String> {
    match disk::hash_whole(&set.join(&part.list.path)) {
        Ok((sha256, _)) if disk::hex(&sha256) == part.list.sha256 => None,
        Ok(_) => Some("the list changed".into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some("the list is missing".into()),
        Err(error) => Some(format!("the list cannot be read: {error}")),
    }
}

/// One verify under way.
pub(crate) struct Check<'a> {
    roots: &'a Roots,
    reading: &'a Reading,
    pub cancel: &'a Cancel,
    pub pulse: Pulse,
    damage: Mutex<Vec<Problem>>,
}

impl Check<'_> {
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Tells what is wrong.
    pub fn damaged(
        &self,
        component: Option<&ComponentName>,
        path: impl std::fmt::Display,
        text: impl Into<String>,
    ) {
        let problem =
            Problem { component: component.cloned(), path: Some(path.to_string()), text: text.into() };
        self.damage.lock().unwrap_or_else(PoisonError::into_inner).push(problem);
    }

    /// The files that are not of a component.
    fn own_files(&self, manifest: &Manifest) {
        let file = |top: &Path, file: &StoredFile, component: Option<&ComponentName>| match file.trouble(top)
        {
            Some(text) => self.damaged(component, &file.path, text),
            None => self.pulse.advance(1, file.bytes),
        };
        for stored in manifest.kit.iter().chain([&manifest.sums]) {
            if !self.is_shared(stored) {
                file(&self.roots.set, stored, None);
            }
        }
        for part in &manifest.components {
            file(&self.roots.set, &part.writer, Some(&part.name));
        }
        let (Some(part), Some(folder)) = (&manifest.databases, &self.roots.databases) else { return };
        file(folder, &part.part, None);
        let said =
            fs::read(folder.join(PART)).ok().and_then(|text| serde_json::from_slice::<Part>(&text).ok());
        match said {
            Some(said) => file(folder, &said.sums, None),
            None => self.damaged(None, folder.join(SUMS).display(), "cannot be checked"),
        }
    }

    /// Whether the file is the very one of the old set, which was read when it was shared.
    fn is_shared(&self, file: &StoredFile) -> bool {
        let Reading::Written { old: Some(old) } = self.reading else { return false };
        let facts = |roots: &Roots| fs::symlink_metadata(roots.set.join(&file.path));
        matches!((facts(self.roots), facts(old)), (Ok(new), Ok(old)) if disk::same_file(&new, &old))
    }

    /// What lies in the set's own folders without being named.
    fn strangers(&self, manifest: &Manifest) {
        let named = |paths: &mut dyn Iterator<Item = &str>| -> BTreeSet<PathBuf> {
            paths.map(PathBuf::from).collect()
        };
        let components = &manifest.components;
        let mut folders = vec![
            (&self.roots.set, LISTS, named(&mut components.iter().map(|part| part.list.path.as_str()))),
            (&self.roots.set, WRITERS, named(&mut components.iter().map(|part| part.writer.path.as_str()))),
            (&self.roots.set, KIT, named(&mut manifest.kit.iter().map(|file| file.path.as_str()))),
        ];
        for place in Place::ALL {
            let here =
                components.iter().filter(|part| part.place == place).map(ManifestComponent::folder).collect();
            let top = if place == Place::SiteDbServer { self.roots.databases.as_ref() } else { None };
            folders.push((top.unwrap_or(&self.roots.set), place.folder(), here));
        }
        for (top, folder, named) in folders {
            let entries = match fs::read_dir(top.join(folder)) {
                Ok(entries) => entries,
                // A folder without anything in it need not be there; what is named and missing is told elsewhere.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    self.damaged(None, folder, format!("cannot be read: {error}"));
                    continue;
                }
            };
            for entry in entries.flatten() {
                let path = Path::new(folder).join(entry.file_name());
                if !named.contains(&path) {
                    self.damaged(None, path.display(), "does not belong to the set");
                }
            }
        }
    }

    /// Holds the folder of a component against its list. Answers whether to go on.
    fn component(&self, part: &ManifestComponent, batches: &Sender<Batch>) -> bool {
        if let Some(text) = list_trouble(&self.roots.set, part) {
            self.damaged(Some(&part.name), &part.list.path, format!("{text}; its files cannot be checked"));
            return true;
        }
        match self.walk(part, batches) {
            Ok(go_on) => go_on,
            Err(error) => {
                self.damaged(Some(&part.name), &part.list.path, crate::publish::in_full(&error));
                true
            }
        }
    }

    fn walk(&self, part: &ManifestComponent, batches: &Sender<Batch>) -> Result<bool, ArchiveError> {
        let stored = Arc::new(self.stored(part));
        let mut batch = Batch::new(&stored);
        let mut names = Names::new(&stored.folder);
        let mut found = names.next();
        let (mut entries, mut files, mut bytes) = (0, 0, 0);
        for entry in IndexReader::open(&self.roots.set.join(&part.list.path))? {
            if self.is_cancelled() {
                return Ok(false);
            }
            let entry = entry?;
            entries += 1;
            if !is_stored(&entry) {
                continue;
            }
            if let Kind::File(file) = &entry.kind {
                files += 1;
                bytes += file.size;
            }
            while found.as_ref().is_some_and(|(path, _)| *path < entry.path) {
                self.stranger(part, found.take(), &mut names);
                found = names.next();
            }
            match found.take() {
                Some((path, kind)) if path == entry.path => {
                    self.entry(part, entry, kind, &mut batch, batches);
                    found = names.next();
                }
                later => {
                    self.damaged(Some(&part.name), &entry.path, "is missing");
                    found = later;
                }
            }
        }
        // The readers go on until this end is closed.
        let _ = batches.send(batch);
        while found.is_some() {
            self.stranger(part, found, &mut names);
            found = names.next();
        }
        if (entries, files, bytes) != (part.list.entries, part.files, part.bytes) {
            self.damaged(
                Some(&part.name),
                &part.list.path,
                "holds other numbers of entries, files or bytes than the manifest",
            );
        }
        Ok(true)
    }

    fn stored(&self, part: &ManifestComponent) -> Stored {
        let old = match self.reading {
            Reading::Written { old: Some(old) } => Some(old.of(part.place).join(part.folder())),
            _ => None,
        };
        let folder = self.roots.of(part.place).join(part.folder());
        Stored { component: part.name.clone(), folder, old }
    }

    fn stranger(&self, part: &ManifestComponent, found: Option<Found>, names: &mut Names) {
        let Some((path, kind)) = found else { return };
        match kind {
            Ok(_) => self.damaged(Some(&part.name), &path, "does not belong to the set"),
            Err(error) => self.damaged(Some(&part.name), &path, format!("cannot be read: {error}")),
        }
        names.skip_folder();
    }

    fn entry(
        &self,
        part: &ManifestComponent,
        entry: Entry,
        found: io::Result<FileType>,
        batch: &mut Batch,
        batches: &Sender<Batch>,
    ) {
        let text = match (&entry.kind, found) {
            (_, Err(error)) => format!("cannot be read: {error}"),
            (Kind::Directory, Ok(kind)) if kind.is_dir() => return,
            (Kind::File(_), Ok(kind)) if kind.is_file() => return send(batch.add(entry), batches),
            (Kind::Symlink(_), Ok(kind)) if kind.is_symlink() => return send(batch.add(entry), batches),
            _ => "is of another type than listed".to_owned(),
        };
        self.damaged(Some(&part.name), &entry.path, text);
    }
}

fn send(batch: Option<Batch>, batches: &Sender<Batch>) {
    if let Some(batch) = batch {
        // The readers go on until this end is closed.
        let _ = batches.send(batch);
    }
}

/// Whether there is something on disk for the entry. Pipes, sockets and devices are listed only, and of a file with
/// several names only the first is stored.
fn is_stored(entry: &Entry) -> bool {
    entry.hard_link.is_none() && matches!(entry.kind, Kind::File(_) | Kind::Directory | Kind::Symlink(_))
}
