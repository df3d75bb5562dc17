//! Capturing straight into an archive: for a site without a folder there is no second copy on disk.
//!
//! The parts of the version are filled while the components are captured. What the set says of itself (lists, manifest, recovery
//! kit) is written in the staging folder, and follows when all is captured; then the version gets its name.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use stillpoint_archive::{ArchiveError, At, ContentTaker, SetFacts};
use stillpoint_model::site_file::Archive;
use stillpoint_model::{
    Cancel, ComponentName, Context, ErrorKind, Event, Monitor, Outcome, Problem, RunId, SiteCode, TreeSource,
};
use stillpoint_repository::{
    Amount, Content, Contents, Id, Part, PartReport, Recording, RepositoryError, RepositoryLock, Saver,
    Snapshot, SnapshotFacts, Unwatched, Watcher,
};
use stillpoint_tree::{Entry, FileFacts, Filter, IndexReader, Kind, RelPath, Timestamp, begin_of_now};

use super::teller::Teller;
use crate::SiteError;
use crate::archive::{
    ArchiveWatcher, OpenArchive, SavedVersion, open_archive, parent_of, save_folder_piece, version_facts,
};

/// A version that is being filled.
pub(crate) struct DirectCapture {
    archive: OpenArchive,
    watcher: Arc<Both>,
    /// The lists of the version before, for the hashes of what did not change.
    lists: PathBuf,
    begun: Timestamp,
    state: Mutex<State>,
}

struct State {
    /// Nothing once the version is finished.
    saver: Option<(Saver, RepositoryLock)>,
    /// How many calls of each component brought something.
    parts: BTreeMap<ComponentName, u64>,
}

/// Watches for the run, and ends when either the run or its capture is cancelled.
struct Both {
    run: Arc<ArchiveWatcher>,
    capture: OnceLock<Cancel>,
}

impl Watcher for Both {
    fn stage(&self, name: &'static str, total: Amount) {
        self.run.stage(name, total);
    }

    fn advance(&self, done: Amount) {
        self.run.advance(done);
    }

    fn note(&self, text: &str) {
        self.run.note(text);
    }

    fn is_cancelled(&self) -> bool {
        self.run.is_cancelled() || self.capture.get().is_some_and(Cancel::is_cancelled)
    }
}

impl DirectCapture {
    /// Opens the first archive of the site that can be opened, and begins a version in it. `work` is a folder of this run's.
    pub fn begin(
        archives: &[Archive],
        (site, run): (&SiteCode, &RunId),
        work: &Path,
        teller: &Arc<Teller>,
        cancel: &Cancel,
    ) -> Result<Self, SiteError> {
        // Before anything is cut: what changed since then may change again without a later change time.
        let begun = begin_of_now();
        let (archive, watcher) = open_first(archives, teller, cancel)?;
        let failed = |error: RepositoryError| archive.error(error);
        let lock = archive.lock_for_adding(&*watcher)?;
        let parent = parent_of(archive.repository.snapshots().map_err(failed)?, site.as_str());
        let lists = work.join("lists-before");
        if let Some((id, parent)) = &parent
            && let Err(error) = fetch_lists(&archive, parent, &lists)
        {
            watcher.note(&format!(
                "the lists of version {} cannot be read, so files are read again: {error}",
                id.short()
            ));
        }
        watcher.stage("capturing", Amount::default());
        let saver = Saver::begin(&archive.repository, parent, watcher.clone()).map_err(failed)?;
        tracing::debug!(%run, archive = %archive.settings.name, "captures straight into the archive");
        let state = Mutex::new(State { saver: Some((saver, lock)), parts: BTreeMap::new() });
        Ok(Self { archive, watcher, lists, begun, state })
    }

