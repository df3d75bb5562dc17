//! Finding out what has to be done, window by window.

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crossbeam_channel::{Sender, bounded, unbounded};
use stillpoint_tree::{Entry, Kind, Present, RelPath, Target};

use super::file::{AtHand, Group, Pending, Piece, Writing};
use super::finish::{After, Window};
use super::work::{Job, Turn};
use super::{Shared, precheck};
use crate::blob::BlobKind;
use crate::fetch::{Run, locate};
use crate::id::Id;
use crate::index::Location;
use crate::node::{Node, NodeKind};
use crate::trees::{Step, Steps};
use crate::watch::Amount;

/// A window is full with so much content, so many entries, or so many files of several blobs: each of these keeps a file open.
const WINDOW_BYTES: u64 = 256 << 20;
const WINDOW_ENTRIES: usize = 8192;
const WINDOW_OPEN_FILES: usize = 128;

/// A worker takes at most so many blobs at once: the others want some, too.
const RUN_BLOBS_MAX: usize = 256;

/// The thread that plans.
pub(super) struct Planner<'a> {
    shared: &'a Shared<'a>,
    target: Option<Target>,
    jobs: Sender<Job>,
    windows: Sender<Window>,
    /// The folders that the walk is in; the first is the target itself.
    folders: Vec<Folder>,
    /// Files with several names. How many is not to be trusted, so each is kept to the end.
    links: HashMap<(u64, u64), Arc<Group>>,
    pending: Vec<Pending>,
    pending_bytes: u64,
    open_files: usize,
    afters: Vec<After>,
    pieces: Vec<(Location, Piece)>,
    pieces_bytes: u64,
    whole: Vec<Arc<Writing>>,
}

/// A folder in the target.
struct Folder {
    /// Nothing was in it before.
    fresh: bool,
    /// It could not be made, or could not be read from the archive.
    broken: bool,
    /// What was in it before and was not come upon in the version.
    extra: HashSet<Vec<u8>>,
}

/// Nobody takes the work any more; whoever ended has the reason.
struct Ended;

impl<'a> Planner<'a> {
    pub fn new(
        shared: &'a Shared<'a>,
        target: Option<Target>,
        jobs: Sender<Job>,
        windows: Sender<Window>,
        is_new: bool,
    ) -> Self {
        let mut planner = Self {
            shared,
            target,
            jobs,
            windows,
            folders: Vec::new(),
            links: HashMap::new(),
            pending: Vec::new(),
            pending_bytes: 0,
            open_files: 0,
            afters: Vec::new(),
            pieces: Vec::new(),
            pieces_bytes: 0,
            whole: Vec::new(),
        };
        planner.push_folder(&RelPath::top(), is_new, false);
        planner
    }

    pub fn run(mut self, mut steps: Steps) {
        while let Some(step) = steps.next() {
            if self.shared.is_stopped() {
                return;
            }
            let done = match step {
                Step::Enter(path, node) => {
                    if !self.enter(&path, &node) {
                        steps.skip_folder();
                    }
                    Ok(())
                }
                Step::Node(path, node) => self.node(&path, *node),
                Step::Leave(path, node) => {
                    self.leave(&path, node.as_deref());
                    Ok(())
                }
                Step::Unreadable(folder) => {
                    if let Some(open) = self.folders.last_mut() {
                        open.broken = true;
                    }
                    let path = self.shared.in_target(&folder.path, true);
                    let text = format!("what is in it is lost: {}", folder.error);
                    if crate::fetch::is_of_the_store(&folder.error) {
                        self.shared.fail(folder.error);
                        return;
                    }
                    self.shared.report().problem(&path, text);
                    Ok(())
                }
            };
            if done.and_then(|()| self.seal_if_full()).is_err() {
                return;
            }
        }
        // An early end has its reason elsewhere.
        let _ = self.seal();
    }

