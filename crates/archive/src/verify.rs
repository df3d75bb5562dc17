//! Holding a set against what it says of itself: every list, every name, every byte.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use stillpoint_model::{Cancel, ComponentName, ErrorKind, Monitor, Problem};
use stillpoint_tree::{Entry, IndexReader, Kind, RelPath};

use crate::content::{self, Cancellable, HASH_THREADS};
use crate::layout::{KIT, LISTS, PART, Place, SUMS, WRITERS};
use crate::manifest::{Manifest, ManifestComponent, Part, StoredFile};
use crate::names::{Found, Names};
use crate::progress::Pulse;
use crate::{ArchiveError, disk};

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

/// A file whose content is to be read.
struct Job {
    component: ComponentName,
    folder: Arc<PathBuf>,
    entry: Entry,
    size: u64,
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
    let (jobs, work) = crossbeam_channel::bounded::<Job>(1024);
    std::thread::scope(|scope| {
        for _ in 0..HASH_THREADS {
            let work = work.clone();
            scope.spawn(|| work.into_iter().for_each(|job| check.read(&job)));
        }
        for part in manifest.components.iter().filter(wanted) {
            if !check.component(part, &jobs) {
                break;
            }
        }
        drop(jobs);
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

struct Check<'a> {
    roots: &'a Roots,
    reading: &'a Reading,
    cancel: &'a Cancel,
    pulse: Pulse,
    damage: Mutex<Vec<Problem>>,
}

impl Check<'_> {
    fn damaged(
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
            file(&self.roots.set, stored, None);
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
    fn component(&self, part: &ManifestComponent, jobs: &crossbeam_channel::Sender<Job>) -> bool {
        if let Some(text) = list_trouble(&self.roots.set, part) {
            self.damaged(Some(&part.name), &part.list.path, format!("{text}; its files cannot be checked"));
            return true;
        }
        match self.walk(part, jobs) {
            Ok(go_on) => go_on,
            Err(error) => {
                self.damaged(Some(&part.name), &part.list.path, crate::publish::in_full(&error));
                true
            }
        }
    }

    fn walk(
        &self,
        part: &ManifestComponent,
        jobs: &crossbeam_channel::Sender<Job>,
    ) -> Result<bool, ArchiveError> {
        let folder = Arc::new(self.roots.of(part.place).join(part.folder()));
        let mut names = Names::new(&folder);
        let mut found = names.next();
        let (mut entries, mut files, mut bytes) = (0, 0, 0);
        for entry in IndexReader::open(&self.roots.set.join(&part.list.path))? {
            if self.cancel.is_cancelled() {
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
                Some((path, facts)) if path == entry.path => {
                    self.entry(part, &folder, entry, facts, jobs);
                    found = names.next();
                }
                later => {
                    self.damaged(Some(&part.name), &entry.path, "is missing");
                    found = later;
                }
            }
        }
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

    fn stranger(&self, part: &ManifestComponent, found: Option<Found>, names: &mut Names) {
        let Some((path, facts)) = found else { return };
        match facts {
            Ok(_) => self.damaged(Some(&part.name), &path, "does not belong to the set"),
            Err(error) => self.damaged(Some(&part.name), &path, format!("cannot be read: {error}")),
        }
        names.skip_folder();
    }

    fn entry(
        &self,
        part: &ManifestComponent,
        folder: &Arc<PathBuf>,
        entry: Entry,
        facts: io::Result<Metadata>,
        jobs: &crossbeam_channel::Sender<Job>,
    ) {
        match (&entry.kind, facts) {
            (_, Err(error)) => {
                self.damaged(Some(&part.name), &entry.path, format!("cannot be read: {error}"))
            }
            (Kind::File(file), Ok(facts)) if facts.is_file() => {
                if file.sha256.is_none() {
                    return self.damaged(Some(&part.name), &entry.path, "is listed without its hash");
                }
                if facts.len() != file.size {
                    let text = format!("has {} bytes instead of {}", facts.len(), file.size);
                    return self.damaged(Some(&part.name), &entry.path, text);
                }
                if !self.shared(part, &entry.path, &facts) {
                    let (component, folder, size) = (part.name.clone(), Arc::clone(folder), file.size);
                    // The readers go on until this end is closed.
                    let _ = jobs.send(Job { component, folder, entry, size });
                }
            }
            (Kind::Directory, Ok(facts)) if facts.is_dir() => {}
            (Kind::Symlink(target), Ok(facts)) if facts.is_symlink() => {
                let full = entry.path.under(folder);
                if fs::read_link(&full)
                    .map_or(true, |found| found.as_os_str().as_bytes() != target.as_slice())
                {
                    self.damaged(Some(&part.name), &entry.path, "points elsewhere");
                }
            }
            _ => self.damaged(Some(&part.name), &entry.path, "is of another type than listed"),
        }
    }

    /// Whether the file is the very one of the old set, so that this run did not write it.
    fn shared(&self, part: &ManifestComponent, path: &RelPath, facts: &Metadata) -> bool {
        let Reading::Written { old: Some(old) } = self.reading else { return false };
        let before = || fs::symlink_metadata(path.under(&old.of(part.place).join(part.folder())));
        facts.nlink() > 1 && before().is_ok_and(|before| disk::same_file(&before, facts))
    }

    fn read(&self, job: &Job) {
        if self.cancel.is_cancelled() {
            return;
        }
        let path = &job.entry.path;
        match content::is_intact(&job.folder, &job.entry, &Cancellable(self.cancel)) {
            Ok(true) => self.pulse.advance(1, job.size),
            Ok(false) => self.damaged(Some(&job.component), path, "its content changed"),
            Err(_) if self.cancel.is_cancelled() => {}
            Err(error) => self.damaged(Some(&job.component), path, crate::publish::in_full(&error)),
        }
    }
}

/// Whether there is something on disk for the entry. Pipes, sockets and devices are listed only, and of a file with
/// several names only the first is stored.
fn is_stored(entry: &Entry) -> bool {
    entry.hard_link.is_none() && matches!(entry.kind, Kind::File(_) | Kind::Directory | Kind::Symlink(_))
}