    /// The archive that the version is in.
    pub fn archive(&self) -> &OpenArchive {
        &self.archive
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin_part(&self, at: At<'_>, context: &Context, list: &Path) -> Result<Part, RepositoryError> {
        self.watcher.capture.get_or_init(|| context.cancel.clone());
        let mut state = self.state();
        *state.parts.entry(at.component.clone()).or_default() += 1;
        let before = self.lists.join(format!("{}.jsonl", at.component));
        let recording =
            Recording { list: list.to_owned(), before: before.exists().then(|| (before, at.path.clone())) };
        let over = || RepositoryError::new(ErrorKind::Cancelled, "the version is no longer being made");
        let (saver, _) = state.saver.as_ref().ok_or_else(over)?;
        saver.part_with_list(&place_of(at), recording)
    }

    fn take_tree(
        &self,
        at: At<'_>,
        context: &Context,
        source: &TreeSource,
        list: &Path,
    ) -> Result<PartReport, RepositoryError> {
        let mut part = self.begin_part(at, context, list)?;
        match &source.index {
            Some(index) => part.listed(index, &source.root)?,
            None => {
                let filter = Filter::new(&source.include, &source.exclude)
                    .map_err(|error| RepositoryError::new(ErrorKind::Config, error.to_string()))?;
                // What was made for this run alone says nothing about the next one.
                let never = Timestamp { seconds: i64::MIN, nanoseconds: 0 };
                part.tree(&source.root, filter, Some(if source.owned { never } else { self.begun }))?;
            }
        }
        part.end()
    }

    fn take_stream(
        &self,
        at: At<'_>,
        context: &Context,
        reader: &mut dyn Read,
    ) -> Result<FileFacts, RepositoryError> {
        let list = self.lists.with_file_name(format!("stream-{}.jsonl", Id::random()?.short()));
        let mut part = self.begin_part(at, context, &list)?;
        part.entry(&stream_entry(), Content::Stream(reader), false)?;
        part.end()?;
        let listed = IndexReader::open(&list).map(|mut entries| entries.next());
        match listed {
            Ok(Some(Ok(Entry { kind: Kind::File(facts), .. }))) => Ok(facts),
            other => {
                let text = format!("the stream {} was not listed: {other:?}", at.path);
                Err(RepositoryError::new(ErrorKind::Bug, text))
            }
        }
    }

    /// Saves what the set says of itself, and gives the version its name.
    pub fn finish(
        &self,
        facts: &SetFacts,
        pieces: &[PathBuf],
        folder: &Path,
    ) -> Result<SavedVersion, SiteError> {
        let failed = |error: RepositoryError| self.archive.error(error);
        let (taken, parts) = {
            let mut state = self.state();
            (state.saver.take(), std::mem::take(&mut state.parts))
        };
        let over = || SiteError::new(ErrorKind::Bug, "the version is finished twice");
        let (saver, lock) = taken.ok_or_else(over)?;
        let place = |name: &ComponentName, place: stillpoint_archive::Place| {
            RelPath::top().child(place.folder().as_bytes()).child(name.as_str().as_bytes())
        };
        for (name, half, ..) in &facts.components {
            if !parts.contains_key(name) {
                // It brought nothing; its folder is in the set all the same.
                let at = place(name, *half);
                save_folder_piece(&saver, &at, &at.under(folder)).map_err(failed)?;
            }
        }
        for piece in pieces {
            let name = piece.file_name().unwrap_or_default();
            let at = RelPath::top().child(std::os::unix::ffi::OsStrExt::as_bytes(name));
            save_folder_piece(&saver, &at, piece).map_err(failed)?;
        }
        let incomplete = facts.outcome == Outcome::Incomplete;
        let version = SnapshotFacts { incomplete, ..version_facts(facts, folder)? };
        lock.still_ours().map_err(failed)?;
        let saved = saver.finish(&version).map_err(failed)?;
        lock.release(&*self.watcher);
        Ok(SavedVersion {
            id: saved.id,
            added_bytes: Some(saved.added_bytes),
            stored_bytes: Some(saved.stored_bytes),
        })
    }
}

impl ContentTaker for DirectCapture {
    fn tree(
        &self,
        at: At<'_>,
        context: &Context,
        source: &TreeSource,
        list: &Path,
    ) -> Result<(), ArchiveError> {
        let report = self.take_tree(at, context, source, list).map_err(|error| self.refuse(error))?;
        let untold = report.left_out - report.problems.len() as u64;
        let problem = |path: Option<String>, text: String| {
            let problem = Problem { component: Some(context.component.clone()), path, text };
            context.monitor.emit(Event::Problem(problem));
        };
        for found in report.problems {
            problem(Some(found.path.to_string()), found.text);
        }
        if untold > 0 {
            problem(None, format!("{untold} more entries could not be read"));
        }
        Ok(())
    }