    fn push_folder(&mut self, path: &RelPath, fresh: bool, broken: bool) {
        let mut extra = HashSet::new();
        if let (Some(target), true, false, false) =
            (&mut self.target, self.shared.options.remove_extra, fresh, broken)
        {
            match target.names(path) {
                Ok(names) => extra.extend(names),
                Err(error) => self.shared.entry_failed(path, error),
            }
        }
        self.folders.push(Folder { fresh, broken, extra });
    }

    /// The name was come upon. Whether nothing can be there.
    fn come_upon(&mut self, name: &[u8]) -> bool {
        match self.folders.last_mut() {
            Some(folder) => {
                folder.extra.remove(name);
                folder.fresh
            }
            None => false,
        }
    }

    /// Whether what is in the folder can be restored.
    fn enter(&mut self, path: &RelPath, node: &Node) -> bool {
        let path = self.shared.in_target(path, true);
        if path.is_top() {
            return true;
        }
        let in_fresh = self.come_upon(&node.name);
        let made = match &mut self.target {
            None => Ok(true),
            Some(_) if self.shared.options.dry_run && in_fresh => Ok(true),
            Some(target) if self.shared.options.dry_run => {
                target.look(&path).map(|there| there.is_none_or(|there| there.entry.kind != Kind::Directory))
            }
            Some(target) => target.make_folder(&path),
        };
        match made {
            Ok(fresh) => {
                self.push_folder(&path, fresh, false);
                true
            }
            Err(error) => {
                self.shared.entry_failed(&path, error);
                self.push_folder(&path, false, true);
                false
            }
        }
    }

    fn leave(&mut self, path: &RelPath, node: Option<&Node>) {
        let path = self.shared.in_target(path, true);
        let folder = if path.is_top() { self.folders.first_mut() } else { self.folders.last_mut() };
        let Some(folder) = folder else { return };
        let mut extra = Vec::new();
        if !folder.broken {
            extra.extend(std::mem::take(&mut folder.extra));
            extra.sort_unstable();
        }
        let broken = folder.broken;
        if !path.is_top() {
            self.folders.pop();
        }
        extra.retain(|name| self.is_extra(&path, name));
        let entry = node.and_then(|node| node.to_entry(path.clone())).map(Box::new);
        // Of a folder that could not be made there is nothing to finish; one that could not be read is there.
        if !broken || self.target.as_mut().is_none_or(|target| matches!(target.look(&path), Ok(Some(_)))) {
            self.afters.push(After::Leave { path, entry, extra });
        }
    }

    /// Whether the filter takes what is too much. What an interrupted restore left of a file is always.
    fn is_extra(&mut self, folder: &RelPath, name: &[u8]) -> bool {
        let path = folder.child(name);
        let Some(target) = &mut self.target else { return false };
        let Ok(Some(present)) = target.look(&path) else { return false };
        let from = &self.shared.options.from;
        let in_version = match (from.is_top(), path.as_bytes()) {
            (true, bytes) => bytes.to_vec(),
            (false, bytes) => [from.as_bytes(), bytes].join(&b'/'),
        };
        let is_folder = present.entry.kind == Kind::Directory;
        RelPath::from_bytes(in_version)
            .is_some_and(|path| self.shared.options.filter.selects(&path, is_folder))
    }

    fn node(&mut self, path: &RelPath, mut node: Node) -> Result<(), Ended> {
        let path = self.shared.in_target(path, false);
        let fresh = self.come_upon(&node.name);
        let Some(entry) = node.to_entry(path.clone()) else {
            self.shared.report().problem(&path, "the program that saved it could not make out what it is");
            return Ok(());
        };
        if entry.kind == Kind::Socket {
            self.shared.report().sockets += 1;
            return Ok(());
        }
        let group = match self.group(&node, &path) {
            Ok(group) => group,
            Err(group) => {
                self.afters.push(After::Link(group, Box::new(entry)));
                return Ok(());
            }
        };
        let present = match &mut self.target {
            Some(target) if !fresh => match target.look(&path) {
                Ok(present) => present,
                Err(error) => {
                    self.shared.entry_failed(&path, error);
                    return Ok(());
                }
            },
            _ => None,
        };
        if node.kind == NodeKind::File {
            let blobs = node.content.take().unwrap_or_default();
            self.pending_bytes += node.size;
            self.open_files += usize::from(blobs.len() > 1);
            self.pending.push(Pending { entry, blobs, group, present, fresh });
        } else {
            self.put_node(&entry, present.as_ref());
        }
        Ok(())
    }

