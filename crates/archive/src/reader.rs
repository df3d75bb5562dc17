//! What a thread of a verify does: holds entries of which something was found under their name against what lies there.

use std::path::PathBuf;
use std::sync::Arc;

use stillpoint_model::ComponentName;
use stillpoint_tree::{Entry, Fetched, FileFacts, Kind, TreeError, Verifier};

use crate::ArchiveError;
use crate::content::Cancellable;
use crate::verify::Check;

/// The folder of a component.
#[derive(Debug)]
pub(crate) struct Stored {
    pub component: ComponentName,
    pub folder: PathBuf,
    /// The same in the set that this one shares files with.
    pub old: Option<PathBuf>,
}

/// A batch ends with this many entries, or with this many bytes of content. The files of a batch are open at the same time.
const BATCH_ENTRIES: usize = 64;
const BATCH_BYTES: u64 = 16 << 20;

/// Some entries of a component, in canonical order.
#[derive(Debug)]
pub(crate) struct Batch {
    stored: Arc<Stored>,
    entries: Vec<Entry>,
    bytes: u64,
}

impl Batch {
    pub fn new(stored: &Arc<Stored>) -> Self {
        Self { stored: Arc::clone(stored), entries: Vec::with_capacity(BATCH_ENTRIES), bytes: 0 }
    }

    /// Adds an entry; gives the batch away when it is full.
    pub fn add(&mut self, entry: Entry) -> Option<Self> {
        if let Kind::File(facts) = &entry.kind {
            self.bytes = self.bytes.saturating_add(facts.size);
        }
        self.entries.push(entry);
        let full = self.entries.len() == BATCH_ENTRIES || self.bytes >= BATCH_BYTES;
        let empty = Self::new(&self.stored);
        full.then(|| std::mem::replace(self, empty))
    }
}

/// One thread.
pub(crate) struct Reader<'c, 'r> {
    check: &'c Check<'r>,
    /// Of the component that was read last: its folder, and the same in the old set.
    open: Option<(Arc<Stored>, Verifier, Option<Verifier>)>,
}

impl<'c, 'r> Reader<'c, 'r> {
    pub fn new(check: &'c Check<'r>) -> Self {
        Self { check, open: None }
    }

    /// Looks at all of them and has the disk begin to read those that are to be read; then reads them.
    pub fn read(&mut self, batch: Batch) {
        let Batch { stored, entries, .. } = batch;
        if let Err(error) = self.enter(&stored) {
            return self.tell(&stored, entries.first(), &error);
        }
        let mut fetched = Vec::with_capacity(entries.len());
        for entry in entries {
            if self.check.is_cancelled() {
                return;
            }
            match self.meet(&entry) {
                Ok(Some(file)) => fetched.push((entry, file)),
                Ok(None) => {}
                Err(Trouble::Damage(text)) => self.check.damaged(Some(&stored.component), &entry.path, text),
                Err(Trouble::Error(error)) => self.tell(&stored, Some(&entry), &error.into()),
            }
        }
        for (entry, file) in fetched {
            self.read_file(&stored, &entry, file);
        }
    }

    fn enter(&mut self, stored: &Arc<Stored>) -> Result<(), ArchiveError> {
        if self.open.as_ref().is_some_and(|(open, ..)| Arc::ptr_eq(open, stored)) {
            return Ok(());
        }
        let folder = Verifier::new(&stored.folder)?;
        // Without the old folder nothing can be shared with it.
        let old = stored.old.as_ref().and_then(|old| Verifier::new(old).ok());
        self.open = Some((Arc::clone(stored), folder, old));
        Ok(())
    }

    /// A file whose content is to be read, or nothing when a look was enough.
    fn meet(&mut self, entry: &Entry) -> Result<Option<Fetched>, Trouble> {
        let Some((_, folder, old)) = &mut self.open else { return Ok(None) };
        let found =
            folder.look(&entry.path).map_err(|error| Trouble::Damage(format!("cannot be read: {error}")))?;
        let (file, size) = match (&entry.kind, &found.kind) {
            (Kind::File(file), Kind::File(FileFacts { size, .. })) => (file, *size),
            (Kind::Symlink(wanted), Kind::Symlink(target)) if wanted != target => {
                return Err(Trouble::Damage("points elsewhere".to_owned()));
            }
            (wanted, found) if wanted == found => return Ok(None),
            _ => return Err(Trouble::Damage("is of another type than listed".to_owned())),
        };
        if file.sha256.is_none() {
            return Err(Trouble::Damage("is listed without its hash".to_owned()));
        }
        if size != file.size {
            return Err(Trouble::Damage(format!("has {size} bytes instead of {}", file.size)));
        }
        // The very file of the old set was not written by this run.
        let shared = found.links > 1
            && old.as_mut().is_some_and(|old| {
                old.look(&entry.path).is_ok_and(|before| before.identity == found.identity)
            });
        if shared {
            return Ok(None);
        }
        folder.fetch(&entry.path, file.size).map(Some).map_err(Trouble::Error)
    }

    fn read_file(&mut self, stored: &Stored, entry: &Entry, file: Fetched) {
        let check = self.check;
        let Some((_, folder, _)) = &mut self.open else { return };
        if check.is_cancelled() {
            return;
        }
        match folder.check(entry, file, &Cancellable(check.cancel)) {
            Ok(bytes) => check.pulse.advance(1, bytes),
            Err(TreeError::Damaged { .. }) => {
                check.damaged(Some(&stored.component), &entry.path, "its content changed")
            }
            Err(_) if check.is_cancelled() => {}
            Err(error) => self.tell(stored, Some(entry), &error.into()),
        }
    }

    fn tell(&self, stored: &Stored, entry: Option<&Entry>, error: &ArchiveError) {
        let path = entry.map_or_else(String::new, |entry| entry.path.to_string());
        self.check.damaged(Some(&stored.component), path, crate::publish::in_full(error));
    }
}

/// What is wrong with an entry.
enum Trouble {
    /// In our own words.
    Damage(String),
    /// As it came.
    Error(TreeError),
}