    fn stream(
        &self,
        at: At<'_>,
        context: &Context,
        reader: &mut dyn Read,
    ) -> Result<FileFacts, ArchiveError> {
        self.take_stream(at, context, reader).map_err(|error| self.refuse(error))
    }
}

impl DirectCapture {
    fn refuse(&self, error: RepositoryError) -> ArchiveError {
        let SiteError { kind, text, hint, .. } = self.archive.error(error);
        let refusal = ArchiveError::new(kind, text);
        match hint {
            Some(hint) => refusal.with_hint(hint),
            None => refusal,
        }
    }
}

/// The path in the version.
fn place_of(at: At<'_>) -> RelPath {
    let component =
        RelPath::top().child(at.place.folder().as_bytes()).child(at.component.as_str().as_bytes());
    if at.path.is_top() { component } else { component.child(at.path.as_bytes()) }
}

/// A stream as a file: ours alone, of now.
fn stream_entry() -> Entry {
    Entry {
        path: RelPath::top(),
        kind: Kind::File(FileFacts::default()),
        mode: 0o600,
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        mtime: begin_of_now(),
        xattrs: Vec::new(),
        hard_link: None,
        origin: None,
    }
}

/// The first archive that can be opened. The others are told, and get the version afterwards.
fn open_first(
    archives: &[Archive],
    teller: &Arc<Teller>,
    cancel: &Cancel,
) -> Result<(OpenArchive, Arc<Both>), SiteError> {
    let mut first_failure = None;
    for settings in archives {
        match open_archive(settings, cancel) {
            Ok(archive) => {
                let monitor: Arc<dyn Monitor> = teller.clone();
                let (notes, name) = (teller.clone(), settings.name.to_string());
                let note = move |text: &str| {
                    notes.status(stillpoint_model::status::id::ARCHIVE_NOTE, &[&name, text])
                };
                let run = ArchiveWatcher::new(settings.name.as_str(), monitor, cancel, note);
                return Ok((archive, Arc::new(Both { run, capture: OnceLock::new() })));
            }
            Err(error) => {
                first_failure.get_or_insert(error);
            }
        }
    }
    Err(first_failure.unwrap_or_else(|| SiteError::new(ErrorKind::Config, "the site has no archive")))
}

/// Brings the lists of a version into a folder.
fn fetch_lists(archive: &OpenArchive, parent: &Snapshot, folder: &Path) -> Result<(), SiteError> {
    let failed = |error: RepositoryError| archive.error(error);
    let contents = Contents::open(&archive.repository, parent).map_err(failed)?;
    let top = parent.paths.first().map_or("", |path| path.trim_start_matches('/'));
    let at = RelPath::top().child(top.as_bytes()).child(b"manifest");
    let io = |error: std::io::Error| {
        SiteError::new(ErrorKind::Environment, format!("cannot write in {}", folder.display())).because(error)
    };
    std::fs::create_dir_all(folder).map_err(io)?;
    for step in contents.walk(&at, Filter::default()).map_err(failed)? {
        let (path, node) = step.map_err(|unreadable| failed(unreadable.error))?;
        if node.kind == stillpoint_repository::NodeKind::File {
            let name: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(&node.name);
            let mut file = std::fs::File::create(folder.join(name)).map_err(io)?;
            contents.dump(&path, &mut file, &Unwatched).map_err(failed)?;
        }
    }
    Ok(())
}