    /// The group of a file with several names, if this is the first; the group as an error, if it is a later one.
    fn group(&mut self, node: &Node, path: &RelPath) -> Result<Option<Arc<Group>>, Arc<Group>> {
        let Some(key) = node.link_group() else { return Ok(None) };
        let mut content = vec![node.kind as u8];
        content.extend(node.size.to_le_bytes());
        content.extend(node.blobs().iter().flat_map(Id::as_bytes));
        content.extend(node.link_target());
        let content = Id::of(&content);
        match self.links.entry(key) {
            Slot::Vacant(slot) => {
                let first = path.clone();
                let group = Arc::new(Group { first, content, failed: false.into() });
                Ok(Some(Arc::clone(slot.insert(group))))
            }
            // It was written to between the reading of the one name and of the other: both are kept.
            Slot::Occupied(known) if known.get().content != content => Ok(None),
            Slot::Occupied(known) => Err(Arc::clone(known.get())),
        }
    }

    fn put_node(&mut self, entry: &Entry, present: Option<&Present>) {
        let unchanged = precheck::is_there(entry, present, &entry.path);
        if let (Some(target), false, false) = (&mut self.target, unchanged, self.shared.options.dry_run) {
            match target.put_node(entry) {
                Ok(problems) => self.shared.complain(problems),
                Err(error) => return self.shared.entry_failed(&entry.path, error),
            }
        }
        let mut report = self.shared.report();
        report.files += 1;
        report.unchanged_files += u64::from(unchanged);
        drop(report);
        self.shared.watcher.advance(Amount { items: 1, bytes: 0 });
    }

    fn seal_if_full(&mut self) -> Result<(), Ended> {
        let full = self.pending_bytes >= WINDOW_BYTES
            || self.pending.len() + self.afters.len() >= WINDOW_ENTRIES
            || self.open_files >= WINDOW_OPEN_FILES;
        if full { self.seal() } else { Ok(()) }
    }

    /// Plans the window and hands it out.
    fn seal(&mut self) -> Result<(), Ended> {
        let pending = std::mem::take(&mut self.pending);
        (self.pending_bytes, self.open_files) = (0, 0);
        for (file, at_hand) in self.compare_all(pending)? {
            match at_hand {
                AtHand::All | AtHand::Failed => {}
                AtHand::Nothing => self.plan(file, None, Vec::new())?,
                AtHand::Some(begun, have) => self.plan(file, begun, have)?,
            }
        }
        let afters = std::mem::take(&mut self.afters);
        self.hand_out(afters)
    }

    /// Lets the workers find out what is there of files that may be there.
    fn compare_all(&mut self, pending: Vec<Pending>) -> Result<Vec<(Pending, AtHand)>, Ended> {
        let (answer, answers) = unbounded();
        let mut all = Vec::with_capacity(pending.len());
        for (number, file) in pending.into_iter().enumerate() {
            if file.fresh || self.target.is_none() || (file.present.is_none() && file.blobs.len() < 2) {
                all.push((number, file, AtHand::Nothing));
            } else {
                self.jobs.send(Job::Compare(number, Box::new(file), answer.clone())).map_err(|_| Ended)?;
            }
        }
        drop(answer);
        all.extend(answers.into_iter().map(|(number, file, at_hand)| (number, *file, at_hand)));
        all.sort_unstable_by_key(|(number, ..)| *number);
        Ok(all.into_iter().map(|(_, file, at_hand)| (file, at_hand)).collect())
    }

    fn plan(
        &mut self,
        mut file: Pending,
        begun: Option<stillpoint_tree::Temporary>,
        have: Vec<bool>,
    ) -> Result<(), Ended> {
        let blobs = std::mem::take(&mut file.blobs);
        let index = Arc::clone(self.shared.contents.index());
        let mut length = 0;
        for id in &blobs {
            match index.plain_bytes(BlobKind::Data, id) {
                Some(bytes) => length += bytes,
                None => return self.lose(&file, begun, id),
            }
        }
        if let Kind::File(facts) = &file.entry.kind
            && facts.size != length
            // rustic names no size for a stream.
            && facts.size != 0
        {
            let text = format!("it is said to have {} bytes, and its content has {length}", facts.size);
            self.shared.report().problem(&file.entry.path, text);
        }
        let is_needed = |number: usize| !have.get(number).copied().unwrap_or(false);
        let needed = (0..blobs.len()).filter(|number| is_needed(*number)).count();
        let dry = self.shared.options.dry_run;
        if dry {
            self.shared.watcher.note(&format!("would write {}", file.entry.path));
        }
        let writing = Arc::new(Writing::new(file, length, begun, needed));
        if needed == 0 && !dry {
            self.whole.push(Arc::clone(&writing));
        }
        let mut at = 0;
        for (number, id) in blobs.iter().enumerate() {
            let Ok(location) = locate(&index, id) else { break };
            let bytes = location.blob.plain_bytes();
            if is_needed(number) {
                self.shared.report().fetched_bytes += bytes;
            }
            if is_needed(number) && !dry {
                self.pieces.push((location, Piece { file: Arc::clone(&writing), at }));
                self.pieces_bytes += bytes;
                if self.pieces_bytes >= WINDOW_BYTES || self.pieces.len() >= 4 * WINDOW_ENTRIES {
                    self.hand_out(Vec::new())?;
                }
            }
            at += bytes;
        }
        if dry {
            let mut report = self.shared.report();
            report.files += 1;
            report.bytes += length;
        }
        Ok(())
    }

    fn lose(
        &mut self,
        file: &Pending,
        begun: Option<stillpoint_tree::Temporary>,
        id: &Id,
    ) -> Result<(), Ended> {
        if let (Some(target), Some(begun)) = (&mut self.target, begun) {
            target.discard(&begun, &file.entry.path);
        }
        if let Some(group) = &file.group {
            group.failed.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        let text = format!("no index file knows its data blob {}", id.short());
        self.shared.report().problem(&file.entry.path, text);
        Ok(())
    }

    /// Gives the pieces to the workers, sorted by where they lie, and what follows to whoever finishes.
    fn hand_out(&mut self, afters: Vec<After>) -> Result<(), Ended> {
        let (turn, done) = bounded(0);
        let mut pieces = std::mem::take(&mut self.pieces);
        self.pieces_bytes = 0;
        pieces.sort_by_key(|(location, _)| (location.number, location.blob.offset));
        let whole = std::mem::take(&mut self.whole);
        if !whole.is_empty() {
            self.jobs.send(Job::Finish(whole, turn.clone())).map_err(|_| Ended)?;
        }
        let mut run: Option<Run<Vec<Piece>>> = None;
        for (location, piece) in pieces {
            match &mut run {
                Some(run) if run.blobs.last().is_some_and(|(last, _)| *last == location) => {
                    if let Some((_, pieces)) = run.blobs.last_mut() {
                        pieces.push(piece);
                    }
                }
                Some(run) if run.blobs.len() < RUN_BLOBS_MAX && run.takes(&location) => {
                    run.blobs.push((location, vec![piece]));
                }
                _ => {
                    if let Some(run) = run.replace(Run::of(location, vec![piece])) {
                        self.send(run, &turn)?;
                    }
                }
            }
        }
        if let Some(run) = run {
            self.send(run, &turn)?;
        }
        drop(turn);
        self.windows.send((done, afters)).map_err(|_| Ended)
    }

    fn send(&self, run: Run<Vec<Piece>>, turn: &Turn) -> Result<(), Ended> {
        self.jobs.send(Job::Fetch(run, turn.clone())).map_err(|_| Ended)
    }
}
